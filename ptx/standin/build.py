"""Compiles the stand-in."""

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
    """What is not on this machine, that the stand-in is made with."""


def build(folder: Path) -> Path:
    """Compiles it into a folder, which it returns. The compiler compares it with NVIDIA's declarations, cuda.h.

    Raises MissingError where there is no compiler, or no such file.
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
    (folder / "libcuda.so").symlink_to(NAME)  # numba-cuda asks for that first
    return folder


def environment(folder: Path) -> dict[str, str]:
    """The variables of a process that finds the stand-in where it looks for NVIDIA's driver."""
    before = os.environ.get("LD_LIBRARY_PATH")
    return {**os.environ, "LD_LIBRARY_PATH": os.pathsep.join(filter(None, [str(folder), before]))}


def _headers() -> Path:
    """Where cuda.h is: numba-cuda[cu13] brings it."""
    from cuda import pathfinder

    found = pathfinder.find_nvidia_header_directory("cudart")
    if found is None or not (Path(found) / "cuda.h").exists():
        raise MissingError("cuda.h was not found: pip install 'autoconv[cuda]'")
    return Path(found)
