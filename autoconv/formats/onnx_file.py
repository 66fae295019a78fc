"""Reading ONNX files, whoever made them: the nodes and constants of a file, or a ValueError that says what is off."""

import os
from collections import Counter
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..arguments import extras
from ..files import regular
from .onnx_shapes import DTYPES
from .onnx_values import Attributes

OPSETS = range(7, 29)
BYTES, NODES, RANK = 2**30, 10_000, 8
_DOMAINS = ("", "ai.onnx")
# Where the numbers of a tensor lie that are not raw bytes.
_FIELDS = {1: "float_data", 11: "double_data", 7: "int64_data"}


class Read(NamedTuple):
    """A node: what it says, and the names of its inputs and results, "" for those that are left out."""

    attributes: Attributes
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


class Port(NamedTuple):
    """An input or output of a graph: its name, its dtype, its shape with None for open sizes, None where not known."""

    name: str
    dtype: str
    shape: tuple[int | None, ...] | None


class File(NamedTuple):
    """What a file says. `nodes` are in the order of the file, which is one in which they can run."""

    name: str
    inputs: list[Port]
    outputs: list[Port]
    constants: dict[str, np.ndarray]
    nodes: list[Read]


def read(source: str | os.PathLike[str] | bytes) -> File:
    """The graph of an ONNX file, given by its path or its bytes. Runs no code and reads no other files.

    Raises ValueError for what is no ONNX file, or not a sound one; FileNotFoundError, and ExtraError without onnx.
    """
    onnx = extras.load("onnx", "the package onnx", "onnx", "Reading ONNX files")
    data = _bytes(source)
    try:
        model = onnx.ModelProto.FromString(data)
    except Exception as error:  # protobuf has a class of its own for that
        raise ValueError(f"This is no ONNX file, or one that is cut off: {error}.") from None
    if not model.ir_version or not model.HasField("graph") or not model.graph.output:
        raise ValueError("This is no ONNX file, or one that is cut off: it has no graph with outputs.")
    if model.functions or model.training_info or model.graph.sparse_initializer:
        raise ValueError("Functions, training steps and sparse tensors in ONNX files are not implemented. Export the "
                         "model without them, for inference.")
    try:
        return _file(onnx, model, _opset(model))
    except UnicodeDecodeError as error:
        raise ValueError(f"A name in this ONNX file is no text: {error}.") from None


def _bytes(source: Any) -> bytes:
    if not isinstance(source, (bytes, bytearray, memoryview)):
        path = Path(source)
        if not path.exists() or path.is_dir():
            raise FileNotFoundError(f"There is no ONNX file {str(path)!r}.")
        size = path.stat().st_size
    else:
        size = len(source)
    if size > BYTES:
        raise ValueError(f"An ONNX file may have at most {BYTES:,} bytes. Received: {size:,}.")
    return bytes(source) if isinstance(source, (bytes, bytearray, memoryview)) else regular.read(path)


def _opset(model: Any) -> int:
    """The version of ONNX's own ops in the file."""
    versions = [entry.version for entry in model.opset_import if entry.domain in _DOMAINS]
    if len(versions) != 1 or versions[0] not in OPSETS:
        raise ValueError(f"The opset must be one of {OPSETS[0]}..{OPSETS[-1]}. Received: {versions}. Export the model "
                         "with another opset_version.")
    return versions[0]


def _file(onnx: Any, model: Any, opset: int) -> File:
    graph = model.graph
    if len(graph.node) > NODES:
        raise ValueError(f"A graph may have at most {NODES:,} nodes. Received: {len(graph.node):,}.")
    constants = {tensor.name: array(onnx, tensor) for tensor in graph.initializer}
    inputs = [_port(each) for each in graph.input if each.name not in constants]
    nodes = [_node(onnx, node, number, opset) for number, node in enumerate(graph.node)]
    known = {port.name for port in inputs} | set(constants)
    _check_unique([*(port.name for port in inputs), *constants, *(o for node in nodes for o in node.outputs if o)])
    for node in nodes:
        missing = [name for name in node.inputs if name and name not in known]
        if missing:
            raise ValueError("Each node takes what comes before it: inputs, initializers and results. Node "
                             f"{node.attributes.name!r} ({node.attributes.op}) takes {missing[0]!r}, which is not "
                             "there.")
        known.update(node.outputs)
    outputs = [_port(each) for each in graph.output]
    for port in outputs:
        if port.name not in known:
            raise ValueError(f"No node makes the output {port.name!r}.")
    return File(graph.name, inputs, outputs, constants, nodes)


