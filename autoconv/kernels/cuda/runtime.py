"""The one door to numba-cuda: GPUs, their memory and streams, and how a kernel is declared, compiled and launched.

All work on a GPU goes to one stream, in order. So memory can be handed out again as soon as nobody holds it: what was
launched before reads it before what is launched after writes it. Where Numba's simulator takes the GPU's place
(NUMBA_ENABLE_CUDASIM=1), all of this works the same, only slowly.
"""

import math
import re
import sys
import threading
from collections.abc import Callable, Iterator
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np
from numba import cuda
from numba.cuda.core import config, sigutils
from numba.cuda.cudadrv.driver import CudaAPIError

from ...errors import DeviceError
from ...precision import get_precision
from . import driver

SIMULATED = driver.simulated()

# Threads of a block, and blocks of a launch at most: a thread takes items until none is left. The simulator's are few,
# as it runs each thread as one of Python's, and odd, so that tiny arrays already have ragged ends.
THREADS, BLOCKS = (3, 2) if SIMULATED else (256, 1 << 16)


def _shared_array(self: Any, shape: Any, dtype: Any, alignment: int = 0) -> np.ndarray:
    """A block's shared array, known by the line that asks for it. The simulator's own may make one for each of two
    threads that ask at once.
    """
    caller = sys._getframe(1)
    place = caller.f_code.co_filename, caller.f_lineno
    return self._allocations.setdefault(place, np.empty(shape, dtype))


if SIMULATED:
    from numba.cuda.simulator.kernelapi import FakeCUDAShared

    FakeCUDAShared.array = _shared_array  # type: ignore[method-assign]
    sys.setswitchinterval(5e-4)  # its threads fight over the interpreter with the one that waits for them

config.CUDA_LOW_OCCUPANCY_WARNINGS = 0  # a small net makes small launches

# Python's functions raise where the GPU's give infinity or NaN, so the simulator takes NumPy's.
_functions: Any = np if SIMULATED else math
exp, log, log1p, sqrt, tanh = (getattr(_functions, name) for name in ("exp", "log", "log1p", "sqrt", "tanh"))

# A helper that is compiled into the kernels that call it: always, as a thread's own arrays then stay in registers.
inline = cuda.jit(device=True) if SIMULATED else cuda.jit(device=True, forceinline=True)

if not SIMULATED:  # what an instruction of PTX is declared with
    from llvmlite import ir  # noqa: F401
    from numba.cuda import cgutils, types  # noqa: F401
    from numba.cuda.extending import intrinsic  # noqa: F401

_current = threading.local()  # the number of the GPU that this thread's launches go to


class Memory:
    """A piece of a GPU's memory, as a flat array `data` of one dtype. Given back when nobody holds it any more."""

    __slots__ = ("_free", "data", "gpu")

    def __init__(self, gpu: "Gpu", data: Any, free: list | None) -> None:
        self.gpu, self.data, self._free = gpu, data, free

    def __del__(self) -> None:
        if self._free is not None:
            self._free.append(self.data)


