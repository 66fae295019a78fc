"""Exports models as ONNX files, by converting a graph of layers to a graph of ONNX ops.

A layer is called on symbolic tensors to record the functions in its `call`. `onnx_functions`
exports each of these functions; `onnx_layers` exports the few layers that have their own ONNX ops.
autoconv's images are (N, H, W, C), but ONNX's image ops need (N, C, H, W). A `Value` holds a
tensor's names in both layouts. A Transpose is added only if an op needs the other layout.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import ModuleType
from typing import Any

from ..arguments import extras
from ..engine.graph.graph import Graph
from ..engine.symbolic import Node, Shape, SymbolicTensor, flatten, map_structure, record_call
from ..engine.variable import Variable
from ..files import atomic
from ..layers import Input, InputLayer, Layer
from ..layers.calls import training_argument
from ..layers.parts import numbering
from ..models import Model
from . import onnx_functions, onnx_layers
from .onnx_builder import BATCH, Builder, Value, last

OPSETS = (17, 18, 19, 20, 21)
_IR_VERSIONS = {17: 8, 18: 8, 19: 9, 20: 9, 21: 10}


def to_onnx(model: Model, path: str | os.PathLike[str] | None = None, opset: int = 17) -> Any:
    """Implements `formats.to_onnx`. Also raises ValueError for a model without a graph."""
    if opset not in OPSETS:
        raise ValueError(f"opset must be one of {', '.join(map(str, OPSETS))}. Received: {opset!r}.")
    onnx = extras.load("onnx", "the package onnx", "onnx", "Writing ONNX files")
    if model._graph is None:
        raise ValueError("Only a built Sequential model or graph of layers can be exported to "
                         f"ONNX. {model.name!r} has its own call(), or is not built. Create the "
                         "model as Model(inputs, outputs) or Sequential, and build the model.")
    builder = Builder(onnx, opset)
    values = {}
    for tensor in model.graph.inputs:
        name = builder.unique_name(tensor.name)
        builder.inputs.append(_info(onnx, name, tensor.shape))
        values[id(tensor)] = Value(name, tensor.shape)
    with numbering():
        _add_graph(builder, model.graph, values)
    for tensor, name in zip(model.graph.outputs, model.graph.output_names):
        source = model.graph.resolve(tensor)
        output = builder.unique_name(f"{name}_output" if name in builder.names else name)
        builder.node("Identity", last(builder, values[id(source)]), names=[output])
        builder.outputs.append(_info(onnx, output, source.shape))
    proto = _model(onnx, builder, model.name, opset)
    about = {"weights_sha256": model.fingerprint()}
    if model.class_names:  # as Ultralytics writes them
        about["names"] = str(dict(enumerate(map(str, model.class_names))))
    onnx.helper.set_model_props(proto, about)
    if path is not None:
        atomic.write(Path(path), proto.SerializeToString(deterministic=True))
    return proto


def _model(onnx: ModuleType, builder: Builder, name: str, opset: int) -> Any:
    """Returns the ONNX model with the nodes and constants of `builder`."""
    from .. import __version__

    graph = onnx.helper.make_graph(builder.nodes, name, builder.inputs, builder.outputs, builder.initializers)
    return onnx.helper.make_model(
        graph, opset_imports=[onnx.helper.make_opsetid("", opset)], ir_version=_IR_VERSIONS[opset],
        producer_name="autoconv", producer_version=__version__)


def _info(onnx: ModuleType, name: str, shape: Shape) -> Any:
    """Describes an input or output of the graph, with names for the batch and unknown sizes."""
    sizes = ["batch", *(f"{name}_{axis}" if n is None else n for axis, n in enumerate(shape[1:], 1))]
    return onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, sizes)


def _add_graph(builder: Builder, graph: Graph, values: dict[int, Value]) -> None:
    """Adds a graph's nodes. values: the graph's inputs by id; the other tensors of the graph are added."""

    def find(tensor: SymbolicTensor) -> Value:
        return values[id(graph.resolve(tensor))]

    for node in graph.nodes:
        if isinstance(node.operation, InputLayer):
            continue
        for tensor, value in zip(node.outputs, _call(builder, node, find), strict=True):
            value.shape = tensor.shape
            if tensor.shape and tensor.shape[0] and tensor.shape[0] % BATCH == 0:
                value.shape = (None, *tensor.shape[1:])
            values[id(tensor)] = value


def _call(builder: Builder, node: Node, find: Callable[[SymbolicTensor], Value]) -> list[Value]:
    """Adds the ops for one call of a layer, model or function. Returns its output values."""
    operation = node.operation
    args, kwargs = node.arguments(find)
    if not isinstance(operation, Layer):
        emit = onnx_functions.FUNCTIONS.get(operation.short)
        if emit is None or operation.function.startswith("ops."):
            return _trace_call(builder, operation, getattr(operation.call, "__wrapped__", None), args, kwargs)
        with nullcontext() if builder.traces else builder.enter_layer(operation.name):
            result = emit(builder, *args, **kwargs)
        return result if isinstance(result, list) else [result]
    if kwargs.get("training"):
        raise ValueError(f"A model can be exported to ONNX only for inference. The layer {operation.name!r} "
                         f"({type(operation).__name__}) is called with training=True. Leave out this argument.")
    if isinstance(operation, Model) and operation._graph is not None and type(operation).call is Model.call:
        inner = operation.graph
        values = {id(tensor): value for tensor, value in zip(inner.inputs, inner.match(args[0], operation.name))}
        with builder.enter_layer(operation.name):
            _add_graph(builder, inner, values)
        return [values[id(inner.resolve(tensor))] for tensor in inner.outputs]
    if type(operation) in onnx_layers.LAYERS:
        with builder.enter_layer(operation.name):
            return [onnx_layers.LAYERS[type(operation)](builder, operation, args[0], node.outputs[0].shape)]
    if training_argument(type(operation)) is not None:
        kwargs = {**kwargs, "training": False}
    return _trace_call(builder, operation, operation.call, args, kwargs)


def _trace_call(builder: Builder, operation: Any, call: Callable | None, args: tuple,
                kwargs: dict[str, Any]) -> list[Value]:
    """Exports a layer or function by tracing the functions it calls. Returns its output values."""
    values: dict[int, Value] = {}
    inputs: list[SymbolicTensor] = []

    def symbolic(item: Any) -> Any:
        if not isinstance(item, Value):
            return item
        inputs.append(Input(batch_shape=(BATCH if item.shape[0] is None else item.shape[0], *item.shape[1:])))
        values[id(inputs[-1])] = item
        return inputs[-1]

    try:
        if call is None:
            raise ValueError("the function is not composed of other functions")
        with _weights_are_constants():
            outputs = call(*map_structure(symbolic, args), **map_structure(symbolic, kwargs))
        inner = Graph(inputs, outputs)
    except Exception as error:  # a user's call may raise any exception
        raise ValueError(f"No ONNX op is known for {operation!r}, and its call cannot be traced: {error}") from error
    with builder.enter_layer(operation.name, traces=True):
        _add_graph(builder, inner, values)
    for node in inner.nodes:
        node.remove()
    return [values[id(inner.resolve(tensor))] for tensor in flatten(outputs)]


@contextmanager
def _weights_are_constants() -> Iterator[None]:
    """Passes weights to the functions called in the block as arrays instead of variables."""
    add_node = record_call[0]

    def add(name: str, args: tuple, kwargs: dict[str, Any]) -> Any:
        return add_node(name, *map_structure(
            lambda item: item.numpy() if isinstance(item, Variable) else item, (args, kwargs)))

    record_call[0] = add
    try:
        yield
    finally:
        record_call[0] = add_node
