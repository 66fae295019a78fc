"""Computes arithmetic, reductions and copies, mostly with NumPy, because memory bandwidth is the
limit and compiled loops would be no faster. Compiled kernels on all threads add and copy large
arrays, compute exp, log and erf, multiply channels, and compute sums that keep the last axis, as in
global pooling.
"""

from collections.abc import Callable
from functools import partial
from math import prod
from typing import Any

import numpy as np
from numba import prange

from ..buffers import scratch
from ..formulas import elementwise
from ..formulas.elementary import power as raise_one
from ..threads import get_num_threads
from . import rowwise, simd
from .flat import flatten
from .jit import CpuKernel, kernel, record_calls
from .pointwise import ELEMENTARY
from .products import N, add_rows
from .rowwise import VECTORS
from .simd import lanes
from .tasks import piece, pieces

Array = np.ndarray
FEW_POWERS = 1 << 8  # number of powers that one thread computes while a second thread starts
FEW = 1 << 14  # number of elements that one thread sums while a second thread starts
MANY = 1 << 17  # number of elements whose rows two threads copy faster than one
LARGE = 1 << 20  # number of elements beyond a core's caches, which two cores add faster than one
SHARE = 1 << 13  # number of elements per task of `_copy_rows`
STRETCH = 1 << 13  # number of elements of which each sum consists, in several rounds
WIDTH = 64  # number of sums that a stretch is first added up to


def _wrap_ufunc(ufunc: Callable) -> Callable[..., None]:
    """Wraps a NumPy ufunc as a kernel whose last argument is the output array."""

    @record_calls
    def compute(*arrays: Array) -> None:
        ufunc(*arrays[:-1], out=arrays[-1])

    return compute


globals().update({name: _wrap_ufunc(getattr(np, name)) for name in elementwise.ARITHMETIC if name not in ELEMENTARY})


@kernel("(T[::1], T[::1], T[::1])", parallel=True)
def _add(a, b, out):
    for i in prange(a.size):
        out[i] = a[i] + b[i]


_add_by_numpy = _wrap_ufunc(np.add)


