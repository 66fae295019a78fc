"""Reads numeric HDF5 files with the package's own parser, and writes them with h5py.

The parser refuses external and soft links, external storage, and virtual or compressed arrays,
because they refer to other files or expand when they are read.
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
LONGEST = 1000  # maximum characters of an error message, which may quote names from the file


@contextmanager
def open_root(data: bytes, path: str) -> Iterator[HDF5Node]:
    """Yields the root of the HDF5 data. Raises exceptions in the `with` block as ValueErrors."""
    try:
        yield Tree(data).root
    except ValueError as error:
        raise ValueError(f"{path} cannot be read: {str(error)[:LONGEST]}") from error
    except Exception as error:  # for example KeyError for a missing array
        raise ValueError(f"{path} cannot be read as HDF5. The file may be damaged or truncated "
                         f"({type(error).__name__}: {str(error)[:LONGEST]}).") from error


def arrays(group: HDF5Node, budget: int) -> dict[str, np.ndarray]:
    """Returns a group's numeric arrays by path, read-only. Raises ValueError if they are damaged or
    have more than `budget` bytes in total.
    """
    result: dict[str, np.ndarray] = {}
    pending = [("", group, 0)]
    count = 0
    while pending:
        path, holder, depth = pending.pop()
        for name in holder.links:
            count += 1
            if count > MOST or depth > DEEPEST:
                raise ValueError(f"the file has more than {MOST:,} groups and arrays, or more than "
                                 f"{DEEPEST} nested groups")
            item = holder[name]
            full = f"{path}/{name}".lstrip("/")
            if item.is_group:
                pending.append((full, item, depth + 1))
                continue
            try:
                array = item.array()
            except ValueError as error:
                raise ValueError(f"the array {full!r} cannot be read, because {error}") from error
            if array is not None:
                budget -= array.nbytes
                if budget < 0:
                    raise ValueError("the arrays claim more bytes than the file has (the limit is "
                                     f"exceeded at {full!r})")
                result[full] = array
    return result


def text(group: HDF5Node, name: str) -> str | None:
    """Returns the string in an attribute, or None if the attribute is missing."""
    return "".join(group.texts(name)) if name in group.attrs else None


def strings(group: HDF5Node, name: str) -> list[str]:
    """Returns the strings in an attribute. Keras splits a long list into attributes name0, name1, ..."""
    parts = [name] if name in group.attrs else []
    while f"{name}{len(parts)}" in group.attrs and name not in group.attrs:
        parts.append(f"{name}{len(parts)}")
    return [item for part in parts for item in group.texts(part)]


def to_bytes(arrays_: Mapping[str, np.ndarray], attributes: Mapping[str, Mapping[str, Any]]) -> bytes:
    """Returns the bytes of an HDF5 file with these arrays and these group attributes, by path."""
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