class Gpu:
    """One GPU: its stream, and the memory that was freed and waits to be used again."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.has_tensor_cores = SIMULATED or driver.capability(index) >= (8, 0)  # that take float32
        self._free: dict[tuple[int, np.dtype], list] = {}
        self.enter()
        self.stream = 0 if SIMULATED else cuda.stream()
        self.noted: list[tuple[Callable, tuple]] | None = None  # launches, where somebody wants to run them again

    def enter(self) -> None:
        """Makes this GPU the one that this thread's calls go to."""
        if getattr(_current, "index", None) != self.index:
            cuda.select_device(self.index)
            _current.index = self.index

    def memory(self, size: int, dtype: Any) -> Memory:
        """Memory for `size` items, whose values mean nothing. Raises DeviceError where there is not enough."""
        key = (max(size, 1), np.dtype(dtype))
        free = self._free.setdefault(key, [])
        try:
            return Memory(self, free.pop(), free)
        except IndexError:
            return Memory(self, self._allocate(*key), free)

    def _allocate(self, size: int, dtype: np.dtype) -> Any:
        self.enter()
        for last in (False, True):
            try:
                return cuda.device_array(size, dtype)
            except (CudaAPIError, MemoryError) as error:
                if not _out_of_memory(error):
                    raise
                if last:
                    raise DeviceError(self._too_little(size * dtype.itemsize)) from error
                self.release()

    def _too_little(self, asked: int) -> str:
        free, total = cuda.current_context().get_memory_info()
        return (f"GPU number {self.index} is out of memory: {asked / 2**20:,.1f} MiB were asked for, "
                f"{free / 2**20:,.1f} of {total / 2**20:,.1f} MiB are free. Use a smaller batch_size, or end other "
                "programs on this GPU.")

    def release(self) -> None:
        """Gives all memory that nobody uses back to the driver."""
        self.synchronize()
        for free in self._free.values():
            free.clear()

    def synchronize(self) -> None:
        """Waits until all that was launched is done."""
        if not SIMULATED:
            self.enter()
            self.stream.synchronize()

    def uses_tensor_cores(self, dtype: Any) -> bool:
        """Whether numbers of this dtype are multiplied on tensor cores."""
        return self.has_tensor_cores and np.dtype(dtype) == np.float32 and get_precision() == "tf32"

    def copy_in(self, host: np.ndarray, native: Any) -> None:
        """From the host's memory, of the same shape and dtype, C-contiguous."""
        self.enter()
        native.copy_to_device(host, stream=self.stream)

    def copy_out(self, native: Any, host: np.ndarray) -> None:
        """Into the host's memory, of the same shape and dtype; waits until it is there."""
        self.enter()
        native.copy_to_host(host, stream=self.stream)
        self.synchronize()


@cache
def gpu(index: int) -> Gpu:
    """GPU number `index`, opened. Raises DeviceError where it cannot be used."""
    driver.check(index)
    return Gpu(index)


def pointer(native: Any) -> int:
    """The address of an array's first item."""
    return native.ctypes.data if SIMULATED else int(native.device_ctypes_pointer.value or 0)


def adopt(interface: dict[str, Any], owner: Any) -> Any:
    """Numba's array over the memory that a `__cuda_array_interface__` shows, without a copy."""
    if SIMULATED:
        return cuda.cudadrv.devicearray.FakeCUDAArray(np.asarray(_Shown(interface, owner)))
    return cuda.from_cuda_array_interface(interface, owner=owner)


class _Shown:
    """An array in the host's memory that the simulator takes for a GPU's."""

    def __init__(self, interface: dict[str, Any], owner: Any) -> None:
        self.__array_interface__, self.owner = {**interface, "version": 3}, owner


class OnGpu:
    """What a kernel takes as an array: `native` is Numba's view of it, `gpu` where it is."""

    __slots__ = ()

    @property
    def native(self) -> Any:
        raise NotImplementedError

    @property
    def gpu(self) -> Gpu:
        raise NotImplementedError


class Kernel:
    """A function compiled for a GPU's threads; how many of them run it, `launch` is told.

    `signature` is Numba's, with T for the floating type, for what is compiled ahead. Other types are compiled when
    they come.
    """

    dtypes: tuple[str, ...] = ("float32", "float64")  # what it is for ...
    tensor_cores: bool | None = None  # ... and whether only where such are used, or only where not

    def __init__(self, function: Callable, signature: str, name: str) -> None:
        self.name = f"{function.__module__.rpartition('.')[2]}.{name}"
        self.function, self.signature, self.__doc__ = function, signature, function.__doc__
        self._dispatcher = cuda.jit(function)
        self._ready: set[np.dtype] = set()

    def launch(self, blocks: int | tuple[int, ...], threads: int, arguments: tuple) -> None:
        """Runs it on the GPU of its arrays, in the order of that GPU's stream."""
        target = next(a.gpu for a in arguments if isinstance(a, OnGpu))
        if target.noted is not None:
            target.noted.append((self.launch, (blocks, threads, arguments)))
        target.enter()
        natives = [a.native if isinstance(a, OnGpu) else a for a in arguments]
        self._dispatcher[blocks, threads, target.stream](*natives)

    def types(self, dtype: Any) -> tuple:
        """Numba's types of its parameters for one floating type."""
        return sigutils.normalize_signature(re.sub(r"\bT\b", str(np.dtype(dtype)), self.signature))[0]

    def compile(self, dtype: Any) -> None:
        """Compiles for one floating type and the current GPU, so that the first launch need not wait."""
        dtype = np.dtype(dtype)
        if dtype not in self._ready and not SIMULATED:
            self._dispatcher.compile(self.types(dtype))
        self._ready.add(dtype)

    def compiled_before(self, dtype: Any) -> bool:
        return np.dtype(dtype) in self._ready

    def serves(self, dtype: Any, tensor_cores: bool) -> bool:
        """Whether it is ever launched for this dtype, where tensor cores are used or not."""
        return str(np.dtype(dtype)) in self.dtypes and self.tensor_cores in (None, tensor_cores)


