"""Helps kernels access one or four elements per thread at a time, and checks whether arrays allow
four.

If each thread reads four floats, a warp reads 512 bytes in one instruction, and a thread computes
only one position per four elements.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any

from .kernels import ItemKernel, inline
from .ptx import load, load4, store, store4
from .runtime import pointer

WIDTHS = (1, 4)  # elements that a thread may handle at once; each width has its own kernel
COUNTED = 1 << 31  # limit: kernels count elements, or groups of four, in signed 32-bit integers


def starts_fours(*arrays: Any) -> bool:
    """Returns whether all arrays are aligned to 16 bytes and have elements of at most 4 bytes."""
    return all(a.dtype.itemsize <= 4 and pointer(a.native) % 16 == 0 for a in arrays)


def width(row: int, *arrays: Any) -> int:
    """Returns the number of elements that a thread handles at once: 4 if `row`, the row length, is
    a multiple of 4 and all arrays allow it, otherwise 1.
    """
    return 4 if row % 4 == 0 and starts_fours(*arrays) else 1


def threads(size: int, *arrays: Any) -> tuple[int, int]:
    """Returns (count, fours) for contiguous arrays of `size` elements. Of `count` threads, the
    first `fours` handle four elements each. Each other thread i handles one element, number i + 3 *
    fours.
    """
    fours = size // 4 if starts_fours(*arrays) else 0
    return size - 3 * fours, fours


def moving(width: int) -> tuple[Callable, Callable]:
    """Returns fetch(values, array, i), which sets values = array[i * width : (i + 1) * width], and
    put(array, i, values), which does the reverse. `values` is a thread-local array.
    """
    @inline
    def fetch_one(values, array, i):
        values[0] = load(array, i)

    @inline
    def put_one(array, i, values):
        store(array, i, values[0])

    @inline
    def fetch_four(values, array, i):
        values[0], values[1], values[2], values[3] = load4(array, 4 * i)

    @inline
    def put_four(array, i, values):
        store4(array, 4 * i, (values[0], values[1], values[2], values[3]))

    return (fetch_four, put_four) if width == 4 else (fetch_one, put_one)


def vector_kernel(signature: str, name: str, size: int) -> Callable[[Callable], ItemKernel]:
    """Returns a decorator for an `ItemKernel` whose threads each handle `size` elements. Kernels
    with four elements are not compiled for float64, which is only used as a reference.
    """
    def make(function: Callable) -> ItemKernel:
        kernel = ItemKernel(function, signature, f"{name}_{size}")
        if size > 1:
            kernel.dtypes = ("float32",)
        return kernel

    return make


def portions(size: int, *arrays: Any) -> Iterator[tuple]:
    """Splits large arrays along the batch axis, and yields one tuple of arrays per portion. Each
    array in a portion has fewer than COUNTED groups of `size` elements, unless one sample has more.
    """
    samples, largest = len(arrays[0]), max(math.prod(a.shape[1:]) for a in arrays)
    most = max(1, (COUNTED - 1) * size // max(largest, 1))
    if samples <= most:
        yield arrays
    else:
        for first in range(0, samples, most):
            yield tuple(a[first : first + most] for a in arrays)
