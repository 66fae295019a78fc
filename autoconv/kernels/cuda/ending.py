"""Finishes the sums of a matrix product before they are written: scale, bias, addition of another
array, ReLU, or a ReLU's mask.

The number `does` selects the operations: it is the sum of their flags. If a sum is split into
partial sums, the function that adds them finishes it (`conv.add_parts`).
"""

from typing import Any

from .kernels import inline
from .ptx import load, load4, store, store4

# flags of the operations, in the order in which they are applied
SCALE, BIAS, ADD, RELU, MASK = 1, 2, 4, 8, 16


def wanted(like: Any, b: Any = None, scale: Any = None, added: Any = None, relu: bool = False,
           mask: Any = None) -> tuple[Any, Any, Any, int]:
    """Returns the arguments for a kernel: b, scale, the array that is added or that masks, and the
    flags `does`. `like` replaces each array that is missing.
    """
    other = mask if added is None else added
    does = (SCALE * (scale is not None) + BIAS * (b is not None) + ADD * (added is not None) + RELU * bool(relu)
            + MASK * (mask is not None))
    return *(like.reshape(-1) if a is None else a.reshape(-1) for a in (b, scale, other)), does


@inline
def finished(item, column, at, b, scale, other, does):
    """Returns a sum of this column with all operations applied, as it will be written to y[at]."""
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
    """Returns four factors and four addends for the columns from `column` on, of which `room`
    exist.
    """
    one, zero, last = b.dtype.type(1), b.dtype.type(0), room - 1
    factors, addends = (one, one, one, one), (zero, zero, zero, zero)
    if does & SCALE:
        factors = _four(scale, column, last)
    if does & BIAS:
        addends = _four(b, column, last)
    return factors, addends


@inline
def _four(array, at, last):
    """Returns four elements from `at` on; if fewer exist, the one at distance `last` is repeated.
    """
    return (load(array, at), load(array, at + min(1, last)), load(array, at + min(2, last)),
            load(array, at + min(3, last)))


@inline
def four_finished(items, columns, at, other, room, whole, does):
    """Returns four adjacent sums with all operations applied. `columns` is the result of
    `of_columns`; `whole`: all four columns exist.
    """
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
    """Writes four adjacent elements, or the first `room` of them."""
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
