"""How a kernel for GPUs is declared, compiled and launched."""

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np

from .. import caching, trace
from ..compilers import Compilers
from ..locks import Lock, given_back
from . import internals, store
from .internals import capability, cuda, pretended
from .order import Access
from .runtime import Gpu, pointer

THREADS = 256  # of a block, where each has an item of its own

# A helper that is compiled into the kernels that call it: always, as a thread's own arrays then stay in registers.
inline = cuda.jit(device=True, forceinline=True)

_launching = Lock()  # two threads that first launch a kernel at once would have Numba load it twice


class OnGpu:
    """What a kernel takes as an array: `native` is Numba's view of it, `gpu` where it is."""

    __slots__ = ()

    @property
    def native(self) -> Any:
        raise NotImplementedError

    @property
    def gpu(self) -> Gpu:
        raise NotImplementedError


class CudaKernel:
    """A function compiled for a GPU's threads; how many of them run it, `launch` is told.

    `signature` is Numba's, with T for the floating type, for what is compiled ahead; other types
    are compiled when they come. An array that the function only reads is `const T[::1]`: launches
    that have no array in common, or only read it, may run at the same time.
    """

    dtypes: tuple[str, ...] = ("float32", "float64")  # what it is for ...
    tensor_cores: bool | None = None  # ... and whether only where such are used, or only where not

    def __init__(self, function: Callable, signature: str, name: str) -> None:
        self.name = f"{function.__module__.rpartition('.')[2]}.{name}"
        self.function = function
        self.__doc__ = function.__doc__
        self.signature = signature.replace("const ", "")
        self.reads_only = _constant(signature)
        self.typed = [part.strip(" (").startswith("T") for part in _parameters(self.signature)]
        self._dispatcher = cuda.jit(function, lto=False)  # machine code of the very PTX that the tests read and run
        if function.__module__.startswith(f"{__package__}."):  # the cache knows these sources alone
            internals.keep(self._dispatcher, self._load, self._save)
        self._ready: set[np.dtype] = set()

    def launch(self, blocks: int | tuple[int, ...], threads: int, arguments: tuple) -> None:
        """Runs it on the GPU of its arrays, in the order of that GPU's stream."""
        launch = Launch(self, blocks, threads, arguments)
        recorder = trace.current()
        if isinstance(recorder, trace.DryRun):
            if len(launch.dtypes) < 2:  # else it is compiled when it comes
                recorder.found[self, launch.dtype] = None
            return
        if recorder is not None:
            recorder.add(launch.gpu, launch, ())
        launch()

    def types(self, dtype: Any) -> tuple:
        """Numba's types of its parameters for one floating type."""
        return internals.types_of(re.sub(r"\bT\b", str(np.dtype(dtype)), self.signature))

    def compile(self, dtype: Any) -> None:
        """Compiles for one floating type and the current GPU, or loads that from the disk cache, so
        that the first launch need not wait.
        """
        dtype = np.dtype(dtype)
        if dtype not in self._ready:
            with given_back(*internals.COMPILER_LOCKS):
                self._dispatcher.compile(self.types(dtype))
        self._ready.add(dtype)

    def serves(self, dtype: Any, tensor_cores: bool) -> bool:
        """Whether it is ever launched for this dtype, where tensor cores are used or not."""
        return str(np.dtype(dtype)) in self.dtypes and self.tensor_cores in (None, tensor_cores)

    def compiled_before(self, dtype: Any) -> bool:
        """Whether this process or the disk cache has it, for the current GPU."""
        return np.dtype(dtype) in self._ready or store.has(self.name, self.types(dtype), _target())

    def compile_for(self, dtype: Any, gpu: tuple[int, int]) -> None:
        """Compiles into the disk cache, for a compute capability such as (8, 0). Needs no GPU and
        no driver. Raises RuntimeError where it cannot be kept.
        """
        types = self.types(dtype)
        with pretended(gpu):
            if not self._save(types, internals.compiled(self.function, types, self._dispatcher.targetoptions)):
                raise RuntimeError(f"The compiled kernel {self.name} cannot be kept.")

    def _load(self, types: tuple) -> Any:
        """A compiled kernel of the disk cache, for the current GPU; None where it is not there."""
        data = store.read(self.name, types, _target())
        return None if data is None else internals.restored(data)

    def _save(self, types: tuple, made: Any) -> bool:
        """Keeps a compiled kernel, if this version of numba-cuda can do that."""
        data = internals.dumped(made)
        if data is not None:
            store.write(self.name, types, _target(), data)
        return data is not None


def _target() -> tuple:
    """What numba-cuda compiles for on the current GPU."""
    return internals.target(capability())


