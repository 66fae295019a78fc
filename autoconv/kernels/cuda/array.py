"""`Array`: GPU memory with the part of NumPy's array interface that ops and kernels use. Its
methods create views and copy elements; all arithmetic is in kernels.
"""

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from .. import trace
from . import dlpack, foreign, fours, runtime, strided
from .kernels import OnGpu
from .runtime import GpuMemory


class Array(OnGpu):
    """Elements of `base`, a flat piece of memory. The first element is at `start`; along each axis,
    consecutive elements are `strides` elements apart.

    Views share their base. Kernels receive `native`, which only C-contiguous arrays have.
    """

    __slots__ = ("_native", "base", "dtype", "shape", "size", "start", "strides")
    __hash__ = None  # type: ignore[assignment]  # unhashable, like NumPy's arrays

    def __init__(self, base: GpuMemory, start: int, shape: tuple[int, ...],
                 strides: tuple[int, ...], dtype: DTypeLike) -> None:
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
        """Whether the array is C-contiguous."""
        step = 1
        for n, stride in zip(reversed(self.shape), reversed(self.strides)):
            if n != 1 and stride != step:
                return self.size == 0
            step *= n
        return True

    @property
    def native(self) -> Any:
        """Returns Numba's array of these elements. For an empty array, returns a placeholder of one
        element that is never read.
        """
        if self._native is None:
            if not self.contiguous:
                raise ValueError("A kernel requires contiguous arrays. Received: an array with strides "
                                 f"{self.strides} and shape {self.shape}. Copy the array first.")
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
        """Returns the whole base as a flat array. Kernels for strided arrays receive it together
        with a `place` (strided.py).
        """
        size = self.base.data.shape[0]
        return Array(self.base, 0, (size,), (1,), self.dtype)

    def layout(self, shape: tuple[int, ...]) -> tuple[int, tuple[int, ...]]:
        """Returns (start, steps) of the array broadcast to `shape`: the position of the first
        element in memory, and the step of each axis in elements.
        """
        steps = self.strides
        if shape != self.shape:
            steps = tuple(0 if n == 1 else step for n, step in zip(self.shape, steps))
            steps = (0,) * (len(shape) - self.ndim) + steps
        return self.start, steps

    # The following methods return views.

    def reshape(self, *shape: Any) -> "Array":
        """Returns the elements in another shape: a view, or a copy if they are not contiguous."""
        target = tuple(shape[0]) if len(shape) == 1 and not hasattr(shape[0], "__index__") else shape
        size = math.prod(n for n in target if n != -1)
        if -1 in target and size:
            target = tuple(self.size // size if n == -1 else n for n in target)
        if math.prod(target) != self.size or min(target, default=0) < 0:
            raise ValueError(f"An array of {self.size} elements cannot be reshaped to {target}.")
        source = self if self.contiguous else self.copy()
        return Array(source.base, source.start, tuple(map(int, target)), steps(target), self.dtype)

    def transpose(self, axes: tuple[int, ...] | None = None) -> "Array":
        """Returns a view with the axes in another order, reversed by default."""
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
        """Returns a view for integers, slices, None and `...`; a copy for integer arrays and masks,
        as in NumPy.
        """
        parts = index if isinstance(index, tuple) else (index,)
        return self._view(parts) if all(map(_is_basic, parts)) else self._pick(parts)

    def _view(self, parts: tuple) -> "Array":
        used_axes = sum(p is not None and p is not Ellipsis for p in parts)
        if used_axes > self.ndim or sum(p is Ellipsis for p in parts) > 1:
            raise IndexError(f"An array of shape {self.shape} accepts at most {self.ndim} indices "
                             f"and one Ellipsis. Received: {parts}.")
        if Ellipsis not in parts:
            parts = (*parts, Ellipsis)
        split = parts.index(Ellipsis)
        parts = (*parts[:split], *(slice(None),) * (self.ndim - used_axes), *parts[split + 1 :])
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
                positions = range(n)[part]
                start += positions.start * step if len(positions) else 0
                shape.append(len(positions))
                strides.append(positions.step * step)
            else:
                start += range(n)[part] * step  # raises IndexError if out of range
        return Array(self.base, start, tuple(shape), tuple(strides), self.dtype)

    def _pick(self, parts: tuple) -> "Array":
        positions = self.positions(parts)
        out = empty(self.gpu, positions.shape, self.dtype)
        strided.pick(out.size, self.memory, put(self.gpu, positions.reshape(-1)), out.reshape(-1),
                     *strided.layout(self.shape, self.layout(self.shape)))
        return out

    def positions(self, index: Any) -> np.ndarray:
        """Returns the positions, counted in C order, of the elements that an index selects. NumPy
        evaluates the index, so every index means the same as in NumPy.
        """
        parts = tuple(np.asarray(p) if isinstance(p, Array) else p for p in index)
        return np.ascontiguousarray(np.arange(self.size, dtype=np.int64).reshape(self.shape)[parts])

    # The following methods copy elements.

    def __setitem__(self, index: Any, value: Any) -> None:
        """Writes a number, a GPU array or a host array to the elements, broadcast as in NumPy."""
        target = self if index is Ellipsis else self[index]
        if target.base is not self.base:
            raise TypeError("On a GPU, only integers and slices can select the elements to set. Received: an integer "
                            "array or a mask. Set the elements in a NumPy array instead.")
        if isinstance(value, Array):
            copy(value if value.gpu is self.gpu else move(self.gpu, value), target)
        elif np.ndim(value) == 0:
            fill(target, value)
        else:
            host = np.asarray(value, self.dtype)
            if target.contiguous and host.shape == target.shape:
                write(host, target)
            else:
                copy(put(self.gpu, host), target)

    def copy(self) -> "Array":
        """Returns a C-contiguous copy."""
        out = empty(self.gpu, self.shape, self.dtype)
        copy(self, out)
        return out

    def astype(self, dtype: DTypeLike) -> "Array":
        """Returns a copy in another dtype."""
        out = empty(self.gpu, self.shape, dtype)
        copy(self, out)
        return out

    def numpy(self) -> np.ndarray:
        """Returns a copy of the values in host memory."""
        host = np.empty(self.shape, self.dtype)
        if self.size:
            flat = (self if self.contiguous else self.copy()).reshape(-1)
            self.gpu.copy_out(flat.native, host.reshape(-1))
        return host

    def allocate_pinned(self) -> np.ndarray:
        """Returns pinned host memory (size,) in the array's dtype, for `begin_copy_to`."""
        return self.gpu.allocate_pinned(self.size, self.dtype)

    def begin_copy_to(self, host: np.ndarray) -> Callable[[], bool]:
        """Starts to copy these contiguous elements to pinned memory and returns at once. The copy
        runs after all earlier launches. The returned function reports whether it is complete.
        """
        return self.gpu.begin_copy_out(self.reshape(-1).native, host)

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self.numpy(), dtype)

    def __repr__(self) -> str:
        return f"Array({np.array2string(self.numpy(), separator=', ')}, dtype={self.dtype}, GPU {self.gpu.index})"

    def __deepcopy__(self, memo: Any) -> "Array":
        return self.copy()

    def __reduce__(self) -> tuple:
        return _restored, (self.gpu.index, self.numpy())

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        """Describes these elements, so that other packages can access them without a copy."""
        self.gpu.synchronize()  # waits for all launches that write the elements
        return {**self._interface(), "stream": None}

    def _interface(self) -> dict[str, Any]:
        """Describes the array's memory in a dict, as NumPy's `__array_interface__` does."""
        first = runtime.pointer(self.base.data) + self.start * self.dtype.itemsize
        steps = None if self.contiguous else tuple(s * self.dtype.itemsize for s in self.strides)
        return {"shape": self.shape, "typestr": self.dtype.str, "data": (first, False), "strides": steps, "version": 3}

    def __dlpack_device__(self) -> dlpack.Place:
        """Returns DLPack's device type and device number."""
        return dlpack.CUDA, self.gpu.index

    def __dlpack__(self, *, stream: int | None = None, max_version: tuple[int, int] | None = None,
                   dl_device: dlpack.Place | None = None, copy: bool | None = None) -> Any:
        """Exports these elements to another package through DLPack, without a copy unless `copy` is
        True. Waits for all launches that write the elements, whichever stream the other package
        uses, unless `stream` is -1. Raises BufferError if `dl_device` is another device.
        """
        if dl_device not in (None, self.__dlpack_device__()):
            raise BufferError(f"This array is on DLPack device {self.__dlpack_device__()}. Received: "
                              f"dl_device={dl_device}. Move the tensor with .to(device) first.")
        source = self.copy() if copy else self
        if stream != -1:
            self.gpu.synchronize()
        return dlpack.make_capsule(foreign.as_numpy(source._interface(), source), self.__dlpack_device__(), max_version)


