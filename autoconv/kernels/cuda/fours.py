"""Access to four elements at a time: conditions on the arrays, and helpers that let a kernel be
written once for both widths.

If each thread reads four floats, a warp reads 512 bytes in one instruction, and a thread computes
one position per four elements.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any

from .kernels import ItemKernel, inline
from .ptx import load, load4, store, store4
from .runtime import pointer

WIDTHS = (1, 4)  # elements that a thread handles at once, with one kernel for each number
COUNTED = 1 << 31  # elements, or groups of four, are counted in 32 bits


def starts_fours(*arrays: Any) -> bool:
    """Whether all arrays are aligned for access to four elements at once."""
    return all(a.dtype.itemsize <= 4 and pointer(a.native) % 16 == 0 for a in arrays)


def width(row: int, *arrays: Any) -> int:
    """Returns how many elements of these arrays a thread handles at once, for rows of `row`
    elements: 4 if possible, otherwise 1.
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
    """Returns a decorator for an `ItemKernel` whose threads handle `size` elements each. Kernels
    with four elements are not compiled for float64, which is only used as a reference.
    """
    def make(function: Callable) -> ItemKernel:
        kernel = ItemKernel(function, signature, f"{name}_{size}")
        if size > 1:
            kernel.dtypes = ("float32",)
        return kernel

    return make


def portions(size: int, *arrays: Any) -> Iterator[tuple]:
    """Yields the arrays, split between samples so that none has COUNTED or more elements, or groups
    of `size` elements.
    """
    samples, largest = len(arrays[0]), max(math.prod(a.shape[1:]) for a in arrays)
    most = max(1, (COUNTED - 1) * size // max(largest, 1))
    if samples <= most:
        yield arrays
    else:
        for first in range(0, samples, most):
            yield tuple(a[first : first + most] for a in arrays)