@dataclass(frozen=True, slots=True)
class Launch:
    """A kernel with all that it takes to run it."""

    kernel: CudaKernel
    blocks: int | tuple[int, ...]
    threads: int
    arguments: tuple

    @property
    def gpu(self) -> Gpu:
        return next(a.gpu for a in self.arguments if isinstance(a, OnGpu))

    @property
    def dtypes(self) -> set[np.dtype]:
        """The types of the arguments whose type the signature calls T. Several, where the types are others than its."""
        return {a.dtype for a, is_typed in zip(self.arguments, self.kernel.typed) if is_typed and isinstance(a, OnGpu)}

    @property
    def dtype(self) -> np.dtype:
        """What T stands for, where it stands for one type; float32 where the kernel has none."""
        return next(iter(self.dtypes), np.dtype(np.float32))

    def __call__(self, handle: int | None = None) -> None:
        """Runs it on the GPU's stream, or on the one of this handle."""
        gpu = self.gpu
        with gpu.failures, _launching:
            gpu.enter()
            natives = [a.native if isinstance(a, OnGpu) else a for a in self.arguments]
            stream = gpu.stream if handle is None else cuda.external_stream(handle)
            self.kernel._dispatcher[self.blocks, self.threads, stream](*natives)

    def accesses(self) -> list[Access]:
        """The memory it touches, and whether it may write there."""
        found = []
        for argument, reads_only in zip(self.arguments, self.kernel.reads_only, strict=True):
            if isinstance(argument, OnGpu):
                start = pointer(argument.native)
                found.append((start, start + argument.native.size * argument.native.dtype.itemsize, not reads_only))
        return found


class ItemKernel(CudaKernel):
    """A function that runs once for each of `count` items: `kernel(count, *arguments)`.

    Its first parameter is that count; a thread's item is `i = global_index()` (ptx.py), `if i < count`.
    """

    def __call__(self, count: int, *arguments: Any) -> None:
        if count:
            self.launch(-(-count // THREADS), THREADS, (count, *arguments))


class BlockKernel(CudaKernel):
    """A function whose blocks of `threads` threads work together: `kernel(blocks, *arguments)`.

    `blocks` is the grid, a tuple of one to three numbers.
    """

    def __init__(self, function: Callable, signature: str, name: str, threads: int, dtypes: tuple[str, ...],
                 tensor_cores: bool | None) -> None:
        super().__init__(function, signature, name)
        self.threads = threads
        self.dtypes = dtypes
        self.tensor_cores = tensor_cores

    def __call__(self, blocks: tuple[int, ...], *arguments: Any) -> None:
        if math.prod(blocks):
            self.launch(blocks, self.threads, arguments)


def _constant(signature: str) -> list[bool]:
    """Which of the parameters a signature calls const."""
    return [part.strip(" (").startswith("const ") for part in _parameters(signature)]


def _parameters(signature: str) -> list[str]:
    """The types of a signature, one by one."""
    return re.split(r",(?![^\[(]*[\])])", signature[1:-1])


def kernel(signature: str, name: str = "") -> Callable[[Callable], ItemKernel]:
    """Makes a function an `ItemKernel`. `name` where its own says too little: one function may make several kernels."""
    return lambda function: ItemKernel(function, signature, name or function.__name__)


def block_kernel(signature: str, threads: int, name: str = "", dtypes: tuple[str, ...] = CudaKernel.dtypes,
                 tensor_cores: bool | None = None) -> Callable[[Callable], BlockKernel]:
    """Makes a function a `BlockKernel` for blocks of so many threads, and for what `Kernel.serves` says."""
    return lambda function: BlockKernel(function, signature, name or function.__name__, threads, dtypes, tensor_cores)


def kernels_of(module: ModuleType) -> dict[str, CudaKernel]:
    """The kernels of a file, those that it takes from other files included."""
    return {k.name: k for value in vars(module).values() for k in _kernels_in(value)}


def _kernels_in(value: Any) -> Iterator[CudaKernel]:
    """A kernel, or those in a tuple."""
    if isinstance(value, CudaKernel):
        yield value
    elif isinstance(value, tuple):
        for item in value:
            yield from _kernels_in(item)


def prepare(wanted: list[tuple[CudaKernel, np.dtype]], report: Callable[[int, int], None]) -> None:
    """Makes kernels ready for the current GPU, each for its dtype.

    Calls `report(done, total)` where some must be compiled, and after each one.
    """
    missing = [(k, dtype) for k, dtype in wanted if not k.compiled_before(dtype)]
    if missing:
        report(0, len(missing))
    folder = store.folder() if len(missing) > 1 else None
    elsewhere = folder is not None and caching.has_space(folder)
    if elsewhere:
        names = [f"{k.name}:{dtype}" for k, dtype in missing]
        _compilers(*map(str, capability())).compile(names, report)
    done = 0
    for k, dtype in wanted:
        k.compile(dtype)
        if (k, dtype) in missing and not elsewhere:
            done += 1
            report(done, len(missing))


@cache
def _compilers(*capability: str) -> Compilers:
    return Compilers(f"{__package__}.compiling", *capability)
