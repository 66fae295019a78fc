"""Exchanges GPU arrays with other packages through DLPack, without a copy.

NumPy implements the DLPack protocol only for host memory. So a NumPy array serves as a stand-in for
a GPU array, and its elements are never accessed. This module changes only the device in the
capsules that NumPy creates or reads. NumPy also ensures that the right owner frees the memory, in
the right thread. The C structures are documented at https://dmlc.github.io/dlpack/latest/c_api.html
"""

import contextlib
import ctypes
from typing import Any

import numpy as np

CPU, CUDA = 1, 2  # DLPack's codes for device types

Place = tuple[int, int]  # a device type and a device number

# Byte offset of the device in the structure inside a capsule, by the capsule's name. The device
# follows the elements' address. In the newer structure, the version, two pointers and the flags, of
# eight bytes each, come first.
_DEVICE_OFFSETS = {b"dltensor": 8, b"dltensor_versioned": 40}

_is_valid = ctypes.pythonapi.PyCapsule_IsValid
_is_valid.argtypes, _is_valid.restype = [ctypes.py_object, ctypes.c_char_p], ctypes.c_int
_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_pointer.argtypes, _pointer.restype = [ctypes.py_object, ctypes.c_char_p], ctypes.c_void_p


def make_capsule(stand_in: np.ndarray, place: Place, max_version: tuple[int, int] | None) -> Any:
    """Returns a capsule for `__dlpack__` that describes elements at the stand-in's address on the
    device `place`.
    """
    capsule = _request_capsule(stand_in, max_version=max_version)
    _device(capsule)[:] = place
    return capsule


def stand_in(producer: Any, stream: int | None) -> tuple[np.ndarray, bool]:
    """Imports `producer` through `__dlpack__`. Returns a stand-in, and whether the elements are
    writeable. The stand-in keeps the memory alive and releases it to the producer when freed.
    Capsules without a version do not specify whether their elements are writeable. NumPy treats
    such elements as read-only; this function treats them as writeable.

    All later launches on `stream` wait for the producer's earlier launches.
    """
    capsule = _request_capsule(producer, stream=stream, max_version=(1, 0))
    device = _device(capsule)
    original = tuple(device)
    device[:] = CPU, 0
    try:
        is_unversioned = bool(_is_valid(capsule, b"dltensor"))
        array = np.from_dlpack(_Producer(capsule))
        return array, is_unversioned or array.flags.writeable
    finally:
        device[:] = original  # the producer may read the device when it frees the memory


class _Producer:
    """Passes a capsule to np.from_dlpack."""

    def __init__(self, capsule: Any) -> None:
        self._capsule = capsule

    def __dlpack__(self, **_: Any) -> Any:
        return self._capsule

    def __dlpack_device__(self) -> Place:
        return CPU, 0


def _request_capsule(producer: Any, max_version: tuple[int, int] | None, **options: Any) -> Any:
    """Returns the producer's DLPack capsule, in the older format if the producer does not support
    versioned capsules.
    """
    with contextlib.suppress(TypeError):
        return producer.__dlpack__(max_version=max_version, **options)
    return producer.__dlpack__(**options)


def _device(capsule: Any) -> Any:
    """Returns the device type and number in a capsule, as two writeable integers."""
    for name, offset in _DEVICE_OFFSETS.items():
        if _is_valid(capsule, name):
            return (ctypes.c_int32 * 2).from_address(_pointer(capsule, name) + offset)
    raise BufferError("__dlpack__ must return a capsule that has not been consumed yet. "
                      f"Received: {capsule!r}.")

