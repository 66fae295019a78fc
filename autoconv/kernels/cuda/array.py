"""`Array`: what ops and kernels use of NumPy's arrays, over a GPU's memory. It computes nothing but copies."""

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from .. import trace
from . import dlpack, foreign, fours, runtime, strided
from .kernels import OnGpu
from .runtime import GpuMemory


class Array(OnGpu):
    """Items of `base`, a flat piece of memory: the first one at `start`, then `strides` items apart along each axis.

    Views share their base. Kernels take `native`, which only an array in scan order without gaps has.
    """

    __slots__ = ("_native", "base", "dtype", "shape", "size", "start", "strides")
    __hash__ = None  # type: ignore[assignment]  # as with NumPy's arrays

    def __init__(self, base: GpuMemory, start: int, shape: tuple[int, ...], strides: tuple[int, ...],
                 dtype: Any) -> None:
        self.base = base
        self.start = start
        self.shape = shape
        self.strides = strides
        self.dtype = dtype
        self.size = math.prod(shape)
        self._native: Any = None

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def nbytes(self) -> int:
        return self.size * self.dtype.itemsize

    @property
    def gpu(self) -> runtime.Gpu:
        return self.base.gpu

    @property
    def contiguous(self) -> bool:
        """Whether the items lie in scan order, without gaps."""
        step = 1
        for n, stride in zip(reversed(self.shape), reversed(self.strides)):
            if n != 1 and stride != step:
                return self.size == 0
            step *= n
        return True

    @property
    def native(self) -> Any:
        """Numba's array of these items; of none, a stand-in that nothing is read from."""
        if self._native is None:
            if not self.contiguous:
                raise ValueError(f"A kernel takes contiguous arrays. Received strides {self.strides} for shape "
                                 f"{self.shape}: copy it first.")
            items, shape = (self.size, self.shape) if self.size else (1, (1,) * self.ndim)
            start = self.start if self.size else 0
            flat = self.base.data
            with self.gpu.failures:
                if items != flat.shape[0]:
                    flat = flat[start : start + items]
                self._native = flat if self.ndim == 1 else flat.reshape(shape)
        return self._native

    @property
    def memory(self) -> "Array":
        """All items of the base, as one flat array: what a kernel takes together with `place`."""
        size = self.base.data.shape[0]
        return Array(self.base, 0, (size,), (1,), self.dtype)

    def lying(self, shape: tuple[int, ...]) -> tuple[int, tuple[int, ...]]:
        """Where the items lie, broadcast to `shape`: the first one, and the step of each axis."""
        steps = self.strides
        if shape != self.shape:
            steps = tuple(0 if n == 1 else step for n, step in zip(self.shape, steps))
            steps = (0,) * (len(shape) - self.ndim) + steps
        return self.start, steps

    # Views.

    def reshape(self, *shape: Any) -> "Array":
        """The same items in another shape: a view, or a copy where they do not lie in scan order."""
        wanted = tuple(shape[0]) if len(shape) == 1 and not hasattr(shape[0], "__index__") else shape
        known = math.prod(n for n in wanted if n != -1)
        if -1 in wanted and known:
            wanted = tuple(self.size // known if n == -1 else n for n in wanted)
        if math.prod(wanted) != self.size or min(wanted, default=0) < 0:
            raise ValueError(f"An array of {self.size} items cannot take shape {wanted}.")
        source = self if self.contiguous else self.copy()
        return Array(source.base, source.start, tuple(map(int, wanted)), steps(wanted), self.dtype)

    def transpose(self, axes: tuple[int, ...] | None = None) -> "Array":
        """The axes in another order, reversed by default: a view."""
        order = tuple(reversed(range(self.ndim))) if axes is None else axes
        shape, strides = (tuple(values[i] for i in order) for values in (self.shape, self.strides))
        return Array(self.base, self.start, shape, strides, self.dtype)

    def swapaxes(self, a: int, b: int) -> "Array":
        order = list(range(self.ndim))
        order[a], order[b] = order[b], order[a]
        return self.transpose(tuple(order))

    @property
    def T(self) -> "Array":  # noqa: N802 (NumPy's name)
        return self.transpose()

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("An array without axes has no length.")
        return self.shape[0]

    def __getitem__(self, index: Any) -> "Array":
        """A view, for integers, slices, None and `...`; a copy, for integer arrays and masks, as NumPy has them."""
        parts = index if isinstance(index, tuple) else (index,)
        return self._view(parts) if all(map(_is_basic, parts)) else self._picked(parts)

    def _view(self, parts: tuple) -> "Array":
        named = sum(p is not None and p is not Ellipsis for p in parts)
        if named > self.ndim or sum(p is Ellipsis for p in parts) > 1:
            raise IndexError(f"Too many indices for an array of shape {self.shape}. Received: {parts}.")
        if Ellipsis not in parts:
            parts = (*parts, Ellipsis)
        here = parts.index(Ellipsis)
        parts = (*parts[:here], *(slice(None),) * (self.ndim - named), *parts[here + 1 :])
        start = self.start
        shape = []
        strides = []
        axis = 0
        for part in parts:
            if part is None:
                shape.append(1)
                strides.append(0)
                continue
            n = self.shape[axis]
            step = self.strides[axis]
            axis += 1
            if isinstance(part, slice):
                taken = range(n)[part]
                start += taken.start * step if len(taken) else 0
                shape.append(len(taken))
                strides.append(taken.step * step)
            else:
                start += range(n)[part] * step  # raises IndexError, as it should
        return Array(self.base, start, tuple(shape), tuple(strides), self.dtype)

    def _picked(self, parts: tuple) -> "Array":
        positions = self.positions(parts)
        out = empty(self.gpu, positions.shape, self.dtype)
        strided.pick(out.size, self.memory, put(self.gpu, positions.reshape(-1)), out.reshape(-1),
                     *strided.layout(self.shape, self.lying(self.shape)))
        return out

    def positions(self, index: Any) -> np.ndarray:
        """Which items an index names, as their numbers in scan order: by NumPy, so it means what it means there."""
        parts = tuple(np.asarray(p) if isinstance(p, Array) else p for p in index)
        return np.ascontiguousarray(np.arange(self.size, dtype=np.int64).reshape(self.shape)[parts])

    # Copies.

    def __setitem__(self, index: Any, value: Any) -> None:
        """Writes a number, an array of a GPU or one of the host's, broadcast as NumPy does."""
        target = self if index is Ellipsis else self[index]
        if target.base is not self.base:
            raise TypeError("Items are set by integers and slices here. Received integer arrays or a mask: use NumPy.")
        if isinstance(value, Array):
            copy(value if value.gpu is self.gpu else moved(self.gpu, value), target)
        elif np.ndim(value) == 0:
            fill(target, value)
        else:
            host = np.asarray(value, self.dtype)
            if target.contiguous and host.shape == target.shape:
                write(host, target)
            else:
                copy(put(self.gpu, host), target)

    def copy(self) -> "Array":
        """The same values in memory of their own, in scan order."""
        out = empty(self.gpu, self.shape, self.dtype)
        copy(self, out)
        return out

    def astype(self, dtype: Any) -> "Array":
        """The same values in another dtype."""
        out = empty(self.gpu, self.shape, dtype)
        copy(self, out)
        return out

    def numpy(self) -> np.ndarray:
        """The values in the host's memory."""
        host = np.empty(self.shape, self.dtype)
        if self.size:
            flat = (self if self.contiguous else self.copy()).reshape(-1)
            self.gpu.copy_out(flat.native, host.reshape(-1))
        return host

    def pinned(self) -> np.ndarray:
        """Memory of the host for these items (n,), in scan order, for `begin_copy_to`."""
        return self.gpu.pinned(self.size, self.dtype)

    def begin_copy_to(self, host: np.ndarray) -> Callable[[], bool]:
        """Copies these items, without gaps, to `pinned` memory behind what was launched, while the
        caller goes on; the result tells whether they are there.
        """
        return self.gpu.begin_copy_out(self.reshape(-1).native, host)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self.numpy(), dtype)

    def __repr__(self) -> str:
        return f"Array({np.array2string(self.numpy(), separator=', ')}, dtype={self.dtype}, GPU {self.gpu.index})"

    def __deepcopy__(self, memo: Any) -> "Array":
        return self.copy()

    def __reduce__(self) -> tuple:
        return _restored, (self.gpu.index, self.numpy())

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        """What lets other packages read these items where they are, without a copy."""
        self.gpu.synchronize()  # all that was launched to write them is done
        return {**self._interface(), "stream": None}

    def _interface(self) -> dict[str, Any]:
        """Where the items are, in the words of NumPy's `__array_interface__`."""
        first = runtime.pointer(self.base.data) + self.start * self.dtype.itemsize
        steps = None if self.contiguous else tuple(s * self.dtype.itemsize for s in self.strides)
        return {"shape": self.shape, "typestr": self.dtype.str, "data": (first, False), "strides": steps, "version": 3}

    def __dlpack_device__(self) -> dlpack.Place:
        """DLPack's kind of device and its number."""
        return dlpack.CUDA, self.gpu.index

    def __dlpack__(self, *, stream: int | None = None, max_version: tuple[int, int] | None = None,
                   dl_device: dlpack.Place | None = None, copy: bool | None = None) -> Any:
        """Hands these items to another package by DLPack, without a copy unless one is asked for.
        All that was launched to write them is done then, whatever stream the other works on; with
        -1 nothing waits. Raises BufferError for another device than this one.
        """
        if dl_device not in (None, self.__dlpack_device__()):
            raise BufferError(f"These items are on DLPack's device {self.__dlpack_device__()}. Received "
                              f"dl_device={dl_device}: move the tensor with .to(device) first.")
        source = self.copy() if copy else self
        if stream != -1:
            self.gpu.synchronize()
        return dlpack.capsule(foreign.seen(source._interface(), source), self.__dlpack_device__(), max_version)


