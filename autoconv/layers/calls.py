"""Helpers for calling layers, which bind arguments and convert arrays to tensors of the layer's dtype.

A call on symbolic tensors computes only a shape and a dtype, and adds a node to the graph.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from functools import cache, partial
from inspect import Parameter as Argument
from inspect import signature
from typing import TYPE_CHECKING, Any

import numpy as np

from ..arguments.serialization import find_registry
from ..engine.symbolic import TRIED_SIZES, Node, Shape, SymbolicTensor, flat_shapes, flatten, map_shapes, map_structure
from ..engine.tensor import Tensor, apply, inside_layer, no_grad
from ..engine.variable import Variable, preserve_values
from ..metrics import Metric
from ..operators import elementwise
from .parts import find_parts
from .policy import DTYPES

if TYPE_CHECKING:
    from .layer import Layer

NOTHING = object()  # replaces a first argument that the caller passed by name
# True while layers run on zeros to find shapes
finding_shapes: ContextVar[bool] = ContextVar("finding_shapes", default=False)

_ARRAYS = (Tensor, SymbolicTensor, np.ndarray)
_UNSET = Argument("training", Argument.KEYWORD_ONLY, default=None)


# Arguments.


def refuse_data(kind: type, args: tuple) -> None:
    """Raises ValueError if the constructor of an autoconv layer receives data, as in `Flatten(x)`."""
    if find_registry(kind) is None or kind.accepts_arrays:  # type: ignore[attr-defined]
        return
    for value in flatten(args):
        if isinstance(value, Tensor | SymbolicTensor) or (isinstance(value, np.ndarray) and value.ndim > 1):
            raise ValueError(f"{kind.__name__}(...) creates a layer from its settings and accepts no data. Received: "
                             f"an array or tensor of shape {tuple(value.shape)}. Create the layer, then call it on "
                             f"the data: {kind.__name__}(...)(x).")


@cache
def training_argument(kind: type) -> Argument | None:
    """Returns the parameter `training` of a class's `call`, with the default None if it has no
    default. Returns None if `call` does not accept `training`.
    """
    arguments = signature(kind.call).parameters  # type: ignore[attr-defined]
    takes_kwargs = any(a.kind is Argument.VAR_KEYWORD for a in arguments.values())
    argument = arguments.get("training", _UNSET if takes_kwargs else None)
    return _UNSET if argument is not None and argument.default is Argument.empty else argument


def holds_tensors(value: Any) -> bool:
    """Whether a value is a tensor or an array, or a structure that contains one."""
    return any(isinstance(item, _ARRAYS) or hasattr(item, "__array__") for item in flatten(value))


def bind(layer: "Layer", args: tuple, kwargs: dict[str, Any]) -> dict[str, Any]:
    """Returns the arguments of a layer's `call` by name, in the order of its parameters.

    Every layer accepts `inputs`, Keras's name of the first argument. Raises ValueError if a later
    positional argument is not a tensor, TypeError for unknown arguments.
    """
    spec = signature(type(layer).call)
    first = list(spec.parameters)[1:2]
    if "inputs" in kwargs and first and first[0] != "inputs" and not args:
        kwargs = {first[0]: kwargs["inputs"], **{name: value for name, value in kwargs.items() if name != "inputs"}}
    for value in args[1:]:
        if value is not None and not holds_tensors(value):
            raise ValueError("Only input tensors may be passed as positional arguments. The following argument value "
                             f"should be passed as a keyword argument: {value!r} (of type {type(value)})")
    try:
        arguments = dict(spec.bind(layer, *args, **kwargs).arguments)
    except TypeError as error:
        raise TypeError(f"Layer {layer.name!r} was called with wrong arguments: {error}. The "
                        f"signature is call{spec}.") from None
    arguments.pop(next(iter(spec.parameters)))
    for name, parameter in spec.parameters.items():
        if parameter.kind is Argument.VAR_KEYWORD:
            arguments.update(arguments.pop(name, {}))
        if parameter.kind is Argument.VAR_POSITIONAL and name in arguments:
            raise TypeError(f"The call() of a layer must not have a parameter *{name}. Use named "
                            f"parameters or a list of inputs in layer {layer.name!r}.")
    return arguments


def find_shapes(arguments: dict[str, Any]) -> dict[str, Any]:
    """Returns the shapes of the arguments that hold tensors, keyed by the names that `build` uses, such as x_shape."""
    return {f"{name}_shape": map_structure(lambda item: tuple(item.shape), value)
            for name, value in arguments.items() if holds_tensors(value)}


def select_shapes(function: Callable, shapes: dict[str, Any]) -> dict[str, Any] | None:
    """Returns `shapes` if the function, a `build` or `compute_output_shape`, accepts several shapes by name.
    Returns None if the function accepts a single shape. The function's first parameter is the layer.
    """
    names = list(signature(function).parameters)[1:]
    return shapes if len(names) > 1 and set(names) <= set(shapes) else None


# Arrays and dtypes.


def tensors(layer: "Layer", x: Any) -> Any:
    """Converts arrays, or lists of numbers, to tensors on the layer's device, also within lists, tuples and dicts."""
    if isinstance(x, Tensor):
        return x
    is_layer = hasattr(x, "compute_output_shape")
    if x is None or is_layer or isinstance(x, str | bytes):
        remedy = " Call that layer on data first, or put both layers into a Sequential." if is_layer else ""
        raise ValueError(f"Inputs to a layer should be tensors. Got {x!r} (of type {type(x)}) as "
                         f"input for layer {layer.name!r}.{remedy}")
    if isinstance(x, dict):
        return {key: tensors(layer, x[key]) for key in sorted(x)}
    if isinstance(x, (list, tuple)) and any(isinstance(item, (Tensor, np.ndarray, dict)) for item in x):
        return type(x)([tensors(layer, item) for item in x])
    dtype = getattr(x, "dtype", None)
    as_is = _stays(layer, dtype) or (not layer.autocast and str(dtype) in DTYPES)
    return Tensor(layer.device.asarray(x, None if as_is else layer.dtype), device=layer.device)


