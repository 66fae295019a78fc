"""How a kernel is compiled: for float32 and float64, when first needed, cached on disk under the package's own hash."""

import contextlib
import functools
import hashlib
import re
import warnings
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numba
import numpy as np

from .. import caching, trace

# Every sum keeps its written order, and NaN and infinity their meaning. With "reassoc" a kernel that was just compiled
# gave other bits than the same one from the cache, since Numba optimises the two differently. simd.py has the FMAs.
FASTMATH = {"nsz"}

inline = numba.njit(fastmath=FASTMATH, error_model="numpy")  # a helper that is compiled into the kernels that call it

_TYPES = {np.dtype(np.float32): "float32", np.dtype(np.float64): "float64"}


class Kernel:
    """A compiled function that the ops call. Compiled for a floating type when that first comes.

    `signature` is Numba's, with T for the floating type, which the first such argument decides: "(T[:,::1], T[::1],
    int64)". Arrays are C-contiguous.
    """

    def __init__(self, function: Callable, signature: str, parallel: bool) -> None:
        self.name = f"{function.__module__.rpartition('.')[2]}.{function.__name__}"
        self.__doc__, self.signature = function.__doc__, signature
        self._ours = function.__module__.startswith(f"{__package__}.")  # so that another process finds it by its name
        with _OurCacheFolder():
            self._dispatcher = numba.njit(
                fastmath=FASTMATH, error_model="numpy", parallel=parallel, nogil=True, cache=cache_folder() is not None
            )(function)
        self._ready: set[np.dtype] = set()
        self._typed = [part.strip().startswith("T") for part in signature[1:].split(", ")].index(True)

    def __call__(self, *args: Any) -> Any:
        dtype, recorder = args[self._typed].dtype, trace.current()
        if isinstance(recorder, trace.DryRun):
            recorder.found[self, dtype] = None
            return None
        if dtype not in self._ready:
            self.compile(dtype)
        if recorder is not None:
            given, args = args, trace.resolved(args)
            compiled = self._dispatcher.overloads.get(tuple(map(numba.typeof, args)))
            recorder.add(trace.HOST, compiled.entry_point if compiled else self._dispatcher, given)
        return self._dispatcher(*args)

    def compile(self, dtype: Any) -> None:
        """Compiles for one floating type, or loads that from the disk cache."""
        dtype = np.dtype(dtype)
        if dtype in self._ready:
            return
        if dtype not in _TYPES:
            raise TypeError(f"Kernels compute in float32 or float64. {self.name} received {dtype}: use .astype.")
        with warnings.catch_warnings():  # a kernel for one thread is no mistake here
            warnings.simplefilter("ignore", numba.core.errors.NumbaPerformanceWarning)
            self._dispatcher.compile(re.sub(r"\bT\b", _TYPES[dtype], self.signature))
        self._ready.add(dtype)
        _note_compiled(f"{self.name} {dtype}")

    def compiled_before(self, dtype: Any) -> bool:
        """Whether this process or the disk cache has it."""
        dtype = np.dtype(dtype)
        return dtype in self._ready or f"{self.name} {dtype} {_target_key()}" in _compiled_before()


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


def kernel(signature: str, parallel: bool = False) -> Callable[[Callable], Kernel]:
    """Makes a function a `Kernel`; `parallel` runs its `prange` loops on all threads."""
    return lambda function: Kernel(function, signature, parallel)


def kernels_of(room: ModuleType) -> dict[str, Kernel]:
    """The kernels of a file by their names, those that it takes from other files included."""
    return {name: value for name, value in vars(room).items() if isinstance(value, Kernel)}


def prepare(wanted: list[tuple[Kernel, np.dtype]], report: Callable[[int, int], None]) -> None:
    """Makes kernels ready, each for its dtype. Calls `report(done, total)` where some must be compiled, and after each
    one.
    """
    missing = [(k, dtype) for k, dtype in wanted if not k.compiled_before(dtype)]
    if missing:
        report(0, len(missing))
    elsewhere = [f"{k.name}:{dtype}" for k, dtype in missing if k._ours]
    if len(elsewhere) > 1 and cache_folder() is not None:
        caching.compile_in_processes(f"{__package__}.compiling", [], elsewhere, report)
        _compiled_before.cache_clear()
    for done, (k, dtype) in enumerate(missing, 1):
        k.compile(dtype)
        if cache_folder() is None or len(missing) == 1:
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


def _target_key() -> str:
    name, features = target()
    return f"{name}-{hashlib.sha256(','.join(sorted(features)).encode()).hexdigest()[:8]}"


@cache
def cache_folder() -> Path | None:
    """The folder for compiled kernels; None (with a warning) where none can be written."""
    return caching.made_folder(f"kernels-{source_hash()}")


def source_hash() -> str:
    """A hash over all sources of the kernels, and what compiles them."""
    return caching.source_hash(Path(__file__).parent, numba.__version__, np.__version__)


class _OurCacheFolder:
    """Numba reads its cache folder when a function is decorated; within this block it reads ours, for ours only."""

    def __enter__(self) -> None:
        self._before = numba.config.CACHE_DIR
        if cache_folder() is not None:
            numba.config.CACHE_DIR = str(cache_folder())

    def __exit__(self, *_: object) -> None:
        numba.config.CACHE_DIR = self._before


@cache
def _compiled_before() -> set[str]:
    """What earlier runs compiled into the cache folder."""
    folder = cache_folder()
    if folder is None or not (folder / "compiled.txt").exists():
        return set()
    return set((folder / "compiled.txt").read_text().splitlines())


def count_compiled() -> int:
    """How many kernels are in the cache folder."""
    return len(_compiled_before())


def _note_compiled(what: str) -> None:
    line, folder = f"{what} {_target_key()}", cache_folder()
    if folder is not None and line not in _compiled_before():
        _compiled_before().add(line)
        with open(folder / "compiled.txt", "a") as file:
            file.write(line + "\n")
