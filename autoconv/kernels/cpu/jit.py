"""How a kernel is compiled: for float32 and float64, when first needed, cached on disk under the package's own hash."""

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

from ...engine.errors import DeviceError
from .. import caching, trace
from .. import kernel as kernels
from ..compilers import Compilers
from ..kernel import Kernel, Wanted
from ..locks import Lock, given_back, kernel_lock
from ..threads import take_number
from .linking import HelperCompiler, KernelCompiler

# Every sum keeps its written order, and NaN and infinity their meaning. With "reassoc" a kernel that was just compiled
# gave other bits than the same one from the cache, since Numba optimises the two differently. simd.py has the FMAs.
FASTMATH = {"nsz"}

OPTIONS: dict[str, Any] = {"fastmath": FASTMATH, "error_model": "numpy", "no_cfunc_wrapper": True}

# A helper that is compiled into the kernels that call it. Nobody calls it from Python or C, so it needs no wrappers. It
# counts no references to its arrays: that is an atomic addition at its start and end for each, on a cache line that two
# threads share. So it can neither make arrays nor return any; `allocating` can.
_HELPER: Any = functools.partial(numba.njit, **OPTIONS, no_cpython_wrapper=True)
inline, allocating = _HELPER(_nrt=False, pipeline_class=HelperCompiler), _HELPER(_nrt=True)

AHEAD = 4  # processes at most that get ready to compile before it is known what

_compiling = Lock()
_compilers = Compilers(f"{__package__}.compiling")

_FLOATS = (np.dtype(np.float32), np.dtype(np.float64))


class CpuKernel(Kernel):
    """A kernel for the CPU's threads. The first argument whose type the signature calls T decides the floating type.

    `parallel`: its `prange` loops run on all threads if they have more than `few` rounds.
    """

    def __init__(self, function: Callable, signature: str, name: str, parallel: bool, few: int,
                 vector_bytes: int) -> None:
        super().__init__(function, signature, name)
        function.__name__ = function.__qualname__ = name  # in its code's symbols, which no two kernels may share
        self.parallel, self.vector_bytes = parallel, vector_bytes
        compiler: Any = functools.partial(KernelCompiler, few)
        self._dispatcher = numba.njit(**OPTIONS, parallel=parallel, nogil=True, pipeline_class=compiler)(function)
        if self.is_ours:
            self._dispatcher._cache = _DiskCache(self._file)
        self._decides = self.typed.index(True)

    def __call__(self, *args: Any) -> None:
        dtype, recorder = args[self._decides].dtype, trace.current()
        if isinstance(recorder, trace.DryRun):
            recorder.found[self, dtype] = None
            return
        if dtype not in self._ready:
            if not self.compiled_before(dtype):
                _expect_more()
            self.compile(dtype)
        given = args if recorder is None else trace.resolved(args)
        if self.parallel:
            with kernel_lock:
                take_number()
                self._dispatcher(*given)
        else:
            self._dispatcher(*given)
        if recorder is not None:
            recorder.add(trace.HOST, self._ready[dtype], args)

    def types(self, dtype: Any) -> tuple:
        """Numba's types of the parameters. Raises TypeError for a type that kernels do not compute in."""
        if dtype not in _FLOATS:
            raise TypeError(f"Kernels compute in float32 or float64. {self.name} received {dtype}: use .astype.")
        return _normalized(self.spelled(dtype))

    def compiled_before(self, dtype: Any) -> bool:
        _check_enabled()
        return super().compiled_before(dtype)

    def _compiled(self, dtype: np.dtype) -> Callable:
        types = self.types(dtype)
        _compilers.wait([f"{self.name}:{dtype}"])
        with _compiling, given_back(global_compiler_lock._lock), warnings.catch_warnings():
            warnings.simplefilter("ignore", numba.core.errors.NumbaPerformanceWarning)  # of a kernel for one thread
            self._dispatcher.disable_compile(False)
            self._dispatcher.compile(types)
            self._dispatcher.disable_compile()  # else Numba would compile, unasked, for arguments of other types
        return self._dispatcher.overloads[types].entry_point  # below Numba's choice by types

    def _file(self, types: Any) -> Path | None:
        return caching.kernel_file(cache_folder(), self.name, _normalized(types), _target_key())


