"""Applies operations to the sums of a matrix product before they are written: scale, bias, addition
of another array, ReLU, or a ReLU's mask.

The number `epilogue` selects the operations: it is the sum of their flags. If a sum is split into
partial sums, the operations are applied when the partial sums are added (`conv.add_parts`).
"""

from typing import Any

from .kernels import inline
from .ptx import load, load4, store, store4

# flags of the operations, in the order in which they are applied
SCALE, BIAS, ADD, RELU, MASK = 1, 2, 4, 8, 16


def make_epilogue(like: Any, b: Any = None, scale: Any = None, addend: Any = None,
                  relu: bool = False, mask: Any = None) -> tuple[Any, Any, Any, int]:
    """Returns the arguments for a kernel: b, scale, the array to add or to mask by, and the flags
    `epilogue`. `like` replaces each array that is missing.
    """
    arrays = b, scale, mask if addend is None else addend
    epilogue = (SCALE * (scale is not None) + BIAS * (b is not None) + ADD * (addend is not None) + RELU * bool(relu)
                + MASK * (mask is not None))
    return *(like.reshape(-1) if a is None else a.reshape(-1) for a in arrays), epilogue


@inline
def finish_sum(item, column, index, b, scale, operand, epilogue):
    """Returns `item`, a sum of this column for y[index], with all selected operations applied."""
    zero = b.dtype.type(0)
    if epilogue & SCALE:
        item *= load(scale, column)
    if epilogue & BIAS:
        item += load(b, column)
    if epilogue & ADD:
        item += load(operand, index)
    if epilogue & RELU and item < zero:
        item = zero
    if epilogue & MASK and load(operand, index) <= zero:
        item = zero
    return item


@inline
def load_scale_bias(b, scale, column, count, epilogue):
    """Returns the scales and the biases of the four columns from `column` on. Scales default to 1,
    biases to 0. `count` is the number of remaining columns, which may be less than four.
    """
    one, zero, last = b.dtype.type(1), b.dtype.type(0), count - 1
    factors, addends = (one, one, one, one), (zero, zero, zero, zero)
    if epilogue & SCALE:
        factors = _load_four(scale, column, last)
    if epilogue & BIAS:
        addends = _load_four(b, column, last)
    return factors, addends


@inline
def _load_four(array, index, last):
    """Returns the four elements from `index` on. If elements beyond index + last are requested,
    returns element index + last instead.
    """
    return (load(array, index), load(array, index + min(1, last)),
            load(array, index + min(2, last)), load(array, index + min(3, last)))


@inline
def finish_four(items, scale_bias, index, operand, count, whole, epilogue):
    """Returns four adjacent sums with all selected operations applied. `scale_bias` is the result
    of `load_scale_bias`. `whole` is True if all four columns exist.
    """
    (a, b, c, d), (factors, addends), zero = items, scale_bias, operand.dtype.type(0)
    a, b = a * factors[0] + addends[0], b * factors[1] + addends[1]
    c, d = c * factors[2] + addends[2], d * factors[3] + addends[3]
    if epilogue & (ADD | MASK):
        p, q, r, s = load4(operand, index) if whole else _load_four(operand, index, count - 1)
        if epilogue & ADD:
            a, b, c, d = a + p, b + q, c + r, d + s
        else:
            a, b = zero if p <= zero else a, zero if q <= zero else b
            c, d = zero if r <= zero else c, zero if s <= zero else d
    if epilogue & RELU:
        a, b = zero if a < zero else a, zero if b < zero else b
        c, d = zero if c < zero else c, zero if d < zero else d
    return a, b, c, d


@inline
def store_four(y, index, items, count, whole):
    """Writes four adjacent elements; if not `whole`, only the first `count` of them."""
    if whole:
        store4(y, index, items)
    else:
        store(y, index, items[0])
        if count > 1:
            store(y, index + 1, items[1])
        if count > 2:
            store(y, index + 2, items[2])
        if count > 3:
            store(y, index + 3, items[3])
