"""The places on this computer where a set may lie: `AUTOCONV_DATA`, then the user's cache."""

import os
from pathlib import Path

from ..files.folders import user_cache


def data_place(name: str) -> Path | None:
    """The set's folder under `AUTOCONV_DATA` (a folder with one subfolder a set), None where that isn't set."""
    root = os.environ.get("AUTOCONV_DATA")
    return Path(root).expanduser() / name if root else None


def cache_place(name: str) -> Path:
    """The set's folder in the user's cache, where downloads are put."""
    return user_cache() / "datasets" / name
