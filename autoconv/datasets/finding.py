"""Finds a data set at `path` if given; otherwise in AUTOCONV_DATA, the cache or by download."""

import os
from pathlib import Path
from types import ModuleType

import numpy as np

from ..files.folders import user_cache
from . import cifar_set, idx_set
from .download import PATIENCE, discard_unsound, fetch
from .known_sets import Entry, data_folder, info
from .not_found import DatasetCorrupt, DatasetNotFound

Part = tuple[np.ndarray, np.ndarray]
FORMATS: dict[str, ModuleType] = {"idx": idx_set, "cifar": cifar_set}


def load(name: str, path: str | os.PathLike | None = None, patience: float = PATIENCE) -> tuple[Part, Part]:
    """Returns `(x_train, y_train), (x_test, y_test)` as uint8 arrays. The data set's own
    `load_data` documents the arrays' shapes.

    If `path` is given, no other place is read. Otherwise a built-in set is read from the package,
    and any other set from AUTOCONV_DATA, the cache or the mirrors, in this order. patience: the
    maximum seconds to wait for mirrors that send nothing. Raises ValueError for an unknown name,
    DatasetNotFound if no place has the whole set, DatasetCorrupt if a file is invalid.
    """
    entry = info(name)
    form = FORMATS[entry.format]
    if path is not None:
        return _load_path(entry, Path(path).expanduser())
    if entry.built_in:
        return form.load(data_folder() / name, entry, False)
    reasons: list[str] = []
    place = data_place(name)
    if place is None:
        reasons.append("AUTOCONV_DATA: not set")
    elif _has_set(form, place, reasons, "AUTOCONV_DATA"):
        return form.load(place, entry, False)
    cache = cache_place(name)
    if _has_set(form, cache, reasons, "cache"):
        try:
            return form.load(cache, entry, False)
        except DatasetCorrupt as error:
            error.file.unlink(missing_ok=True)
            discard_unsound(entry, cache)
            reasons.append(f"cache: a bad file was there and has been removed: {error}")
    failures = fetch(entry, cache, patience)
    if failures:
        raise DatasetNotFound(_not_found_message(entry, [*reasons, *(f"download: {line}" for line in failures)]))
    return form.load(cache, entry, False)


def locate(name: str, path: str | os.PathLike | None = None) -> Path | None:
    """Returns the folder or file that `load(name, path)` would read, or None if `load` would
    download the set, or would fail because `path` lacks it. Checks only whether files exist. Raises
    ValueError for an unknown name.
    """
    entry = info(name)
    if path is not None:
        places = [Path(path).expanduser()]
    elif entry.built_in:
        places = [data_folder() / name]
    else:
        places = [place for place in (data_place(name), cache_place(name)) if place]
    return next((place for place in places if _has_set(FORMATS[entry.format], place, [], "")), None)


def data_place(name: str) -> Path | None:
    """Returns the set's folder under `AUTOCONV_DATA`, or None if the variable is not set."""
    root = os.environ.get("AUTOCONV_DATA")
    return Path(root).expanduser() / name if root else None


def cache_place(name: str) -> Path:
    """Returns the set's folder in the user's cache, where downloads are stored."""
    return user_cache() / "datasets" / name


def _has_set(form: ModuleType, place: Path, reasons: list[str], source: str) -> bool:
    """Whether the whole set is at `place`. If it is not, the reason is appended to `reasons`."""
    try:
        form.locate(place)
    except DatasetNotFound as error:
        reasons.append(f"{source}: {error}")
        return False
    return True


def _load_path(entry: Entry, path: Path) -> tuple[Part, Part]:
    """Loads the data set at `path`. An IDX set may have other classes and image sizes."""
    try:
        return FORMATS[entry.format].load(path, entry, True)
    except DatasetNotFound as error:
        raise DatasetNotFound(f"{error}. If path is given, it is the only place searched. Pass the "
                              f"folder with {entry.title}'s files, or omit path.") from None


def _not_found_message(entry: Entry, reasons: list[str]) -> str:
    return "\n".join(
        [
            f"{entry.title} was not found in any of these places:",
            *(f"  - {line}" for line in reasons),
            "Use one of these instead:",
            "  - `autoconv train digits` trains on the built-in digits, without a network;",
            f"  - `--data-dir FOLDER` (in Python: path=) reads the files from a folder: {', '.join(entry.files)};",
            f"  - AUTOCONV_DATA=FOLDER sets a folder for all data sets: put the files into FOLDER/{entry.name}.",
        ]
    )
