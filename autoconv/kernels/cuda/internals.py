"""The only module that imports numba-cuda. It contains all undocumented names of numba-cuda that
autoconv uses.

The undocumented names change between versions. So each has a fallback here. If a compiled kernel
cannot be stored, it is compiled again. If no GPU can be simulated, the real GPU is queried.
"""

import importlib
import pickle
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from types import SimpleNamespace
from typing import Any

from . import libraries

libraries.missing_part()  # this may set CUDA_HOME, which numba-cuda reads when imported

from llvmlite import ir  # noqa: E402, F401 (re-exported for ptx.py, like cgutils, intrinsic, types)
from numba import cuda  # noqa: E402
from numba.cuda.extending import intrinsic  # noqa: E402, F401

Capability = tuple[int, int]
# a compute capability, optionally with the suffix of a target for one GPU generation only
Target = tuple[int, int] | tuple[int, int, str]

# exceptions that are raised if this version of numba-cuda lacks a name or changed it
_UNLIKE = (AttributeError, ImportError, TypeError)


def _first(*names: str) -> Any:
    """Imports and returns the first of these modules that exists."""
    for name in names:
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    raise ImportError(f"This version of numba-cuda has none of the modules {', '.join(names)}. "
                      "Install a supported version with pip install 'autoconv[cuda]'.")


cgutils = _first("numba.cuda.cgutils", "numba.core.cgutils")
types = _first("numba.cuda.types", "numba.core.types")
_config = _first("numba.cuda.core.config", "numba.core.config")
_serialize = _first("numba.cuda.serialize", "numba.core.serialize")
_signatures = _first("numba.cuda.core.sigutils", "numba.core.sigutils")
_devices: Any = _first("numba.cuda.cudadrv.devices", "numba.cuda.api")
_dispatcher: Any = _first("numba.cuda.dispatcher")
_NullCache: Any = getattr(_first("numba.cuda.core.caching", "numba.core.caching"), "NullCache", object)

_config.CUDA_LOW_OCCUPANCY_WARNINGS = 0  # small grids are normal for small nets


def _compiler_locks() -> list[Any]:
    """Returns the locks that are held while a kernel is compiled: numba-cuda's own, and in some
    versions Numba's as well.
    """
    outer = _first("numba.cuda.core.compiler_lock", "numba.core.compiler_lock").global_compiler_lock
    inner = (getattr(outer, name, None) for name in ("_numba_lock", "_cuda_lock"))
    return [lock._lock for lock in (outer, *inner) if hasattr(lock, "_lock")]


COMPILER_LOCKS = _compiler_locks()
# classes that numba-cuda raises if the driver refuses a call
DRIVER_ERRORS = tuple({getattr(_first(module, "numba.cuda"), name, RuntimeError) for module, name in (
    ("numba.cuda.cudadrv.driver", "CudaAPIError"), ("numba.cuda.cudadrv.error", "CudaSupportError"))})

_pretended_capability: Capability | None = None


@contextmanager
def pretend_capability(capability: Capability) -> Iterator[None]:
    """Makes Numba compile for this compute capability inside the `with` block, instead of querying
    the current GPU.

    If a numba-cuda version queries the GPU in another way, it compiles for the real GPU instead.
    """
    global _pretended_capability
    gpu: Any = SimpleNamespace(compute_capability=capability)
    answers = ((_dispatcher, "get_current_device", gpu), (_devices, "get_context", SimpleNamespace(device=gpu)))
    patches = [(place, name, getattr(place, name), answer) for place, name, answer in answers if hasattr(place, name)]
    previous, _pretended_capability = _pretended_capability, capability
    for module, name, _, answer in patches:
        setattr(module, name, lambda answer=answer: answer)
    try:
        yield
    finally:
        _pretended_capability = previous
        for module, name, function, _ in patches:
            setattr(module, name, function)


def capability() -> Capability:
    """Returns the compute capability of the current GPU, or the one set by `pretend_capability`."""
    if _pretended_capability is not None:
        return _pretended_capability
    major, minor = cuda.get_current_device().compute_capability
    return major, minor


