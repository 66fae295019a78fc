"""Reads a batch file of CIFAR's python version without pickle's dangers.

A pickle may name any function and have it called. The batches (written by Python 2) hold a dict of bytes, lists of
ints and bytes, and one uint8 array, so only the three names by which NumPy pickles an array are admitted, and they
stand for harmless classes of this module: NumPy itself is never called by what the file says.
"""

import io
import math
import pickle

import numpy as np


class UnsafePickle(pickle.UnpicklingError):
    """The pickle asks for something other than dicts, lists, bytes, ints and uint8 arrays."""


class _UInt8:
    """Stands for numpy.dtype('u1'); any other type is refused."""

    def __init__(self, code: object, *_: object) -> None:
        if code not in (b"u1", "u1", b"|u1", "|u1"):
            raise UnsafePickle(f"an array of type {code!r}")

    def __setstate__(self, state: object) -> None:
        """Byte order and alignment mean nothing for single bytes."""


class _Array:
    """Stands for numpy.ndarray: takes shape and bytes, and makes the array itself."""

    array: np.ndarray

    def __setstate__(self, state: tuple) -> None:
        _, shape, dtype, fortran, raw = state
        if type(dtype) is not _UInt8 or type(raw) is not bytes or math.prod(shape) != len(raw):
            raise UnsafePickle(f"an array of shape {shape} whose data do not fit it")
        self.array = np.frombuffer(raw, np.uint8).reshape(shape, order="F" if fortran else "C")


def _reconstruct(kind: object, *_: object) -> _Array:
    if kind is not _Array:
        raise UnsafePickle("an array of another class than ndarray")
    return _Array()


ADMITTED = {
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _UInt8,
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> object:
        """The stand-in for module.name; UnsafePickle for everything that CIFAR's batches do not need."""
        if (module, name) not in ADMITTED:
            raise UnsafePickle(f"it asks for {module}.{name}")
        return ADMITTED[module, name]


def load_batch(raw: bytes) -> tuple[np.ndarray, list[int]]:
    """The images, uint8 (N, 3072), and labels of a pickled batch.

    Raises UnsafePickle for a pickle that asks for more than the batches hold, ValueError for one that is damaged or
    holds something else.
    """
    try:
        batch = _Unpickler(io.BytesIO(raw), encoding="bytes").load()
    except UnsafePickle:
        raise
    except Exception as error:  # a damaged pickle may raise anything
        raise ValueError(f"a pickle that cannot be read ({type(error).__name__}: {error})") from error
    if not isinstance(batch, dict):
        raise ValueError(f"a pickle of {type(batch).__name__}")
    fields = {key.decode("latin-1") if isinstance(key, bytes) else key: value for key, value in batch.items()}
    data, labels = fields.get("data"), fields.get("labels")
    if not isinstance(data, _Array) or not hasattr(data, "array") or not isinstance(labels, list):
        raise ValueError("a pickle without the array `data` and the list `labels`")
    if not all(type(label) is int for label in labels):
        raise ValueError("labels that are not integers")
    return data.array, labels