def empty(gpu: runtime.Gpu, shape: tuple[int, ...], dtype: Any) -> Array:
    """An array whose values mean nothing yet."""
    dtype = np.dtype(dtype)
    shape = tuple(map(int, shape))
    return Array(gpu.memory(math.prod(shape), dtype), 0, shape, steps(shape), dtype)


def put(gpu: runtime.Gpu, host: np.ndarray) -> Array:
    """The values of a host's array on a GPU."""
    out = empty(gpu, host.shape, host.dtype)
    write(host, out)
    return out


def moved(gpu: runtime.Gpu, a: Array) -> Array:
    """The values of an array of another GPU: from memory to memory where the driver can, else through the host's."""
    from . import peers  # its import needs NVIDIA's bindings

    out = empty(gpu, a.shape, a.dtype)
    if a.size:
        trace.stop("a copy from one GPU to another")
        flat = (a if a.contiguous else a.copy()).reshape(-1)
        if not peers.copy(a.gpu, flat.native, gpu, out.reshape(-1).native):
            write(a.numpy(), out)
    return out


def number(gpu: runtime.Gpu, value: Any, dtype: Any) -> Array:
    """A number as kernels take one that may change between two runs of a recording: an array of one item."""
    if isinstance(value, Array):
        return value
    if value == 1 and dtype == np.float64:
        return _one(gpu)
    out = empty(gpu, (1,), dtype)
    fill(out, value)
    return out


