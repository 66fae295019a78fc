"""Building blocks of an exported graph: names, nodes, constants, values in two layouts."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from ..engine.symbolic import Shape

FIRST = (0, 3, 1, 2)  # axis permutation to channels first
LAST = (0, 2, 3, 1)  # axis permutation to channels last
BATCH = 97  # batch size while a layer is traced: a first size divisible by it is the batch axis


class Value:
    """A tensor in the graph: its names as (N, H, W, C), `last`, and (N, C, H, W), `first`."""

    def __init__(self, last: str | None, shape: Shape, first: str | None = None) -> None:
        self.last = last
        self.first = first
        self.shape = tuple(shape)

    @property
    def name(self) -> str:
        """The tensor's name in an available layout, channels first if both exist."""
        return self.first or self.last  # type: ignore[return-value]

    def like(self, name: str, shape: Shape | None = None) -> "Value":
        """Returns a value of this name, in the layout of `name`."""
        shape = self.shape if shape is None else shape
        return Value(None, shape, name) if self.first else Value(name, shape)

    def axis(self, axis: int) -> int:
        """Returns the index of an axis of `shape` in the layout of `name`, counted from 0."""
        axis %= len(self.shape)
        return FIRST.index(axis) if self.first else axis

    def broadcast(self, array: Any) -> np.ndarray:
        """Returns a constant that broadcasts with `shape`, in the layout of `name`."""
        array = np.asarray(array, np.float32)
        if not self.first or array.ndim == 0:
            return array
        return np.moveaxis(array.reshape((1,) * (3 - array.ndim) + array.shape) if array.ndim < 3 else array, -1, -3)


def first(builder: "Builder", value: Value) -> str:
    """Returns the name of an image tensor with channels first, after a Transpose if needed."""
    if value.first is None:
        value.first = builder.node("Transpose", value.last, perm=list(FIRST))
    return value.first


def last(builder: "Builder", value: Value) -> str:
    """Returns the name of a tensor in autoconv's layout, after a Transpose if needed."""
    if value.last is None:
        value.last = builder.node("Transpose", value.first, perm=list(LAST))
    return value.last


class Builder:
    """The nodes and constants of a graph, in order.

    opset: the version of ONNX's operators; names: all names in use; traces: whether a layer is
    traced.
    """

    def __init__(self, onnx: ModuleType, opset: int) -> None:
        self.onnx = onnx
        self.opset = opset
        self.traces = False
        self.names: set[str] = set()
        self.nodes: list[Any] = []
        self.inputs: list[Any] = []
        self.outputs: list[Any] = []
        self.initializers: list[Any] = []
        self._constants: dict[tuple, str] = {}
        self._prefix = ""

    @contextmanager
    def enter_layer(self, layer: str, traces: bool = False) -> Iterator[None]:
        """Prefixes names with the layer's inside the block. traces: whether its call is traced."""
        previous = self._prefix, self.traces
        self._prefix = f"{self._prefix}{layer}/"
        self.traces = traces
        try:
            yield
        finally:
            self._prefix, self.traces = previous

    def unique_name(self, name: str) -> str:
        """Reserves and returns the name, with a number appended if it is already in use."""
        base = name
        number = 1
        while name in self.names:
            name = f"{base}_{number}"
            number = number + 1
        self.names.add(name)
        return name

    def node(self, op: str, *inputs: str | None, names: list[str] | None = None,
             **attributes: Any) -> str:
        """Adds a node; None and "" are omitted inputs. Returns the name of its first result."""
        outputs = names or [self.unique_name(f"{self._prefix}{op}")]
        self.nodes.append(self.onnx.helper.make_node(op, [name or "" for name in inputs], outputs,
                                                     name=outputs[0], **attributes))
        return outputs[0]

    def constant(self, value: Any, name: str = "constant", dtype: DTypeLike = np.float32) -> str:
        """Returns the name of an initializer; equal numbers, integers, weights are shared."""
        array = np.ascontiguousarray(value, dtype).reshape(np.shape(value))
        owner = self._prefix + name if array.ndim and dtype is np.float32 else ""
        key = (owner, array.dtype.str, array.shape, sha256(array.tobytes()).digest())
        if key not in self._constants:
            self._constants[key] = self.unique_name(f"{self._prefix}{name}")
            self.initializers.append(self.onnx.numpy_helper.from_array(array, self._constants[key]))
        return self._constants[key]

    def ints(self, values: Sequence[int] | int, name: str = "sizes") -> str:
        """Returns the name of an int64 constant."""
        return self.constant(values, name, np.int64)

    def reduce(self, op: str, x: str, axes: Sequence[int] | None, keepdims: bool) -> str:
        """Adds ReduceMean, ReduceSum, ...: axes as an attribute in older opsets, else an input."""
        if axes is None:
            return self.node(op, x, keepdims=int(keepdims))
        if self.opset < 18 and op != "ReduceSum":
            return self.node(op, x, axes=list(axes), keepdims=int(keepdims))
        return self.node(op, x, self.ints(list(axes), "axes"), keepdims=int(keepdims))

    def reshape(self, x: str, shape: Sequence[int | None]) -> str:
        """Reshapes x, except its first size; one other size may be None."""
        return self.node("Reshape", x, self.ints([0, *(-1 if n is None else n for n in shape[1:])], "shape"))
