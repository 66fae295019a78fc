"""Where an array lives: which kernel twin serves it, and what to say when it cannot be had."""

import importlib
import pkgutil
import re
import threading
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any

import numpy as np

from ..errors import DeviceError
from . import threads, trace
from .buffers import ALIGNMENT, Pool, aligned_empty, current_pool, reusing
from .trace import Trace

__all__ = ["ALIGNMENT", "Device", "DeviceError", "Pool", "get", "get_num_threads", "reusing",
           "set_num_threads"]


class KernelModule:
    """The kernels of one file (`conv`, `pool`, ...) for one device, with that device's memory: `k` in every op.

    The kernel twin is imported when one of its functions is first used, so nothing pays for what it does not run.
    """

    def __init__(self, device: "Device", name: str) -> None:
        self._device, self._name = device, name
        self.empty = device.empty

    def __getattr__(self, function: str) -> Any:
        found = getattr(self._device.module(self._name), function)
        setattr(self, function, trace.watched(found, f"{self._name}.{function}"))
        return getattr(self, function)

    def zeros(self, shape: tuple[int, ...], dtype: Any) -> Any:
        array = self.empty(shape, dtype)
        self._device.kernels("arith").copy(0, array)
        return array


class Device:
    """The CPU: NumPy arrays, kernels for its threads. device_cuda.py has its twin."""

    is_gpu = False
    series = 1  # how many replays of the same sections in a row it does best at one go
    asks_back = False  # whether it calls what `when_short` was told where there is too little memory
    reuses_memory = False  # whether it hands out memory that nobody holds by itself, so that no pool need do so

    def __init__(self, name: str, package: str) -> None:
        self.name, self._package = name, package
        self._kernel_modules: dict[str, KernelModule] = {}

    def __repr__(self) -> str:
        return self.name

    def __reduce__(self) -> tuple:
        return get, (self.name,)  # a copy of a device is that device

    def module(self, name: str) -> ModuleType:
        """The module of that name of this device's twin, imported at its first use."""
        return importlib.import_module(f"{self._package}.{name}")

    def kernels(self, name: str) -> KernelModule:
        """The kernel module of that name ("conv"), as ops call it."""
        if name not in self._kernel_modules:
            self._kernel_modules[name] = KernelModule(self, name)
        return self._kernel_modules[name]

    def prepare(self, found: Iterable[tuple[Any, Any]], report: Callable[[int, int], None]) -> None:
        """Compiles or loads kernels, each for a dtype, as a `trace.DryRun` finds them.

        Calls `report(done, total)` where something has to be compiled.
        """
        self.module("jit").prepare(list(found), report)

    def begin(self, missing: Iterable[tuple[Any, Any]]) -> None:
        """Begins to compile kernels while the caller goes on. Whoever calls one of them waits for that one."""
        self.module("jit").begin(list(missing))

    def import_ahead(self) -> None:
        """Imports the kernels' compiler in a thread, while the caller reads data: both are there sooner."""
        threading.Thread(target=self.module, args=("jit",)).start()

    def all_kernels(self, dtypes: Iterable[Any]) -> list[tuple[Any, Any]]:
        """Every kernel there is, for each of these dtypes."""
        jit, folder = self.module("jit"), importlib.import_module(self._package)
        modules = [self.module(found.name) for found in pkgutil.iter_modules(folder.__path__)]
        kernels = {k.name: k for module in modules for k in jit.kernels_of(module).values()}
        return [(k, np.dtype(dtype)) for k in kernels.values() for dtype in dtypes]

    def trace(self) -> Trace:
        """An empty trace, for sections of kernels of this device."""
        return Trace(trace.HOST)

    def memory_left(self) -> int:
        """Bytes that can still be had, where that is known."""
        raise NotImplementedError("The CPU's memory is the system's: nobody knows how much of it is left.")

    def when_short(self, give_back: Callable[[], object]) -> None:
        """Has a method called where there is too little memory, before that is an error, as long as its object lives.
        """

    def transfer(self, source: Any, out: Any) -> None:
        """out = source, of the same shape and dtype, on this device or the host: by no kernel, and never recorded."""
        out[...] = source

    def dynamic(self, draw: Callable[[], Any], dtype: Any = np.float64, count: int = 1) -> Any:
        """`draw()`, a number for kernels or a tuple of `count` of them, which each replay of a recording draws anew."""
        recorder = trace.current()
        return draw() if recorder is None else recorder.dynamic(draw, dtype, count)

    def permute(self, seed: int, stream: int, order: Any) -> bool:
        """Writes 0..n-1 into `order` in the random order of that key, where the device can; else gives False."""
        return False

    def describe(self) -> dict[str, Any]:
        """What this device is and how it computes: processor, vector width, threads, kernel cache."""
        return self.module("machine").describe()

    def set_num_threads(self, count: int) -> None:
        """How many threads the kernels use from now on, whichever Python thread starts them. Raises ValueError where
        there are not so many.
        """
        threads.check_number(count)
        self.module("machine").set_num_threads(count)
        threads.share_number(count)

    def get_num_threads(self) -> int:
        threads.take_number()
        return self.module("machine").get_num_threads()

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Any:
        """An uninitialised array: from the current step's pool where there is one, else a fresh one."""
        pool = current_pool()
        return pool.empty(self, shape, dtype) if pool is not None else self.fresh(shape, dtype)

    def fresh(self, shape: tuple[int, ...], dtype: Any) -> Any:
        """An uninitialised array in memory that no other array has."""
        return aligned_empty(shape, dtype)

    def array(self, array: Any, dtype: Any = None) -> Any:
        """A copy of `array` on this device, in the form kernels take. On the CPU it begins on a cache line: a vector of
        weights that lies in two lines is loaded twice.
        """
        values = real_numbers(array, dtype)
        copy = aligned_empty(values.shape, values.dtype)
        copy[...] = values
        return copy

    def asarray(self, array: Any, dtype: Any = None) -> Any:
        """`array` on this device in the form kernels take: C-contiguous, aligned to its items, writeable."""
        return np.require(real_numbers(array, dtype), None, ["C", "A", "W"])

    def constant(self, array: np.ndarray) -> Any:
        """`array` on this device, for ops that take the same numbers whenever a recording runs again."""
        return self.asarray(array)

    def from_dlpack(self, producer: Any) -> Any:
        """What another package hands over by DLPack, in the form kernels take: itself where it is so already."""
        return self.asarray(np.from_dlpack(producer))

    def numpy(self, array: Any) -> np.ndarray:
        """The same values as a NumPy array in the host's memory."""
        return array


