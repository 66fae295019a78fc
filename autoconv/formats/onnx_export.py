"""Models as ONNX files: a graph of layers becomes a graph of ONNX's ops. `onnx_layers` knows what
each layer becomes.

Images come in and go out as (N, H, W, C), as everywhere in autoconv; ONNX's ops on images want (N,
C, H, W). A `Value` holds the names that a tensor has in either layout, and a Transpose is added
only when an op wants the one that is not there yet.
"""

import os
from pathlib import Path
from typing import Any

from ..arguments import extras
from ..engine.graph.graph import Graph
from ..engine.symbolic import Node, Shape, SymbolicTensor, flatten, map_structure
from ..files import atomic
from ..layers import Input, InputLayer, Layer
from ..models import Model
from . import onnx_functions, onnx_layers
from .onnx_builder import Builder, Value, last

OPSETS = (17, 18, 19, 20, 21)
_IR_VERSIONS = {17: 8, 18: 8, 19: 9, 20: 9, 21: 10}


def to_onnx(model: Model, path: str | os.PathLike[str] | None = None, opset: int = 17) -> Any:
    """See `formats.to_onnx`. Raises ValueError for a model without a graph, too."""
    if opset not in OPSETS:
        raise ValueError(f"opset must be one of {', '.join(map(str, OPSETS))}. Received: {opset!r}.")
    onnx = extras.load("onnx", "the package onnx", "onnx", "Writing ONNX files")
    if model._graph is None:
        raise ValueError(f"An ONNX file holds a graph. {model.name!r} has a call of its own, or is not built: make it "
                         "as Model(inputs, outputs) or Sequential, and build it.")
    builder = Builder(onnx, opset)
    known = {}
    for tensor in model.graph.inputs:
        name = builder.unique(tensor.name)
        builder.inputs.append(_info(onnx, name, tensor.shape))
        known[id(tensor)] = Value(name, tensor.shape)
    _run(builder, model.graph, known)
    for tensor, name in zip(model.graph.outputs, model.graph.output_names):
        resolved = model.graph.resolve(tensor)
        output = builder.unique(f"{name}_output" if name in builder.names else name)
        builder.node("Identity", last(builder, known[id(resolved)]), names=[output])
        builder.outputs.append(_info(onnx, output, resolved.shape))
    proto = _model(onnx, builder, model.name, opset)
    if path is not None:
        atomic.write(Path(path), proto.SerializeToString(deterministic=True))
    return proto


def _model(onnx: Any, builder: Builder, name: str, opset: int) -> Any:
    """The whole file."""
    from .. import __version__

    graph = onnx.helper.make_graph(builder.nodes, name, builder.inputs, builder.outputs, builder.initializers)
    return onnx.helper.make_model(
        graph, opset_imports=[onnx.helper.make_opsetid("", opset)], ir_version=_IR_VERSIONS[opset],
        producer_name="autoconv", producer_version=__version__)


def _info(onnx: Any, name: str, shape: Shape) -> Any:
    """An input or output of the file: any number of samples, and names in the place of sizes that are not known."""
    sizes = ["batch", *(f"{name}_{axis}" if n is None else n for axis, n in enumerate(shape[1:], 1))]
    return onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, sizes)


def _run(builder: Builder, graph: Graph, known: dict[int, Value]) -> None:
    """Adds the ops of a graph's nodes. `known` has the values of its inputs, and gets those of all its tensors."""

    def value_of(tensor: SymbolicTensor) -> Value:
        return known[id(graph.resolve(tensor))]

    for node in graph.nodes:
        if isinstance(node.operation, InputLayer):
            continue
        found = _call(builder, node, value_of)
        known.update((id(tensor), value) for tensor, value in zip(node.outputs, found))


def _call(builder: Builder, node: Node, value_of: Any) -> list[Value]:
    """The values of one call of a layer, a model or a function."""
    operation = node.operation
    args, kwargs = node.arguments(value_of)
    if not isinstance(operation, Layer) and operation.function.startswith("ops."):
        return _made_of_others(builder, operation, args, kwargs)
    if not isinstance(operation, Layer):
        return onnx_functions.call(builder, operation, args, kwargs, [tensor.shape for tensor in node.outputs])
    if kwargs.get("training"):
        raise ValueError(f"An ONNX file holds what a model does outside of training. The layer {operation.name!r} "
                         f"({type(operation).__name__}) is called with training=True.")
    if isinstance(operation, Model) and operation._graph is not None and type(operation).call is Model.call:
        inner = operation.graph
        values = {id(tensor): value for tensor, value in zip(inner.inputs, inner.match(args[0], operation.name))}
        with builder.within(operation.name):
            _run(builder, inner, values)
        return [values[id(inner.resolve(tensor))] for tensor in inner.outputs]
    emit = onnx_layers.LAYERS.get(type(operation))
    if emit is None:
        raise ValueError(f"No ONNX op is known for the layer {operation.name!r} ({type(operation).__name__}). Known "
                         f"are: {', '.join(sorted(kind.__name__ for kind in onnx_layers.LAYERS))}.")
    with builder.within(operation.name):
        return [emit(builder, operation, args[0], node.outputs[0].shape)]


def _made_of_others(builder: Builder, function: Any, args: tuple, kwargs: dict[str, Any]) -> list[Value]:
    """The values of a function of `ops`, by the graph of the functions that it calls."""
    given: dict[int, Value] = {}
    inputs = []

    def symbolic(item: Any) -> Any:
        if isinstance(item, Value):
            inputs.append(Input(batch_shape=item.shape))
            given[id(inputs[-1])] = item
        return inputs[-1] if isinstance(item, Value) else item

    try:
        outputs = function.call.__wrapped__(*map_structure(symbolic, args), **map_structure(symbolic, kwargs))
        inner = Graph(inputs, outputs)
    except (TypeError, ValueError) as error:
        raise ValueError(f"No ONNX op is known for the function {function.function!r}, called {function.name!r} in the "
                         f"graph, and it cannot be made of others: {error}") from error
    with builder.within(function.name):
        _run(builder, inner, given)
    return [given[id(inner.resolve(tensor))] for tensor in flatten(outputs)]
