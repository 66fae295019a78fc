"""Where an array lives: which kernel twin serves it, and what to say when it cannot be had."""

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
from .buffers import ALIGNMENT, Pool, aligned_empty, current_pool, reusing
from .kernel import Kernel, kernels_of
from .trace import Trace

__all__ = ["ALIGNMENT", "Device", "DeviceError", "Pool", "get", "get_num_threads", "reusing",
           "set_num_threads"]


class KernelModule:
    """The kernels of one file (`conv`, `pool`, ...) for one device, with that device's memory: `k` in every op.

    The kernel twin is imported when one of its functions is first used, so nothing pays for what it does not run.
    """

    def __init__(self, device: "Device", name: str) -> None:
        self._device = device
        self._name = name
        self.empty = device.empty

    def __getattr__(self, function: str) -> Any:
        found = getattr(self._device.module(self._name), function)
        setattr(self, function, trace.watched(found, f"{self._name}.{function}"))
        return getattr(self, function)

    def zeros(self, shape: tuple[int, ...], dtype: Any) -> Any:
        array = self.empty(shape, dtype)
        self._device.kernels("arith").copy(0, array)
        return array


class Device(ABC):
    """A place for arrays, with the kernels that serve them. Code above `backend` calls these methods, and never checks
    which class a device has: `CpuDevice` here, `CudaDevice` in cuda/device.py.
    """

    series: int  # number of replays of the same sections that are best launched together
    is_synchronous: bool  # whether a kernel has finished when its call returns, so that the host's clock times it
    captures_graphs: bool  # whether replays are captured as graphs, about which `graph_report` tells
    keeps_steps: bool  # whether recorded steps stay until `when_short` frees them, and so read from a `Staging`
    needs_order: bool  # whether `take_rows` needs the samples' order in an array, even if they are not shuffled
    reuses_memory: bool  # whether `fresh` hands out freed memory again, so that no pool need do so

    def __init__(self, name: str, package: str) -> None:
        self.name = name
        self._package = package
        self._kernel_modules: dict[str, KernelModule] = {}

    def __repr__(self) -> str:
        return self.name

    def __reduce__(self) -> tuple:
        return get, (self.name,)  # a copy of a device is that device

    def module(self, name: str) -> ModuleType:
        """Returns the module of that name of this device's twin, imported at its first use."""
        return importlib.import_module(f"{self._package}.{name}")

    def kernels(self, name: str) -> KernelModule:
        """Returns the kernel module of that name ("conv"), as ops call it."""
        if name not in self._kernel_modules:
            self._kernel_modules[name] = KernelModule(self, name)
        return self._kernel_modules[name]

    # Kernels: compiling, recording.

    @abstractmethod
    def prepare(self, found: Iterable[tuple[Kernel, np.dtype]], report: Callable[[int, int], None]) -> None:
        """Compiles or loads kernels, each for a dtype, as a `trace.DryRun` finds them.

        Calls `report(done, total)` if something has to be compiled.
        """

    @abstractmethod
    def begin(self, missing: Iterable[tuple[Kernel, np.dtype]]) -> None:
        """Begins to compile kernels while the caller goes on. Whoever calls one of them waits for that one."""

    @abstractmethod
    def import_ahead(self) -> None:
        """Imports the kernels' compiler in a thread, while the caller reads data: both are there sooner."""

    @abstractmethod
    def all_kernels(self, dtypes: Iterable[DTypeLike]) -> list[tuple[Kernel, np.dtype]]:
        """Returns every kernel there is, for each of these dtypes."""

    @abstractmethod
    def trace(self) -> Trace:
        """Returns an empty trace, for sections of kernels of this device."""

    def dynamic(self, draw: Callable[[], Any], dtype: Any = np.float64, count: int = 1) -> Any:
        """`draw()`, a number for kernels or a tuple of `count` of them, which each replay of a recording draws anew."""
        recorder = trace.current()
        return draw() if recorder is None else recorder.dynamic(draw, dtype, count)

    @abstractmethod
    def get_num_threads(self) -> int:
        """Returns the number of the host's threads that run kernels; 0 if the host runs none."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """Returns what this device is and how it computes, in words."""

    # Memory.

    @abstractmethod
    def has_room_for(self, size: int) -> bool:
        """Whether data of so many bytes may stay in the device's memory."""

    @abstractmethod
    def when_short(self, give_back: Callable[[], object]) -> None:
        """Has a method called when there is too little memory, before that is an error, as long as
        its object lives; only a device that `keeps_steps` calls it.
        """

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Any:
        """Returns an uninitialised array: from the current step's pool if there is one, else a fresh one."""
        pool = current_pool()
        return pool.empty(self, shape, dtype) if pool is not None else self.fresh(shape, dtype)

    @abstractmethod
    def fresh(self, shape: tuple[int, ...], dtype: Any) -> Any:
        """Returns an uninitialised array in memory that no other array has."""

    @abstractmethod
    def writes_to(self, array: Any) -> bool:
        """Whether kernels can write to `array`, an array of this device's or of the host's."""

    # From and to other arrays.

    @abstractmethod
    def array(self, array: Any, dtype: Any = None) -> Any:
        """Returns a copy of `array` on this device, in the form kernels take."""

    @abstractmethod
    def asarray(self, array: Any, dtype: Any = None) -> Any:
        """Returns `array` on this device in the form kernels take, itself if it has that form already."""

    @abstractmethod
    def placed(self, array: Any, dtype: Any = None) -> Any:
        """Returns a data set's `array` where `take_rows` reads it; a device with its own memory gets it in `dtype`."""

    @abstractmethod
    def constant(self, array: np.ndarray) -> Any:
        """Returns `array` on this device, for ops that take the same numbers whenever a recording runs again."""

    @abstractmethod
    def from_dlpack(self, producer: Any) -> Any:
        """Returns what another package hands over by DLPack, in the form kernels take: without a copy if possible."""

    @abstractmethod
    def numpy(self, array: Any) -> np.ndarray:
        """Returns the same values as a NumPy array in the host's memory."""

    @abstractmethod
    def transfer(self, source: Any, out: Any) -> None:
        """out = source, of the same shape and dtype, on this device or the host: by no kernel, and never recorded."""

    @abstractmethod
    def permute(self, seed: int, stream: int, order: Any) -> bool:
        """Writes 0..n-1 into `order` in the random order of that key, if the device can; else returns False."""