@cache
def target(capability: Capability) -> Target:
    """Returns the target that numba-cuda compiles for on a GPU of this capability. From Hopper on,
    a target has a suffix: (9, 0, "a") is `sm_90a`.
    """
    try:
        with pretend_capability(capability):
            parts = _first("numba.cuda.codegen").CUDACodeLibrary._ensure_cc(None, None)
    except _UNLIKE:
        return capability
    return (parts[0], parts[1], parts[2]) if len(parts) == 3 and parts[2] else (parts[0], parts[1])


@cache
def list_capabilities() -> frozenset[Capability]:
    """Returns the compute capabilities that the installed compiler supports."""
    from cuda.bindings import nvrtc  # type: ignore[import-not-found,unused-ignore]

    _, numbers = nvrtc.nvrtcGetSupportedArchs()
    return frozenset(divmod(number, 10) for number in numbers)


def parse_signature(signature: str) -> tuple:
    """Returns Numba's types of a signature's parameters."""
    return _signatures.normalize_signature(signature)[0]


def compile_kernel(function: Callable, parameters: tuple, options: dict[str, Any]) -> Any:
    """Compiles a kernel to machine code, for the current GPU or the capability that
    `pretend_capability` sets. Returns it in the form that a dispatcher launches.
    """
    kernel = _dispatcher._Kernel(function, parameters, **options)
    kernel.library.get_cubin()
    return kernel


def ptx(function: Callable, parameters: tuple, options: dict[str, Any], targets: Iterable[Target],
        load: Callable[[], bytes | None] = lambda: None,
        save: Callable[[bytes], object] = lambda data: None) -> list[str]:
    """Returns a kernel's PTX for several targets. Numba's part of the compilation, which takes
    longest, runs only once, because its result is the same from Turing on.

    `load()` may return that result, stored earlier by `save(data)`. The stored result includes the
    PTX for the targets of the earlier call.
    """
    targets = list(targets)
    try:
        cached_kernel = restore_kernel(load() or b"")
        if (kernel := cached_kernel) is None:
            with pretend_capability(targets[0][:2]):
                kernel = _dispatcher._Kernel(function, parameters, **options)
        texts = [_text(kernel, target) for target in targets]
        if cached_kernel is None and (data := dump_kernel(kernel)) is not None:
            save(data)
        return texts
    except _UNLIKE:
        return [compile_ptx(function, parameters, target) for target in targets]


def _text(kernel: Any, target: Target) -> str:
    with pretend_capability(target[:2]):
        # the same call as for a launch: with the argument `cc`, Numba would not find the stored PTX
        # and would compile again
        return kernel.library.get_asm_str()


def compile_ptx(function: Callable, parameters: tuple, target: Target) -> str:
    with pretend_capability(target[:2]):
        return cuda.compile_ptx(function, parameters, device=False, cc=target)[0]


def dump_kernel(kernel: Any) -> bytes | None:
    """Serializes a compiled kernel for `restore_kernel`; returns None if that is not possible."""
    try:
        return _serialize.dumps(kernel)
    except (*_UNLIKE, RuntimeError, pickle.PickleError):
        return None


def restore_kernel(data: bytes) -> Any:
    """Returns a kernel serialized by `dump_kernel`; None if the data have another format, so that
    the kernel must be compiled.
    """
    try:
        return pickle.loads(data)
    except (*_UNLIKE, EOFError, pickle.PickleError):
        return None


class _CallbackCache(_NullCache):
    """A dispatcher's cache. It calls `load` before a kernel is compiled, and `save` afterwards."""

    def __init__(self, load: Callable[[tuple], Any], save: Callable[[tuple, Any], object]) -> None:
        self._load = load
        self._save = save

    def load_overload(self, signature: tuple, _: Any) -> Any:
        return self._load(signature)

    def save_overload(self, signature: tuple, kernel: Any) -> None:
        self._save(signature, kernel)


def keep(dispatcher: Any, load: Callable[[tuple], Any], save: Callable[[tuple, Any], object]) -> None:
    """Makes a dispatcher call `load(types)` before it compiles a kernel, and `save(types, kernel)`
    afterwards. If `load` returns a kernel, nothing is compiled. With a numba-cuda version that has
    another cache interface, each process compiles again.
    """
    dispatcher._cache = _CallbackCache(load, save)
