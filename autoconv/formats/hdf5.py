"""Numeric HDF5 files: read by the package's own parser, written by h5py.

External and soft links, external storage, virtual and compressed arrays are refused: they refer
to other files or expand when read.
"""

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from ..arguments import extras
from .hdf5_tree import HDF5Node, Tree

DEEPEST = 60  # maximum nesting depth of groups
MOST = 100_000  # maximum number of groups and arrays
LONGEST = 1000  # maximum characters of an error, which may quote the file's names


@contextmanager
def open_root(data: bytes, path: str) -> Iterator[HDF5Node]:
    """Yields the root of the file `data`. Inside the block any exception becomes a ValueError."""
    try:
        yield Tree(data).root
    except ValueError as error:
        raise ValueError(f"{path} cannot be read: {str(error)[:LONGEST]}") from error
    except Exception as error:  # KeyError for a missing array, MemoryError
        raise ValueError(f"{path} cannot be read as HDF5; it may be damaged or truncated: "
                         f"{type(error).__name__}: {str(error)[:LONGEST]}") from error


def arrays(group: HDF5Node, budget: int) -> dict[str, np.ndarray]:
    """Returns a group's numeric arrays by path, read-only; `budget` bytes in total at most."""
    result: dict[str, np.ndarray] = {}
    pending = [("", group, 0)]
    count = 0
    while pending:
        path, holder, depth = pending.pop()
        for name in holder.links:
            count += 1
            if count > MOST or depth > DEEPEST:
                raise ValueError(f"it has more than {MOST:,} groups and arrays, or more than {DEEPEST} nested groups")
            item = holder[name]
            full = f"{path}/{name}".lstrip("/")
            if item.is_group:
                pending.append((full, item, depth + 1))
                continue
            try:
                array = item.array()
            except ValueError as error:
                raise ValueError(f"{full!r} {error}") from error
            if array is not None:
                budget -= array.nbytes
                if budget < 0:
                    raise ValueError(f"its arrays claim more bytes than the file has, at {full!r}")
                result[full] = array
    return result


def text(group: HDF5Node, name: str) -> str | None:
    """Returns a text attribute, or None if it is missing."""
    return "".join(group.texts(name)) if name in group.attrs else None


def strings(group: HDF5Node, name: str) -> list[str]:
    """Returns a string-list attribute; a long list is split: name0, name1, ..."""
    parts = [name] if name in group.attrs else []
    while f"{name}{len(parts)}" in group.attrs and name not in group.attrs:
        parts.append(f"{name}{len(parts)}")
    return [item for part in parts for item in group.texts(part)]


def to_bytes(arrays_: Mapping[str, np.ndarray], attributes: Mapping[str, Mapping[str, Any]]) -> bytes:
    """Returns an HDF5 file with these arrays, by path, and these groups' attributes."""
    h5py = extras.load("h5py", "h5py", "keras", "Writing Keras's files")
    out = io.BytesIO()
    with h5py.File(out, "w") as file:
        for path, values in attributes.items():
            group = file.require_group(path) if path else file
            for key, value in values.items():
                group.attrs[key] = value
        for path, array in arrays_.items():
            file.create_dataset(path, data=np.asarray(array, order="C"))
    return out.getvalue()
