"""Compiles the stand-in driver."""

import os
import re
import shutil
import subprocess
from pathlib import Path

HERE = Path(__file__).parent
NAME = "libcuda.so.1"
OPTIONS = ["-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", "-Wno-unused-parameter", "-fvisibility=hidden",
           f"-Wl,-soname,{NAME}"]


class MissingError(Exception):
    """A compiler or header that is needed to build the stand-in is missing."""


def build(folder: Path) -> Path:
    """Compiles the stand-in into `folder` and returns it. The compiler checks it against NVIDIA's declarations, cuda.h.

    Raises MissingError if there is no compiler, or no cuda.h.
    """
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise MissingError("no C compiler was found (cc, gcc, clang)")
    headers = _headers()
    names = re.findall(r"^\s*(CUDA_(?:SUCCESS|ERROR_\w+))\s*=\s*(\d+)", (headers / "cuda.h").read_text(), re.MULTILINE)
    (folder / "errors.inc").write_text("".join(f'{{{code}, "{name}"}},\n' for name, code in names))
    made = folder / NAME
    subprocess.run([compiler, *OPTIONS, f"-I{headers}", f"-I{folder}", *map(str, sorted(HERE.glob("*.c"))), "-o", made,
                    "-ldl", "-lpthread"], check=True, timeout=120)
    (folder / "libcuda.so").symlink_to(NAME)  # the name that numba-cuda looks up first
    return folder


def environment(folder: Path) -> dict[str, str]:
    """Returns environment variables with which a process loads the stand-in as NVIDIA's driver."""
    before = os.environ.get("LD_LIBRARY_PATH")
    return {**os.environ, "LD_LIBRARY_PATH": os.pathsep.join(filter(None, [str(folder), before]))}


def _headers() -> Path:
    """Returns the folder of cuda.h, which numba-cuda[cu13] installs."""
    from cuda import pathfinder

    found = pathfinder.find_nvidia_header_directory("cudart")
    if found is None or not (Path(found) / "cuda.h").exists():
        raise MissingError("cuda.h was not found: pip install 'autoconv[cuda]'")
    return Path(found)
