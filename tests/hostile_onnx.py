"""ONNX files: a sound one, hostile ones, and what reads them, for the table in readers.py."""

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from hostile_models import chain
from mutations import Mutant
from onnx import TensorProto, helper, numpy_helper

FILE = "m.onnx"


@cache
def sound() -> bytes:
    from autoconv import formats, utils

    utils.set_random_seed(0)
    return formats.to_onnx(chain()).SerializeToString(deterministic=True)


def read(folder: Path) -> None:
    """Reads the file, and runs all but the kernels where it takes few numbers."""
    from autoconv import formats, no_grad
    from autoconv.backend import trace

    model = formats.from_onnx(folder / FILE)
    model.summary(print_fn=str)
    shapes = [[3 if n is None else n for n in port.shape or ()] for port in model._ports]
    if not shapes or max(np.prod(shape) for shape in shapes) > 1e6:
        return
    with no_grad(), trace.DryRun().record():
        model([np.zeros(shape, np.float32) for shape in shapes])


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
    """Files that must be refused."""
    for name, model in refused().items():
        yield name, model if isinstance(model, bytes) else model.SerializeToString()


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
