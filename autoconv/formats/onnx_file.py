"""Reads the nodes and constants of ONNX files, which may come from an untrusted source."""

import os
from collections import Counter
from math import prod
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..files import regular
from . import protobuf
from .onnx_shapes import DTYPES
from .onnx_values import RANK, Attributes
from .protobuf import Field, Message, Schema

OPSETS = range(7, 29)
BYTES = 2**30  # maximum size of a file
METADATA = 2**20  # maximum bytes of a metadata entry; further bytes are ignored
INPUTS = 4_096  # maximum number of inputs, and of outputs, of a node
_DOMAINS = ("", "ai.onnx")

# Fields of ONNX's messages, by their numbers in onnx.proto. Fields of kind "any" are not supported.
_TENSOR = Schema({1: Field("dims", "int", True), 2: Field("data_type", "int"),
                  4: Field("float_data", "float", True), 5: Field("int32_data", "int", True),
                  7: Field("int64_data", "int", True), 8: Field("name", "text"),
                  9: Field("raw_data", "bytes"), 10: Field("double_data", "double", True),
                  13: Field("external_data", "any"), 14: Field("data_location", "int")})
_ATTRIBUTE = Schema({
    1: Field("name", "text"), 2: Field("f", "float"), 3: Field("i", "int"), 4: Field("s", "text"),
    5: Field("t", _TENSOR), 7: Field("floats", "float", True), 8: Field("ints", "int", True), 20: Field("type", "int")})
_NODE = Schema({1: Field("input", "text", True), 2: Field("output", "text", True),
                3: Field("name", "text"), 4: Field("op_type", "text"),
                5: Field("attribute", _ATTRIBUTE, True), 7: Field("domain", "text")})
_DIMENSION = Schema({1: Field("dim_value", "int")})
_TENSOR_TYPE = Schema({1: Field("elem_type", "int"), 2: Field("shape", Schema({1: Field("dim", _DIMENSION, True)}))})
_PORT = Schema({1: Field("name", "text"), 2: Field("type", Schema({1: Field("tensor_type", _TENSOR_TYPE)}))})
_GRAPH = Schema({1: Field("node", _NODE, True), 2: Field("name", "text"),
                 5: Field("initializer", _TENSOR, True), 11: Field("input", _PORT, True),
                 12: Field("output", _PORT, True), 15: Field("sparse_initializer", "any")})
_MODEL = Schema({
    1: Field("ir_version", "int"), 7: Field("graph", _GRAPH), 20: Field("training_info", "any"),
    8: Field("opset_import", Schema({1: Field("domain", "text"), 2: Field("version", "int")}), True),
    14: Field("metadata_props", Schema({1: Field("key", "text"), 2: Field("value", "bytes")}), True),
    25: Field("functions", "any")})

_NUMBERS = {1: "float_data", 11: "double_data", 7: "int64_data"}  # fields with non-raw tensor data, by ONNX type
_VALUES = {1: "f", 2: "i", 3: "s", 4: "t", 6: "floats", 7: "ints"}  # fields with attribute values, by type
_DEFAULTS = {"f": 0.0, "i": 0, "s": ""}


class RawNode(NamedTuple):
    """A node's attributes, and the names of its inputs and outputs, with "" for omitted ones."""

    attributes: Attributes
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


class Port(NamedTuple):
    """An input or output of a graph. `shape` is None if it is unknown; unknown sizes are None."""

    name: str
    dtype: str
    shape: tuple[int | None, ...] | None


class File(NamedTuple):
    """The contents of an ONNX file. `nodes` are in execution order. `metadata` is the text that the exporter added."""

    name: str
    inputs: list[Port]
    outputs: list[Port]
    constants: dict[str, np.ndarray]
    nodes: list[RawNode]
    metadata: dict[str, str]


