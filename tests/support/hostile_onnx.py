"""ONNX files: a sound one, hostile ones, and what reads them, for the table in readers.py."""

import contextlib
import random
from collections.abc import Callable, Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path
from time import thread_time
from typing import Any

import mutations
import numpy as np
import onnx
from google.protobuf.message import EncodeError
from hostile_models import chain
from mutations import Mutant
from onnx import TensorProto, helper, numpy_helper

FILE = "m.onnx"
SIZES = (0, 1, 2, 3, 4, 7, 31, 1000, 2**16, 2**20, 2**24, 2**28, 2**31, 2**40, 2**63 - 1, -1, -2, -(2**40))
TEXTS = ("", "x", "y", "r0", "c0", "SAME_UPPER", "SAME_LOWER", "VALID", "linear", "cubic", "reflect", "wrap", "edge",
         "CRD", "tanh", "floor", "align_corners", "not_larger", "\0\x1b]0;", "x" * 900, "x" * 100_000)


@cache
def sound() -> bytes:
    from autoconv import formats, utils

    utils.set_random_seed(0)
    net = chain()
    net.class_names = ("cat", "dog's", "f\u00fcnf")  # in the file's metadata
    return formats.to_onnx(net).SerializeToString(deterministic=True)


def read(folder: Path) -> None:
    """Reads the file, and runs all but the kernels for half a second at most."""
    from autoconv.tensor import Tensor

    from autoconv import formats, no_grad
    from autoconv.kernels import trace

    model = formats.from_onnx(folder / FILE)
    model.summary(print_fn=str)
    shapes = [[3 if n is None else n for n in port.shape or ()] for port in model._ports]
    if max((np.prod(shape, dtype=float) for shape in shapes), default=0) > 1e6:
        return
    with no_grad(), trace.DryRun().record():
        model._run([Tensor(np.zeros(shape, port.dtype)) for shape, port in zip(shapes, model._ports)],
                   thread_time() + 0.5)


def graph_of(nodes: list[Any], constants: dict[str, Any] | None = None, shape: Any = (1, 2, 4, 4),
             outputs: tuple[str, ...] = ("y",), opset: int = 17) -> Any:
    """A model with an input x and these nodes."""
    given = [numpy_helper.from_array(np.asarray(value), name) for name, value in (constants or {}).items()]
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs], given)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])


def single(op: str, *more: str, constants: dict[str, Any] | None = None, shape: Any = (1, 2, 4, 4),
           **attributes: Any) -> Any:
    return graph_of([helper.make_node(op, ["x", *more], ["y"], **attributes)], constants, shape)


def changed(change: Callable[[Any], Any]) -> bytes:
    model = onnx.load_from_string(sound())
    change(model)
    return model.SerializeToString()


def external(model: Any) -> None:
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/passwd")


def traps() -> Iterator[Mutant]:
    """Yields files that must be refused, and long ones that are read."""
    yield from harmful()
    for op in ("Floor", "Ceil"):
        yield f"{op} of a large input", single(op, shape=(1, 2, 4, 2**24)).SerializeToString()
    window = {"kernel_shape": [31, 31], "pads": [15] * 4, "count_include_pad": 1}
    for op, attributes in (("Softplus", {}), ("AveragePool", window)):
        names = ["x", *(f"x{i}" for i in range(4_999)), "y"]
        nodes = [helper.make_node(op, [a], [b], **attributes) for a, b in pairwise(names)]
        yield f"5,000 times {op}", graph_of(nodes).SerializeToString()


def harmful() -> Iterator[Mutant]:
    for name, model in refused().items():
        yield name, model if isinstance(model, bytes) else model.SerializeToString()
    yield from bombs()


