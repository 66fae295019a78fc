"""The dense layer on the CPU: forward, input gradient, weight gradient.

Three matrix products on the register tile (products.py). Each task owns a block of the result, so nothing is summed
across threads and results are the same bits for any number of them.
"""

import numpy as np
from numba import prange

from . import simd, tasks
from .jit import inline, kernel
from .matrix import turn, width
from .pointwise import relu_grad  # noqa: F401 (part of this module: the gradient of dense with relu)
from .products import ONE_RUN, add_rows, bias, gathered_outer, gathered_product, row_offsets

M, N = simd.TILE
ROWS = 2 * simd.NARROW[0]  # rows of the result in one task ...
LARGE = 1 << 18  # ... unless the weights outgrow a core's cache: from so many items on a task holds as many as can be
DEPTH = 512  # items of the inner sum that are worked on at a time, so that a panel of the weights stays in the cache


@inline
def _multiply_one(x, w, b, y, filters, f, end, relu):
    """y[f:end] = x @ w[:, f:end] + b[f:end] for a single row x, in a tile that has no others."""
    row = simd.zeros(x, 1, N)
    part, here = end - f, simd.steps(0, 0, 1, row)
    acc = simd.add_row(row, b, f, part)
    for k in range(x.size):
        acc = simd.fma_part(acc, x, here, k, w, k * filters + f, part)
    simd.store(simd.relu(acc) if relu else acc, y, here, f, part)


@kernel("(T[:,::1], T[:,::1], T[::1], T[:,::1], int64[::1], int64[::1], int64, boolean)", parallel=True)
def _multiply(x, w, b, y, starts, zero, rows, relu):
    """y (N,F) = x (N,C) @ w (C,F) + b, in tasks of `rows` rows and as many columns as the wide tile has."""
    n, c = x.shape
    filters = w.shape[1]
    columns = simd.width(simd.zeros(x, M, N))
    blocks = (n + rows - 1) // rows
    for task in prange(blocks * ((filters + columns - 1) // columns)):
        first, f = (task % blocks) * rows, (task // blocks) * columns
        count, end = min(rows, n - first), min(f + columns, filters)
        if n == 1:
            _multiply_one(x.reshape(x.size), w.reshape(w.size), b, y.reshape(y.size), filters, f, end, relu)
            continue
        for k in range(0, c, DEPTH):
            gathered_product(x.reshape(x.size), first * c + k, starts, count, zero, min(DEPTH, c - k),
                             w.reshape(w.size), k * filters, b[:0], b, y.reshape(y.size), first * filters, filters, f,
                             end, k == 0, relu and k + DEPTH >= c)


@kernel("(T[:,::1], T[:,::1], T[:,::1], T[::1], int64[::1], int64[::1])", parallel=True)
def _weight_gradient(x, dy, dw, db, starts, taps):
    """dw (C,F) = x (N,C).T @ dy (N,F), in tasks of ROWS rows; db (F,) = the sum of dy's rows."""
    n, c = x.shape
    filters = dy.shape[1]
    for block in prange((c + ROWS - 1) // ROWS):
        first = block * ROWS
        gathered_outer(x.reshape(x.size), first, starts, n, taps, min(ROWS, c - first), dy.reshape(dy.size), 0,
                       dw.reshape(dw.size), first * filters, filters, 0, filters, True)
    add_rows(dy.reshape(dy.size), 0, n, filters, db, 0, filters, True)


def dense(x, w, b, y, relu: bool = False) -> None:
    """y (N,F) = x (N,C) @ w (C,F) + b (F,) or None; max(y, 0) with `relu`."""
    n, c = x.shape
    rows = _large_rows(n, w.shape[1], w.dtype) if w.size >= LARGE else ROWS
    _multiply(x, w, bias(b, x.dtype, w.shape[1]), y, row_offsets(min(rows, n), c), ONE_RUN, rows, relu)


def _large_rows(n: int, filters: int, dtype: np.dtype) -> int:
    """The rows of a task where each task reads its columns of large weights anew: few tasks, but even ones."""
    pieces = tasks.pieces(-(-filters // width(dtype)), -(-n // M))
    return max(1, -(-n // (pieces * M))) * M


def dense_input_grad(dy, w, dx) -> None:
    """dx (N,C) = dy (N,F) @ w (C,F).T: w is turned, or dy and dx where these are smaller."""
    (n, filters), c = dy.shape, w.shape[0]
    if n == 1:
        dense(w, dy.reshape(filters, 1), None, dx.reshape(c, 1))
        return
    if filters <= n:
        turn(w, wt := np.empty((filters, c), w.dtype))
        dense(dy, wt, None, dx)
        return
    dx_t = np.empty((c, n), dx.dtype)
    turn(dy, dy_t := np.empty((filters, n), dy.dtype))
    dense(w, dy_t, None, dx_t)
    turn(dx_t, dx)


def dense_weight_grad(x, dy, dw, db) -> None:
    """dw (C,F) = x (N,C).T @ dy (N,F) and db (F,) = the sum of dy over the batch."""
    n, c = x.shape
    _weight_gradient(x, dy, dw, db, row_offsets(n, c), row_offsets(min(ROWS, c), 1))
