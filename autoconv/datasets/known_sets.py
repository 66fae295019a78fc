"""The registry: which sets there are, their files, mirrors and published digests (`datasets/registry.json`)."""

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
    """A published MD5 in hex, taken `over` the file's unzipped "contents" or over the "archive" as it is sent."""

    over: str
    md5: str
    source: str


@dataclass(frozen=True)
class Entry:
    """What the registry knows of a set.

    `format` is "idx" or "cifar", `shape` one image's shape, `classes` the names of the labels 0, 1, ..., `files` each
    file's digest, `mirrors` base URLs in the order in which they are tried. A built-in set has no mirrors.
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
        """Whether the set came with the package."""
        return not self.mirrors


def data_folder() -> Path:
    """The folder that holds `registry.json` and `digits/`.

    In a wheel the build has put it beside this module, as `_data`; in a checkout it is the
    top-level `datasets`. Raises DatasetNotFound when the installation has neither.
    """
    here = Path(__file__).resolve().parent
    places = (here / "_data", here.parents[1] / "datasets")
    for place in places:
        if (place / "registry.json").is_file():
            return place
    raise DatasetNotFound(
        f"The package lacks its own data: neither {places[0]} nor {places[1]} holds registry.json. Install it again."
    )


@cache
def entries() -> dict[str, Entry]:
    """Every set of the registry by its name."""
    read = json.loads((data_folder() / "registry.json").read_text(encoding="utf-8"))
    return {name: _entry(name, fields) for name, fields in read["sets"].items()}


def _entry(name: str, fields: dict) -> Entry:
    files = {file: Digest(**digest) for file, digest in fields.pop("files").items()}
    lists: dict[str, Any] = {key: tuple(fields.pop(key)) for key in ("shape", "classes", "mirrors")}
    return Entry(name=name, files=files, **lists, **fields)


def info(name: str) -> Entry:
    """The registry's entry for `name`; a ValueError that suggests the nearest known name when there is none."""
    return lookup("dataset", name, entries())


def mirrors(entry: Entry) -> tuple[str, ...]:
    """The base URLs of the set's files, each ending in "/", in the order in which they are to be tried.

    `AUTOCONV_MIRRORS` (base URLs, separated by blanks) replaces the registry's mirrors; there a set's files lie in a
    folder of its name, as in `AUTOCONV_DATA`: http://host/data means http://host/data/mnist/train-images-idx3-ubyte.gz.
    The registry's digests hold for whatever comes from there.
    """
    own = os.environ.get("AUTOCONV_MIRRORS", "").split()
    return tuple(f"{base.rstrip('/')}/{entry.name}/" for base in own) or entry.mirrors
