"""The disk cache of compiled kernels: a file for each kernel, types of its arguments and compute capability.

Numba's own cache keeps one index file for all kernels that a line of source makes, as the factories in arith.py do, and
processes that compile some of them at once would overwrite each other's entries; and it must have a GPU to be filled.
"""

import contextlib
import hashlib
import os
from functools import cache
from pathlib import Path

from .. import caching
from . import driver


@cache
def folder() -> Path | None:
    """The folder for compiled kernels; None (with a warning) where none can be written."""
    return caching.made_folder(f"kernels-cuda-{source_hash()}")


def source_hash() -> str:
    """A hash over all sources of the kernels, and what compiles them."""
    return caching.source_hash(Path(__file__).parent, *map(driver.installed_version, ("numba-cuda", "cuda-bindings")))


def has(name: str, types: tuple, capability: tuple[int, int]) -> bool:
    """Whether a kernel is there."""
    path = _path(name, types, capability)
    return path is not None and path.exists()


def read(name: str, types: tuple, capability: tuple[int, int]) -> bytes | None:
    """A kernel, as it was written; None where it is not there."""
    path = _path(name, types, capability)
    with contextlib.suppress(OSError):
        return None if path is None else path.read_bytes()
    return None


def write(name: str, types: tuple, capability: tuple[int, int], data: bytes) -> None:
    """Keeps a kernel. Whoever reads it sees all of it or nothing. Without a folder, or room in it, nothing happens."""
    path = _path(name, types, capability)
    if path is not None:
        part = path.with_name(f"{path.name}.{os.getpid()}")
        with contextlib.suppress(OSError):
            try:
                part.write_bytes(data)
                part.replace(path)
            except OSError:
                part.unlink()


def describe() -> dict[str, str]:
    """Where the cache is and how much is in it."""
    here = folder()
    count = 0 if here is None else len(list(here.glob("*.kernel")))
    return {"cache_folder": str(here or caching.user_cache()), "cache_state": caching.state(here, count)}


def _path(name: str, types: tuple, capability: tuple[int, int]) -> Path | None:
    here, key = folder(), hashlib.sha256(str(types).encode()).hexdigest()[:16]
    return None if here is None else here / "{}-{}.sm_{}{}.kernel".format(name, key, *capability)
