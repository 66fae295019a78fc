"""The disk cache of compiled CUDA kernels. It has one file per kernel, argument types and compiler
target.

Numba's own cache has three drawbacks. It has one index file for all kernels from the same source
line, such as those of the factories in arith.py, so processes that compile at once would overwrite
each other's entries. It can only be filled with a GPU. And if a file is damaged, it executes the
file's contents.
"""

from functools import cache
from pathlib import Path

from ...files import folders
from .. import caching
from . import driver


@cache
def folder() -> Path | None:
    """Returns the folder for compiled kernels; None, with a warning, if it is not writable."""
    return caching.make_folder(f"kernels-cuda-{source_hash()}")


def source_hash() -> str:
    """Returns a hash of all kernel sources and of the compiler's versions."""
    return caching.source_hash(Path(__file__).parent, *map(driver.installed_version, ("numba-cuda", "cuda-bindings")))


def file(name: str, types: tuple, target: tuple) -> Path | None:
    """Returns the path of a compiled kernel for a target; None without a cache folder."""
    architecture = f".sm_{''.join(map(str, target))}"
    return caching.kernel_file(folder(), name, types, target, architecture)


def describe() -> dict[str, str]:
    """Returns the cache's folder, and the number and size of its kernels."""
    here = folder()
    return {"cache_folder": str(here or folders.user_cache()), "cache_state": caching.state(here)}