def convert(layer: "Layer", x: Tensor, dtype: str = "") -> Tensor:
    """Converts `x` to `dtype`, by default the layer's dtype. A layer without weights does not convert float tensors."""
    dtype = dtype or layer.dtype
    if x.dtype == dtype:
        return x
    keeps_floats = not (layer.autocast and layer._own_weights()) and dtype in DTYPES
    if _stays(layer, x.dtype) or (x.dtype.kind == "f" and keeps_floats):
        return x
    if x.requires_grad:
        raise TypeError(f"Layer {layer.name!r} computes in {dtype}. Received: a {x.dtype} tensor that requires "
                        f"gradients. Convert the tensor first, or create the layer with dtype={x.dtype.name!r}.")
    return apply(elementwise.cast, x, dtype=np.dtype(dtype))


def convert_inputs(layer: "Layer", x: Any) -> Any:
    """Converts the inputs of a layer with one argument to the layer's dtype. Integers are kept only
    if all inputs have the same dtype.
    """
    if isinstance(x, Tensor):
        return convert(layer, x)
    types = {item.dtype for item in flatten(x)}
    if len(types) > 1 and any(_stays(layer, dtype) for dtype in types):
        x = map_structure(lambda t: t if t.dtype.kind == "f" else apply(
            elementwise.cast, t, dtype=np.dtype(layer.dtype)), x)
    return map_structure(partial(convert, layer), x)


def convert_arguments(layer: "Layer", arguments: dict[str, Any]) -> dict[str, Any]:
    """Converts a call's tensors to the layer's dtype. Integers are converted only in the first argument."""
    def cast(item: Any, integers_too: bool) -> Any:
        if not isinstance(item, Tensor) or not (integers_too or item.dtype.kind == "f"):
            return item
        return convert(layer, item)

    first = next(iter(arguments), "")
    return {name: map_structure(partial(cast, integers_too=name == first), value)
            for name, value in arguments.items()}


def _stays(layer: "Layer", dtype: Any) -> bool:
    """Whether inputs of this dtype are not converted. Outside a model, a layer that only copies or rearranges elements
    keeps integers. A model converts integers at its inputs, because kernels compute in floating point.
    """
    return inside_layer.get() is None and getattr(dtype, "kind", "f") in layer.kept_kinds


# Symbolic tensors.


def add_node(layer: "Layer", arguments: dict[str, Any], training: bool | None) -> Any:
    """Adds a node for a call with these arguments and returns its symbolic result. Builds and checks the layer."""
    for item in flatten(list(arguments.values())):
        if isinstance(item, Variable) or (isinstance(item, Tensor) and item.requires_grad):
            raise TypeError("A model trains only the weights of its layers. A Variable that layer "
                            f"{layer.name!r} receives together with a symbolic tensor would not "
                            "be trained. Pass the values with variable.numpy().")
        if isinstance(item, SymbolicTensor) and item.node is not None:
            settle = getattr(item.node.operation, "settle_dtype", None)
            if settle is not None:
                settle(layer.dtype)
    arguments = map_structure(lambda item: item.numpy() if isinstance(item, Tensor) else item, arguments)
    x, *rest = arguments.values()
    if rest:
        layer._build_from_call(arguments)
    else:
        layer.build_all(map_structure(lambda item: item.shape, x))
    outputs = symbolic_result(layer, arguments, training)
    extra = dict(list(arguments.items())[1:])
    Node(layer, (x,), extra if training is None else {**extra, "training": bool(training)}, outputs)
    return outputs


