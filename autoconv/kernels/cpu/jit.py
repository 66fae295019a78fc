"""Compiles kernels for float32 or float64 on first use, and caches them on disk in a folder whose
name contains a hash of the sources.
"""

import functools
import pickle
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numba
import numpy as np
from numba.core import serialize
from numba.core.caching import NullCache
from numba.core.compiler import CompileResult
from numba.core.compiler_lock import global_compiler_lock
from numba.core.runtime import rtsys
from numpy.typing import DTypeLike

from ...engine.errors import DeviceError
from .. import caching, trace
from .. import kernel as kernels
from ..compilers import Compilers
from ..kernel import Kernel, TypedKernels
from ..locks import Lock, kernel_lock, release_on_exit
from ..threads import take_number
from .linking import HelperCompiler, KernelCompiler

# This flag keeps the order of additions, NaN and infinity. "reassoc" is not set: with it, a kernel
# from the cache gave other bits than the same kernel newly compiled, because Numba optimizes the
# two differently. "contract" is not needed, because simd.py emits the FMAs.
FASTMATH = {"nsz"}

OPTIONS: dict[str, Any] = {"fastmath": FASTMATH, "error_model": "numpy", "no_cfunc_wrapper": True}

# Helpers are compiled into the kernels that call them. Python and C never call them, so they
# need no wrappers. An `inline` helper counts no references to its arrays. Counting would take two
# atomic additions per array, on a cache line that threads share. Because it does not count, an
# `inline` helper can neither create nor return arrays; an `allocating` helper can do both.
_HELPER: Any = functools.partial(numba.njit, **OPTIONS, no_cpython_wrapper=True)
inline, allocating = _HELPER(_nrt=False, pipeline_class=HelperCompiler), _HELPER(_nrt=True)

AHEAD = 4  # maximum number of compiler processes started before the kernels to compile are known

_compiling = Lock()
_compilers = Compilers(f"{__package__}.compiling")

_FLOATS = (np.dtype(np.float32), np.dtype(np.float64))


class CpuKernel(Kernel):
    """Runs a kernel on the CPU's threads, in the dtype of the first argument that its signature
    declares as T.

    If `parallel`, `prange` loops with more than `grain` iterations run on all threads.
    """

    def __init__(self, function: Callable, signature: str, name: str, parallel: bool, grain: int,
                 vector_bytes: int) -> None:
        super().__init__(function, signature, name)
        function.__name__ = function.__qualname__ = name  # part of symbol names, which must be unique
        self.parallel, self.vector_bytes = parallel, vector_bytes
        compiler: Any = functools.partial(KernelCompiler, grain)
        self._dispatcher = numba.njit(**OPTIONS, parallel=parallel, nogil=True, pipeline_class=compiler)(function)
        if self.is_ours:
            self._dispatcher._cache = _DiskCache(self._file)
        self._dtype_index = self.dtype_flags.index(True)

    def __call__(self, *args: Any) -> None:
        dtype, recorder = args[self._dtype_index].dtype, trace.current()
        if isinstance(recorder, trace.DryRun):
            recorder.kernels[self, dtype] = None
            return
        if dtype not in self._ready:
            if not self.is_compiled(dtype):
                _start_compilers()
            self.compile(dtype)
        arguments = args if recorder is None else trace.resolve(args)
        if self.parallel:
            with kernel_lock:
                take_number()
                self._dispatcher(*arguments)
        else:
            self._dispatcher(*arguments)
        if recorder is not None:
            recorder.add(trace.HOST, self._ready[dtype], args)

    def types(self, dtype: DTypeLike) -> tuple:
        """Returns Numba's parameter types. Raises TypeError except for float32 and float64."""
        if dtype not in _FLOATS:
            raise TypeError("Kernels can compute only in float32 or float64. Received: dtype "
                            f"{dtype} for the kernel {self.name}. Convert the arrays with .astype.")
        return _normalize(self.expand_signature(dtype))

    def is_compiled(self, dtype: DTypeLike) -> bool:
        if numba.config.DISABLE_JIT:
            raise DeviceError("autoconv's kernels must be compiled by Numba. Received: "
                              f"NUMBA_DISABLE_JIT={numba.config.DISABLE_JIT}. Unset this "
                              "environment variable before Python starts.")
        return super().is_compiled(dtype)

    def _compile_or_load(self, dtype: np.dtype) -> Callable:
        types = self.types(dtype)
        _compilers.wait([f"{self.name}:{dtype}"])
        with _compiling, release_on_exit(global_compiler_lock._lock), warnings.catch_warnings():
            # Numba warns about kernels that run on one thread
            warnings.simplefilter("ignore", numba.core.errors.NumbaPerformanceWarning)
            self._dispatcher.disable_compile(False)
            self._dispatcher.compile(types)
            self._dispatcher.disable_compile()  # raises TypeError for other argument types
        return self._dispatcher.overloads[types].entry_point  # bypasses Numba's dispatcher

    def _file(self, types: Any) -> Path | None:
        return caching.kernel_file(cache_folder(), self.name, _normalize(types), _target_key())


