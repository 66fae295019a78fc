"""Defines devices. A device consists of the memory that holds arrays and the kernels that process
them.
"""

import importlib
import pkgutil
import re
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from ..engine.errors import DeviceError
from . import threads, trace
from .buffers import ALIGNMENT, Pool, RecordingPool, aligned_empty, current_pool, reusing
from .kernel import Kernel, find_kernels
from .trace import Trace

__all__ = ["ALIGNMENT", "Device", "DeviceError", "Pool", "RecordingPool", "get", "get_num_threads", "reusing",
           "set_num_threads"]


class KernelModule:
    """The kernels of one file (`conv`, `pool`, ...) for one device, and functions that allocate
    arrays on that device. Every op receives an instance as its parameter `k`.

    The file is imported when one of its functions is first used, so that no time is spent on files
    that are never used.
    """

    def __init__(self, device: "Device", name: str) -> None:
        self._device = device
        self._name = name
        self.empty = device.empty

    def __getattr__(self, function: str) -> Any:
        attribute = getattr(self._device.module(self._name), function)
        setattr(self, function, trace.watch_calls(attribute, f"{self._name}.{function}"))
        return getattr(self, function)

    def zeros(self, shape: tuple[int, ...], dtype: DTypeLike) -> Any:
        array = self.empty(shape, dtype)
        self._device.kernels("arith").copy(0, array)
        return array


