"""What becomes of a product's sums before they are written: scale, bias, another array, ReLU or the mask of one.

A kernel is told by a number, `does`, which is the sum of what it is to do. A sum that is cut into parts is finished by
who adds the parts (`conv.add_parts`).
"""

from typing import Any

from .kernels import inline
from .ptx import load, load4, store, store4

SCALE, BIAS, ADD, RELU, MASK = 1, 2, 4, 8, 16  # in the order in which they are done


def wanted(like: Any, b: Any = None, scale: Any = None, added: Any = None, relu: bool = False,
           mask: Any = None) -> tuple[Any, Any, Any, int]:
    """What a kernel takes: b, scale, the array that is added or that masks, and what it does.
    `like` is an array that stands in where there is none.
    """
    other = mask if added is None else added
    does = (SCALE * (scale is not None) + BIAS * (b is not None) + ADD * (added is not None) + RELU * bool(relu)
            + MASK * (mask is not None))
    return *(like.reshape(-1) if a is None else a.reshape(-1) for a in (b, scale, other)), does


@inline
def finished(item, column, at, b, scale, other, does):
    """One item, of this column; it will be written at y[at]."""
    zero = b.dtype.type(0)
    if does & SCALE:
        item *= load(scale, column)
    if does & BIAS:
        item += load(b, column)
    if does & ADD:
        item += load(other, at)
    if does & RELU and item < zero:
        item = zero
    if does & MASK and load(other, at) <= zero:
        item = zero
    return item


@inline
def of_columns(b, scale, column, room, does):
    """Four factors and four items to add, for columns from this one on, of which there are `room`."""
    one, zero, last = b.dtype.type(1), b.dtype.type(0), room - 1
    factors, addends = (one, one, one, one), (zero, zero, zero, zero)
    if does & SCALE:
        factors = _four(scale, column, last)
    if does & BIAS:
        addends = _four(b, column, last)
    return factors, addends


@inline
def _four(array, at, last):
    """Four items, of which number `last` is the last one that is there."""
    return (load(array, at), load(array, at + min(1, last)), load(array, at + min(2, last)),
            load(array, at + min(3, last)))


@inline
def four_finished(items, columns, at, other, room, whole, does):
    """`finished` for four items side by side; `columns` are what `of_columns` gave. `whole`: all four are there."""
    (a, b, c, d), (factors, addends), zero = items, columns, other.dtype.type(0)
    a, b = a * factors[0] + addends[0], b * factors[1] + addends[1]
    c, d = c * factors[2] + addends[2], d * factors[3] + addends[3]
    if does & (ADD | MASK):
        p, q, r, s = load4(other, at) if whole else _four(other, at, room - 1)
        if does & ADD:
            a, b, c, d = a + p, b + q, c + r, d + s
        else:
            a, b = zero if p <= zero else a, zero if q <= zero else b
            c, d = zero if r <= zero else c, zero if s <= zero else d
    if does & RELU:
        a, b = zero if a < zero else a, zero if b < zero else b
        c, d = zero if c < zero else c, zero if d < zero else d
    return a, b, c, d


@inline
def put(y, at, items, room, whole):
    """Four items side by side, or as many as there is room for."""
    if whole:
        store4(y, at, items)
    else:
        store(y, at, items[0])
        if room > 1:
            store(y, at + 1, items[1])
        if room > 2:
            store(y, at + 2, items[2])
        if room > 3:
            store(y, at + 3, items[3])
