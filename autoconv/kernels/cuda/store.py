"""The disk cache of compiled CUDA kernels: one file per kernel, argument types and compiler target.

Numba's own cache has three drawbacks. It keeps one index file for all kernels from the same source
line, such as those of the factories in arith.py, so processes that compile at once would overwrite
each other's entries. It can only be filled with a GPU. And it executes the contents of damaged
files.
"""

import hashlib
from functools import cache
from pathlib import Path

from ...files import folders
from .. import caching
from . import driver


@cache
def folder() -> Path | None:
    """Returns the folder for compiled kernels; None, with a warning, if it is not writable."""
    return caching.made_folder(f"kernels-cuda-{source_hash()}")


def source_hash() -> str:
    """Returns a hash of all kernel sources and of the compiler's versions."""
    return caching.source_hash(Path(__file__).parent, *map(driver.installed_version, ("numba-cuda", "cuda-bindings")))


def has(name: str, types: tuple, target: tuple) -> bool:
    """Whether a kernel is in the cache."""
    path = _path(name, types, target)
    return path is not None and path.exists()


def read(name: str, types: tuple, target: tuple) -> bytes | None:
    """Returns a kernel's data; None if it is missing or damaged."""
    path = _path(name, types, target)
    return None if path is None else caching.read(path)


def write(name: str, types: tuple, target: tuple, data: bytes) -> None:
    """Stores a kernel, if the cache folder is writable."""
    path = _path(name, types, target)
    if path is not None:
        caching.write(path, data)


def describe() -> dict[str, str]:
    """Returns the cache's folder and its contents' size."""
    here = folder()
    return {"cache_folder": str(here or folders.user_cache()), "cache_state": caching.state(here)}


def _path(name: str, types: tuple, target: tuple) -> Path | None:
    here = folder()
    key = hashlib.sha256(str(types).encode()).hexdigest()[:16]
    return None if here is None else here / "{}-{}.sm_{}{}".format(name, key, "".join(map(str, target)), caching.KERNEL)
