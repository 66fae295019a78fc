"""The disk cache of compiled kernels: a file for each kernel, types of its arguments and target of
the compiler.

Numba's own cache keeps one index file for all kernels that a line of source makes, as the factories
in arith.py do, and processes that compile some of them at once would overwrite each other's
entries; it must have a GPU to be filled; and it runs what a damaged file holds.
"""

import hashlib
from functools import cache
from pathlib import Path

from ...files import folders
from .. import caching
from . import driver


@cache
def folder() -> Path | None:
    """The folder for compiled kernels; None (with a warning) where none can be written."""
    return caching.made_folder(f"kernels-cuda-{source_hash()}")


def source_hash() -> str:
    """A hash over all sources of the kernels, and what compiles them."""
    return caching.source_hash(Path(__file__).parent, *map(driver.installed_version, ("numba-cuda", "cuda-bindings")))


def has(name: str, types: tuple, target: tuple) -> bool:
    """Whether a kernel is there."""
    path = _path(name, types, target)
    return path is not None and path.exists()


def read(name: str, types: tuple, target: tuple) -> bytes | None:
    """A kernel, as it was written; None where it is not there, or damaged."""
    path = _path(name, types, target)
    return None if path is None else caching.read(path)


def write(name: str, types: tuple, target: tuple, data: bytes) -> None:
    """Keeps a kernel, where there is a folder and room in it."""
    path = _path(name, types, target)
    if path is not None:
        caching.write(path, data)


def describe() -> dict[str, str]:
    """Where the cache is and how much is in it."""
    here = folder()
    return {"cache_folder": str(here or folders.user_cache()), "cache_state": caching.state(here)}


def _path(name: str, types: tuple, target: tuple) -> Path | None:
    here = folder()
    key = hashlib.sha256(str(types).encode()).hexdigest()[:16]
    return None if here is None else here / "{}-{}.sm_{}{}".format(name, key, "".join(map(str, target)), caching.KERNEL)
