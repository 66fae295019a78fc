"""A second checkout of the package: another folder, other dates, the same sources."""

import os
import shutil
import sys
from pathlib import Path

import autoconv

LONG_AGO = 1_000_000_000


def checkout(folder: Path) -> dict:
    """Copies the package below `folder`. Returns what makes `subprocess.run` use that copy."""
    source = Path(autoconv.__file__).parent
    shutil.copytree(source, folder / source.name, ignore=shutil.ignore_patterns("__pycache__"))
    for path in folder.rglob("*"):
        os.utime(path, (LONG_AGO, LONG_AGO))
    return {"cwd": folder, "env": {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), *sys.path])}}
