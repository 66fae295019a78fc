"""Arithmetic, reductions and copies, by NumPy: these are bound by memory, and compiled loops would gain nothing. But
large additions and the sums of a net's global pooling are shared by all threads.
"""

import math
from math import prod
from typing import Any

import numpy as np
from numba import prange

from ..formulas import elementwise
from .flat import flattened
from .jit import kernel, recorded
from .products import N, add_rows
from .simd import lanes

Array = np.ndarray
FEW = 1 << 14  # items whose sums one thread has made before a second one has begun
LARGE = 1 << 20  # items that outgrow a core's caches: two cores read more memory than one

globals().update({name: recorded(getattr(np, name)) for name in elementwise.ARITHMETIC if hasattr(np, name)})


@kernel("(T[::1], T[::1], T[::1])", parallel=True)
def _add(a, b, out):
    for i in prange(a.size):
        out[i] = a[i] + b[i]


_add_by_numpy = recorded(np.add)


def add(a: Array, b: Array, out: Array) -> None:
    """out = a + b."""
    if out.size >= LARGE and _is_plain(out) and all(_is_plain(x) and _like(x) == _like(out) for x in (a, b)):
        _add(a.reshape(-1), b.reshape(-1), out.reshape(-1))
    else:
        _add_by_numpy(a, b, out)


def _is_plain(a: Any) -> bool:
    """Whether kernels take it: floating-point numbers in scan order."""
    return isinstance(a, np.ndarray) and a.dtype.char in "fd" and a.flags.c_contiguous


def _like(a: Array) -> tuple:
    return a.shape, a.dtype


@kernel("(T[::1], T[::1])", parallel=True, few=1 << 12)
def _erf(a, out):
    for i in prange(a.size):
        out[i] = math.erf(a[i])


def erf(a: Array, out: Array) -> None:
    """The error function of arrays in scan order; NumPy has none."""
    _erf(a.reshape(-1), out.reshape(-1))


@recorded
def matmul(a: Array, b: Array, out: Array) -> None:
    np.matmul(a, b, out=out)


@recorded
def fill(out: Array, value: float) -> None:
    """out = a number."""
    out[...] = value


@recorded
def copy(a: Array, out: Array) -> None:
    """out = a, where `a` may be strided, of another dtype, or smaller and broadcast."""
    out[...] = a


@kernel("(T[:,:,::1], T[:,::1], int64, float64)", parallel=True)
def _sum_rows(a, out, columns, divisor):
    """out (N,C) = the sums of a (N,M,C) over M, divided by `divisor`, in tasks of so many columns; row is added to row,
    as NumPy does it.
    """
    (_, m, c), flat, number = a.shape, flattened(out), out.dtype.type(divisor)
    panels = (c + columns - 1) // columns
    for task in prange(a.shape[0] * panels):
        n, f = task // panels, task % panels * columns
        start, count = n * c + f, min(columns, c - f)
        add_rows(flattened(a), n * m * c + f, m, c, flat, start, count, True)
        for i in range(start, start + count):
            flat[i] /= number


@recorded
def _sum_by_numpy(a: Array, axes: tuple[int, ...], out: Array, divisor: float) -> None:
    np.sum(a, axis=axes, out=out, keepdims=True)
    if divisor != 1:
        np.divide(out, out.dtype.type(divisor), out=out)


def sum(a: Array, axes: tuple[int, ...], out: Array, divisor: float = 1) -> None:
    """Sums over `axes`, which `out` keeps with size 1, divided by `divisor`. NumPy's order, which is the same in every
    run.
    """
    beside = len(axes) > 0 and axes == tuple(range(axes[0], axes[-1] + 1)) and prod(a.shape[axes[-1] + 1 :]) > 1
    if beside and a.size and _is_plain(a) and _is_plain(out) and a.dtype == out.dtype:
        n, m = prod(a.shape[: axes[0]]), prod(a.shape[axes[0] : axes[-1] + 1])
        columns = a.size // (n * m) if a.size <= FEW else N * lanes(a.dtype)
        _sum_rows(a.reshape(n, m, -1), out.reshape(n, -1), columns, float(divisor))
    else:
        _sum_by_numpy(a, axes, out, divisor)


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