def read_file(source: str | os.PathLike[str] | bytes) -> File:
    """Reads the nodes and constants that the outputs of an ONNX file need. The file is given by its
    path or its bytes. Runs no code from the file and reads no other files. Raises ValueError if the
    file is damaged or not supported, FileNotFoundError if it does not exist.
    """
    data = _bytes(source)
    try:
        model = protobuf.read_message(data, _MODEL)
    except ValueError as error:
        raise ValueError(f"This ONNX file cannot be read: {error}. The file may be damaged or truncated.") from None
    if not model.get("ir_version") or not model.get("graph", {}).get("output"):
        raise ValueError("The file has no graph with outputs, so it is truncated or not an ONNX file.")
    if {"functions", "training_info"} & set(model) or "sparse_initializer" in model["graph"]:
        raise ValueError("Functions, training steps and sparse tensors in ONNX files are not "
                         "supported. Export the model for inference, without them.")
    metadata = {entry.get("key", ""): str(entry.get("value", b"")[:METADATA], "utf-8", "replace")
                for entry in model["metadata_props"]}
    return _drop_unused(_file(model["graph"], _opset(model), metadata))


def _bytes(source: str | os.PathLike[str] | bytes) -> bytes:
    if not isinstance(source, (bytes, bytearray, memoryview)):
        path = Path(source)
        if not path.exists() or path.is_dir():
            raise FileNotFoundError(f"There is no ONNX file {str(path)!r}.")
        size = path.stat().st_size
    else:
        size = len(source)
    if size > BYTES:
        raise ValueError(f"An ONNX file may have at most {BYTES:,} bytes. Received: {size:,} bytes.")
    return bytes(source) if isinstance(source, (bytes, bytearray, memoryview)) else regular.read_file(path)


def _opset(model: Message) -> int:
    """Returns the opset version of the standard ops in a file."""
    versions = [entry.get("version", 0) for entry in model["opset_import"] if entry.get("domain", "") in _DOMAINS]
    if len(versions) != 1 or versions[0] not in OPSETS:
        raise ValueError(f"An ONNX file must have one opset version in {OPSETS[0]}..{OPSETS[-1]}. "
                         f"Received: {versions[:9]}. Export the model with another opset_version.")
    return versions[0]


def _file(graph: Message, opset: int, metadata: dict[str, str]) -> File:
    names = [tensor.get("name", "") for tensor in graph["initializer"]]
    constant_names = set(names)
    inputs = [_port(each) for each in graph["input"] if each.get("name", "") not in constant_names]
    nodes = [_node(node, number, opset) for number, node in enumerate(graph["node"])]
    tensor_names = {port.name for port in inputs} | constant_names
    definitions = Counter([*(port.name for port in inputs), *names, *(o for node in nodes for o in node.outputs if o)])
    duplicates = [name for name, count in definitions.items() if count > 1]
    if duplicates:
        raise ValueError(f"Each tensor of a graph must be defined exactly once. {duplicates[0]!r} "
                         "is defined several times.")
    for node in nodes:
        missing = [name for name in node.inputs if name and name not in tensor_names]
        if missing:
            raise ValueError("A node can use only inputs, initializers and results of earlier "
                             f"nodes. Node {node.attributes.name!r} ({node.attributes.op}) uses "
                             f"{missing[0]!r}, which is not defined.")
        tensor_names.update(node.outputs)
    outputs = [_port(each) for each in graph["output"]]
    for port in outputs:
        if port.name not in tensor_names:
            raise ValueError(f"No node computes the output {port.name!r}.")
    constants = {name: array(tensor) for name, tensor in zip(names, graph["initializer"])}
    return File(graph.get("name", ""), inputs, outputs, constants, nodes, metadata)


def _drop_unused(file: File) -> File:
    """Returns the file without the nodes and constants that no output needs."""
    names = {port.name for port in file.outputs}
    nodes = []
    for node in reversed(file.nodes):
        if names & set(node.outputs):
            names.update(node.inputs)
            nodes.append(node)
    return file._replace(nodes=nodes[::-1], constants={
        name: array for name, array in file.constants.items() if name in names})


