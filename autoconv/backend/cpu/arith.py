"""Arithmetic, reductions and copies, by NumPy: these are bound by memory, and compiled loops would gain little."""

from typing import Any

import numpy as np
from numba import prange

from .jit import kernel, recorded

Array = np.ndarray
LARGE = 1 << 20  # items that outgrow a core's caches, so that a sum takes all threads


@kernel("(T[::1], T[::1], T[::1])", parallel=True)
def _add_large(a, b, out):
    for i in prange(out.size):
        out[i] = a[i] + b[i]


@recorded
def _add(a: Array, b: Array, out: Array) -> None:
    np.add(a, b, out=out)


def add(a: Array, b: Array, out: Array) -> None:
    """out = a + b. The sum of two large arrays, as a residual block has, is the one that every thread takes part in."""
    alike = all(x.shape == out.shape and x.dtype == out.dtype and x.flags.c_contiguous for x in (a, b, out))
    if out.size >= LARGE and alike and out.dtype.kind == "f":
        _add_large(a.reshape(-1), b.reshape(-1), out.reshape(-1))
    else:
        _add(a, b, out)


@recorded
def subtract(a: Array, b: Array, out: Array) -> None:
    np.subtract(a, b, out=out)


@recorded
def multiply(a: Array, b: Array, out: Array) -> None:
    np.multiply(a, b, out=out)


@recorded
def divide(a: Array, b: Array, out: Array) -> None:
    np.divide(a, b, out=out)


@recorded
def matmul(a: Array, b: Array, out: Array) -> None:
    np.matmul(a, b, out=out)


@recorded
def negative(a: Array, out: Array) -> None:
    np.negative(a, out=out)


@recorded
def power(a: Array, exponent: float, out: Array) -> None:
    np.power(a, exponent, out=out)


@recorded
def exp(a: Array, out: Array) -> None:
    np.exp(a, out=out)


@recorded
def log(a: Array, out: Array) -> None:
    np.log(a, out=out)


@recorded
def sqrt(a: Array, out: Array) -> None:
    np.sqrt(a, out=out)


@recorded
def fill(out: Array, value: float) -> None:
    """out = a number."""
    out[...] = value


@recorded
def copy(a: Array, out: Array) -> None:
    """out = a, where `a` may be strided, of another dtype, or smaller and broadcast."""
    out[...] = a


@recorded
def sum(a: Array, axes: tuple[int, ...], out: Array) -> None:
    """Sums over `axes`, which `out` keeps with size 1. NumPy's order, which is the same in every run."""
    np.sum(a, axis=axes, out=out, keepdims=True)


@recorded
def row_max(a: Array, index: Array, out: Array) -> None:
    """The first maximum of each row of `a` (rows, m) and where it is; a NaN counts as the maximum."""
    np.argmax(a, axis=1, out=index)
    out[...] = a[np.arange(len(a)), index]


@recorded
def row_scatter(dy: Array, index: Array, dx: Array) -> None:
    """dx (rows, m) = 0 but for dy at each row's index."""
    dx[...] = 0
    dx[np.arange(len(dx)), index] = dy


@recorded
def index_get(x: Array, index: Any, out: Array) -> None:
    """out = x[index]."""
    out[...] = x[index]


@recorded
def index_add(dy: Array, index: Any, dx: Array) -> None:
    """dx = 0, then dx[index] += dy, where an item that is named twice is added twice, in scan order."""
    dx[...] = 0
    np.add.at(dx, index, dy)


@recorded
def index_put(dy: Array, index: Any, dx: Array) -> None:
    """dx = 0, then dx[index] = dy, for an index that names no item twice."""
    dx[...] = 0
    dx[index] = dy
