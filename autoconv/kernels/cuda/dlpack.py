"""DLPack: how packages hand each other arrays without a copy, here for memory that is not the host's.

NumPy knows the protocol, but for the host's memory alone. So its arrays stand in for a GPU's, their items never looked
at, and all that is changed in what NumPy hands out or takes is on which device the items are. Who frees what, and in
which thread, is NumPy's to get right. The structures: https://dmlc.github.io/dlpack/latest/c_api.html
"""

import contextlib
import ctypes
from typing import Any

import numpy as np

CPU, CUDA = 1, 2  # kinds of devices, as DLPack counts them

Place = tuple[int, int]  # a kind of device, and the number of one

# Where the device is in the structure that a capsule of this name holds, in bytes: behind the address of the items,
# in the newer structure also behind a version, two pointers and flags of eight bytes each.
_DEVICE_AT = {b"dltensor": 8, b"dltensor_versioned": 40}

_is_valid = ctypes.pythonapi.PyCapsule_IsValid
_is_valid.argtypes, _is_valid.restype = [ctypes.py_object, ctypes.c_char_p], ctypes.c_int
_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_pointer.argtypes, _pointer.restype = [ctypes.py_object, ctypes.c_char_p], ctypes.c_void_p


def capsule(stand_in: np.ndarray, place: Place, max_version: tuple[int, int] | None) -> Any:
    """What `__dlpack__` hands out for the items at a stand-in's address, which are on another device."""
    made = _asked(stand_in, max_version=max_version)
    _device(made)[:] = place
    return made


def stand_in(producer: Any, stream: int | None) -> tuple[np.ndarray, bool]:
    """A stand-in for what an object shows by `__dlpack__`: it holds on to the memory, and gives it back when it dies.
    And whether the items may be written to, which older capsules do not tell, so NumPy takes no for an answer.

    What is launched on `stream` from now on waits for what the producer launched before.
    """
    made = _asked(producer, stream=stream, max_version=(1, 0))
    device = _device(made)
    before = tuple(device)
    device[:] = CPU, 0
    try:
        untold = bool(_is_valid(made, b"dltensor"))
        taken = np.from_dlpack(_Producer(made))
        return taken, untold or taken.flags.writeable
    finally:
        device[:] = before  # the producer may look at it when it frees the memory


class _Producer:
    """What NumPy takes a capsule from."""

    def __init__(self, made: Any) -> None:
        self._made = made

    def __dlpack__(self, **_: Any) -> Any:
        return self._made

    def __dlpack_device__(self) -> Place:
        return CPU, 0


def _asked(producer: Any, max_version: tuple[int, int] | None, **options: Any) -> Any:
    """A capsule; an older one from a package that knows no newer ones."""
    with contextlib.suppress(TypeError):
        return producer.__dlpack__(max_version=max_version, **options)
    return producer.__dlpack__(**options)


def _device(made: Any) -> Any:
    """The kind of device and its number in a capsule, as two integers to read or write."""
    for name, at in _DEVICE_AT.items():
        if _is_valid(made, name):
            return (ctypes.c_int32 * 2).from_address(_pointer(made, name) + at)
    raise BufferError(f"__dlpack__ must give a capsule that nobody took yet. Received: {made!r}.")

