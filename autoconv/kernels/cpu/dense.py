"""The dense layer on the CPU: forward pass, input gradient and weight gradient.

Each of the three is a matrix product on the register tile (products.py). A task computes one block
of the result with complete sums, so results are bit-for-bit equal for any number of threads.
"""

import numpy as np
from numba import prange

from ..buffers import scratch
from ..threads import get_num_threads
from . import matrix, pointwise, simd, tasks
from .epilogue import CODES, complete
from .flat import flatten
from .jit import inline, kernel
from .matrix import turn, width
from .pointwise import relu_grad  # noqa: F401 (re-exported: the gradient of dense with relu)
from .products import ONE_RUN, add_rows, bias, gathered_outer, gathered_product, row_offsets, run_taps, run_taps_part
from .stencil import prefetch

M, N = simd.TILE
ROWS = 2 * simd.NARROW[0]  # rows of the result per task, unless weights have LARGE elements or more
# weights with at least this many elements do not fit in a core's cache, so each task then has as
# many rows as possible
LARGE = 1 << 18
# the loops of matrix.py are faster for large weights of at most `DEEP` rows or at least `WIDE` columns
DEEP = 2048
WIDE = 512
# number of weights that one thread reads, for a single row of x, in the time that a second thread
# needs to start
FEW = 1 << 16
# for a single row of x: vectors of columns per pass, and number of rows of w to prefetch ahead
LONG, AHEAD = 4 * N, 4
# number of terms of the inner sum that are processed at a time, so that a panel of the weights
# stays in the cache
DEPTH = 512


@kernel("(T[:,:,::1], T[:,:,::1], T[::1], T[:,:,::1], int64[::1], int64[::1], int64, int64)",
        parallel=True)