def refused() -> dict[str, Any]:
    weight = np.ones((2, 2, 3, 3), np.float32)
    body = helper.make_graph([], "body", [], [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)])
    doubled = [helper.make_node("Concat", [f"x{i}" if i else "x"] * 2, [f"x{i + 1}"], axis=0) for i in range(60)]
    ints = np.array([2**40, 2**40], np.int64)
    return {
        "empty": b"", "garbage": b"\x08\x08" + b"\xff" * 100, "text": b"not a model at all", "cut": sound()[:-100],
        "weights elsewhere": changed(external),
        "huge dims": changed(lambda model: model.graph.initializer[0].dims.append(2**40)),
        "negative dims": changed(lambda model: model.graph.initializer[0].dims.__setitem__(0, -1)),
        "wrong size": changed(lambda model: model.graph.initializer[0].dims.append(2)),
        "no opset": changed(lambda model: model.ClearField("opset_import")),
        "an old opset": changed(lambda model: model.opset_import[0].__setattr__("version", 3)),
        "many nodes": changed(lambda model: model.graph.node.extend([model.graph.node[0]] * 20_000)),
        "no outputs": changed(lambda model: model.graph.ClearField("output")),
        "no input": changed(lambda model: model.graph.ClearField("input")),
        "a function": changed(lambda model: model.functions.add(name="f")),
        "unknown op": single("Mystery"), "a domain": single("Relu", domain="com.evil"),
        "If": single("If", then_branch=body, else_branch=body), "a subgraph in Relu": single("Relu", body=body),
        "a cycle": graph_of([helper.make_node("Relu", ["y"], ["z"]), helper.make_node("Relu", ["z"], ["y"])]),
        "its own result": graph_of([helper.make_node("Relu", ["y"], ["y"])]),
        "a name twice": graph_of([helper.make_node("Relu", ["x"], ["y"])] * 2),
        "an output that is not made": graph_of([helper.make_node("Relu", ["x"], ["y"])], outputs=("w",)),
        "rank": single("Conv", "w", constants={"w": weight}, shape=(1, 2)),
        "channels": single("Conv", "w", constants={"w": weight}, shape=(1, 3, 4, 4)),
        "kernel": single("Conv", "w", constants={"w": weight}, shape=(1, 2, 2, 2)),
        "groups": single("Conv", "w", constants={"w": weight}, group=0),
        "strides": single("Conv", "w", constants={"w": weight}, strides=[0, 0]),
        "many strides": single("Conv", "w", constants={"w": weight}, strides=[1, 1, 1]),
        "pads": single("Conv", "w", constants={"w": weight}, pads=[-1, 0, 0, 0]),
        "large pads": single("Conv", "w", constants={"w": weight}, pads=[2**40, 0, 2**40, 0]),
        "large strides": single("ConvTranspose", "w", constants={"w": weight}, strides=[2**20, 2**20]),
        "no attribute": single("MaxPool"), "a large window": single("MaxPool", kernel_shape=[2**40, 2]),
        "too few inputs": single("Add"), "too many inputs": single("Relu", "x"),
        "an attribute of another kind": single("Softmax", axis="x"),
        "axis": single("Softmax", axis=9), "a permutation": single("Transpose", perm=[0, 0, 1, 2]),
        "a large Expand": single("Expand", "s", constants={"s": ints}),
        "a large Tile": single("Tile", "s", constants={"s": np.array([2**20] * 4)}),
        "a large Pad": single("Pad", "s", constants={"s": np.array([0, 0, 2**40, 0] * 2)}),
        "a large Resize": single("Resize", "", "s", constants={"s": np.array([1, 1, 1e9, 1e9], np.float32)}),
        "scales that are no numbers": single("Resize", "", "s", constants={
            "s": np.array([1, 1, np.nan, np.inf], np.float32)}),
        "a shape of floats": single("Reshape", "s", constants={"s": np.ones(2, np.float32)}),
        "a shape that comes later": single("Reshape", "x"),
        "many doublings": graph_of(doubled, outputs=("x60",)),
        "a large constant": graph_of([helper.make_node("ConstantOfShape", ["s"], ["y"])], {"s": ints}),
        "a long range": graph_of([helper.make_node("Range", ["a", "b", "c"], ["y"])],
                                 {"a": np.int64(0), "b": np.int64(2**60), "c": np.int64(1)}),
        "a range without end": graph_of([helper.make_node("Range", ["a", "b", "c"], ["y"])],
                                        {"a": np.int64(0), "b": np.int64(9), "c": np.int64(0)}),
        "a large image": single("Relu", shape=(1, 2**20, 2**20, 3)),
    }


