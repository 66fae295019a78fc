"""How a kernel is compiled: for float32 and float64, when first needed, cached on disk under the package's own hash."""

import functools
import hashlib
import pickle
import re
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import FunctionType, ModuleType
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
from ..compilers import Compilers
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

_TYPES = {np.dtype(np.float32): "float32", np.dtype(np.float64): "float64"}


class Kernel:
    """A compiled function that the ops call. Compiled for a floating type when that first comes.

    `signature` is Numba's, with T for the floating type, which the first such argument decides: "(T[:,::1], T[::1],
    int64)". Arrays are C-contiguous. A parallel loop of up to `few` rounds runs in one thread.
    """

    def __init__(self, function: Callable, signature: str, parallel: bool, few: int, vector_bytes: int) -> None:
        self.name = f"{function.__module__.rpartition('.')[2]}.{function.__name__}"
        self.__doc__, self.signature = function.__doc__, signature
        self._ours = function.__module__.startswith(f"{__package__}.")  # so that another process finds it by its name
        self.parallel, self.vector_bytes = parallel, vector_bytes
        compiler: Any = functools.partial(KernelCompiler, few)
        self._dispatcher = numba.njit(**OPTIONS, parallel=parallel, nogil=True, pipeline_class=compiler)(function)
        if self._ours:  # the cache knows these sources alone
            self._dispatcher._cache = _Kept(self.name)
        self._ready: dict[np.dtype, Callable] = {}  # what runs for a floating type, below Numba's choice by types
        self._typed = [part.strip().startswith("T") for part in signature[1:].split(", ")].index(True)

    def __call__(self, *args: Any) -> None:
        dtype, recorder = args[self._typed].dtype, trace.current()
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

    def compile(self, dtype: Any) -> None:
        """Compiles for one floating type, or loads that from the disk cache."""
        dtype = np.dtype(dtype)
        if dtype in self._ready:
            return
        types = self._types(dtype)
        _compilers.wait([f"{self.name}:{dtype}"])
        with _compiling, given_back(global_compiler_lock._lock), warnings.catch_warnings():
            warnings.simplefilter("ignore", numba.core.errors.NumbaPerformanceWarning)  # of a kernel for one thread
            self._dispatcher.disable_compile(False)
            self._dispatcher.compile(types)
            self._dispatcher.disable_compile()  # else Numba would compile, unasked, for arguments of other types
        self._ready[dtype] = self._dispatcher.overloads[types].entry_point

    def compiled_before(self, dtype: Any) -> bool:
        """Whether this process or the disk cache has it."""
        _check_enabled()
        dtype = np.dtype(dtype)
        path = None if dtype in self._ready else _path(self.name, self._types(dtype))
        return dtype in self._ready or (path is not None and path.exists())

    @property
    def size(self) -> int:
        """The bytes of its code in Python with all helpers that it calls: the time to compile it grows with them."""
        return _code_size(self._dispatcher.py_func, set())

    def _types(self, dtype: np.dtype) -> tuple:
        """The types of its arguments. Raises TypeError for what is no floating type of kernels."""
        if dtype not in _TYPES:
            raise TypeError(f"Kernels compute in float32 or float64. {self.name} received {dtype}: use .astype.")
        signature = re.sub(r"\bT\b", _TYPES[dtype], self.signature)
        return tuple(numba.core.sigutils.normalize_signature(signature)[0])


def _code_size(function: Any, seen: set[Any]) -> int:
    function = getattr(function, "py_func", function)
    if not isinstance(function, FunctionType) or function in seen:
        return 0
    seen.add(function)
    names, spaces = function.__code__.co_names, [function.__globals__]
    spaces += [vars(module) for name in names if isinstance(module := spaces[0].get(name), ModuleType)]
    called = (space[name] for space in spaces for name in names if name in space)
    ours = (f for f in called if str(getattr(f, "__module__", "")).startswith(f"{__package__}."))
    return len(function.__code__.co_code) + sum(_code_size(f, seen) for f in ours)


class _Kept(NullCache):
    """What Numba asks for a kernel before it compiles one, and gives it to afterwards: a file for each kernel, types of
    its arguments and target.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def load_overload(self, types: Any, context: Any) -> Any:
        path = _path(self._name, types)
        data = None if path is None else caching.read(path)
        if data is None:
            return None
        rtsys.initialize(context)  # what kernels allocate memory by; all else that a compiler needs can wait
        return CompileResult._rebuild(context, *pickle.loads(data))

    def save_overload(self, types: Any, compiled: Any) -> None:
        path = _path(self._name, types)
        if path is not None and not compiled.library.has_dynamic_globals:
            caching.write(path, serialize.dumps(compiled._reduce()))


def _path(name: str, types: Any) -> Path | None:
    """The file of a kernel, for the current target; None where none can be written."""
    folder = cache_folder()
    key = hashlib.sha256(f"{tuple(numba.core.sigutils.normalize_signature(types)[0])}{_target_key()}".encode())
    return None if folder is None else folder / f"{name}-{key.hexdigest()[:16]}{caching.KERNEL}"


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


def kernel(signature: str, parallel: bool = False, few: int = 1,
           vector_bytes: int = 0) -> Callable[[Callable], Kernel]:
    """Makes a function a `Kernel`; `parallel` runs its `prange` loops on all threads, if they have more than `few`
    rounds. vector_bytes: the size of vectors without which it cannot be compiled.
    """
    return lambda function: Kernel(function, signature, parallel, few, vector_bytes)


def kernels_of(module: ModuleType) -> dict[str, Kernel]:
    """The kernels of a file by their names, those that it takes from other files included."""
    return {name: value for name, value in vars(module).items() if isinstance(value, Kernel)}


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


def begin(wanted: list[tuple[Kernel, np.dtype]]) -> bool:
    """Has processes compile kernels, each for its dtype. Whoever calls one that is not compiled yet waits for it. False
    where there is no use in it: they are left to this process.
    """
    _check_enabled()
    names = [f"{k.name}:{dtype}" for k, dtype in wanted if k._ours]
    folder = cache_folder() if len(names) > 1 else None
    if folder is None or not caching.has_space(folder):
        return False
    _compilers.ask(names)
    return True


def prepare(wanted: list[tuple[Kernel, np.dtype]], report: Callable[[int, int], None]) -> None:
    """Makes kernels ready, each for its dtype. Calls `report(done, total)` where some must be compiled, and after each
    one.
    """
    missing = [(k, dtype) for k, dtype in wanted if not k.compiled_before(dtype)]
    if missing:
        report(0, len(missing))
    # The longest first, so that the processes end at about the same time.
    elsewhere = begin(sorted(missing, key=lambda m: m[0].size, reverse=True))
    if elsewhere:
        _compilers.wait([f"{k.name}:{dtype}" for k, dtype in missing], lambda done: report(done, len(missing)))
    for done, (k, dtype) in enumerate(missing, 1):
        k.compile(dtype)
        if not elsewhere:
            report(done, len(missing))
    for k, dtype in wanted:
        k.compile(dtype)


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
