"""Reads a batch file of CIFAR-10's python version without the risks of pickle.

A pickle may call any function and allocate any amount of memory. CIFAR-10's batches, written by
Python 2, contain a dict of bytes, lists of ints and bytes, and one uint8 array. The reader accepts
only the opcodes for these types, in a limited number, and only the three names with which NumPy
pickles an array. Harmless functions and classes of this module replace these names.
"""

import io
import math
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np

OPCODES = (  # accepted opcodes of the pickle protocols 2 to 4
    b"\x80\x95.",  # PROTO, FRAME, STOP
    b"NJKMUTXCB\x8c\x88\x89",  # None, ints, strings, bytes, True and False
    b"(}]tlaesu0)\x85\x86\x87",  # MARK, dicts, lists, tuples
    b"qrhj\x94",  # memo writes and reads
    b"c\x93Rb",  # GLOBAL, STACK_GLOBAL, REDUCE, BUILD
)
MOST = 200_000  # maximum number of opcodes; a batch has about 50,000
LARGEST = 2**31  # upper limit for the sizes of arrays, and for labels
PYTHONS: Any = vars(pickle)["_Unpickler"]  # the C unpickler does not check memo indices


class UnsafePickle(pickle.UnpicklingError):
    """A pickle contains something other than dicts, lists, bytes, ints and uint8 arrays."""


class _UInt8:
    """Replaces numpy.dtype('u1'). Raises UnsafePickle for any other dtype."""

    def __init__(self, code: object, *_: object) -> None:
        if code not in (b"u1", "u1", b"|u1", "|u1"):
            raise UnsafePickle("the pickle contains an array whose dtype is not uint8")

    def __setstate__(self, state: object) -> None:
        """Ignores byte order and alignment, which do not matter for single bytes."""


class _Array:
    """Replaces numpy.ndarray. Builds the array from its shape and its bytes."""

    array: np.ndarray

    def __setstate__(self, state: tuple) -> None:
        _, shape, dtype, fortran, raw = state
        sizes = type(shape) is tuple and len(shape) < 5 and all(type(n) is int and 0 <= n < LARGEST for n in shape)
        if not sizes or type(dtype) is not _UInt8 or type(raw) is not bytes or math.prod(shape) != len(raw):
            raise UnsafePickle("the pickle contains an array whose data do not match its shape and dtype")
        self.array = np.frombuffer(raw, np.uint8).reshape(shape, order="F" if fortran else "C")


def _reconstruct(kind: object, *_: object) -> _Array:
    if kind is not _Array:
        raise UnsafePickle("the pickle contains an array whose class is not ndarray")
    return _Array()


ADMITTED = {
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _UInt8,
}


class _Opcodes(dict[int, Callable]):
    """Maps the accepted opcodes to their handlers, and allows at most `MOST` look-ups."""

    def __init__(self) -> None:
        super().__init__({code: PYTHONS.dispatch[code] for code in b"".join(OPCODES)})
        self.budget = MOST

    def __getitem__(self, code: int) -> Callable:
        self.budget -= 1
        if self.budget < 0:
            raise UnsafePickle(f"the pickle has more than {MOST:,} opcodes")
        return super().__getitem__(code)

    def __missing__(self, code: int) -> Callable:
        raise ValueError(f"the opcode {code} is not used in CIFAR-10's batches")


class _Unpickler(PYTHONS):
    """Unpickles a batch. Raises an error for opcodes and names that no batch needs."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, encoding="bytes")
        self.dispatch: Any = _Opcodes()
        self.dispatch.update({ord("b"): _Unpickler.load_build, ord("s"): _Unpickler.load_setitem,
                              ord("u"): _Unpickler.load_setitems})

    def find_class(self, module: str, name: str) -> object:
        """Returns the replacement for an accepted name. Raises UnsafePickle for any other name."""
        if (module, name) not in ADMITTED:
            raise UnsafePickle(f"the pickle contains a reference to {str(module)[:50]}.{str(name)[:50]}")
        return ADMITTED[module, name]

    def load_build(self) -> None:
        """Sets the state of an _Array or _UInt8. Raises UnsafePickle for any other object."""
        if type(self.stack[-2]) not in (_Array, _UInt8):
            raise UnsafePickle("the pickle sets the state of an object that is not an array")
        super().load_build()

    def load_setitem(self) -> None:
        self._check_keys(self.stack[-2:])
        super().load_setitem()

    def load_setitems(self) -> None:
        self._check_keys(self.stack)
        super().load_setitems()

    def _check_keys(self, items: list) -> None:
        """Raises UnsafePickle for a key other than a string, as hashing nested tuples can crash."""
        if not all(type(key) in (bytes, str) for key in items[::2]):
            raise UnsafePickle("the pickle contains a dict whose keys are not strings")


def load_batch(raw: bytes) -> tuple[np.ndarray, list[int]]:
    """Returns the images, uint8 (N, 3072), and the labels of a pickled batch.

    Raises UnsafePickle if the pickle needs names or types that no batch needs, ValueError if it is
    damaged or has other contents.
    """
    try:
        batch = _Unpickler(io.BytesIO(raw)).load()
    except UnsafePickle:
        raise
    except Exception as error:  # a damaged pickle may raise anything
        raise ValueError(f"the pickle cannot be read ({type(error).__name__}: {error})") from error
    if not isinstance(batch, dict):
        raise ValueError(f"the pickle contains an object of type {type(batch).__name__} instead of a dict")
    fields = {key.decode("latin-1") if isinstance(key, bytes) else key: value for key, value in batch.items()}
    data = fields.get("data")
    labels = fields.get("labels")
    if not isinstance(data, _Array) or not hasattr(data, "array") or not isinstance(labels, list):
        raise ValueError("the pickle lacks the array `data` or the list `labels`")
    if not all(type(label) is int and abs(label) < LARGEST for label in labels):
        raise ValueError("the pickle contains labels that are not integers below 2**31")
    return data.array, labels
