"""Where CUDA's compiler is: in wheels beside numba-cuda, or in a toolkit of the system's, which CUDA_HOME names.

numba-cuda finds wheels by itself. Where only a toolkit has NVVM or libdevice, as in images made for PyTorch, it finds
them by CUDA_HOME alone, and gives up without it. So that is set here, before anything of numba-cuda runs.
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

FILES = {"nvrtc": ("lib*/libnvrtc.so*",), "nvvm": ("nvvm/lib*/libnvvm.so*", "lib*/libnvvm.so*")}  # of a toolkit
LIBDEVICE = "nvvm/libdevice/libdevice.10.bc"
VARIABLES = ("CUDA_HOME", "CUDA_PATH")
DEFAULT = "/usr/local/cuda"  # where numba-cuda looks for libdevice unasked
PLACES = (DEFAULT, f"{DEFAULT}-*", "/opt/cuda", "/usr/lib/cuda")


@cache
def missing_part() -> str | None:
    """What of CUDA's compiler is nowhere: "nvrtc", "nvvm" or "libdevice"; None where all is there.

    Where numba-cuda would not find a toolkit that has what the wheels lack, CUDA_HOME is set: for
    this process and for those that it starts.
    """
    missing = _missing()
    name = variable()
    if missing is None:
        return None
    for folder in _toolkits() if name is None else [Path(os.environ[name])]:
        if name is None:
            os.environ[VARIABLES[0]] = str(folder)
        for part in FILES:
            if loaded(part) is None:  # cuda-pathfinder reads the variable once, and not all places below it
                _load_from(folder, part)
        if _missing() is None:
            return None
        if name is None:
            del os.environ[VARIABLES[0]]
    return missing


def remedy(missing: str) -> str:
    """What to do where a part is missing, as a sentence."""
    install = "install it with pip install 'autoconv[cuda]'."
    name = variable()
    if name is not None:
        return (f"{name} is {os.environ[name]!r}, and no such part was found there. Set {name} to the folder of a CUDA "
                f"toolkit that has {LIBDEVICE}, or unset it and {install}")
    if missing == "nvrtc":
        return install.capitalize()
    return (f"Set CUDA_HOME to the folder of a CUDA toolkit that has {LIBDEVICE} (none was found in "
            f"{', '.join(PLACES)}), or {install}")


def variable() -> str | None:
    """The variable that tells numba-cuda of a toolkit, if one is set."""
    return next((name for name in VARIABLES if os.environ.get(name)), None)


def loaded(part: str) -> Any:
    """One of CUDA's libraries ("nvrtc", "nvvm", "nvJitLink") as cuda-pathfinder finds and loads it:
    `abs_path` is its file. None where it is nowhere.
    """
    try:
        from cuda import pathfinder  # type: ignore[import-not-found,unused-ignore]
    except ImportError:  # numba-cuda brings it
        return None
    try:
        return pathfinder.load_nvidia_dynamic_lib(part)
    except pathfinder.DynamicLibNotFoundError:
        return None


def version(part: str) -> str | None:
    """The version of "nvrtc", "nvvm" or "nvJitLink", by its own word; None where it is nowhere."""
    library = loaded(part)
    numbers = (ctypes.c_int(), ctypes.c_int())
    if library is None:
        return None
    getattr(ctypes.CDLL(library.abs_path), f"{part}Version")(*map(ctypes.byref, numbers))
    return ".".join(str(number.value) for number in numbers)


def _missing() -> str | None:
    """What numba-cuda would not find as things are."""
    for part in FILES:
        if loaded(part) is None:
            return part
    home = variable()
    root = _root(loaded("nvvm"))
    if root is not None and (root.is_relative_to(sys.prefix) or {"site-packages", "dist-packages"} & set(root.parts)):
        return None  # a wheel, or a package of conda's: with libdevice
    looked_in = Path(DEFAULT if home is None else os.environ[home])
    return None if (looked_in / LIBDEVICE).is_file() else "libdevice"


def _root(library: Any) -> Path | None:
    """The folder of the toolkit, or of the wheel, that a library is a part of."""
    if library is None or not library.abs_path:
        return None
    return next((above for above in Path(library.abs_path).parents if (above / LIBDEVICE).is_file()), None)


def _toolkits() -> Iterator[Path]:
    """The toolkits on this machine that have NVVM and libdevice: first the one that is in use, newer ones first."""
    nvcc = shutil.which("nvcc")
    found = [_root(loaded(part)) for part in FILES] + [Path(nvcc).resolve().parents[1] if nvcc else None]
    for place in PLACES:
        several = Path(place).parent.glob(Path(place).name)
        found += sorted(several, key=lambda path: [int(n) for n in re.findall(r"\d+", path.name)], reverse=True)
    for folder in dict.fromkeys(filter(None, found)):
        if _files(folder, "nvvm") and (folder / LIBDEVICE).is_file():
            yield folder


def _files(folder: Path, part: str) -> list[Path]:
    """The files of a library in a toolkit, under its several names."""
    return [file for pattern in FILES[part] for file in sorted(folder.glob(pattern), reverse=True)]


def _load_from(folder: Path, part: str) -> None:
    """Loads a library of a toolkit, if it is there: cuda-pathfinder then takes the one that is loaded."""
    for file in _files(folder, part):
        with contextlib.suppress(OSError):
            ctypes.CDLL(str(file), mode=ctypes.RTLD_GLOBAL)
            return
