"""Provides the helpers of ONNX's ops, for attributes, constants and size limits."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from ..engine.tensor import Tensor
from ..kernels import buffers, trace
from ..kernels.device import Device

LARGEST = 2**28  # maximum elements of a computed tensor
KNOWN = 2**22  # maximum elements of a tensor known in advance or computed by NumPy
RANK = 8  # maximum axes of a tensor
TERMS = 1_024  # maximum slices or groups that an op loops over


class Attributes(NamedTuple):
    """A node's op, name, opset version, attribute values and number of outputs."""

    op: str
    name: str
    opset: int
    values: dict[str, Any]
    outputs: int = 1

    def get(self, name: str, default: Any = None) -> Any:
        return self.values.get(name, default)


def refusal(node: Attributes, rule: str, value: Any) -> ValueError:
    """Returns the error for a valid ONNX setting that autoconv does not support."""
    return ValueError(f"{node.op} is supported only if {rule}. Received: {value!r} in node {node.name!r}.")


def ints(values: Any) -> tuple[int, ...]:
    """Returns integers as a tuple. Raises ValueError for other numbers or too many integers."""
    array = np.asarray(values)
    if array.dtype.kind not in "iub" or array.ndim > 1 or array.size > 4 * TERMS:
        raise ValueError(f"An input with sizes, axes or bounds must be a list of at most {4 * TERMS:,} integers. "
                         f"Received: an array of dtype {array.dtype} and shape {array.shape}.")
    return tuple(int(value) for value in array.reshape(-1))


def is_float(x: Any) -> bool:
    return x.dtype.kind == "f"


def constant(tensor: Any, array: Any) -> Tensor:
    """Returns an array as a tensor on another tensor's device."""
    return to_device(array, tensor.device)


def to_device(array: Any, device: Device) -> Tensor:
    """Returns an array as a tensor on `device`. Copies it unless it is contiguous and writable."""
    writable = np.require(array, requirements=["C", "W"]).reshape(np.shape(array))
    return Tensor(device.constant(writable), device=device)


def cast(x: Tensor, dtype: DTypeLike) -> Tensor:
    """Converts x to a dtype. Gradients flow only if the dtype is x's own or a wider float dtype."""
    dtype = np.dtype(dtype)
    if x.dtype == dtype:
        return x
    if x.requires_grad and np.result_type(x.dtype, dtype) == dtype and dtype.kind == "f":
        return x + constant(x, np.zeros((), dtype))
    if dtype.kind == "b":
        return x != 0
    result = x.device.empty(x.shape, dtype)
    x.device.kernels("arith").copy(x.data, result)
    return Tensor(result, device=x.device)


class LimitedPool(buffers.Pool):
    """A pool that allocates arrays of at most `most` elements, from another pool if it is not None."""

    def __init__(self, most: int, pool: buffers.Pool | None) -> None:
        super().__init__()
        self.most = most
        self._pool = pool

    def empty(self, device: Device, shape: tuple[int, ...], dtype: DTypeLike) -> Any:
        check_size(shape, self.most)
        return device.fresh(shape, dtype) if self._pool is None else self._pool.empty(device, shape, dtype)

    def outside_recordings(self) -> "LimitedPool":
        return LimitedPool(self.most, None if self._pool is None else self._pool.outside_recordings())


@contextmanager
def limit_arrays(most: int) -> Iterator[None]:
    """Raises ValueError if an array of more than `most` elements is allocated inside the block."""
    with buffers.reusing(LimitedPool(most, buffers.current_pool())):
        yield


def check_size(shape: Any, most: int = LARGEST) -> None:
    """Raises ValueError if a shape has more elements than `most` or than `limit_arrays` allows."""
    pool = buffers.current_pool()
    size = 1
    most = min(most, pool.most) if isinstance(pool, LimitedPool) else most
    if len(shape) > 2 * RANK:
        raise ValueError(f"A computed tensor can have at most {2 * RANK} axes. Received: {len(shape)} axes.")
    for n in shape:
        size *= int(n)
        if n < 0:
            raise ValueError(f"The sizes of a tensor cannot be negative. Received shape: {tuple(shape)}.")
    if size > most:
        raise ValueError(f"This tensor can have at most {most:,} elements. Received shape: {tuple(shape)}.")


def take(x: Tensor, indices: np.ndarray, axis: int) -> Tensor:
    """Returns the elements of x at these indices along an axis."""
    shape = (*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :])
    return compute_by_numpy(lambda: x[(*(slice(None),) * axis, indices)], x, shape)


def compute_by_numpy(compute: Callable[[], Tensor], x: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Returns the result of `compute`, which uses NumPy. In a dry run, returns an uninitialized tensor."""
    check_size(shape)
    if isinstance(trace.current(), trace.DryRun):
        return Tensor(x.device.empty(shape, x.dtype), device=x.device)
    return compute()


def spread(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Broadcasts x to a shape axis by axis, so that the host only creates one-axis arrays."""
    x = x.reshape((1,) * (len(shape) - x.ndim) + x.shape)
    for axis, n in enumerate(shape):
        if x.shape[axis] != n:
            check_size((n,), KNOWN)
            x = x + constant(x, np.zeros([n if i == axis else 1 for i in range(x.ndim)], x.dtype))
    return x
