"""The one file that imports numba-cuda, with all that is used of it beyond its documented names.

Those move from version to version. So each has a fallback here: where a compiled kernel cannot be
kept it is compiled again, where no GPU can be pretended the real one is asked.
"""

import importlib
import pickle
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from types import SimpleNamespace
from typing import Any

from . import libraries

libraries.missing_part()  # it may set CUDA_HOME, which numba-cuda reads

from llvmlite import ir  # noqa: E402, F401 (for ptx.py, as cgutils, intrinsic and types are)
from numba import cuda  # noqa: E402
from numba.cuda.extending import intrinsic  # noqa: E402, F401

Capability = tuple[int, int]
Target = tuple[int, int] | tuple[int, int, str]  # a capability, or one with the features of its generation alone

_UNLIKE = (AttributeError, ImportError, TypeError)  # what a version raises that has a name no longer, or another one


def _first(*names: str) -> Any:
    """The first of these modules that there is."""
    for name in names:
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    raise ImportError(f"This version of numba-cuda has none of {', '.join(names)}. "
                      "Install another one with pip install 'autoconv[cuda]'.")


cgutils = _first("numba.cuda.cgutils", "numba.core.cgutils")
types = _first("numba.cuda.types", "numba.core.types")
_config = _first("numba.cuda.core.config", "numba.core.config")
_serialize = _first("numba.cuda.serialize", "numba.core.serialize")
_signatures = _first("numba.cuda.core.sigutils", "numba.core.sigutils")
_devices: Any = _first("numba.cuda.cudadrv.devices", "numba.cuda.api")
_dispatcher: Any = _first("numba.cuda.dispatcher")
_Nothing: Any = getattr(_first("numba.cuda.core.caching", "numba.core.caching"), "NullCache", object)

_config.CUDA_LOW_OCCUPANCY_WARNINGS = 0  # a small net makes small launches


def _errors() -> tuple[type[Exception], ...]:
    places = ("numba.cuda.cudadrv.driver", "CudaAPIError"), ("numba.cuda.cudadrv.error", "CudaSupportError")
    found = [getattr(_first(module, "numba.cuda"), name, RuntimeError) for module, name in places]
    return tuple(dict.fromkeys(found))


def _compiler_locks() -> list[Any]:
    """The locks that it takes to compile: one of its own, and in some versions Numba's before."""
    both = _first("numba.cuda.core.compiler_lock", "numba.core.compiler_lock").global_compiler_lock
    each = (getattr(both, name, None) for name in ("_numba_lock", "_cuda_lock"))
    return [lock._lock for lock in (both, *each) if hasattr(lock, "_lock")]


COMPILER_LOCKS = _compiler_locks()
DRIVER_ERRORS = _errors()  # what numba-cuda raises where the driver refuses

_pretending: Capability | None = None


@contextmanager
def pretended(capability: Capability) -> Iterator[None]:
    """Numba asks the current GPU what it is to compile for: within this block there is one of this capability.

    A version that asks elsewhere gets the answer of the real GPU, for which everything is compiled anyway.
    """
    global _pretending
    gpu: Any = SimpleNamespace(compute_capability=capability)
    answers = ((_dispatcher, "get_current_device", gpu), (_devices, "get_context", SimpleNamespace(device=gpu)))
    asked = [(module, name, getattr(module, name), answer) for module, name, answer in answers if hasattr(module, name)]
    before, _pretending = _pretending, capability
    for module, name, _, answer in asked:
        setattr(module, name, lambda answer=answer: answer)
    try:
        yield
    finally:
        _pretending = before
        for module, name, function, _ in asked:
            setattr(module, name, function)


def capability() -> Capability:
    """The compute capability of the current GPU, or of the one that is pretended."""
    if _pretending is not None:
        return _pretending
    major, minor = cuda.get_current_device().compute_capability
    return major, minor


@cache
def target(of: Capability) -> Target:
    """What numba-cuda compiles for on a GPU of this capability: from Hopper on (9, 0, "a"), which is `sm_90a`."""
    try:
        with pretended(of):
            found = _first("numba.cuda.codegen").CUDACodeLibrary._ensure_cc(None, None)
    except _UNLIKE:
        return of
    return (found[0], found[1], found[2]) if len(found) == 3 and found[2] else (found[0], found[1])


@cache
def known() -> frozenset[Capability]:
    """The compute capabilities that the compiler here knows."""
    from cuda.bindings import nvrtc  # type: ignore[import-not-found,unused-ignore]

    _, numbers = nvrtc.nvrtcGetSupportedArchs()
    return frozenset(divmod(number, 10) for number in numbers)


def types_of(signature: str) -> tuple:
    """Numba's types of the parameters of a signature."""
    return _signatures.normalize_signature(signature)[0]


def compiled(function: Callable, parameters: tuple, options: dict[str, Any]) -> Any:
    """A kernel as a dispatcher launches it, for the current GPU or the one that is pretended, down to machine code."""
    made = _dispatcher._Kernel(function, parameters, **options)
    made.library.get_cubin()
    return made


def ptx(function: Callable, parameters: tuple, options: dict[str, Any], targets: Iterable[Target],
        load: Callable[[], bytes | None] = lambda: None,
        save: Callable[[bytes], object] = lambda data: None) -> list[str]:
    """A kernel's PTX for several targets. Numba's part, the longest, is done once: it is the same from Turing on.

    `load()` may give that part, as `save(data)` was given it before; with it is the PTX of the targets of that time.
    """
    targets = list(targets)
    try:
        kept = restored(load() or b"")
        made = _lowered(function, parameters, options, targets[0]) if kept is None else kept
        texts = [_text(made, target) for target in targets]
        if kept is None and (data := dumped(made)) is not None:
            save(data)
        return texts
    except _UNLIKE:
        return [_documented(function, parameters, target) for target in targets]


def _lowered(function: Callable, parameters: tuple, options: dict[str, Any], target: Target) -> Any:
    with pretended(target[:2]):
        return _dispatcher._Kernel(function, parameters, **options)


def _text(kernel: Any, target: Target) -> str:
    with pretended(target[:2]):
        return kernel.library.get_asm_str()  # as at a launch; by `cc` it would not find what it has, and compile again


def _documented(function: Callable, parameters: tuple, target: Target) -> str:
    with pretended(target[:2]):
        return cuda.compile_ptx(function, parameters, device=False, cc=target)[0]


def dumped(kernel: Any) -> bytes | None:
    """A compiled kernel for `restored`; None where it cannot be kept."""
    try:
        return _serialize.dumps(kernel)
    except (*_UNLIKE, RuntimeError, pickle.PickleError):
        return None


def restored(data: bytes) -> Any:
    """A kernel from what `dumped` gave; None where that has another form, so that it must be compiled."""
    try:
        return pickle.loads(data)
    except (*_UNLIKE, EOFError, pickle.PickleError):
        return None


class _Kept(_Nothing):
    """What a dispatcher asks before it compiles, and gives what it compiled."""

    def __init__(self, load: Callable[[tuple], Any], save: Callable[[tuple, Any], object]) -> None:
        self._load = load
        self._save = save

    def load_overload(self, signature: tuple, _: Any) -> Any:
        return self._load(signature)

    def save_overload(self, signature: tuple, made: Any) -> None:
        self._save(signature, made)


def keep(dispatcher: Any, load: Callable[[tuple], Any], save: Callable[[tuple, Any], object]) -> None:
    """Has a dispatcher call `load(types)`, which may give a kernel, before it compiles one, and then
    `save(types, kernel)`. A version that has another way to do so compiles anew in each process.
    """
    dispatcher._cache = _Kept(load, save)
