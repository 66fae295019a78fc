"""The disk cache of compiled kernels: a file for each kernel, types of its arguments and target of
the compiler.

Numba's own cache keeps one index file for all kernels that a line of source makes, as the factories
in arith.py do, and processes that compile some of them at once would overwrite each other's
entries; it must have a GPU to be filled; and it runs what a damaged file holds.
"""

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


def file(name: str, types: tuple, target: tuple) -> Path | None:
    """The path of a kernel, for a target of the compiler."""
    architecture = f".sm_{''.join(map(str, target))}"
    return caching.kernel_file(folder(), name, types, target, architecture)


def describe() -> dict[str, str]:
    """Where the cache is and how much is in it."""
    here = folder()
    return {"cache_folder": str(here or folders.user_cache()), "cache_state": caching.state(here)}
