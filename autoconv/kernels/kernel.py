"""`Kernel`: a compiled function that ops call. It is compiled for a floating type when that type first comes."""

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

Wanted = list[tuple["Kernel", np.dtype]]  # kernels, each for a floating type


class Kernel(ABC):
    """A function with a signature, compiled for each floating type in turn.

    `signature` is Numba's, with T for the floating type: "(T[:,::1], T[::1], int64)". Arrays are C-contiguous. In a
    `trace.DryRun` a kernel only reports that it would run. `prepare` compiles kernels ahead, by one process per core,
    into the cache on disk.
    """

    def __init__(self, function: Callable, signature: str, name: str) -> None:
        self.name = f"{function.__module__.rpartition('.')[2]}.{name}"
        self.function = function
        self.__doc__ = function.__doc__
        self.signature = signature
        self.typed = [part.strip().startswith("T") for part in parameters(signature)]
        self.is_ours = _is_ours(function)  # only autoconv's kernels are cached, and found by name in another process
        self._ready: dict[np.dtype, Any] = {}  # what runs for a floating type

    @abstractmethod
    def types(self, dtype: DTypeLike) -> tuple:
        """Numba's types of the parameters for one floating type."""

    @abstractmethod
    def _compiled(self, dtype: np.dtype) -> Any:
        """Compiles for a floating type, or loads that from the disk cache. Returns what runs."""

    @abstractmethod
    def _file(self, types: tuple) -> Path | None:
        """Its file in the disk cache, for these types of arguments; None if there can be none."""

    def spelled(self, dtype: DTypeLike) -> str:
        """The signature for one floating type."""
        return re.sub(r"\bT\b", str(np.dtype(dtype)), self.signature)

    def compile(self, dtype: DTypeLike) -> None:
        """Makes the kernel ready for one floating type, so that its first call need not wait."""
        dtype = np.dtype(dtype)
        if dtype not in self._ready:
            self._ready[dtype] = self._compiled(dtype)

    def compiled_before(self, dtype: DTypeLike) -> bool:
        """Whether this process or the disk cache has it for a floating type."""
        dtype = np.dtype(dtype)
        return dtype in self._ready or caching.exists(self._file(self.types(dtype)))

    @property
    def size(self) -> int:
        """The bytes of its code in Python with all helpers that it calls: the time to compile it grows with them."""
        return _code_size(self.function, set())


def parameters(signature: str) -> list[str]:
    """The types of a signature, one by one."""
    return re.split(r",(?![^\[(]*[\])])", signature[1:-1])


def _is_ours(function: object) -> bool:
    return str(getattr(function, "__module__", "")).startswith(f"{__package__}.")


def _code_size(function: object, seen: set[object]) -> int:
    function = getattr(function, "py_func", function)
    if not isinstance(function, FunctionType) or function in seen:
        return 0
    seen.add(function)
    names, spaces = function.__code__.co_names, [function.__globals__]
    spaces += [vars(module) for name in names if isinstance(module := spaces[0].get(name), ModuleType)]
    called = [space[name] for space in spaces for name in names if name in space]
    called += [cell.cell_contents for cell in function.__closure__ or ()]
    return len(function.__code__.co_code) + sum(_code_size(f, seen) for f in called if _is_ours(f))


def kernels_of(module: ModuleType) -> dict[str, Any]:
    """The kernels of a file by name, those that it takes from other files included."""
    return {k.name: k for value in vars(module).values() for k in kernels_in(value)}


def kernels_in(value: object) -> Iterator[Kernel]:
    """A kernel, or those in a tuple or a table."""
    if isinstance(value, Kernel):
        yield value
    elif isinstance(value, tuple | dict):
        for item in value.values() if isinstance(value, dict) else value:
            yield from kernels_in(item)


def begin(wanted: Wanted, folder: Callable[[], Path | None], compilers: Callable[[], Compilers]) -> bool:
    """Has processes compile kernels into the cache's folder. Returns False if that would be of no use: then they are
    left to this process.
    """
    longest_first = sorted((k for k in wanted if k[0].is_ours), key=lambda k: k[0].size, reverse=True)
    here = folder() if len(longest_first) > 1 else None
    if here is None or not caching.has_space(here):
        return False
    compilers().ask([f"{k.name}:{dtype}" for k, dtype in longest_first])  # so that they end at about the same time
    return True


def prepare(wanted: Wanted, report: Callable[[int, int], None], folder: Callable[[], Path | None],
            compilers: Callable[[], Compilers]) -> None:
    """Makes kernels ready. Calls `report(done, total)` if some must be compiled, and after each one."""
    missing = [(k, dtype) for k, dtype in wanted if not k.compiled_before(dtype)]
    if missing:
        report(0, len(missing))
    elsewhere = begin(missing, folder, compilers)
    if elsewhere:
        compilers().wait([f"{k.name}:{dtype}" for k, dtype in missing], lambda done: report(done, len(missing)))
    for done, (k, dtype) in enumerate(missing, 1):
        k.compile(dtype)
        if not elsewhere:
            report(done, len(missing))
    for k, dtype in wanted:
        k.compile(dtype)