class Device(ABC):
    """A device that stores arrays and runs kernels on them. Code outside the package `kernels`
    calls these methods and never checks the class of a device. The subclasses are `CpuDevice` in
    this file and `CudaDevice` in cuda/device.py.
    """

    series: int  # number of replays of the same sections that should be launched together
    # whether a kernel's call returns after the kernel has finished, so that a clock can time it
    is_synchronous: bool
    captures_graphs: bool  # whether replays are captured as graphs, which `graph_report` describes
    # whether recorded steps are kept between calls; such steps read their batches from a `Staging`
    keeps_steps: bool
    # whether `take_rows` needs an array with the order of the samples, even without shuffling
    needs_order: bool
    drops_results: bool  # whether `tape.drop` drops large arrays
    reuses_memory: bool  # whether `fresh` itself reuses freed memory, so that no pool is needed

    def __init__(self, name: str, package: str) -> None:
        self.name = name
        self._package = package
        self._kernel_modules: dict[str, KernelModule] = {}

    def __repr__(self) -> str:
        return self.name

    def __reduce__(self) -> tuple:
        return get, (self.name,)  # copying a device returns the same device

    def module(self, name: str) -> ModuleType:
        """Returns the module `name` from this device's folder, imported on first use."""
        return importlib.import_module(f"{self._package}.{name}")

    def kernels(self, name: str) -> KernelModule:
        """Returns the `KernelModule` with this name, such as "conv", for use in ops."""
        if name not in self._kernel_modules:
            self._kernel_modules[name] = KernelModule(self, name)
        return self._kernel_modules[name]

    # Methods that compile and record kernels.

    @abstractmethod
    def prepare(self, kernels: Iterable[tuple[Kernel, np.dtype]], report: Callable[[int, int], None]) -> None:
        """Compiles kernels, or loads them from the disk cache. Each kernel is paired with a dtype,
        as in the kernels of a `trace.DryRun`.

        Calls `report(done, total)` repeatedly if any kernel must be compiled.
        """

    @abstractmethod
    def begin(self, missing: Iterable[tuple[Kernel, np.dtype]]) -> None:
        """Starts to compile kernels in the background, if the device supports that. A later call of
        one of these kernels waits until that kernel is compiled.
        """

    @abstractmethod
    def import_ahead(self) -> None:
        """Starts importing the kernels' compiler in a background thread, so that the caller can,
        for instance, read data at the same time.
        """

    @abstractmethod
    def all_kernels(self, dtypes: Iterable[DTypeLike]) -> list[tuple[Kernel, np.dtype]]:
        """Returns every kernel that this device can run, paired with each of these dtypes."""

    @abstractmethod
    def trace(self) -> Trace:
        """Returns an empty trace that can record calls of this device's kernels."""

    def dynamic(self, draw: Callable[[], Any], dtype: DTypeLike = np.float64, count: int = 1) -> Any:
        """Returns the result of `draw()`, which is a number or a tuple of `count` numbers, for use
        as kernel arguments. During a recording, returns placeholders instead, and each replay calls
        `draw` again.
        """
        recorder = trace.current()
        return draw() if recorder is None else recorder.dynamic(draw, dtype, count)

    @abstractmethod
    def get_num_threads(self) -> int:
        """Returns the number of host threads that run kernels; 0 if no kernel runs on the host."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """Returns a dict that describes the device and its compiler."""

    # Methods that manage memory.

    @abstractmethod
    def can_hold(self, size: int) -> bool:
        """Returns whether the device has enough free memory to keep `size` bytes of data."""

    @abstractmethod
    def on_low_memory(self, release: Callable[[], object]) -> None:
        """Registers the bound method `release`, which frees memory. If an allocation fails, the
        device calls `release` and tries again. The device does not keep the method's object alive.
        If `keeps_steps` is False, the device never calls `release`.
        """

    def empty(self, shape: tuple[int, ...], dtype: DTypeLike) -> Any:
        """Returns an uninitialised array. Its memory comes from the current step's pool, or is
        newly allocated outside a step.
        """
        pool = current_pool()
        return pool.empty(self, shape, dtype) if pool is not None else self.fresh(shape, dtype)

    @abstractmethod
    def fresh(self, shape: tuple[int, ...], dtype: DTypeLike) -> Any:
        """Returns an uninitialised array in memory that no other array uses."""

    @abstractmethod
    def writes_to(self, array: Any) -> bool:
        """Returns whether this device's kernels can write to `array`. The array is on this device
        or on the host.
        """

    # Methods that convert and copy arrays.

    @abstractmethod
    def array(self, array: Any, dtype: DTypeLike | None = None) -> Any:
        """Returns a copy of `array` on this device, in the layout that kernels require."""

    @abstractmethod
    def asarray(self, array: Any, dtype: DTypeLike | None = None) -> Any:
        """Returns `array` on this device, in the layout that kernels require. The array is not
        copied if it already is on this device in that layout.
        """

    @abstractmethod
    def place_data(self, array: Any, dtype: DTypeLike | None = None) -> Any:
        """Returns a data set's `array` in memory that `take_rows` can read. If the device has its
        own memory, the array is copied there and converted to `dtype`.
        """

    @abstractmethod
    def constant(self, array: np.ndarray) -> Any:
        """Returns `array` on this device, as a constant: every replay of a recording uses the same
        values.
        """

    @abstractmethod
    def from_dlpack(self, producer: Any) -> Any:
        """Imports another package's array through DLPack and returns it in the layout that kernels
        require. The array is copied only if its own layout is different.
        """

    @abstractmethod
    def numpy(self, array: Any) -> np.ndarray:
        """Returns the values of `array` as a NumPy array in host memory."""

    @abstractmethod
    def transfer(self, source: Any, out: Any) -> None:
        """Copies `source` to `out`, which has the same shape and dtype. Each of the two arrays is
        on this device or on the host. The copy runs no kernel and is never recorded.
        """

    @abstractmethod
    def permute(self, seed: int, stream: int, order: Any) -> bool:
        """Writes the integers 0..n-1 to `order`, in the random order given by (seed, stream), and
        returns True. Returns False without writing if this device has no kernel for that.
        """


class CpuDevice(Device):
    """The CPU as a device, with NumPy arrays and multi-threaded kernels. This class is not in the
    package `cpu`, because importing that package configures OpenMP and the heap. That should not
    happen before the first kernel is needed.
    """

    series = 1
    is_synchronous = drops_results = True
    captures_graphs = keeps_steps = needs_order = reuses_memory = False

    def prepare(self, kernels: Iterable[tuple[Kernel, np.dtype]], report: Callable[[int, int], None]) -> None:
        self.module("jit").prepare(list(kernels), report)

    def begin(self, missing: Iterable[tuple[Kernel, np.dtype]]) -> None:
        self.module("jit").begin(list(missing))

    def import_ahead(self) -> None:
        # NumPy's random modules import each other, so two importing threads may block each other
        importlib.import_module("numpy.random")
        threading.Thread(target=self.module, args=("jit",)).start()

    def all_kernels(self, dtypes: Iterable[DTypeLike]) -> list[tuple[Kernel, np.dtype]]:
        folder = importlib.import_module(self._package)
        modules = [self.module(module.name) for module in pkgutil.iter_modules(folder.__path__)]
        kernels = {k.name: k for module in modules for k in find_kernels(module).values()}
        usable = [k for k in kernels.values() if k.vector_bytes <= self.module("simd").VECTOR_BYTES]
        return [(k, np.dtype(dtype)) for k in usable for dtype in dtypes]

    def trace(self) -> Trace:
        return Trace(trace.HOST)

    def describe(self) -> dict[str, Any]:
        """Returns a dict with the processor, vector width, number of threads and kernel cache."""
        return self.module("machine").describe()

    def set_num_threads(self, count: int) -> None:
        """Sets the number of threads for the kernels that any Python thread starts. Raises
        ValueError if `count` threads are not available.
        """
        threads.check_number(count)
        self.module("machine").set_num_threads(count)
        threads.share_number(count)

    def get_num_threads(self) -> int:
        threads.take_number()
        return self.module("machine").get_num_threads()

    def can_hold(self, size: int) -> bool:
        """Returns True, because the amount of free host memory is unknown."""
        return True

    def on_low_memory(self, release: Callable[[], object]) -> None:
        """Does nothing, because this device keeps no recorded steps."""

    def fresh(self, shape: tuple[int, ...], dtype: DTypeLike) -> Any:
        return aligned_empty(shape, dtype)

    def writes_to(self, array: Any) -> bool:
        return True

    def array(self, array: Any, dtype: DTypeLike | None = None) -> Any:
        """Returns a copy of `array` that is aligned to a cache line, because vectors of weights
        load more slowly if they cross a cache line boundary.
        """
        values = real_numbers(array, dtype)
        copy = aligned_empty(values.shape, values.dtype)
        copy[...] = values
        return copy

    def asarray(self, array: Any, dtype: DTypeLike | None = None) -> Any:
        """Returns `array` in the layout that kernels require: C-contiguous, writeable, and aligned
        to the size of an element.
        """
        return np.require(real_numbers(array, dtype), None, ["C", "A", "W"])

    def place_data(self, array: Any, dtype: DTypeLike | None = None) -> Any:
        return array

    def constant(self, array: np.ndarray) -> Any:
        return self.asarray(array)

    def from_dlpack(self, producer: Any) -> Any:
        return self.asarray(np.from_dlpack(producer))

    def numpy(self, array: Any) -> np.ndarray:
        return array

    def transfer(self, source: Any, out: Any) -> None:
        out[...] = source

    def permute(self, seed: int, stream: int, order: Any) -> bool:
        return False


def get(name: str = "auto") -> Device:
    """Returns the device with this name, such as "cpu", "cuda" or "cuda:1". "auto" means the CPU,
    because autoconv's kernels are tuned for the CPU.

    Raises DeviceError if the device cannot be used, and ValueError for an invalid name.
    """
    if name in ("auto", "cpu"):
        return _CPU
    if re.fullmatch(r"cuda(:\d+)?", str(name)):
        return _cuda().get(int(name.partition(":")[2] or 0))
    raise ValueError(f"device must be 'auto', 'cpu', 'cuda' or 'cuda:N'. Received: {name!r}.")


def real_numbers(array: Any, dtype: DTypeLike | None = None) -> np.ndarray:
    """Converts `array` to a NumPy array. Raises TypeError if the array's dtype or the requested
    `dtype` is not real, or if `array` is another library's tensor that requires gradients.
    """
    try:
        values = np.asarray(array)
    except ValueError as error:
        if "inhomogeneous" not in str(error):
            raise
        raise ValueError("All rows of an array must have the same shape. Received: a "
                         f"{type(array).__name__} of {len(array)} items whose shapes differ. Pad, crop or resize the "
                         "items to one shape.") from None
    except RuntimeError as error:
        remedy = (" Gradients cannot flow into another library's tensor. Pass x.detach()."
                  if "grad" in str(error) else "")
        raise TypeError(f"NumPy cannot read an object of type {type(array).__module__}.{type(array).__name__}: "
                        f"{error}{remedy}") from error
    result_dtype = values.dtype if dtype is None else np.dtype(dtype)
    for candidate in (values.dtype, result_dtype):
        if candidate.kind in "cSU" or (candidate.kind in "OMm" and candidate is result_dtype):
            remedy = " Pass the array's .real and .imag, or np.abs(array)." if candidate.kind == "c" else ""
            raise TypeError(f"Tensors can contain only real numbers. Received: dtype {candidate}.{remedy}")
    return np.asarray(values, result_dtype)


def detach(value: Any) -> Any:
    """Returns `value` for use as data. If `value` is a tensor that requires gradients, returns a
    detached tensor with the same values.
    """
    return value.detach() if getattr(value, "requires_grad", False) else value


def share_memory(a: Any, b: Any) -> bool:
    """Returns whether two arrays on the same device may share memory."""
    if isinstance(a, np.ndarray):
        return np.may_share_memory(a, b)
    return a.base is b.base


def find_dlpack_device(producer: Any) -> Device:
    """Returns the autoconv device for the memory of another package's array. Raises DeviceError if
    autoconv does not support that type of device.
    """
    kind, index = map(int, producer.__dlpack_device__())
    if kind not in _DLPACK:
        raise DeviceError("autoconv supports only host memory and NVIDIA GPUs through DLPack. "
                          f"Received: DLPack device type {kind}. Copy the array to the host first.")
    return get(_DLPACK[kind] if _DLPACK[kind] == "cpu" else f"cuda:{index}")


# DLPack device types; 3 is pinned host memory, 13 is managed memory, accessible from host and GPU
_DLPACK = {1: "cpu", 2: "cuda", 3: "cpu", 13: "cuda"}

_CPU = CpuDevice("cpu", "autoconv.kernels.cpu")


def _cuda() -> ModuleType:
    """Returns the module of the GPU device class, imported on first use."""
    return importlib.import_module(".cuda.device", __package__)


def gpus() -> dict[str, str]:
    """Returns a dict with the description of each GPU by device name, or the reason why the GPU
    cannot be used. The dict has at least the key "cuda". This function does not open the GPUs,
    because opening a GPU takes a second.
    """
    return _cuda().describe_all()


def gpu_versions() -> dict[str, str | None]:
    """Returns the versions of the packages that compile and run GPU kernels. Returns {} if these
    packages are not installed.
    """
    return _cuda().versions()


def set_num_threads(count: int) -> None:
    """Sets the number of threads for the CPU's kernels, whichever Python thread calls them. A
    number above the processor count is allowed only before the first kernel runs.

    Results have the same bits for any number of threads. Raises ValueError if the number is below 1
    or above the maximum.
    """
    _CPU.set_num_threads(count)


def get_num_threads() -> int:
    """Returns the number of threads for the CPU's kernels."""
    return _CPU.get_num_threads()