class CpuDevice(Device):
    """The CPU: NumPy arrays, kernels for its threads. It is not in cpu/, whose import sets up
    OpenMP and the heap for kernels: that waits for the first kernel.
    """

    series = 1
    is_synchronous = True
    captures_graphs = keeps_steps = needs_order = reuses_memory = False

    def prepare(self, found: Iterable[tuple[Kernel, np.dtype]], report: Callable[[int, int], None]) -> None:
        self.module("jit").prepare(list(found), report)

    def begin(self, missing: Iterable[tuple[Kernel, np.dtype]]) -> None:
        self.module("jit").begin(list(missing))

    def import_ahead(self) -> None:
        threading.Thread(target=self.module, args=("jit",)).start()

    def all_kernels(self, dtypes: Iterable[DTypeLike]) -> list[tuple[Kernel, np.dtype]]:
        folder = importlib.import_module(self._package)
        modules = [self.module(found.name) for found in pkgutil.iter_modules(folder.__path__)]
        kernels = {k.name: k for module in modules for k in kernels_of(module).values()}
        usable = [k for k in kernels.values() if k.vector_bytes <= self.module("simd").VECTOR_BYTES]
        return [(k, np.dtype(dtype)) for k in usable for dtype in dtypes]

    def trace(self) -> Trace:
        return Trace(trace.HOST)

    def describe(self) -> dict[str, Any]:
        """Returns the processor, vector width, threads and kernel cache."""
        return self.module("machine").describe()

    def set_num_threads(self, count: int) -> None:
        """Sets the number of threads for kernels, whichever Python thread starts them. Raises
        ValueError if there are not so many.
        """
        threads.check_number(count)
        self.module("machine").set_num_threads(count)
        threads.share_number(count)

    def get_num_threads(self) -> int:
        threads.take_number()
        return self.module("machine").get_num_threads()

    def has_room_for(self, size: int) -> bool:
        """Data stay where they are. The memory is the system's: how much of it is left is not known."""
        return True

    def when_short(self, give_back: Callable[[], object]) -> None:
        """Does nothing."""

    def fresh(self, shape: tuple[int, ...], dtype: Any) -> Any:
        return aligned_empty(shape, dtype)

    def writes_to(self, array: Any) -> bool:
        return True

    def array(self, array: Any, dtype: Any = None) -> Any:
        """Returns a copy of `array`. It begins on a cache line: a vector of weights that lies in two is loaded twice.
        """
        values = real_numbers(array, dtype)
        copy = aligned_empty(values.shape, values.dtype)
        copy[...] = values
        return copy

    def asarray(self, array: Any, dtype: Any = None) -> Any:
        """Returns `array` in the form kernels take: C-contiguous, aligned to its items, writeable."""
        return np.require(real_numbers(array, dtype), None, ["C", "A", "W"])

    def placed(self, array: Any, dtype: Any = None) -> Any:
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
    """The device of that name: "cpu", "cuda", "cuda:1"; "auto" is the CPU, whose kernels are the tuned ones.

    Raises DeviceError where the device cannot be used, ValueError where the name means nothing.
    """
    if name in ("auto", "cpu"):
        return _CPU
    if re.fullmatch(r"cuda(:\d+)?", str(name)):
        return _cuda().get(int(name.partition(":")[2] or 0))
    raise ValueError(f"A device is named 'auto', 'cpu', 'cuda' or 'cuda:N'. Received: {name!r}.")


