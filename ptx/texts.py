"""A kernel's PTX. Numba's part of it is kept on disk: for the processes that run tests beside this one, and later."""

import os
import warnings
import zlib
from hashlib import sha256
from pathlib import Path


def texts(kernel, types: tuple, *capabilities: tuple[int, int]) -> list[str]:
    """The PTX of a kernel of autoconv, or of a bare function, for these types of arguments and each of the compute
    capabilities: the text that a GPU's cubin is made of.
    """
    from autoconv.kernels.cuda import internals

    function, path = getattr(kernel, "function", kernel), _kept(kernel, types)
    options = internals.cuda.jit(function, lto=False).targetoptions
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return internals.ptx(function, types, options, map(internals.target, capabilities),
                             lambda: _read(path), lambda data: _write(path, data))


def _kept(kernel, types: tuple) -> Path | None:
    """The file of a kernel, in a folder for the sources of all kernels and what compiles them."""
    from autoconv.kernels.cuda import store

    module = getattr(getattr(kernel, "function", None), "__module__", "")
    if not module.startswith("autoconv.kernels.cuda.") or store.folder() is None:
        return None  # a test's own kernel is not among these sources
    folder = store.folder().with_name(f"ptx-{store.source_hash()}")
    folder.mkdir(exist_ok=True)
    return folder / f"{kernel.name}-{sha256(str(types).encode()).hexdigest()[:16]}"


def _read(path: Path | None) -> bytes | None:
    return zlib.decompress(path.read_bytes()) if path is not None and path.exists() else None


def _write(path: Path | None, data: bytes) -> None:
    if path is not None:
        part = path.with_name(f"{path.name}.{os.getpid()}")
        part.write_bytes(zlib.compress(data, 1))  # a tenth, or less: LLVM's text repeats itself
        part.replace(path)
