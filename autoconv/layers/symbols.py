"""Calls of a layer on symbolic tensors, which compute nothing: the shape of the result, and a node of the graph."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np

from ..metrics import Metric
from ..symbolic import TRIED_SIZES, Node, Shape, SymbolicTensor, flat_shapes, flatten, map_shapes, map_structure
from ..tensor import Tensor, no_grad
from ..variable import Variable, restored
from . import building, calling
from .parts import held
from .policy import DTYPES

finding_shapes: ContextVar[bool] = ContextVar("finding_shapes", default=False)  # while layers run on zeros


def add_node(layer: Any, arguments: dict[str, Any], training: bool | None) -> Any:
    """The symbolic result of a call with these arguments, from a new node of the graph. Builds and checks the layer."""
    for item in flatten(list(arguments.values())):
        if isinstance(item, Variable) or (isinstance(item, Tensor) and item.requires_grad):
            raise TypeError("A model trains the weights of its layers, so a Variable given to layer "
                            f"{layer.name!r} beside a symbolic tensor would never learn. Pass its values: "
                            "parameter.numpy().")
        if isinstance(item, SymbolicTensor) and item.node is not None:
            settle = getattr(item.node.operation, "settle_dtype", None)
            if settle is not None:
                settle(layer.dtype)
    arguments = map_structure(lambda item: item.numpy() if isinstance(item, Tensor) else item, arguments)
    x, *others = arguments.values()
    if others:
        building.build_with(layer, arguments)
    else:
        layer.build_for(map_structure(lambda item: item.shape, x))
    outputs = result(layer, arguments, training)
    named = dict(list(arguments.items())[1:])
    Node(layer, (x,), named if training is None else {**named, "training": bool(training)}, outputs)
    return outputs


def result(layer: Any, arguments: dict[str, Any], training: bool | None) -> Any:
    """What a call with these arguments gives: symbolic tensors, which no node has yet."""
    shapes = calling.shapes_of(arguments)
    inputs = [item for item in flatten(list(arguments.values())) if isinstance(item, SymbolicTensor)]
    if len(arguments) == 1:
        shape = layer.compute_output_shape(*shapes.values())
    elif layer._finds_shapes_by_running():
        shape = _shape_of_call(layer, arguments, inputs, training)
    else:
        several = calling.fitting(layer.compute_output_shape, shapes)
        shape = (layer.compute_output_shape(next(iter(shapes.values()))) if several is None else
                 layer.compute_output_shape(**several))
    dtype = _dtype_of_result(layer, inputs)
    return map_shapes(lambda s: SymbolicTensor(s, dtype, name=layer.name), shape)


def _dtype_of_result(layer: Any, inputs: list[SymbolicTensor]) -> str:
    kind = np.dtype(inputs[0].dtype).kind if inputs else ""
    stays = (kind == "f" and layer.dtype in DTYPES and not layer.weights) or (
        layer.symbolic_integers and kind in ("b", "i", "u"))
    return inputs[0].dtype if stays else layer.dtype


# Shapes that are found by running the layer on zeros.


def shape_by_running(layer: Any, input_shape: Any) -> Any:
    """The shape of what a layer of one input, or of several in a structure, gives for this shape."""
    shapes = flat_shapes(input_shape)
    batch = next(iter(shapes), (None,))[0]
    if not layer.built:
        layer.build(input_shape)
    return _shape_of_runs(shapes, batch, lambda size: layer(
        map_shapes(lambda shape: _zeros(shape, size, layer.dtype), input_shape), training=False))


def _shape_of_call(
    layer: Any, arguments: dict[str, Any], inputs: list[SymbolicTensor], training: bool | None,
) -> Any:
    """The shape of what a layer gives for these arguments, of which `inputs` are symbolic."""
    def run(size: int) -> Any:
        return layer(training=bool(training), **map_structure(lambda item: _zeros(item.shape, size, layer.dtype) if (
            isinstance(item, SymbolicTensor)) else item, arguments))

    return _shape_of_runs([tensor.shape for tensor in inputs], inputs[0].shape[0], run)


def _zeros(shape: Shape, size: int, dtype: str) -> np.ndarray:
    """One sample of this shape, with `size` for what is not known."""
    return np.zeros((1, *(size if n is None else n for n in shape[1:])), dtype)


def _shape_of_runs(shapes: list[Shape], batch: int | None, run: Callable[[int], Any]) -> Any:
    """What is the same of the shapes that runs give, for two sizes of the axes that are not known; else None."""
    count = 2 if any(None in shape[1:] for shape in shapes) else 1
    token = finding_shapes.set(True)
    try:
        with no_grad():
            results = [run(size) for size in TRIED_SIZES[:count]]
    finally:
        finding_shapes.reset(token)
    found = iter([(batch, *(n if n == m else None for n, m in zip(a.shape[1:], b.shape[1:])))
                  for a, b in zip(flatten(results[0]), flatten(results[-1]))])
    return map_structure(lambda _: next(found), results[0])


@contextmanager
def restoring(layer: Any) -> Iterator[None]:
    """Restores, after the block, what it changed in a layer: attributes, the contents of lists, dicts and sets, and the
    values of metrics, of seed generators and of weights that do not learn. If it made layers or weights, their
    attributes stay.
    """
    attributes, state = vars(layer).copy(), (layer._sublayers(), layer._own_weights())
    containers = [(value, value.copy()) for name, value in attributes.items()
                  if name not in layer.unwatched and isinstance(value, list | dict | set)]
    changed_by_calls = [*(weight for weight in layer._own_weights() if not weight.learns),
                        *(generator.state for generator in layer._generators())]
    try:
        with restored(changed_by_calls), ExitStack() as metrics:
            for metric in held(attributes, Metric):
                metrics.enter_context(metric.holding())
            yield
    finally:
        if _same(state, (layer._sublayers(), layer._own_weights())):
            for name in vars(layer).keys() - layer.unwatched - attributes.keys():
                del vars(layer)[name]
            vars(layer).update((name, value) for name, value in attributes.items() if name not in layer.unwatched)
            for value, content in containers:
                value.clear()
                (value.extend if isinstance(value, list) else value.update)(content)


def _same(before: Any, after: Any) -> bool:
    return all(len(a) == len(b) and all(x is y for x, y in zip(a, b)) for a, b in zip(before, after))