def _normalized(types: Any) -> tuple:
    return tuple(numba.core.sigutils.normalize_signature(types)[0])


class _DiskCache(NullCache):
    """The cache that Numba reads before it compiles a kernel, and writes to afterwards. `file(types)` is the path."""

    def __init__(self, file: Callable[[Any], Path | None]) -> None:
        self._file = file

    def load_overload(self, types: Any, context: Any) -> Any:
        data = caching.read(self._file(types))
        if data is None:
            return None
        rtsys.initialize(context)  # what kernels allocate memory by; all else that a compiler needs can wait
        return CompileResult._rebuild(context, *pickle.loads(data))

    def save_overload(self, types: Any, compiled: Any) -> None:
        path = self._file(types)
        if path is not None and not compiled.library.has_dynamic_globals:
            caching.write(path, serialize.dumps(compiled._reduce()))


def recorded(function: Callable) -> Callable:
    """Makes a function by NumPy take part in recordings as a kernel does. It must write to its arguments alone."""

    @functools.wraps(function)
    def wrapper(*args: Any) -> None:
        recorder = trace.current()
        if recorder is None:
            function(*args)
        elif not isinstance(recorder, trace.DryRun):
            recorder.add(trace.HOST, function, args)
            with trace.aside():
                function(*trace.resolved(args))

    return wrapper


def kernel(signature: str, parallel: bool = False, few: int = 1, vector_bytes: int = 0,
           name: str = "") -> Callable[[Callable], CpuKernel]:
    """Makes a function a `CpuKernel`. vector_bytes: the size of vectors without which it cannot be compiled. `name`:
    for one of several kernels of the same source.
    """
    return lambda function: CpuKernel(function, signature, name or function.__name__, parallel, few, vector_bytes)


def _check_enabled() -> None:
    if numba.config.DISABLE_JIT:
        raise DeviceError("autoconv's kernels only run compiled. Received: NUMBA_DISABLE_JIT="
                          f"{numba.config.DISABLE_JIT}. Unset it before Python starts.")


@cache
def _expect_more() -> None:
    """On a machine's first start: processes get ready to compile, while this one compiles its first kernel."""
    folder = cache_folder()
    if folder is not None and caching.has_space(folder) and not any(folder.glob(f"*{caching.KERNEL}")):
        _compilers.start(AHEAD)


def begin(wanted: Wanted) -> bool:
    """Has processes compile kernels. A caller of one that is not compiled yet waits for it."""
    return kernels.begin(wanted, cache_folder, lambda: _compilers)


def prepare(wanted: Wanted, report: Callable[[int, int], None]) -> None:
    """Makes kernels ready, as `kernel.prepare` does."""
    kernels.prepare(wanted, report, cache_folder, lambda: _compilers)


@cache
def target() -> tuple[str, frozenset[str]]:
    """The processor Numba compiles for: its name and its features, such as "avx2". Not always the host's: both can be
    set by NUMBA_CPU_NAME and NUMBA_CPU_FEATURES.
    """
    _, name, text = numba.core.registry.cpu_target.target_context.codegen().magic_tuple()
    return name, frozenset(f[1:] for f in text.split(",") if f.startswith("+"))


@cache
def _target_key() -> str:
    name, features = target()
    return f"{name} {','.join(sorted(features))}"


@cache
def cache_folder() -> Path | None:
    """The folder for compiled kernels; None (with a warning) where none can be written."""
    return caching.made_folder(f"kernels-{source_hash()}")


def make_ready() -> None:
    """Has Numba read what it knows of types and functions, which it otherwise does for the first kernel."""
    numba.core.registry.cpu_target.target_context.refresh()


def source_hash() -> str:
    """A hash over all sources of the kernels, and what compiles them."""
    return caching.source_hash(Path(__file__).parent, numba.__version__, np.__version__)
