"""HDF5 files of numbers: read from a tree made here, written by h5py.

External and soft links, external storage, virtual and compressed arrays are refused: they reach
outside of a file, or grow when read.
"""

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from ..arguments import extras
from .hdf5_tree import HDF5Node, Tree

DEEPEST = 60  # groups within groups
MOST = 100_000  # groups and arrays
LONGEST = 1000  # characters of an error: it may quote names of the file


@contextmanager
def opened(data: bytes, path: str) -> Iterator[HDF5Node]:
    """Gives the root of the file in `data`. Inside the block any exception becomes a ValueError."""
    try:
        yield Tree(data).root
    except ValueError as error:
        raise ValueError(f"{path} cannot be read: {str(error)[:LONGEST]}") from error
    except Exception as error:  # KeyError of a missing array, MemoryError
        raise ValueError(f"{path} cannot be read as HDF5; it may be damaged or cut off: "
                         f"{type(error).__name__}: {str(error)[:LONGEST]}") from error


def arrays(group: HDF5Node, room: int) -> dict[str, np.ndarray]:
    """Returns all arrays of numbers in a group by path, read-only, `room` bytes at most."""
    found: dict[str, np.ndarray] = {}
    waiting = [("", group, 0)]
    seen = 0
    while waiting:
        path, holder, depth = waiting.pop()
        for name in holder.links:
            seen += 1
            if seen > MOST or depth > DEEPEST:
                raise ValueError(f"it has more than {MOST:,} groups, or is nested more than {DEEPEST} deep")
            item = holder[name]
            full = f"{path}/{name}".lstrip("/")
            if item.is_group:
                waiting.append((full, item, depth + 1))
                continue
            try:
                array = item.array()
            except ValueError as error:
                raise ValueError(f"{full!r} {error}") from error
            if array is not None:
                room -= array.nbytes
                if room < 0:
                    raise ValueError(f"its arrays claim more bytes than it has, at {full!r}")
                found[full] = array
    return found


def text(group: HDF5Node, name: str) -> str | None:
    """An attribute that is text, None where there is none."""
    return "".join(group.texts(name)) if name in group.attrs else None


def strings(group: HDF5Node, name: str) -> list[str]:
    """An attribute that is a list of strings; a long one is in several: name0, name1, ..."""
    parts = [name] if name in group.attrs else []
    while f"{name}{len(parts)}" in group.attrs and name not in group.attrs:
        parts.append(f"{name}{len(parts)}")
    return [item for part in parts for item in group.texts(part)]


def to_bytes(arrays_: Mapping[str, np.ndarray], attributes: Mapping[str, Mapping[str, Any]]) -> bytes:
    """Returns a file of these arrays, by path, and of attributes of groups, which are made."""
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
