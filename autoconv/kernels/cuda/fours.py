"""Four items at a time: where arrays may be read so, and what a kernel needs to be written once for four and for one.

A warp that takes four floats a thread asks for 512 bytes in one instruction, and its threads work out their place once
for four items.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any

from .kernels import ItemKernel, inline
from .ptx import load, load4, store, store4
from .runtime import pointer

WIDTHS = (1, 4)  # a kernel for each; numbers of items that a thread takes at once
COUNTED = 1 << 31  # items, or fours of them, are counted in 32 bits


def starts_fours(*arrays: Any) -> bool:
    """Whether all arrays lie where four items at once may begin."""
    return all(a.dtype.itemsize <= 4 and pointer(a.native) % 16 == 0 for a in arrays)


def width(row: int, *arrays: Any) -> int:
    """How many items a thread takes at once of arrays whose rows have so many: 4 where it may, else 1."""
    return 4 if row % 4 == 0 and starts_fours(*arrays) else 1


def threads(size: int, *arrays: Any) -> tuple[int, int]:
    """(count, fours) for arrays of `size` items without gaps: of `count` threads the first `fours`
    take four items each, and the others one, thread i the item i + 3 * fours.
    """
    fours = size // 4 if starts_fours(*arrays) else 0
    return size - 3 * fours, fours


def moving(width: int) -> tuple[Callable, Callable]:
    """fetch(values, array, i), values = array[i * width : (i + 1) * width], and put(array, i,
    values), the other way; `values` is an array of the thread's own.
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
    """Makes a function an `ItemKernel` whose threads take `size` items each. By fours it is not for
    float64, which is for checks alone.
    """
    def make(function: Callable) -> ItemKernel:
        made = ItemKernel(function, signature, f"{name}_{size}")
        if size > 1:
            made.dtypes = ("float32",)
        return made

    return make


def portions(size: int, *arrays: Any) -> Iterator[tuple]:
    """The arrays, cut between samples where one has more than COUNTED items, or so many `size` of them."""
    samples, largest = len(arrays[0]), max(math.prod(a.shape[1:]) for a in arrays)
    most = max(1, (COUNTED - 1) * size // max(largest, 1))
    if samples <= most:
        yield arrays
    else:
        for first in range(0, samples, most):
            yield tuple(a[first : first + most] for a in arrays)
