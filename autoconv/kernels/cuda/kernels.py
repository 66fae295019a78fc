"""Declares, compiles and launches GPU kernels."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from .. import caching, trace
from .. import kernel as base
from ..compilers import Compilers
from ..kernel import Kernel, TypedKernels, parameters
from ..locks import Lock, release_on_exit
from . import internals, store
from .internals import capability, cuda, pretend_capability
from .order import Access
from .runtime import Gpu, pointer

THREADS = 256  # threads per block of an `ItemKernel`

# Decorator for helpers that are always inlined into the kernels that call them, so that a thread's
# local arrays stay in registers.
inline = cuda.jit(device=True, forceinline=True)

_launching = Lock()  # a lock, because two threads must not load a kernel at the same time


class OnGpu:
    """Represents a kernel's array argument. `native` is its Numba array, `gpu` its GPU."""

    __slots__ = ()

    @property
    def native(self) -> Any:
        raise NotImplementedError

    @property
    def gpu(self) -> Gpu:
        raise NotImplementedError


class CudaKernel(Kernel):
    """Compiles a function for GPU threads, and launches it on a grid of blocks.

    `prepare` compiles a kernel in advance for one type T. If the T arguments of a launch have
    several types, the launch compiles the kernel. An array that the function only reads is declared
    `const T[::1]`. Launches may run at the same time if they share no array, or only read the
    shared arrays.
    """

    dtypes: tuple[str, ...] = ("float32", "float64")  # floating-point types that T may represent
    tensor_cores: bool | None = None  # True: used only with tensor cores; False: used only without

    def __init__(self, function: Callable, signature: str, name: str) -> None:
        super().__init__(function, signature.replace("const ", ""), name)
        self.reads_only = [part.strip(" (").startswith("const ") for part in parameters(signature)]
        self._dispatcher = cuda.jit(function, lto=False)  # no link-time optimization, as tests read the PTX
        if self.is_ours:
            internals.keep(self._dispatcher, self._load, self._save)

    def launch(self, blocks: int | tuple[int, ...], threads: int, arguments: tuple) -> None:
        """Launches the kernel on the GPU that holds its arrays, in stream order."""
        launch = Launch(self, blocks, threads, arguments)
        recorder = trace.current()
        if isinstance(recorder, trace.DryRun):
            if len(launch.dtypes) < 2:  # with several dtypes, the first launch compiles the kernel
                recorder.kernels[self, launch.dtype] = None
            return
        if recorder is not None:
            recorder.add(launch.gpu, launch, ())
        launch()

    def types(self, dtype: DTypeLike) -> tuple:
        return internals.parse_signature(self.expand_signature(dtype))

    def _compile_or_load(self, dtype: np.dtype) -> None:
        """Compiles the kernel for the current GPU. Its first launch loads it onto the GPU."""
        with release_on_exit(*internals.COMPILER_LOCKS):
            self._dispatcher.compile(self.types(dtype))

    def serves(self, dtype: DTypeLike, tensor_cores: bool) -> bool:
        """Returns whether launches for `dtype`, with or without tensor cores, use this kernel.
        """
        return str(np.dtype(dtype)) in self.dtypes and self.tensor_cores in (None, tensor_cores)

    def compile_to_cache(self, dtype: DTypeLike, capability: tuple[int, int]) -> None:
        """Compiles the kernel for a compute capability such as (8, 0), and stores it in the disk
        cache. Needs no GPU and no driver. Raises RuntimeError if the kernel cannot be stored.
        """
        types = self.types(dtype)
        with pretend_capability(capability):
            if not self._save(types, internals.compile_kernel(self.function, types, self._dispatcher.targetoptions)):
                raise RuntimeError(f"The compiled kernel {self.name} cannot be stored, because "
                                   "this version of numba-cuda cannot serialize kernels.")

    def _load(self, types: tuple) -> Any:
        """Returns a kernel for the current GPU from the disk cache; None if it is missing."""
        data = caching.read(self._file(types))
        return None if data is None else internals.restore_kernel(data)

    def _save(self, types: tuple, kernel: Any) -> bool:
        """Stores a kernel on disk. Returns False if this numba-cuda version cannot serialize it."""
        data = internals.dump_kernel(kernel)
        if data is not None:
            caching.write(self._file(types), data)
        return data is not None

    def _file(self, types: tuple) -> Path | None:
        """Returns the path of the kernel's file in the disk cache, for the current GPU."""
        return store.file(self.name, types, internals.target(capability()))