def symbolic_result(layer: "Layer", arguments: dict[str, Any], training: bool | None) -> Any:
    """Returns a call's result as symbolic tensors without a node."""
    shapes = find_shapes(arguments)
    inputs = [item for item in flatten(list(arguments.values())) if isinstance(item, SymbolicTensor)]
    if len(arguments) == 1:
        shape = layer.compute_output_shape(*shapes.values())
    elif layer._finds_shapes_by_running():
        shape = _infer_call_shape(layer, arguments, inputs, training)
    else:
        kwargs = select_shapes(type(layer).compute_output_shape, shapes)
        shape = (layer.compute_output_shape(next(iter(shapes.values()))) if kwargs is None else
                 layer.compute_output_shape(**kwargs))
    kind = np.dtype(inputs[0].dtype).kind if inputs else ""
    keeps_dtype = (kind == "f" and layer.dtype in DTYPES and not layer.weights) or (
        layer.symbolic_integers and kind in ("b", "i", "u"))
    dtype = inputs[0].dtype if keeps_dtype else layer.dtype
    return map_shapes(lambda s: SymbolicTensor(s, dtype, name=layer.name), shape)


def open_batch(shapes: Any) -> Any:
    """Returns the shapes for building a layer that is called on inputs of these shapes. Inside
    another layer, which may be running on zeros to find shapes, the batch size is None.
    """
    if inside_layer.get() is None:
        return map_shapes(tuple, shapes)
    return map_shapes(lambda shape: (None, *shape[1:]), shapes)


def shape_by_running(layer: "Layer", input_shape: Any) -> Any:
    """Finds the output shape for one or several input shapes by running the layer on zeros."""
    shapes = flat_shapes(input_shape)
    batch = next(iter(shapes), (None,))[0]
    if not layer.built:
        layer.build(input_shape)
    return _infer_shape(shapes, batch, lambda size: layer(
        map_shapes(lambda shape: _zeros(shape, size, layer.dtype), input_shape), training=False))


def _infer_call_shape(
    layer: "Layer", arguments: dict[str, Any], inputs: list[SymbolicTensor], training: bool | None,
) -> Any:
    """Returns the output shape of a call with these arguments. `inputs` are the symbolic tensors among them."""
    def run(size: int) -> Any:
        return layer(training=bool(training), **map_structure(lambda item: _zeros(item.shape, size, layer.dtype) if (
            isinstance(item, SymbolicTensor)) else item, arguments))

    return _infer_shape([tensor.shape for tensor in inputs], inputs[0].shape[0], run)


def _zeros(shape: Shape, size: int, dtype: str) -> np.ndarray:
    """Returns a batch of one zero sample of this shape, with `size` for each unknown size."""
    return np.zeros((1, *(size if n is None else n for n in shape[1:])), dtype)


def _infer_shape(shapes: list[Shape], batch: int | None, run: Callable[[int], Any]) -> Any:
    """Returns output shapes. A size that differs between two runs with different values for unknown sizes is None."""
    count = 2 if any(None in shape[1:] for shape in shapes) else 1
    token = finding_shapes.set(True)
    try:
        with no_grad():
            results = [run(size) for size in TRIED_SIZES[:count]]
    finally:
        finding_shapes.reset(token)
    if results[0] is None:
        raise ValueError("The call of a layer must return tensors. Received: None. Add a return statement to `call`.")
    sizes = iter([(batch, *(n if n == m else None for n, m in zip(a.shape[1:], b.shape[1:])))
                  for a, b in zip(flatten(results[0]), flatten(results[-1]))])
    return map_structure(lambda _: next(sizes), results[0])


@contextmanager
def restoring(layer: "Layer") -> Iterator[None]:
    """Restores, after the block, a layer's attributes, the contents of its lists, dicts and sets,
    and the values of metrics, seed generators and non-trainable weights. If the block created
    layers or weights, attributes are not restored.
    """
    attributes = vars(layer).copy()
    state = (*layer._sublayers(), *layer._own_weights())
    containers = [(value, value.copy()) for name, value in attributes.items()
                  if name not in layer.bookkeeping and isinstance(value, list | dict | set)]
    variables = [*(weight for weight in layer._own_weights() if not weight.learns),
                 *(generator.state for generator in layer._generators())]
    try:
        with preserve_values(variables), ExitStack() as metrics:
            for metric in find_parts(attributes, Metric):
                metrics.enter_context(metric.holding())
            yield
    finally:
        if list(map(id, state)) == list(map(id, (*layer._sublayers(), *layer._own_weights()))):
            for name in vars(layer).keys() - layer.bookkeeping - attributes.keys():
                del vars(layer)[name]
            vars(layer).update((name, value) for name, value in attributes.items() if name not in layer.bookkeeping)
            for value, content in containers:
                value.clear()
                (value.extend if isinstance(value, list) else value.update)(content)