@kernel("(T[:,:], T[:,:], boolean, T[:,:])", parallel=True)
def _copy_rows(a, b, adds, out):
    """out (M,C) = a, plus b if `adds`. Each row is contiguous, but rows may be apart."""
    rows, columns = out.shape
    zero = simd.zeros(out, 1, VECTORS)
    steps = (a.strides[0] // a.itemsize, b.strides[0] // b.itemsize, out.strides[0] // out.itemsize)
    block = (SHARE + columns - 1) // columns
    for task in prange((rows + block - 1) // block):
        for i in range(task * block, min((task + 1) * block, rows)):
            for j in range(0, columns, simd.width(zero)):
                count = min(simd.width(zero), columns - j)
                value = rowwise.row(zero, flatten(a), i * steps[0] + j, count)
                if adds:
                    other = rowwise.row(zero, flatten(b), i * steps[1] + j, count)
                    value = rowwise.add(value, other)
                rowwise.put(value, flatten(out), i * steps[2] + j, count)


def _as_rows(*arrays: Array) -> list[Array] | None:
    """Returns the arrays as (M,C) for `_copy_rows`, or None if it cannot read them or saves no time."""
    out = arrays[-1]
    if out.size < MANY or out.ndim < 2 or out.dtype.char not in "fd" or out.shape[-1] < lanes(out.dtype):
        return None
    for x in arrays:
        outer = tuple(size * step for size, step in zip(x.shape[1:-1], x.strides[1:-1]))
        is_accepted = x.flags.writeable and _spec(x) == _spec(out)  # kernels refuse read-only x
        if not is_accepted or (*outer, x.itemsize) != (*x.strides[:-2], x.strides[-1]):
            return None
    return [x.reshape(-1, x.shape[-1], copy=False) for x in arrays]


def add(a: Array, b: Array, out: Array) -> None:
    """out = a + b. `a` and b may be strided."""
    if out.size >= LARGE and _is_plain(out) and all(_is_plain(x) and _spec(x) == _spec(out) for x in (a, b)):
        _add(a.reshape(-1), b.reshape(-1), out.reshape(-1))
    elif isinstance(a, np.ndarray) and isinstance(b, np.ndarray) and (rows := _as_rows(a, b, out)):
        _copy_rows(rows[0], rows[1], True, rows[2])
    else:
        _add_by_numpy(a, b, out)


@kernel("(T[:,:,::1], T[:,::1], T[:,:,::1], int64)", parallel=True)
def _multiply_channels(a, factors, out, pieces):
    """Computes out (N,M,C) from a (N,M,C) and factors (N,C) in `pieces` tasks per image."""
    n, m, c = a.shape
    for task in prange(n * pieces):
        i = task // pieces
        first, end = piece(m, task % pieces, pieces, 1)
        for j in range(first, end):
            for k in range(c):
                out[i, j, k] = a[i, j, k] * factors[i, k]


_multiply_by_numpy = _wrap_ufunc(np.multiply)


def multiply(a: Array, b: Array, out: Array) -> None:
    """out = a * b. A compiled kernel multiplies each channel of an image by a factor of its own."""
    image, factors = (b, a) if isinstance(b, np.ndarray) and b.shape == out.shape else (a, b)
    is_plain = _is_plain(image) and _is_plain(factors) and image.dtype == factors.dtype
    if is_plain and image.size and image.shape == out.shape and out.ndim > 2 and (
            factors.shape == (out.shape[0], *[1] * (out.ndim - 2), out.shape[-1])):
        n, *_, c = factors.shape
        count = pieces(n, out.size // (n * c)) if out.size > FEW else 1
        _multiply_channels(image.reshape(n, -1, c), factors.reshape(n, c), out.reshape(n, -1, c), count)
    else:
        _multiply_by_numpy(a, b, out)


@kernel("(T[::1], float64, T[::1], T[::1])", parallel=True, grain=FEW_POWERS)
def _raise(a, exponent, exponents, out):
    """out = a ** exponents, or a ** exponent if `exponents` is empty."""
    for i in prange(out.size):
        if exponents.size:
            out[i] = raise_one(a[i], exponents[i])
        else:
            out[i] = raise_one(a[i], exponent)


_raise_by_numpy = _wrap_ufunc(np.power)


def power(a: Array, exponent: Array | float, out: Array) -> None:
    """out = a ** exponent, for an array or a number. Arrays are broadcast to the shape of `out`."""
    if not _is_plain(out):
        _raise_by_numpy(a, exponent, out)
        return
    bases = _flatten_like(out, a)
    number = 0.0
    exponents = bases[:0]
    if isinstance(exponent, np.ndarray):
        exponents = _flatten_like(out, exponent)
    else:
        number = float(exponent)
    _raise(bases, number, exponents, out.reshape(-1))


def _flatten_like(out: Array, a: Array) -> Array:
    """Returns `a` with the shape and dtype of `out`, as a flat array. Copies only if necessary."""
    if not isinstance(a, np.ndarray) or a.shape != out.shape:
        a = np.broadcast_to(a, out.shape)
    return contiguous(a, out.dtype).reshape(-1)


def contiguous(a: Array, dtype: np.dtype) -> Array:
    """Returns `a`, or a C-contiguous copy of this dtype if `a` is not such an array."""
    if _is_plain(a) and a.dtype == dtype:
        return a
    copied = scratch(a.shape, dtype)
    copy(a, copied)
    return copied


def _is_plain(a: Any) -> bool:
    """Returns whether `a` is a C-contiguous, writable array of floats, as kernels require."""
    return isinstance(a, np.ndarray) and a.dtype.char in "fd" and a.flags.carray


def _spec(a: Array) -> tuple:
    return a.shape, a.dtype


def _accept_views(compiled: CpuKernel) -> Callable[..., None]:
    """Returns a function that computes a contiguous `out` from arrays that may be strided, or are
    broadcast to its shape, by a kernel for flat arrays.
    """
    def compute(*arrays: Array) -> None:
        *inputs, out = arrays
        compiled(*(_flatten_like(out, a) for a in inputs), out.reshape(-1, copy=False))

    return compute


globals().update({name: _accept_views(compiled) for name, compiled in ELEMENTARY.items()})


@record_calls
def fill(out: Array, value: float) -> None:
    """out = value, in every element."""
    out[...] = value


_copy_by_numpy = record_calls(partial(np.copyto, casting="unsafe"))


def copy(a: Array, out: Array) -> None:
    """out = a; `a` may be strided, have another dtype, or be broadcast to the shape of `out`."""
    if isinstance(a, np.ndarray) and (rows := _as_rows(a, out)):
        _copy_rows(rows[0], rows[0], False, rows[1])
    else:
        _copy_by_numpy(out, a)


@kernel("(T[:,:,::1], T[:,::1], int64, float64)", parallel=True)
def _sum_rows(a, out, columns, divisor):
    """out (N,C) = the sums of a (N,M,C) over M, divided by `divisor`. Each task sums at most
    `columns` columns, row after row, as NumPy does.
    """
    (_, m, c), flat, number = a.shape, flatten(out), out.dtype.type(divisor)
    panels = (c + columns - 1) // columns
    for task in prange(a.shape[0] * panels):
        n, f = task // panels, task % panels * columns
        start, count = n * c + f, min(columns, c - f)
        add_rows(flatten(a), n * m * c + f, m, c, flat, start, count, True)
        for i in range(start, start + count):
            flat[i] /= number


@record_calls
def _sum_by_numpy(a: Array, axes: tuple[int, ...], out: Array, divisor: float) -> None:
    np.sum(a, axis=axes, out=out, keepdims=True)
    if divisor != 1:
        np.divide(out, out.dtype.type(divisor), out=out)


@kernel("(T[:,::1], T[:,::1], float64, int64)", parallel=True)
def _sum_stretches(a, out, divisor, count):
    """out (N,P) = the sums of P stretches of each row of a (N,M), divided by `divisor`, in `count`
    tasks. A stretch is added as rows of WIDTH numbers; then its WIDTH sums and its last numbers.
    """
    n, m = a.shape
    flat = flatten(a)
    totals = flatten(out)
    number = out.dtype.type(divisor)
    parts = out.shape[1]
    for task in prange(count):
        sums = np.empty(WIDTH, a.dtype)
        first, end = piece(n * parts, task, count, 1)
        for i in range(first, end):
            start = i // parts * m + i % parts * STRETCH
            length = min(STRETCH, m - i % parts * STRETCH)
            total = out.dtype.type(0)
            if length >= WIDTH:
                add_rows(flat, start, length // WIDTH, WIDTH, sums, 0, WIDTH, True)
                for j in range(WIDTH):
                    total += sums[j]
            for j in range(start + length // WIDTH * WIDTH, start + length):
                total += flat[j]
            totals[i] = total / number


def _sum_last(rows: Array, out: Array, divisor: float) -> None:
    """out (N,1) = the sums of rows (N,M), divided by `divisor`: first of stretches."""
    while rows.shape[1] > STRETCH:
        partial = scratch((len(rows), -(-rows.shape[1] // STRETCH)), rows.dtype)
        _sum_stretches(rows, partial, 1.0, _count_tasks(rows, partial))
        rows = partial
    _sum_stretches(rows, out, divisor, _count_tasks(rows, out))


def _count_tasks(rows: Array, sums: Array) -> int:
    return min(sums.size, 8 * get_num_threads()) if rows.size > FEW else 1


def sum(a: Array, axes: tuple[int, ...], out: Array, divisor: float = 1) -> None:
    """out = the sums of `a` over `axes`, divided by `divisor`. `out` keeps these axes with length
    1. The order of the additions depends on the shape alone.
    """
    is_inner = len(axes) > 0 and axes == tuple(range(axes[0], axes[-1] + 1)) and prod(a.shape[axes[-1] + 1 :]) > 1
    if is_inner and a.size and _is_plain(a) and _is_plain(out) and a.dtype == out.dtype:
        n, m = prod(a.shape[: axes[0]]), prod(a.shape[axes[0] : axes[-1] + 1])
        columns = a.size // (n * m) if a.size <= FEW else N * lanes(a.dtype)
        _sum_rows(a.reshape(n, m, -1), out.reshape(n, -1), columns, float(divisor))
    elif a.size and out.dtype.char in "fd":
        turned = a.transpose(*(i for i in range(a.ndim) if i not in axes), *axes)
        rows = contiguous(turned, out.dtype).reshape(out.size, -1)
        _sum_last(rows, out.reshape(-1, 1), float(divisor))
    else:  # sums of integers are exact in any order
        _sum_by_numpy(a, axes, out, divisor)


@record_calls
def row_max(a: Array, index: Array, out: Array) -> None:
    """out = each row's maximum in a (rows,m), index = its first position. NaN counts as largest."""
    np.argmax(a, axis=1, out=index)
    out[...] = a[np.arange(len(a)), index]


@record_calls
def row_scatter(dy: Array, index: Array, dx: Array) -> None:
    """dx[r, index[r]] = dy[r] for each row r of dx (rows, m); all other elements are 0."""
    dx[...] = 0
    dx[np.arange(len(dx)), index] = dy


@record_calls
def index_get(x: Array, index: Any, out: Array) -> None:
    """out = x[index]."""
    out[...] = x[index]


@record_calls
def index_add(dy: Array, index: Any, dx: Array) -> None:
    """dx = 0, then dx[index] += dy in C order; an element indexed twice receives both terms."""
    dx[...] = 0
    np.add.at(dx, index, dy)


@record_calls
def index_put(dy: Array, index: Any, dx: Array) -> None:
    """dx = 0, then dx[index] = dy, for an index that selects no element twice."""
    dx[...] = 0
    dx[index] = dy