def _check_unique(given: list[str]) -> None:
    twice = [name for name, count in Counter(given).items() if count > 1]
    if twice:
        raise ValueError(f"Each tensor of a graph has one name and one maker. Received {twice[0]!r} several times.")


def _port(info: Any) -> Port:
    kind = info.type.tensor_type
    if info.type.WhichOneof("value") != "tensor_type" or kind.elem_type not in DTYPES:
        raise ValueError(f"Inputs and outputs are tensors of {', '.join(DTYPES.values())}. Received: {info.name!r} of "
                         f"another type ({kind.elem_type}).")
    shape = None
    if kind.HasField("shape"):
        shape = tuple(d.dim_value if d.HasField("dim_value") and d.dim_value >= 0 else None for d in kind.shape.dim)
        if len(shape) > RANK:
            raise ValueError(f"A tensor has at most {RANK} axes. Received: {info.name!r} with {len(shape)}.")
    return Port(info.name, DTYPES[kind.elem_type], shape)


def _node(onnx: Any, node: Any, number: int, opset: int) -> Read:
    name = node.name or f"{node.op_type}_{number}"
    if node.domain not in _DOMAINS:
        raise ValueError(f"The op {node.domain}.{node.op_type} of node {name!r} is not one of ONNX's own.")
    values: dict[str, Any] = {}
    for attribute in node.attribute:
        kind = attribute.type
        if kind == onnx.AttributeProto.TENSOR:
            values[attribute.name] = array(onnx, attribute.t)
        elif kind in (onnx.AttributeProto.FLOAT, onnx.AttributeProto.INT, onnx.AttributeProto.STRING,
                      onnx.AttributeProto.FLOATS, onnx.AttributeProto.INTS):
            values[attribute.name] = _plain(onnx.helper.get_attribute_value(attribute))
        else:
            raise ValueError(f"Attributes are numbers, texts and tensors. Received: {attribute.name!r} of node "
                             f"{name!r} ({node.op_type}), which holds a graph or another kind ({kind}).")
    return Read(Attributes(node.op_type, name, opset, values, len(node.output)), tuple(node.input),
                tuple(node.output))


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value if isinstance(value, (int, float, str)) else list(value)


def array(onnx: Any, tensor: Any) -> np.ndarray:
    """The values of a tensor in a file. Raises ValueError where they lie elsewhere, or are more or fewer than its shape
    says.
    """
    dims, name = list(tensor.dims), tensor.name or "a constant"
    if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
        raise ValueError(f"An ONNX file must hold its weights itself. Those of {name!r} lie in another file: save the "
                         "model with its data inside (onnx.save with save_as_external_data=False).")
    if tensor.data_type not in DTYPES:
        raise ValueError(f"Weights and constants are of {', '.join(DTYPES.values())}. Received: {name!r} of type "
                         f"{tensor.data_type}.")
    if len(dims) > RANK or min(dims, default=0) < 0:
        raise ValueError(f"A tensor has at most {RANK} axes, of 0 items or more. Received: {name!r} of shape {dims}.")
    dtype = np.dtype(DTYPES[tensor.data_type])
    if tensor.HasField("raw_data"):
        raw = tensor.raw_data
        if len(raw) != prod(dims) * dtype.itemsize:
            raise ValueError(f"A tensor has as many bytes as its shape says. Received: {name!r} of shape {dims} and "
                             f"{dtype} with {len(raw):,} bytes.")
        return np.frombuffer(raw, dtype.newbyteorder("<")).astype(dtype).reshape(dims)
    numbers = getattr(tensor, _FIELDS.get(tensor.data_type, "int32_data"))
    if len(numbers) != prod(dims):
        raise ValueError(f"A tensor has as many numbers as its shape says. Received: {name!r} of shape {dims} with "
                         f"{len(numbers):,} numbers.")
    return np.array(numbers, np.int64 if dtype.kind in "iub" else dtype).astype(dtype).reshape(dims)