def bombs() -> Iterator[Mutant]:
    """Files that must be refused before they take memory."""
    graph = {"nodes": 1, "initializers": 5, "inputs": 11, "outputs": 12, "value_info": 13, "metadata": 16}
    for name, number in graph.items():
        content = bytes([number << 3 | 2, 0]) if number < 16 else b"\x82\x01\0"
        yield f"10 MB of empty {name}", b"\x08\x08" + _field(7, content * 5_000_000)
    for name, item in (("names", b"\x0a\0"), ("attributes", b"\x2a\0")):
        yield f"10 MB of empty {name} of a node", b"\x08\x08" + _field(7, _field(1, item * 5_000_000))
    for number in (1, 5, 7):
        yield f"40 MB of packed numbers, field {number}", b"\x08\x08" + _field(7, _field(5, _field(
            number, b"\1" * 40_000_000)))
    wide, high = np.ones((1, 20_000), np.int64), np.ones((20_000, 1), np.int64)
    for op in ("Mul", "Add", "Equal", "MatMul", "Div"):
        yield f"{op} of constants", graph_of([helper.make_node(op, ["h", "w"], ["y"])],
                                             {"h": high, "w": wide}).SerializeToString()
        yield f"{op} of weights", graph_of([helper.make_node(op, ["h", "w"], ["y"])], {
            "h": high.astype("f4"), "w": wide.astype("f4")}).SerializeToString()
    large = [helper.make_node("ConstantOfShape", ["n"], [f"t{i}"]) for i in range(3)]
    total = helper.make_node("Max", ["x", *(node.output[0] for node in large)], ["y"])
    yield "3 large constants", graph_of([*large, total], {"n": np.array([2**22])}).SerializeToString()
    yield "a long Resize", single("Resize", "", "", "s", constants={"s": np.array([1, 2, 1, 2**27])}
                                  ).SerializeToString()
    yield "a list of many parts", single("Split", num_outputs=2**28).SerializeToString()


def _field(number: int, content: bytes) -> bytes:
    """A field of a message that has a length."""
    size, length = len(content), b""
    while size > 127:
        length, size = length + bytes([size & 127 | 128]), size >> 7
    return bytes([number << 3 | 2]) + length + bytes([size]) + content


def unused_tiles() -> bytes:
    """A sound file of a Relu and of 3,000 nodes that no output needs, each of which would make 2^20 numbers."""
    tiles = [helper.make_node("Tile", ["c", "n"], [f"t{i}"]) for i in range(3000)]
    return graph_of([*tiles, helper.make_node("Relu", ["x"], ["y"])],
                    {"c": np.ones(1, np.int64), "n": np.array([2**20])}).SerializeToString()


# Files drawn by a seed.