def get(name: str = "auto") -> Device:
    """The device of that name: "cpu", "cuda", "cuda:1"; "auto" is the CPU, whose kernels are the tuned ones.

    Raises DeviceError where the device cannot be used, ValueError where the name means nothing.
    """
    if name in ("auto", "cpu"):
        return _CPU
    if re.fullmatch(r"cuda(:\d+)?", str(name)):
        return _twin().get(int(name.partition(":")[2] or 0))
    raise ValueError(f"A device is named 'auto', 'cpu', 'cuda' or 'cuda:N'. Received: {name!r}.")


def real_numbers(array: Any, dtype: Any = None) -> np.ndarray:
    """NumPy's array of `array`. Raises TypeError where its items, or those it is to have, are no real numbers, and for
    another library's tensor that requires gradients.
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

_CPU = Device("cpu", "autoconv.backend.cpu")


def _twin() -> ModuleType:
    """What knows of GPUs: imported only where one is asked for."""
    return importlib.import_module(".device_cuda", __package__)


def set_num_threads(count: int) -> None:
    """How many threads the CPU's kernels use from now on, whichever Python thread starts them; more than there are
    processors only before the first kernel.

    Results are the same bits for any number. Raises ValueError for less than 1 or more than can be had.
    """
    get("cpu").set_num_threads(count)


def get_num_threads() -> int:
    """How many threads the CPU's kernels use."""
    return get("cpu").get_num_threads()
