"""Defines `Kernel`, a compiled function that ops call. A kernel is compiled separately for each
dtype, when it is first used with that dtype.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from . import caching
from .compilers import Compilers

TypedKernels = list[tuple["Kernel", np.dtype]]  # kernels, each with a floating-point dtype


class Kernel(ABC):
    """A function that is compiled separately for each floating-point dtype.

    `signature` is a Numba signature in which T represents the dtype: "(T[:,::1], T[::1], int64)".
    Array arguments are C-contiguous. During a `trace.DryRun`, a kernel only reports that it would
    run. `prepare` compiles kernels into the disk cache in advance, with up to one process per core.
    """

    def __init__(self, function: Callable, signature: str, name: str) -> None:
        self.name = f"{function.__module__.rpartition('.')[2]}.{name}"
        self.function = function
        self.__doc__ = function.__doc__
        self.signature = signature
        self.dtype_flags = [part.strip().startswith("T") for part in parameters(signature)]
        # only autoconv's own kernels are cached and can be compiled by other processes
        self.is_ours = _is_ours(function)
        self._ready: dict[np.dtype, Any] = {}  # compiled kernels by dtype

    @abstractmethod
    def types(self, dtype: DTypeLike) -> tuple:
        """Returns the kernel's parameter types, as Numba types, for one floating-point dtype."""

    @abstractmethod
    def _compile_or_load(self, dtype: np.dtype) -> Any:
        """Compiles the kernel for `dtype` or loads it from the disk cache. Returns the compiled
        kernel.
        """

    @abstractmethod
    def _file(self, types: tuple) -> Path | None:
        """Returns the path of the kernel's cache file for these parameter types. Returns None if
        the kernel cannot be cached.
        """

    def expand_signature(self, dtype: DTypeLike) -> str:
        """Returns the kernel's signature with T replaced by `dtype`."""
        return re.sub(r"\bT\b", str(np.dtype(dtype)), self.signature)

    def compile(self, dtype: DTypeLike) -> None:
        """Compiles or loads the kernel for `dtype`, so that its first call need not wait."""
        dtype = np.dtype(dtype)
        if dtype not in self._ready:
            self._ready[dtype] = self._compile_or_load(dtype)

    def is_compiled(self, dtype: DTypeLike) -> bool:
        """Returns whether this process or the disk cache contains the kernel for `dtype`."""
        dtype = np.dtype(dtype)
        return dtype in self._ready or caching.exists(self._file(self.types(dtype)))

    @property
    def size(self) -> int:
        """Returns the size of the Python bytecode of the kernel and its helpers, in bytes. Compile
        time grows with this number.
        """
        return _code_size(self.function, set())


def parameters(signature: str) -> list[str]:
    """Splits a signature into its parameter types."""
    return re.split(r",(?![^\[(]*[\])])", signature[1:-1])


def _is_ours(function: object) -> bool:
    return str(getattr(function, "__module__", "")).startswith(f"{__package__}.")


def _code_size(function: object, functions: set[object]) -> int:
    function = getattr(function, "py_func", function)
    if not isinstance(function, FunctionType) or function in functions:
        return 0
    functions.add(function)
    names, spaces = function.__code__.co_names, [function.__globals__]
    spaces += [vars(module) for name in names if isinstance(module := spaces[0].get(name), ModuleType)]
    callees = [space[name] for space in spaces for name in names if name in space]
    callees += [cell.cell_contents for cell in function.__closure__ or ()]
    return len(function.__code__.co_code) + sum(_code_size(f, functions) for f in callees if _is_ours(f))


def find_kernels(module: ModuleType) -> dict[str, Any]:
    """Returns a dict of a module's kernels by name, including kernels that the module imports."""
    return {k.name: k for value in vars(module).values() for k in kernels_in(value)}


def kernels_in(value: object) -> Iterator[Kernel]:
    """Yields `value` if it is a kernel. If `value` is a tuple or dict, yields the kernels in it."""
    if isinstance(value, Kernel):
        yield value
    elif isinstance(value, tuple | dict):
        for item in value.values() if isinstance(value, dict) else value:
            yield from kernels_in(item)


def begin(pairs: TypedKernels, folder: Callable[[], Path | None], compilers: Callable[[], Compilers]) -> bool:
    """Starts compiling kernels into the cache folder in other processes. If other processes cannot
    be used or are not worthwhile, returns False, and this process must compile the kernels.
    """
    longest_first = sorted((k for k in pairs if k[0].is_ours), key=lambda k: k[0].size, reverse=True)
    path = folder() if len(longest_first) > 1 else None
    if path is None or not caching.has_space(path):
        return False
    # the longest kernels first, so that all processes finish at about the same time
    compilers().request([f"{k.name}:{dtype}" for k, dtype in longest_first])
    return True


def prepare(pairs: TypedKernels, report: Callable[[int, int], None],
            folder: Callable[[], Path | None], compilers: Callable[[], Compilers]) -> None:
    """Compiles or loads all given kernels, in other processes if possible. Calls
    `report(done, total)` before the first compilation and after each one.
    """
    missing = [(k, dtype) for k, dtype in pairs if not k.is_compiled(dtype)]
    if missing:
        report(0, len(missing))
    elsewhere = begin(missing, folder, compilers)
    if elsewhere:
        compilers().wait([f"{k.name}:{dtype}" for k, dtype in missing], lambda done: report(done, len(missing)))
    for done, (k, dtype) in enumerate(missing, 1):
        k.compile(dtype)
        if not elsewhere:
            report(done, len(missing))
    for k, dtype in pairs:
        k.compile(dtype)