class ItemKernel(Kernel):
    """A function that runs once for each of `count` items: `kernel(count, *arguments)`.

    Its first parameter is that count; it goes `for i in range(cuda.grid(1), count, cuda.gridsize(1))`.
    """

    def __call__(self, count: int, *arguments: Any) -> None:
        if count:
            self.launch(min(-(-count // THREADS), BLOCKS), THREADS, (count, *arguments))


class BlockKernel(Kernel):
    """A function whose blocks of `threads` threads work together: `kernel(blocks, *arguments)`.

    `blocks` is the grid, a tuple of one to three numbers.
    """

    def __init__(self, function: Callable, signature: str, name: str, threads: int, dtypes: tuple[str, ...],
                 tensor_cores: bool | None) -> None:
        super().__init__(function, signature, name)
        self.threads, self.dtypes, self.tensor_cores = threads, dtypes, tensor_cores

    def __call__(self, blocks: tuple[int, ...], *arguments: Any) -> None:
        if math.prod(blocks):
            self.launch(blocks, self.threads, arguments)


def kernel(signature: str, name: str = "") -> Callable[[Callable], ItemKernel]:
    """Makes a function an `ItemKernel`. `name` where its own says too little: one function may make several kernels."""
    return lambda function: ItemKernel(function, signature, name or function.__name__)


def block_kernel(signature: str, threads: int, name: str = "", dtypes: tuple[str, ...] = Kernel.dtypes,
                 tensor_cores: bool | None = None) -> Callable[[Callable], BlockKernel]:
    """Makes a function a `BlockKernel` for blocks of so many threads, and for what `Kernel.serves` says."""
    return lambda function: BlockKernel(function, signature, name or function.__name__, threads, dtypes, tensor_cores)


def kernels_of(room: ModuleType) -> dict[str, Kernel]:
    """The kernels of a file, those that it takes from other files included."""
    return {k.name: k for value in vars(room).values() for k in _kernels_in(value)}


def _kernels_in(value: Any) -> Iterator[Kernel]:
    """A kernel, or those in a tuple."""
    if isinstance(value, Kernel):
        yield value
    elif isinstance(value, tuple):
        for item in value:
            yield from _kernels_in(item)


def prepare(gpu: Gpu, kernels: list[Kernel], dtype: Any, report: Callable[[int, int], None]) -> None:
    """Compiles kernels for `dtype`: those that serve it as float32 is multiplied now.

    Calls `report(done, total)` where some must be compiled, and after each one.
    """
    wanted = [k for k in kernels if k.serves(dtype, gpu.uses_tensor_cores(dtype))]
    missing = [] if SIMULATED else [k for k in wanted if not k.compiled_before(dtype)]
    for done, k in enumerate(missing):
        report(done, len(missing))
        k.compile(dtype)
    if missing:
        report(len(missing), len(missing))


def _out_of_memory(error: Exception) -> bool:
    return isinstance(error, MemoryError) or "OUT_OF_MEMORY" in str(error)