def _port(info: Message) -> Port:
    name = info.get("name", "")
    kind = info.get("type", {}).get("tensor_type", {})
    if kind.get("elem_type") not in DTYPES:
        raise ValueError(f"The dtype of an input or output must be one of {', '.join(DTYPES.values())}. Received: "
                         f"{name!r} of ONNX type {kind.get('elem_type', 0)}.")
    shape = None
    if "shape" in kind:
        sizes = [d.get("dim_value") for d in kind["shape"]["dim"]]
        shape = tuple(n if n is not None and n >= 0 else None for n in sizes)
        if len(shape) > RANK:
            raise ValueError(f"A tensor may have at most {RANK} axes. Received: {name!r} with {len(shape)} axes.")
    return Port(name, DTYPES[kind["elem_type"]], shape)


def _node(node: Message, number: int, opset: int) -> RawNode:
    op = node.get("op_type", "")
    outputs = tuple(node["output"])
    values = {}
    name = node.get("name") or f"{op}_{number}"
    if node.get("domain", "") not in _DOMAINS:
        raise ValueError(f"Node {name!r} uses {node['domain']}.{op}, which is not a standard ONNX op.")
    if max(len(node["input"]), len(outputs)) > INPUTS:
        raise ValueError(f"A node may have at most {INPUTS:,} inputs and {INPUTS:,} outputs. Received: "
                         f"inputs={len(node['input']):,}, outputs={len(outputs):,} for node {name!r} ({op}).")
    for attribute in node["attribute"]:
        key = attribute.get("name", "")
        field = _VALUES.get(attribute.get("type", 0))
        if field is None or (field == "t" and "t" not in attribute):
            raise ValueError(f"An attribute of a node must contain numbers, a string or a tensor. Received: {key!r} "
                             f"of ONNX type {attribute.get('type', 0)} in node {name!r} ({op}).")
        value = attribute.get(field, _DEFAULTS.get(field))
        if field == "t":
            value = array(value)
        values[key] = protobuf.numbers(value).tolist() if isinstance(value, list) else value
    return RawNode(Attributes(op, name, opset, values, len(outputs)), tuple(node["input"]), outputs)


def array(tensor: Message) -> np.ndarray:
    """Returns a tensor's values. Raises ValueError if they are not in the file or invalid."""
    dims = protobuf.numbers(tensor["dims"], np.int64).tolist()
    name = tensor.get("name") or "a constant"
    kind = tensor.get("data_type", 0)
    if "external_data" in tensor or tensor.get("data_location"):
        raise ValueError(f"An ONNX file must contain its weights. {name!r} is stored in another file. Load the model "
                         "with onnx.load(path), then save the model with onnx.save(model, new_path).")
    if kind not in DTYPES:
        raise ValueError("The dtype of a weight or constant must be one of "
                         f"{', '.join(DTYPES.values())}. Received: {name!r} of ONNX type {kind}.")
    if len(dims) > RANK or min(dims, default=0) < 0:
        raise ValueError(f"A tensor may have at most {RANK} axes, and no size may be negative. "
                         f"Received: {name!r} with {len(dims)} axes of sizes {dims[:RANK]}.")
    dtype = np.dtype(DTYPES[kind])
    if "raw_data" in tensor:
        raw = tensor["raw_data"]
        if len(raw) != prod(dims) * dtype.itemsize:
            raise ValueError("A tensor's byte count must match its shape and dtype. Received: "
                             f"{name!r} of shape {dims} and dtype {dtype} with {len(raw):,} bytes.")
        return np.frombuffer(raw, dtype.newbyteorder("<")).astype(dtype).reshape(dims)
    numbers = protobuf.numbers(tensor[_NUMBERS.get(kind, "int32_data")])
    if len(numbers) != prod(dims):
        raise ValueError(f"A tensor's element count must match its shape. Received: {name!r} of "
                         f"shape {dims} with {len(numbers):,} elements.")
    return numbers.astype(dtype).reshape(dims)
