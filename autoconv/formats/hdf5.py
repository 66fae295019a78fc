"""HDF5 files of numbers: read with care, since nobody vouches for them, and written. Needs h5py.

A file is taken as a tree of groups with arrays. All that reaches outside of it, or grows when it is read, is refused:
external and soft links, external storage, virtual and compressed arrays.
"""

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from ..arguments import extras

DEEPEST = 60  # groups within groups
MOST = 100_000  # groups and arrays


def load() -> Any:
    """The module h5py. Raises ExtraError where it is not installed."""
    return extras.load("h5py", "h5py", "keras", "Reading and writing Keras's files")


@contextmanager
def opened(data: bytes, path: str) -> Iterator[Any]:
    """The file in these bytes. Within the block whatever the library raises is a ValueError."""
    h5py = load()
    try:
        with h5py.File(io.BytesIO(data), "r") as file:
            yield file
    except (ValueError, MemoryError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    except Exception as error:  # OSError, KeyError, RuntimeError: the library says all of them of damaged files
        raise ValueError(f"{path} cannot be read as HDF5; it may be damaged or cut off: {error}") from error


def arrays(group: Any, room: int) -> dict[str, np.ndarray]:
    """All arrays of numbers in a group, by their paths, of `room` bytes together at most."""
    found: dict[str, np.ndarray] = {}
    waiting, seen = [("", group, 0)], 0
    while waiting:
        path, holder, depth = waiting.pop()
        for name in holder:
            seen += 1
            if seen > MOST or depth > DEEPEST:
                raise ValueError(f"it has more than {MOST:,} groups, or is nested more than {DEEPEST} deep")
            item, full = member(holder, name), f"{path}/{name}".lstrip("/")
            if hasattr(item, "keys"):
                waiting.append((full, item, depth + 1))
            elif item.dtype.kind in "fiub":
                _check(item, full)
                room -= item.size * item.dtype.itemsize
                if room < 0:
                    raise ValueError(f"its arrays claim more bytes than it has, at {full!r}")
                found[full] = np.asarray(item[()])
    return found


def member(group: Any, name: str) -> Any:
    """A group or an array that lies in this file. Raises ValueError for links to elsewhere."""
    h5py = load()
    link = group.get(name, getlink=True)
    if not isinstance(link, h5py.HardLink):
        raise ValueError(f"{name!r} is a link to elsewhere ({type(link).__name__}), which is not followed")
    return group[name]


def text(group: Any, name: str, room: int) -> str | None:
    """An attribute that is text, None where there is none."""
    if name not in group.attrs:
        return None
    if group.attrs.get_id(name).get_storage_size() > room:
        raise ValueError(f"the attribute {name!r} claims more bytes than the file has")
    value = group.attrs[name]
    return value.decode() if isinstance(value, bytes) else str(value)


def strings(group: Any, name: str) -> list[str]:
    """An attribute that is a list of strings; a long one is in several: name0, name1, ..."""
    parts = [name] if name in group.attrs else []
    while f"{name}{len(parts)}" in group.attrs and name not in group.attrs:
        parts.append(f"{name}{len(parts)}")
    return [item.decode() if isinstance(item, bytes) else str(item) for part in parts for item in group.attrs[part]]


def to_bytes(arrays_: Mapping[str, np.ndarray], attributes: Mapping[str, Mapping[str, Any]]) -> bytes:
    """A file of these arrays, by their paths, and of attributes of groups, which are made where there are none."""
    h5py, out = load(), io.BytesIO()
    with h5py.File(out, "w") as file:
        for path, values in attributes.items():
            group = file.require_group(path) if path else file
            for key, value in values.items():
                group.attrs[key] = value
        for path, array in arrays_.items():
            file.create_dataset(path, data=np.asarray(array, order="C"))
    return out.getvalue()


def _check(dataset: Any, path: str) -> None:
    """Raises ValueError for an array that does not lie in the file as it is."""
    if dataset.external or dataset.is_virtual:
        raise ValueError(f"{path!r} lies in another file, which is not opened")
    if dataset.compression is not None or dataset.chunks is not None:
        raise ValueError(f"{path!r} is compressed or in pieces, as Keras writes none. Write it without chunks")