def _normalize(types: Any) -> tuple:
    return tuple(numba.core.sigutils.normalize_signature(types)[0])


class _DiskCache(NullCache):
    """Loads compiled kernels from the file `file(types)`, and saves new kernels there."""

    def __init__(self, file: Callable[[Any], Path | None]) -> None:
        self._file = file

    def load_overload(self, types: Any, context: Any) -> Any:
        data = caching.read(self._file(types))
        if data is None:
            return None
        rtsys.initialize(context)  # sets up memory allocation; a loaded kernel needs no more
        return CompileResult._rebuild(context, *pickle.loads(data))

    def save_overload(self, types: Any, result: Any) -> None:
        path = self._file(types)
        if path is not None and not result.library.has_dynamic_globals:
            caching.write(path, serialize.dumps(result._reduce()))


def record_calls(function: Callable) -> Callable:
    """Makes calls of a function that uses NumPy recordable, like a kernel's calls. The function may
    write only to its arguments.
    """

    @functools.wraps(function)
    def wrapper(*args: Any) -> None:
        recorder = trace.current()
        if recorder is None:
            function(*args)
        elif not isinstance(recorder, trace.DryRun):
            recorder.add(trace.HOST, function, args)
            with trace.suspend_recording():
                function(*trace.resolve(args))

    return wrapper


def kernel(signature: str, parallel: bool = False, grain: int = 1, vector_bytes: int = 0,
           name: str = "") -> Callable[[Callable], CpuKernel]:
    """Returns a decorator that makes a function a `CpuKernel`. `vector_bytes` is the vector size
    that the kernel requires. `name` distinguishes kernels that have the same source.
    """
    return lambda function: CpuKernel(function, signature, name or function.__name__, parallel, grain, vector_bytes)


@cache
def _start_compilers() -> None:
    """If the cache is empty, starts compiler processes. They load while this process compiles."""
    folder = cache_folder()
    if folder is not None and caching.has_space(folder) and not any(folder.glob(f"*{caching.KERNEL}")):
        _compilers.start(AHEAD)


def begin(pairs: TypedKernels) -> bool:
    """Starts compiling kernels in other processes. Returns False if this process must do it."""
    return kernels.begin(pairs, cache_folder, lambda: _compilers)


def prepare(pairs: TypedKernels, report: Callable[[int, int], None]) -> None:
    """Compiles or loads kernels before their first calls, as `kernel.prepare` does."""
    kernels.prepare(pairs, report, cache_folder, lambda: _compilers)


@cache
def target() -> tuple[str, frozenset[str]]:
    """Returns the name of Numba's target processor and its features, such as "avx2". The target is
    the host unless NUMBA_CPU_NAME or NUMBA_CPU_FEATURES is set.
    """
    _, name, text = numba.core.registry.cpu_target.target_context.codegen().magic_tuple()
    return name, frozenset(f[1:] for f in text.split(",") if f.startswith("+"))


@cache
def _target_key() -> str:
    name, features = target()
    return f"{name} {','.join(sorted(features))}"


@cache
def cache_folder() -> Path | None:
    """Returns the folder for compiled kernels; warns and returns None if it is not writable."""
    return caching.make_folder(f"kernels-{source_hash()}")


def make_ready() -> None:
    """Loads Numba's registries of types and functions now, before the first kernel needs them."""
    numba.core.registry.cpu_target.target_context.refresh()


def source_hash() -> str:
    """Returns a hash of the kernels' sources and of the versions of Python, Numba and NumPy."""
    return caching.source_hash(Path(__file__).parent, numba.__version__, np.__version__)
