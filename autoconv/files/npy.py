"""Reads an array in NumPy's .npy format from an untrusted file or stream."""

import warnings
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy

HEADER = 10_000  # maximum bytes of a header, NumPy's default for untrusted files


def read_array(file: IO[bytes], length: int) -> np.ndarray:
    """Reads the array in an open .npy file of `length` bytes, without unpickling. Checks the shape
    and the dtype before it allocates memory. Raises ValueError if the file is invalid.
    """
    try:
        with warnings.catch_warnings():  # NumPy warns about unusual headers
            warnings.simplefilter("ignore")
            shape, fortran, dtype = _header(file)
    except Exception as error:  # a damaged header may raise any exception
        raise ValueError(f"the .npy header is invalid ({error})") from error
    count = 1
    for size in shape:
        count *= size
    remaining = length - file.tell()
    if dtype.hasobject or not dtype.itemsize:
        raise ValueError(f"the .npy data must be an array of numbers. Received: dtype {dtype}")
    if min(shape, default=0) < 0 or count * dtype.itemsize != remaining:
        raise ValueError(f"the .npy header promises an array of shape {shape} and dtype {dtype}, "
                         f"which has {count * dtype.itemsize} bytes, but {remaining} bytes "
                         "follow, so the file is damaged or truncated")
    data = bytearray(remaining)
    position = 0
    while position < remaining and (step := file.readinto(memoryview(data)[position:])):  # type: ignore[attr-defined]
        position += step
    if position < remaining:
        raise ValueError(f"the .npy data are truncated: the header promises {remaining} bytes, but "
                         f"only {position} follow")
    return np.ndarray(shape, dtype, data, order="F" if fortran else "C")


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = npy.read_magic(file)
    if version == (1, 0):
        return npy.read_array_header_1_0(file, HEADER)
    if version == (2, 0):
        return npy.read_array_header_2_0(file, HEADER)
    raise ValueError(f"version {version} of the .npy format is not supported")
