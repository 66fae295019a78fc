"""Compiles kernels to PTX. The output of Numba is cached on disk for parallel test processes and later runs."""

import os
import warnings
import zlib
from hashlib import sha256
from pathlib import Path


def texts(kernel, types: tuple, *capabilities: tuple[int, int]) -> list[str]:
    """Returns the PTX of an autoconv kernel or a plain function, for these argument types and for each compute
    capability. A GPU's cubin is assembled from the same text.
    """
    from autoconv.kernels.cuda import internals

    function, path = getattr(kernel, "function", kernel), _kept(kernel, types)
    options = internals.cuda.jit(function, lto=False).targetoptions
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return internals.ptx(function, types, options, map(internals.target, capabilities),
                             lambda: _read(path), lambda data: _write(path, data))


def _kept(kernel, types: tuple) -> Path | None:
    """Returns the cache file of a kernel. Its folder depends on all kernel sources and the compiler's version."""
    from autoconv.kernels.cuda import store

    module = getattr(getattr(kernel, "function", None), "__module__", "")
    if not module.startswith("autoconv.kernels.cuda.") or store.folder() is None:
        return None  # a kernel defined in a test is not part of these sources
    folder = store.folder().with_name(f"ptx-{store.source_hash()}")
    folder.mkdir(exist_ok=True)
    return folder / f"{kernel.name}-{sha256(str(types).encode()).hexdigest()[:16]}"


def _read(path: Path | None) -> bytes | None:
    return zlib.decompress(path.read_bytes()) if path is not None and path.exists() else None


def _write(path: Path | None, data: bytes) -> None:
    if path is not None:
        part = path.with_name(f"{path.name}.{os.getpid()}")
        part.write_bytes(zlib.compress(data, 1))  # compresses to a tenth or less, because LLVM's text is repetitive
        part.replace(path)