@cache
def _one(gpu: runtime.Gpu) -> Array:
    """1.0, which never changes."""
    with trace.aside():
        return put(gpu, np.ones(1))


def adopt(gpu: runtime.Gpu, shown: Any) -> Array:
    """An array over memory that another package owns, and shows by `__cuda_array_interface__`: without a copy."""
    return _adopted(gpu, shown.__cuda_array_interface__, shown)


def from_dlpack(gpu: runtime.Gpu, producer: Any) -> Array:
    """An array over memory of this GPU that another package hands over by DLPack: without a copy,
    unless it is not to be written to.
    """
    stand_in, writeable = dlpack.stand_in(producer, foreign.stream_number(gpu))
    adopted = _adopted(gpu, stand_in.__array_interface__, stand_in)
    return adopted if writeable else adopted.copy()


def _adopted(gpu: runtime.Gpu, interface: dict[str, Any], owner: Any) -> Array:
    shape = tuple(interface["shape"])
    dtype = np.dtype(interface["typestr"])
    given = interface.get("strides")
    strides = steps(shape) if given is None else tuple(s // dtype.itemsize for s in given)
    gpu.settle()
    whole = {**interface, "strides": None, "shape": (_extent(shape, strides),)}
    if min(strides, default=0) < 0:
        raise ValueError("An array whose items lie backwards cannot be taken over. Copy it first.")
    return Array(GpuMemory(gpu, foreign.adopt(gpu, whole, owner)), 0, shape, strides, dtype)


def copy(a: Array, out: Array) -> None:
    """out = a, where `a` may be of another dtype, or smaller and broadcast."""
    if np.broadcast_shapes(a.shape, out.shape) != out.shape:
        raise ValueError(f"An array of shape {a.shape} cannot be written into one of shape {out.shape}.")
    strided.copy(*threads(out, a), a.memory, out.memory,
                 *strided.layout(out.shape, a.lying(out.shape), out.lying(out.shape)))


def fill(out: Array, value: Any) -> None:
    """out = value."""
    strided.fill(*threads(out), out.memory, out.dtype.type(value), *strided.layout(out.shape, out.lying(out.shape)))


def threads(out: Array, *given: Array) -> tuple[int, int]:
    """As fours.threads, where arrays are broadcast to the result's shape and may lie anywhere."""
    if all(a.shape == out.shape and a.contiguous for a in (*given, out)):
        return fours.threads(out.size, *given, out)
    return out.size, 0


def write(source: Any, out: Array) -> None:
    """out = an array of the host's or of a GPU, of the same shape and dtype: by no kernel. `out` is contiguous."""
    if isinstance(source, Array):
        source = source if source.gpu is out.gpu else moved(out.gpu, source)
        flat = (source if source.contiguous else source.copy()).reshape(-1).native
    else:
        flat = np.ascontiguousarray(source).reshape(-1)
    if out.size:
        out.gpu.copy_in(flat, out.reshape(-1).native)


def steps(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The strides of a shape in scan order, without gaps."""
    strides = []
    step = 1
    for n in reversed(shape):
        strides.append(step)
        step *= n
    return tuple(reversed(strides))


def _extent(shape: tuple[int, ...], strides: tuple[int, ...]) -> int:
    """How many items of memory lie between the first and the last one."""
    return 1 + sum((n - 1) * s for n, s in zip(shape, strides)) if math.prod(shape) else 0


def _is_basic(part: Any) -> bool:
    """Whether a part of an index names no item twice and needs no copy."""
    return part is None or part is Ellipsis or (
        isinstance(part, (int, np.integer, slice)) and not isinstance(part, (bool, np.bool_)))


def _restored(index: int, values: np.ndarray) -> Array:
    return put(runtime.gpu(index), values)