def _multiply(x, w, b, y, starts, zero, rows, activation):
    """y (B,N,F) = x (B or 1,N,C) @ w (B or 1,C,F) + b (F,). A task has `rows` rows of one matrix and
    the columns of one wide tile.
    """
    _, n, c = x.shape
    filters = w.shape[2]
    columns = simd.width(simd.zeros(x, M, N))
    blocks = (n + rows - 1) // rows
    count = blocks * ((filters + columns - 1) // columns)  # tasks of each matrix
    for task in prange(y.shape[0] * count):
        item = task // count
        first = (task % blocks) * rows
        f = (task % count // blocks) * columns
        row = first if x.shape[0] == 1 else item * n + first
        weights = 0 if w.shape[0] == 1 else item * c
        _block(flatten(x), c, row, min(rows, n - first), starts, zero, flatten(w), weights, b,
               flatten(y), item * n + first, filters, f, min(f + columns, filters), activation)


@inline
def _block(x, c, row, count, starts, zero, w, weights, b, y, first, filters, f, end, activation):
    """Computes columns f to `end` of `count` rows of y, from row `first` on. The rows of x begin at
    `row`, and those of w at `weights`.
    """
    for k in range(0, c, DEPTH):
        gathered_product(x, row * c + k, starts, count, zero, min(DEPTH, c - k), w,
                         (weights + k) * filters, filters, b[:0], b, y, first * filters, filters, f,
                         end, k == 0, k + DEPTH >= c, activation)


@kernel("(T[:,::1], T[:,::1], T[::1], T[:,::1], int64[::1], int64, int64)", parallel=True)
def _multiply_row(x, w, b, y, zero, columns, activation):
    """Computes `_multiply` for a single row, in tasks of `columns` columns."""
    filters = b.size
    for task in prange((filters + columns - 1) // columns):
        _row(flatten(x), flatten(w), b, flatten(y), zero, filters, task * columns,
             min(filters, (task + 1) * columns), activation)


@inline
def _row(x, w, b, y, zero, filters, f, end, activation):
    """y[f:end] = x @ w[:, f:end] + b[f:end] for a single row x. Reading w takes most of the time.
    Reading long stretches of a row is fastest, so each pass computes as many columns as fit in the
    registers.
    """
    long, row = simd.zeros(x, 1, LONG), simd.zeros(x, 1, N)
    src, columns = simd.steps(0, 0, 1, row), simd.width(long)
    while end - f >= columns:
        acc, j = simd.add_row(long, b, f, columns), f
        for k in range(x.size):
            prefetch(w, j + AHEAD * filters, columns)
            acc = simd.fma(acc, x, src, k, w, j)
            j += filters
        simd.store(simd.clip(acc, activation), y, src, f, columns)
        f += columns
    while f < end:
        part = min(simd.width(row), end - f)
        acc = simd.add_row(row, b, f, part)
        if part == simd.width(row):
            acc = run_taps(acc, x, src, 0, zero, x.size, w, f, filters)
        else:
            acc = run_taps_part(acc, x, src, 0, zero, x.size, w, f, filters, part)
        simd.store(simd.clip(acc, activation), y, src, f, part)
        f += part


@kernel("(T[:,::1], T[:,::1], T[:,::1], T[::1], int64[::1], int64[::1])", parallel=True)
def _weight_gradient(x, dy, dw, db, starts, taps):
    """dw (C,F) = x (N,C).T @ dy (N,F), in tasks of ROWS rows; db (F,) = the sum of dy's rows."""
    n, c = x.shape
    filters = dy.shape[1]
    for block in prange((c + ROWS - 1) // ROWS):
        first = block * ROWS
        gathered_outer(flatten(x), first, starts, n, taps, min(ROWS, c - first), flatten(dy), 0,
                       flatten(dw), first * filters, filters, 0, filters, True)
    add_rows(flatten(dy), 0, n, filters, db, 0, filters, True)


def dense(x, w, b, y, activation: str = "linear") -> None:
    """y (N,F) = x (N,C) @ w (C,F) + b (F,); b may be None. The activation is applied to y."""
    (n, c), filters, tile = x.shape, w.shape[1], width(w.dtype)
    if n == 1:
        threads = get_num_threads() if w.size > FEW else 1
        columns = max(1, -(-filters // (tile * threads))) * tile  # one task per thread
        _multiply_row(x, w, bias(b, x.dtype, filters), y, ONE_RUN, columns, CODES[activation])
        _complete(y, activation)
        return
    if w.size > LARGE and (c <= DEEP or filters >= WIDE) and matrix.pays(filters, w.dtype):
        matrix.multiply(x, w, bias(b, x.dtype, filters), y, activation)
        return
    rows = _large_rows(n, filters, w.dtype) if w.size >= LARGE else ROWS if n * w.size > tasks.SMALL else n
    _multiply(x[None], w[None], bias(b, x.dtype, filters), y[None], row_offsets(min(rows, n), c),
              ONE_RUN, rows, CODES[activation])
    _complete(y, activation)


def multiply_batch(x, w, y) -> None:
    """y (B,N,F) = x (B or 1,N,C) @ w (B or 1,C,F)."""
    n, c = x.shape[1:]
    filters = w.shape[2]
    rows = -(-n // (M * tasks.pieces(len(y), -(-n // M)))) * M
    _multiply(x, w, bias(None, x.dtype, filters), y, row_offsets(min(rows, n), c), ONE_RUN, rows,
              CODES["linear"])


def _complete(y, activation: str) -> None:
    """Applies an activation that the tiles did not apply."""
    if CODES[activation] > simd.RELU6:
        complete(y, None, activation)


def _large_rows(n: int, filters: int, dtype: np.dtype) -> int:
    """Returns the number of rows per task for large weights. Each task reads its columns of the
    weights again, so there are few tasks, of equal size.
    """
    pieces = tasks.pieces(-(-filters // width(dtype)), -(-n // M))
    return max(1, -(-n // (pieces * M))) * M


def dense_input_grad(dy, w, dx) -> None:
    """dx (N,C) = dy (N,F) @ w (C,F).T. Transposes w if F <= N, otherwise dy and the result."""
    (n, filters), c = dy.shape, w.shape[0]
    if n == 1:
        dense(w, dy.reshape(filters, 1), None, dx.reshape(c, 1))
        return
    if filters <= n:
        turn(w, wt := scratch((filters, c), w.dtype))
        dense(dy, wt, None, dx)
        return
    dx_t = scratch((c, n), dx.dtype)
    turn(dy, dy_t := scratch((filters, n), dy.dtype))
    dense(w, dy_t, None, dx_t)
    turn(dx_t, dx)


def dense_masked_input_grad(dy, w, x, dx) -> None:
    """dx (N,C) = dy @ w.T where x (N,C) is above 0, and 0 elsewhere. If a ReLU computed x, this is
    the gradient with respect to the ReLU's input.
    """
    dense_input_grad(dy, w, dx)
    pointwise.relu_grad(x.reshape(-1), dx.reshape(-1), dx.reshape(-1))


def dense_weight_grad(x, dy, dw, db) -> None:
    """dw (C,F) = x (N,C).T @ dy (N,F) and db (F,) = the sum of dy over the batch."""
    n, c = x.shape
    _weight_gradient(x, dy, dw, db, row_offsets(n, c), row_offsets(min(ROWS, c), 1))
