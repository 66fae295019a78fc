"""How a kernel for GPUs is declared, compiled and launched."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from .. import caching, trace
from .. import kernel as base
from ..compilers import Compilers
from ..kernel import Kernel, Wanted, parameters
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


class CudaKernel(Kernel):
    """A function compiled for a GPU's threads; how many of them run it, `launch` is told.

    The signature's T is for what is compiled ahead; other types are compiled when they come. An array that the
    function only reads is `const T[::1]`: launches that have no array in common, or only read it, may run at the same
    time.
    """

    dtypes: tuple[str, ...] = ("float32", "float64")  # what it is for ...
    tensor_cores: bool | None = None  # ... and whether only where such are used, or only where not

    def __init__(self, function: Callable, signature: str, name: str) -> None:
        super().__init__(function, signature.replace("const ", ""), name)
        self.reads_only = [part.strip(" (").startswith("const ") for part in parameters(signature)]
        self._dispatcher = cuda.jit(function, lto=False)  # machine code of the very PTX that the tests read and run
        if self.is_ours:
            internals.keep(self._dispatcher, self._load, self._save)

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
        return internals.types_of(self.spelled(dtype))

    def _compiled(self, dtype: np.dtype) -> None:
        """For the current GPU. It is loaded when it is first launched."""
        with given_back(*internals.COMPILER_LOCKS):
            self._dispatcher.compile(self.types(dtype))

    def serves(self, dtype: Any, tensor_cores: bool) -> bool:
        """Whether it is ever launched for this dtype, where tensor cores are used or not."""
        return str(np.dtype(dtype)) in self.dtypes and self.tensor_cores in (None, tensor_cores)

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
        data = caching.read(self._file(types))
        return None if data is None else internals.restored(data)

    def _save(self, types: tuple, made: Any) -> bool:
        """Keeps a compiled kernel, if this version of numba-cuda can do that."""
        data = internals.dumped(made)
        if data is not None:
            caching.write(self._file(types), data)
        return data is not None

    def _file(self, types: tuple) -> Path | None:
        """Its file for the current GPU."""
        return store.file(self.name, types, internals.target(capability()))


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


def kernel(signature: str, name: str = "") -> Callable[[Callable], ItemKernel]:
    """Makes a function an `ItemKernel`. `name` where its own says too little: one function may make several kernels."""
    return lambda function: ItemKernel(function, signature, name or function.__name__)


def block_kernel(signature: str, threads: int, name: str = "", dtypes: tuple[str, ...] = CudaKernel.dtypes,
                 tensor_cores: bool | None = None) -> Callable[[Callable], BlockKernel]:
    """Makes a function a `BlockKernel` for blocks of so many threads, and for what `Kernel.serves` says."""
    return lambda function: BlockKernel(function, signature, name or function.__name__, threads, dtypes, tensor_cores)


def prepare(wanted: Wanted, report: Callable[[int, int], None]) -> None:
    """Makes kernels ready for the current GPU, as `kernel.prepare` does."""
    base.prepare(wanted, report, store.folder, lambda: _compilers(*map(str, capability())))


@cache
def _compilers(*capability: str) -> Compilers:
    return Compilers(f"{__package__}.compiling", *capability)