@dataclass(frozen=True, slots=True)
class Launch:
    """Holds a kernel together with its grid, block size and arguments."""

    kernel: CudaKernel
    blocks: int | tuple[int, ...]
    threads: int
    arguments: tuple

    @property
    def gpu(self) -> Gpu:
        return next(a.gpu for a in self.arguments if isinstance(a, OnGpu))

    @property
    def dtypes(self) -> set[np.dtype]:
        """Returns the dtypes of the array arguments declared with T: usually only one dtype."""
        return {a.dtype for a, has_t in zip(self.arguments, self.kernel.dtype_flags) if has_t and isinstance(a, OnGpu)}

    @property
    def dtype(self) -> np.dtype:
        """Returns the dtype of the arguments declared with T; float32 if there are none."""
        return next(iter(self.dtypes), np.dtype(np.float32))

    def __call__(self, handle: int | None = None) -> None:
        """Runs the launch on the GPU's stream, or on the stream `handle` if given."""
        gpu = self.gpu
        with gpu.failures, _launching:
            gpu.enter()
            natives = [a.native if isinstance(a, OnGpu) else a for a in self.arguments]
            stream = gpu.stream if handle is None else cuda.external_stream(handle)
            self.kernel._dispatcher[self.blocks, self.threads, stream](*natives)

    def accesses(self) -> list[Access]:
        """Returns, for each array, the address of its first byte, the address after its last byte,
        and whether the kernel may write the array.
        """
        accesses = []
        for argument, reads_only in zip(self.arguments, self.kernel.reads_only, strict=True):
            if isinstance(argument, OnGpu):
                start = pointer(argument.native)
                accesses.append((start, start + argument.native.size * argument.native.dtype.itemsize, not reads_only))
        return accesses


class ItemKernel(CudaKernel):
    """Runs a function once for each of `count` elements: `kernel(count, *arguments)`.

    The function receives `count` first. Each thread handles element i = global_index() < count.
    """

    def __call__(self, count: int, *arguments: Any) -> None:
        if count:
            self.launch(-(-count // THREADS), THREADS, (count, *arguments))


class BlockKernel(CudaKernel):
    """Runs a function in blocks of `threads` cooperating threads: `kernel(blocks, *arguments)`.

    `blocks` is the grid size, a tuple of one to three numbers.
    """

    def __init__(self, function: Callable, signature: str, name: str, threads: int,
                 dtypes: tuple[str, ...], tensor_cores: bool | None) -> None:
        super().__init__(function, signature, name)
        self.threads = threads
        self.dtypes = dtypes
        self.tensor_cores = tensor_cores

    def __call__(self, blocks: tuple[int, ...], *arguments: Any) -> None:
        if math.prod(blocks):
            self.launch(blocks, self.threads, arguments)


def kernel(signature: str, name: str = "") -> Callable[[Callable], ItemKernel]:
    """Returns a decorator that creates an `ItemKernel`. `name` defaults to the function's name."""
    return lambda function: ItemKernel(function, signature, name or function.__name__)


def block_kernel(signature: str, threads: int, name: str = "", dtypes: tuple[str, ...] = CudaKernel.dtypes,
                 tensor_cores: bool | None = None) -> Callable[[Callable], BlockKernel]:
    """Returns a decorator that creates a `BlockKernel` with `threads` threads per block."""
    return lambda function: BlockKernel(function, signature, name or function.__name__, threads, dtypes, tensor_cores)


def prepare(pairs: TypedKernels, report: Callable[[int, int], None]) -> None:
    """Compiles kernels, or loads them from the disk cache, for the current GPU."""
    base.prepare(pairs, report, store.folder, lambda: _compilers(*map(str, capability())))


@cache
def _compilers(*capability: str) -> Compilers:
    return Compilers(f"{__package__}.compiling", *capability)
