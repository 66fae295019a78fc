"""Adds another array to the results of a convolution or dense layer, and applies an activation, in the pass that
computes the results. Normalizations apply the same activations.

Kernels receive an activation as a number from `CODES`. ReLUs cost little, so they are applied to tiles in
registers (`simd.clip`). A task applies everything else to its part of the result when this part is complete,
and still in a cache (`finish`).
"""

from numba import prange

from ..formulas import elementwise
from . import exponential, rowwise, simd
from .jit import inline, kernel
from .rowwise import VECTORS
from .simd import LINEAR, RELU6

CODES = {name: code for code, name in enumerate(("linear", *elementwise.IN_PASS))}
HARD_SIGMOID, HARD_SILU, SILU = (CODES[name] for name in ("hard_sigmoid", "hard_silu", "silu"))
STRETCH = 1 << 12  # number of elements per task of `complete`


@inline
def activate(value, activation):
    """Returns the activation of a tile."""
    if activation == HARD_SIGMOID:
        return rowwise.hard_sigmoid(value)
    if activation == HARD_SILU:
        return rowwise.multiply(value, rowwise.hard_sigmoid(value))
    if activation == SILU:
        return rowwise.multiply(value, exponential.sigmoid_row(value))
    return simd.clip(value, activation)


@inline
def activate_grad(value, gradient, activation):
    """Returns the gradient of `value`, a tile that `activate` received, from the gradient of its result."""
    if activation == HARD_SIGMOID:
        return rowwise.hard_sigmoid_grad(value, gradient)
    if activation == HARD_SILU:
        return rowwise.hard_silu_grad(value, gradient)
    if activation == SILU:
        return rowwise.multiply(gradient, exponential.silu_slope(value))
    return rowwise.clip_grad(value, gradient, activation)


@inline
def _apply(y, addend, first, count, activation):
    zero = simd.zeros(y, 1, VECTORS)
    for i in range(first, first + count, simd.width(zero)):
        columns = min(simd.width(zero), first + count - i)
        value = rowwise.row(zero, y, i, columns)
        if addend.size > 0:
            value = rowwise.add(value, rowwise.row(zero, addend, i, columns))
        rowwise.put(activate(value, activation), y, i, columns)


@inline
def finish(y, addend, first, count, activation):
    """y[first : first + count] = activation(y + addend). An empty `addend` counts as zeros; the tiles have
    then applied ReLUs (`tile_activation`).
    """
    if addend.size > 0 or activation > RELU6:
        _apply(y, addend, first, count, activation)


@inline
def finish_columns(y, addend, first, rows, filters, low, high, activation):
    """Applies `finish` to columns low to `high` of rows of `filters` elements, which begin at y[first]."""
    if high - low == filters:
        finish(y, addend, first, rows * filters, activation)
    else:
        for p in range(rows):
            finish(y, addend, first + p * filters + low, high - low, activation)


@inline
def tile_activation(addend, activation):
    """Returns the activation that kernels apply to tiles in registers before `finish`."""
    return LINEAR if addend.size > 0 else activation


@kernel("(T[::1], T[::1], int64)", parallel=True)
def _finish(y, addend, activation):
    for task in prange((y.size + STRETCH - 1) // STRETCH):
        _apply(y, addend, task * STRETCH, min(STRETCH, y.size - task * STRETCH), activation)


def complete(y, addend, activation: str) -> None:
    """y = activation(y + addend), after a kernel that did not call `finish`. `addend` may be None."""
    if addend is not None or activation != "linear":
        flat = y.reshape(-1)
        _finish(flat, flat[:0] if addend is None else addend.reshape(-1), CODES[activation])
