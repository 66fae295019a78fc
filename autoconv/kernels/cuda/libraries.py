"""Finds CUDA's compiler, either in wheels that were installed with numba-cuda or in a CUDA toolkit.

numba-cuda finds wheels itself. If only a toolkit contains NVVM or libdevice, as in container images
for PyTorch, numba-cuda finds them only through CUDA_HOME. So this module sets the variable before
numba-cuda is used.
"""

import contextlib
import ctypes
import os
import re
import shutil
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

# patterns of the libraries' file names in a toolkit
FILES = {"nvrtc": ("lib*/libnvrtc.so*",), "nvvm": ("nvvm/lib*/libnvvm.so*", "lib*/libnvvm.so*")}
LIBDEVICE = "nvvm/libdevice/libdevice.10.bc"
VARIABLES = ("CUDA_HOME", "CUDA_PATH")
DEFAULT = "/usr/local/cuda"  # where numba-cuda looks for libdevice if no variable is set
PLACES = (DEFAULT, f"{DEFAULT}-*", "/opt/cuda", "/usr/lib/cuda")


@cache
def missing_part() -> str | None:
    """Returns the part of CUDA's compiler that is missing: "nvrtc", "nvvm" or "libdevice"; None if
    nothing is missing.

    If a toolkit has the parts that the wheels lack, but numba-cuda would not find that toolkit,
    CUDA_HOME is set for this process and its child processes.
    """
    missing = _missing()
    name = variable()
    if missing is None:
        return None
    for folder in _toolkits() if name is None else [Path(os.environ[name])]:
        if name is None:
            os.environ[VARIABLES[0]] = str(folder)
        for part in FILES:
            # cuda-pathfinder reads the variable only once, and does not search all subfolders, but
            # it uses a library that is already loaded
            for file in _files(folder, part) if load_library(part) is None else []:
                with contextlib.suppress(OSError):
                    ctypes.CDLL(str(file), mode=ctypes.RTLD_GLOBAL)
                    break
        if _missing() is None:
            return None
        if name is None:
            del os.environ[VARIABLES[0]]
    return missing


def remedy(missing: str) -> str:
    """Returns a sentence that tells the user how to install a missing part."""
    install = "install it with pip install 'autoconv[cuda]'."
    name = variable()
    if name is not None:
        return (f"{name} is {os.environ[name]!r}, and no such part was found there. Set {name} to "
                f"the folder of a CUDA toolkit that has {LIBDEVICE}, or unset it and {install}")
    if missing == "nvrtc":
        return install.capitalize()
    return (f"Set CUDA_HOME to the folder of a CUDA toolkit that has {LIBDEVICE} (none was found "
            f"in {', '.join(PLACES)}), or {install}")


def variable() -> str | None:
    """Returns the environment variable that points numba-cuda to a toolkit, if one is set."""
    return next((name for name in VARIABLES if os.environ.get(name)), None)


def load_library(part: str) -> Any:
    """Loads one of CUDA's libraries ("nvrtc", "nvvm" or "nvJitLink") with cuda-pathfinder and
    returns it; `abs_path` is the library's file. Returns None if the library is not found.
    """
    try:
        from cuda import pathfinder  # type: ignore[import-not-found,unused-ignore]
    except ImportError:  # numba-cuda, which installs cuda-pathfinder, is missing
        return None
    try:
        return pathfinder.load_nvidia_dynamic_lib(part)
    except pathfinder.DynamicLibNotFoundError:
        return None


def version(part: str) -> str | None:
    """Returns the version that "nvrtc", "nvvm" or "nvJitLink" reports; None if the library is not
    found.
    """
    library = load_library(part)
    numbers = (ctypes.c_int(), ctypes.c_int())
    if library is None:
        return None
    getattr(ctypes.CDLL(library.abs_path), f"{part}Version")(*map(ctypes.byref, numbers))
    return ".".join(str(number.value) for number in numbers)


def _missing() -> str | None:
    """Returns the part that numba-cuda would not find with the current settings, or None."""
    for part in FILES:
        if load_library(part) is None:
            return part
    home = variable()
    root = _root(load_library("nvvm"))
    if root is not None and (root.is_relative_to(sys.prefix) or {"site-packages", "dist-packages"} & set(root.parts)):
        return None  # a wheel or a conda package: both include libdevice
    toolkit = Path(DEFAULT if home is None else os.environ[home])
    return None if (toolkit / LIBDEVICE).is_file() else "libdevice"


def _root(library: Any) -> Path | None:
    """Returns the folder of the toolkit or wheel that contains a library."""
    if library is None or not library.abs_path:
        return None
    return next((above for above in Path(library.abs_path).parents if (above / LIBDEVICE).is_file()), None)


def _toolkits() -> Iterator[Path]:
    """Yields the toolkits on this machine that have NVVM and libdevice: first the one in use, then
    the others from newest to oldest.
    """
    nvcc = shutil.which("nvcc")
    folders = [_root(load_library(part)) for part in FILES] + [Path(nvcc).resolve().parents[1] if nvcc else None]
    for place in PLACES:
        candidates = Path(place).parent.glob(Path(place).name)
        folders += sorted(candidates, key=lambda path: [int(n) for n in re.findall(r"\d+", path.name)], reverse=True)
    for folder in dict.fromkeys(filter(None, folders)):
        if _files(folder, "nvvm") and (folder / LIBDEVICE).is_file():
            yield folder


def _files(folder: Path, part: str) -> list[Path]:
    """Returns the files of a library in a toolkit, under all of the library's file names."""
    return [file for pattern in FILES[part] for file in sorted(folder.glob(pattern), reverse=True)]
