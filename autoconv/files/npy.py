"""Reads an array in NumPy's format, .npy, whose file or stream nobody vouches for."""

import warnings
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy

HEADER = 10_000  # bytes that NumPy reads of a header; more would have to be trusted


def read(file: IO[bytes], length: int) -> np.ndarray:
    """Reads the array in an open .npy file of `length` bytes, without unpickling. Takes no memory
    before shape and type are known to fit. Raises ValueError if they do not, or it is no such file.
    """
    try:
        with warnings.catch_warnings():  # of headers by Python 2, and of odd ones
            warnings.simplefilter("ignore")
            shape, fortran, dtype = _header(file)
    except Exception as error:  # a damaged header may raise anything
        raise ValueError(f"its header is not one of NumPy's .npy files ({error})") from error
    count = 1
    for size in shape:
        count *= size
    left = length - file.tell()
    if dtype.hasobject or not dtype.itemsize:
        raise ValueError(f"an array of numbers is wanted. Received: {dtype}")
    if min(shape, default=0) < 0 or count * dtype.itemsize != left:
        raise ValueError(f"its header promises {dtype} of shape {shape}, which is {count * dtype.itemsize} bytes. "
                         f"{left} follow: the file is damaged, or cut off")
    data = bytearray(left)
    done = 0
    while done < left and (more := file.readinto(memoryview(data)[done:])):  # type: ignore[attr-defined]
        done += more
    if done < left:
        raise ValueError(f"it is cut off: {left} bytes are promised. Received: {done}")
    return np.ndarray(shape, dtype, data, order="F" if fortran else "C")


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = npy.read_magic(file)
    if version == (1, 0):
        return npy.read_array_header_1_0(file, HEADER)
    if version == (2, 0):
        return npy.read_array_header_2_0(file, HEADER)
    raise ValueError(f"version {version} is not known")