def empty(gpu: runtime.Gpu, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
    """Returns an uninitialised array."""
    dtype = np.dtype(dtype)
    shape = tuple(map(int, shape))
    return Array(gpu.memory(math.prod(shape), dtype), 0, shape, steps(shape), dtype)


def put(gpu: runtime.Gpu, host: np.ndarray) -> Array:
    """Copies a host array to a GPU."""
    out = empty(gpu, host.shape, host.dtype)
    write(host, out)
    return out


def move(gpu: runtime.Gpu, a: Array) -> Array:
    """Copies an array from another GPU to `gpu`. The copy is direct if the driver supports that;
    otherwise it goes through host memory.
    """
    from . import peers  # this import needs NVIDIA's bindings

    out = empty(gpu, a.shape, a.dtype)
    if a.size:
        trace.stop("a copy from one GPU to another")
        flat = (a if a.contiguous else a.copy()).reshape(-1)
        if not peers.copy(a.gpu, flat.native, gpu, out.reshape(-1).native):
            write(a.numpy(), out)
    return out


def number(gpu: runtime.Gpu, value: Any, dtype: DTypeLike) -> Array:
    """Returns `value` as an array of one element. Kernels receive a number in this form if it may
    change between two replays of a recording.
    """
    if isinstance(value, Array):
        return value
    if value == 1 and dtype == np.float64:
        return make_one(gpu)
    out = empty(gpu, (1,), dtype)
    fill(out, value)
    return out


@cache
def make_one(gpu: runtime.Gpu) -> Array:
    """Returns an array that contains only 1.0. All callers share it, so it must not be changed."""
    with trace.suspend_recording():
        return put(gpu, np.ones(1))


def adopt(gpu: runtime.Gpu, array: Any) -> Array:
    """Returns an array over another package's GPU memory, which `array.__cuda_array_interface__`
    describes, without a copy.
    """
    return _wrap_memory(gpu, array.__cuda_array_interface__, array)


def from_dlpack(gpu: runtime.Gpu, producer: Any) -> Array:
    """Imports another package's array on this GPU through DLPack. Copies the elements only if their
    memory is read-only.
    """
    stand_in, writeable = dlpack.stand_in(producer, foreign.stream_number(gpu))
    array = _wrap_memory(gpu, stand_in.__array_interface__, stand_in)
    return array if writeable else array.copy()


def _wrap_memory(gpu: runtime.Gpu, interface: dict[str, Any], owner: Any) -> Array:
    shape = tuple(interface["shape"])
    dtype = np.dtype(interface["typestr"])
    byte_steps = interface.get("strides")
    strides = steps(shape) if byte_steps is None else tuple(s // dtype.itemsize for s in byte_steps)
    gpu.settle()
    # number of elements in memory from the first to the last
    extent = 1 + sum((n - 1) * s for n, s in zip(shape, strides)) if math.prod(shape) else 0
    whole = {**interface, "strides": None, "shape": (extent,)}
    if min(strides, default=0) < 0:
        raise ValueError("An array with negative strides cannot be imported. Copy the array first.")
    return Array(GpuMemory(gpu, foreign.adopt(gpu, whole, owner)), 0, shape, strides, dtype)


def copy(a: Array, out: Array) -> None:
    """out = a, where `a` may have another dtype, or be broadcast from a smaller shape."""
    if np.broadcast_shapes(a.shape, out.shape) != out.shape:
        raise ValueError(f"An array of shape {a.shape} cannot be written into an array of shape {out.shape}.")
    strided.copy(*threads(out, a), a.memory, out.memory,
                 *strided.layout(out.shape, a.layout(out.shape), out.layout(out.shape)))


def fill(out: Array, value: Any) -> None:
    """out = value."""
    strided.fill(*threads(out), out.memory, out.dtype.type(value), *strided.layout(out.shape, out.layout(out.shape)))


def threads(out: Array, *inputs: Array) -> tuple[int, int]:
    """Returns the thread counts of `fours.threads` for these arrays. Threads handle four elements
    at a time only if all arrays are contiguous and have the same shape.
    """
    if all(a.shape == out.shape and a.contiguous for a in (*inputs, out)):
        return fours.threads(out.size, *inputs, out)
    return out.size, 0


def write(source: Any, out: Array) -> None:
    """out = source, a host or GPU array of the same shape and dtype. `out` must be contiguous."""
    if isinstance(source, Array):
        source = source if source.gpu is out.gpu else move(out.gpu, source)
        flat = (source if source.contiguous else source.copy()).reshape(-1).native
    else:
        flat = np.ascontiguousarray(source).reshape(-1)
    if out.size:
        out.gpu.copy_in(flat, out.reshape(-1).native)


def steps(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Returns the strides, in elements, of a C-contiguous array of this shape."""
    strides = []
    step = 1
    for n in reversed(shape):
        strides.append(step)
        step *= n
    return tuple(reversed(strides))


def _is_basic(part: Any) -> bool:
    """Whether this part of an index selects a view, not a copy."""
    return part is None or part is Ellipsis or (
        isinstance(part, (int, np.integer, slice)) and not isinstance(part, (bool, np.bool_)))


def _restored(index: int, values: np.ndarray) -> Array:
    return put(runtime.gpu(index), values)