def real_numbers(array: Any, dtype: Any = None) -> np.ndarray:
    """NumPy's array of `array`. Raises TypeError where its items, or those it is to have, are no
    real numbers, and for another library's tensor that requires gradients.
    """
    try:
        values = np.asarray(array)
    except RuntimeError as error:
        remedy = " Gradients end at another library's tensors: pass x.detach()." if "grad" in str(error) else ""
        raise TypeError(f"Arrays must be readable by NumPy. Received: {type(array).__module__}."
                        f"{type(array).__name__}: {error}{remedy}") from error
    wanted = values.dtype if dtype is None else np.dtype(dtype)
    for found in (values.dtype, wanted):
        if found.kind in "cSU" or (found.kind in "OMm" and found is wanted):
            remedy = " Take its .real and .imag, or np.abs of it." if found.kind == "c" else ""
            raise TypeError(f"Tensors hold real numbers. Received dtype {found}.{remedy}")
    return np.asarray(values, wanted)


def without_gradient(value: Any) -> Any:
    """Returns `value`, of another library's tensor that requires gradients its numbers only: for data."""
    return value.detach() if getattr(value, "requires_grad", False) else value


def share_memory(a: Any, b: Any) -> bool:
    """Whether two arrays of one device may lie in the same memory."""
    if isinstance(a, np.ndarray):
        return np.may_share_memory(a, b)
    return a.base is b.base


def of_dlpack(producer: Any) -> Device:
    """The device that another package's array is on. Raises DeviceError where autoconv has none of that kind."""
    kind, index = map(int, producer.__dlpack_device__())
    if kind not in _DLPACK:
        raise DeviceError(f"DLPack's kind of device {kind} is neither the host's memory nor an NVIDIA GPU's. Copy "
                          "the array to the host first.")
    return get(_DLPACK[kind] if _DLPACK[kind] == "cpu" else f"cuda:{index}")


_DLPACK = {1: "cpu", 2: "cuda", 3: "cpu", 13: "cuda"}  # 3: the host's, pinned; 13: managed, on both sides

_CPU = CpuDevice("cpu", "autoconv.kernels.cpu")


def _cuda() -> ModuleType:
    """Imports the module of GPUs, when one is asked for."""
    return importlib.import_module(".cuda.device", __package__)


def gpus() -> dict[str, str]:
    """Returns each GPU's description by its name, or the reason why it cannot be used; at least
    that of "cuda". It opens none: that takes a second.
    """
    return _cuda().describe_all()


def gpu_versions() -> dict[str, str | None]:
    """Returns the versions of what compiles and runs kernels for GPUs; {} if it is not installed."""
    return _cuda().versions()


def set_num_threads(count: int) -> None:
    """How many threads the CPU's kernels use from now on, whichever Python thread starts them; more than there are
    processors only before the first kernel.

    Results are the same bits for any number. Raises ValueError for less than 1 or more than can be had.
    """
    _CPU.set_num_threads(count)


def get_num_threads() -> int:
    """How many threads the CPU's kernels use."""
    return _CPU.get_num_threads()
