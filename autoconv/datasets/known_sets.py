"""Reads the registry of data sets, `datasets/registry.json`, with files, mirrors and MD5s."""

import json
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from ..arguments.names import lookup
from .not_found import DatasetNotFound

NAMES = ("digits", "mnist", "fashion_mnist", "cifar10")


@dataclass(frozen=True)
class Digest:
    """A published MD5 in hex. `over`: "contents" (the unzipped file) or "archive" (the file)."""

    over: str
    md5: str
    source: str


@dataclass(frozen=True)
class Entry:
    """A data set in the registry.

    format: "idx" or "cifar". shape: the shape of one image. classes: the names of the labels 0, 1,
    ... mirrors: base URLs in the order in which they are tried, () for a built-in set.
    """

    name: str
    title: str
    licence: str
    source: str
    format: str
    shape: tuple[int, ...]
    classes: tuple[str, ...]
    mirrors: tuple[str, ...]
    files: dict[str, Digest]

    @property
    def built_in(self) -> bool:
        """Whether the set is part of the package."""
        return not self.mirrors


def data_folder() -> Path:
    """Returns the folder with `registry.json` and `digits`: `_data` in a wheel, else `datasets`."""
    here = Path(__file__).resolve().parent
    places = (here / "_data", here.parents[1] / "datasets")
    for place in places:
        if (place / "registry.json").is_file():
            return place
    raise DatasetNotFound(
        f"The package lacks its own data: neither {places[0]} nor {places[1]} contains "
        "registry.json. Reinstall autoconv."
    )


@cache
def entries() -> dict[str, Entry]:
    """Returns the entries of all data sets in the registry, keyed by name."""
    registry = json.loads((data_folder() / "registry.json").read_text(encoding="utf-8"))
    return {name: _entry(name, fields) for name, fields in registry["sets"].items()}


def _entry(name: str, fields: dict) -> Entry:
    files = {file: Digest(**digest) for file, digest in fields.pop("files").items()}
    lists: dict[str, Any] = {key: tuple(fields.pop(key)) for key in ("shape", "classes", "mirrors")}
    return Entry(name=name, files=files, **lists, **fields)


def info(name: str) -> Entry:
    """Returns a data set's entry. For an unknown name, raises ValueError and suggests one."""
    return lookup("dataset", name, entries())


def mirrors(entry: Entry) -> tuple[str, ...]:
    """Returns the base URLs of the data set's files, each ending in "/", in order of preference.

    `AUTOCONV_MIRRORS` (base URLs, separated by blanks) replaces the registry's mirrors. Each of its
    URLs has one folder per data set, such as http://host/data/mnist/. The MD5s are still checked.
    """
    bases = os.environ.get("AUTOCONV_MIRRORS", "").split()
    return tuple(f"{base.rstrip('/')}/{entry.name}/" for base in bases) or entry.mirrors