def mutants(sample: bytes, count: int, seed: int = 0) -> Iterator[Mutant]:
    """One of four has damaged bytes. The others are graphs of all ops that are known, with random attributes, in which
    one to three types, counts, references or sizes are wrong.
    """
    yield from mutations.mutants(sample, count // 4, seed)
    draw = random.Random(seed)
    for number in range(count - count // 4):
        model = onnx.load_from_string(sample) if number % 4 == 0 else random_graph(draw)
        lies = [lie(model, draw) for _ in range(draw.choice((0, 1, 1, 1, 2, 3)))]
        with contextlib.suppress(EncodeError):  # a lie that protobuf does not write
            yield "; ".join(lies) or "a random graph", model.SerializeToString()


def random_graph(draw: random.Random) -> Any:
    from autoconv.formats.onnx_ops import OPS

    shapes = [(), (1,), (2,), (4,), (1, 2, 1, 1), (2, 2, 3, 3), (1, 2, 4, 4), (1, 20_000), (20_000, 1), (0,)]
    constants = {f"c{i}": np.ones(draw.choice(shapes), draw.choice(("f4", "f4", "f8", "i4", "u1", "?")))
                 for i in range(draw.randrange(1, 4))}
    constants.update((f"s{i}", np.array(draw.choices(SIZES[1:6] if draw.random() < 0.7 else SIZES, k=rank), np.int64))
                     for i, rank in enumerate((1, 2, 4)))
    names, nodes = ["x", "x", *constants], []
    for i in range(draw.randrange(1, 9)):
        schema = onnx.defs.get_schema(draw.choice([op for op in OPS if onnx.defs.has(op)]))
        least, most = schema.min_input, min(schema.max_input, schema.min_input + 3)
        inputs = [draw.choice(names) if draw.random() < 0.9 else "" for _ in range(draw.randint(least, most))]
        given = {name: _drawn(kind.type.name, draw) for name, kind in schema.attributes.items()
                 if kind.required or draw.random() < 0.4}
        outputs = [f"r{i}", *(f"r{i}_{j}" for j in range(draw.choice((0, 0, 0, 1, 2))))]
        nodes.append(helper.make_node(schema.name, inputs, outputs, **{
            name: value for name, value in given.items() if value is not None}))
        names += outputs
    return graph_of(nodes, constants, draw.choice([(1, 2, 4, 4), (None, 2, 4, 4), (1, 20_000), (2, 3), None]),
                    tuple({names[-1], draw.choice(names)}), draw.choice((7, 10, 13, 17, 21)))


def _drawn(kind: str, draw: random.Random) -> Any:
    """A value for an attribute of this kind."""
    small = SIZES[:6] if draw.random() < 0.8 else SIZES
    if kind == "INT":
        return draw.choice(small)
    if kind == "INTS":
        return draw.choices(small, k=draw.choice((1, 2, 2, 4, 4, 3000)))
    if kind == "FLOAT":
        return draw.choice((0.0, 0.5, 1e-5, -1.0, 1e30, float("nan"), float("inf")))
    if kind == "STRING":
        return draw.choice(TEXTS)
    return numpy_helper.from_array(np.array([draw.choice(SIZES)])) if kind == "TENSOR" else None


def lie(model: Any, draw: random.Random) -> str:
    """Changes one field of one message; says which."""
    places = [(message, field) for message in messages(model) for field in message.DESCRIPTOR.fields
              if field.is_repeated or message.DESCRIPTOR.name != "ModelProto" or draw.random() < 0.1]
    message, field = draw.choice([place for place in places if getattr(place[0], place[1].name)] or places)
    if draw.random() < 0.2:
        message, field = draw.choice(places)
    if field.is_repeated:
        _lie_about_several(getattr(message, field.name), field, draw)
    elif field.message_type is None:
        setattr(message, field.name, _other(field, draw))
    else:
        others = [each for each in messages(model) if each.DESCRIPTOR is field.message_type]
        content = draw.choice(others).SerializeToString() if others and draw.random() < 0.7 else b""
        getattr(message, field.name).ParseFromString(content)
    return f"{message.DESCRIPTOR.name}.{field.name}"


def _lie_about_several(items: Any, field: Any, draw: random.Random) -> None:
    """Leaves one out, repeats one up to 30,000 times, replaces or adds one."""
    way, times = draw.random(), draw.choice((1, 1, 2, 9, 40, 40, 3000, 30_000))
    if way < 0.2 and items:
        del items[draw.randrange(len(items))]
    elif way < 0.6 and items:
        items.extend([items[draw.randrange(len(items))]] * times)
    elif field.message_type is not None:
        for _ in range(times):
            items.add()
    elif way < 0.9 and items:
        items[draw.randrange(len(items))] = _other(field, draw)
    else:
        items.extend([_other(field, draw)] * times)


def _other(field: Any, draw: random.Random) -> Any:
    """Another value for a field that is no message."""
    if field.cpp_type in (field.CPPTYPE_FLOAT, field.CPPTYPE_DOUBLE):
        return _drawn("FLOAT", draw)
    if field.cpp_type == field.CPPTYPE_STRING:
        text = draw.choice(TEXTS)
        return text.encode() if field.type == field.TYPE_BYTES else text
    if field.cpp_type == field.CPPTYPE_ENUM:
        return draw.choice(field.enum_type.values).number
    wide = field.cpp_type in (field.CPPTYPE_INT64, field.CPPTYPE_UINT64)
    number = draw.choice(SIZES if wide else [n for n in SIZES if abs(n) < 2**31])
    return abs(number) if field.cpp_type in (field.CPPTYPE_UINT32, field.CPPTYPE_UINT64) else number


def messages(model: Any) -> list[Any]:
    """A message and all within it."""
    found = [model]
    for message in found:
        for field, value in message.ListFields():
            if field.message_type is not None:
                found += value if field.is_repeated else [value]
    return found
