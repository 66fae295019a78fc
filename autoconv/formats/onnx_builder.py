"""Builds an exported ONNX graph: its names, nodes, constants, and values in two layouts."""

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
BATCH = 97  # batch size while a layer is traced; a first size divisible by 97 contains the batch


class Value:
    """A tensor in the graph. `last` is its (N, H, W, C) name, `first` its (N, C, H, W) name."""

    def __init__(self, last: str | None, shape: Shape, first: str | None = None) -> None:
        self.last = last
        self.first = first
        self.shape = tuple(shape)

    @property
    def name(self) -> str:
        """The tensor's name in an available layout: channels first if both layouts exist."""
        return self.first or self.last  # type: ignore[return-value]

    def like(self, name: str, shape: Shape | None = None) -> "Value":
        """Returns a new value called `name`, in the same layout as this value."""
        shape = self.shape if shape is None else shape
        return Value(None, shape, name) if self.first else Value(name, shape)

    def axis(self, axis: int) -> int:
        """Converts an index into `shape` to a non-negative axis in the layout of `name`."""
        axis %= len(self.shape)
        return FIRST.index(axis) if self.first else axis

    def broadcast(self, array: Any) -> np.ndarray:
        """Returns an array, in the layout of `name`, that broadcasts with this value."""
        array = np.asarray(array, np.float32)
        if not self.first or array.ndim == 0:
            return array
        return np.moveaxis(array.reshape((1,) * (3 - array.ndim) + array.shape) if array.ndim < 3 else array, -1, -3)


def first(builder: "Builder", value: Value) -> str:
    """Returns the channels-first name of an image tensor. Adds a Transpose node if needed."""
    if value.first is None:
        value.first = builder.node("Transpose", value.last, perm=list(FIRST))
    return value.first


def last(builder: "Builder", value: Value) -> str:
    """Returns the name of a tensor in autoconv's layout. Adds a Transpose node if needed."""
    if value.last is None:
        value.last = builder.node("Transpose", value.first, perm=list(LAST))
    return value.last


class Builder:
    """The nodes and constants of an exported graph, in order.

    opset: the version of ONNX's operators; names: all names in use; traces: whether a layer's call
    is being traced.
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
        """Prefixes names with `layer` inside the block. traces: whether the layer is traced."""
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
        """Adds a node and returns the name of its first output. None and "" are omitted inputs."""
        outputs = names or [self.unique_name(f"{self._prefix}{op}")]
        self.nodes.append(self.onnx.helper.make_node(op, [name or "" for name in inputs], outputs,
                                                     name=outputs[0], **attributes))
        return outputs[0]

    def constant(self, value: Any, name: str = "constant", dtype: DTypeLike = np.float32) -> str:
        """Returns an initializer's name. Equal scalars and integer arrays share an initializer."""
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
        """Adds a reduction. Its axes are an attribute in older opsets, an input in newer opsets."""
        if axes is None:
            return self.node(op, x, keepdims=int(keepdims))
        if self.opset < 18 and op != "ReduceSum":
            return self.node(op, x, axes=list(axes), keepdims=int(keepdims))
        return self.node(op, x, self.ints(list(axes), "axes"), keepdims=int(keepdims))

    def reshape(self, x: str, shape: Sequence[int | None]) -> str:
        """Reshapes x to `shape`, but keeps its first size. One other size may be None."""
        return self.node("Reshape", x, self.ints([0, *(-1 if n is None else n for n in shape[1:])], "shape"))
