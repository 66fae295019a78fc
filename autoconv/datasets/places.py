"""The places on this computer where a set may lie: `AUTOCONV_DATA`, then the user's cache."""

import os
import sys
from pathlib import Path


def data_place(name: str) -> Path | None:
    """The set's folder under `AUTOCONV_DATA` (a folder with one subfolder a set), None where that isn't set."""
    root = os.environ.get("AUTOCONV_DATA")
    return Path(root).expanduser() / name if root else None


def cache_place(name: str) -> Path:
    """The set's folder in the user's cache, where downloads are put.

    `AUTOCONV_CACHE_DIR`/datasets if that variable is set, else autoconv/datasets in the system's folder for caches:
    `XDG_CACHE_HOME` or ~/.cache, on Windows `LOCALAPPDATA`.
    """
    own = os.environ.get("AUTOCONV_CACHE_DIR")
    if own:
        return Path(own).expanduser() / "datasets" / name
    variable = "LOCALAPPDATA" if sys.platform == "win32" else "XDG_CACHE_HOME"
    root = os.environ.get(variable)
    return (Path(root) if root else Path.home() / ".cache") / "autoconv" / "datasets" / name
