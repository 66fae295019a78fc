"""Products of ordinary matrices with many rows, the weights packed for the caches: convolutions of single pixels.

A tile's columns of the weights lie `filters` items apart, so a pass over them touches as many pages as the weights have
rows. Packed, the columns of each tile are one stretch of memory (a panel). Meanwhile the rows of x and y that come next
are asked for: the tile reads six rows at once, which the processor's own prefetching does not follow.
"""

import numpy as np
from numba import get_num_threads, prange

from . import simd, vectors
from .arith import copy
from .flat import flattened
from .jit import inline, kernel
from .products import NARROW_M, NARROW_N, ONE_RUN, M, N, gathered_product, row_offsets, run_taps, zeros
from .stencil import prefetch
from .tasks import piece

ROWS = 96  # in a task
PACKED = 2048  # rows from which packing the weights pays; it costs as much as a few rows, and a call
SQUARE = 16  # rows and columns from which a matrix is turned in registers
AHEAD = 2  # tiles whose rows are asked for before their turn


@kernel("(T[:,:,::1], T[:,:,::1])", parallel=True)
def transpose(a, out):
    """out[b, j, i] = a[b, i, j]: squares of vectors in registers, the rest item by item."""
    count, rows, columns = a.shape
    one = simd.zeros(a, 1, 1)
    side = simd.width(one)
    blocks, flat, flat_out = (columns + side - 1) // side, flattened(a), flattened(out)
    for task in prange(count * blocks):
        b, j = task // blocks, task % blocks * side
        whole, start = rows - rows % side if j + side <= columns else 0, b * rows * columns
        for i in range(0, whole, side):
            vectors.turn(one, flat, start + i * columns + j, columns, flat_out, start + j * rows + i, rows)
        for k in range(j, min(j + side, columns)):
            for i in range(whole, rows):
                out[b, k, i] = a[b, i, k]


@kernel("(T[:,::1], T[::1])", parallel=True)
def _pack(w, panels):
    """The whole panels of w (C,F), one after the other: (panel, C, columns)."""
    c, filters = w.shape
    columns = simd.width(simd.zeros(w, 1, N))
    for task in prange(filters // columns * c):
        panel, k = task // c, task % c
        simd.copy(panels, task * columns, flattened(w), k * filters + panel * columns, columns)


@inline
def _panel(tile, high, x, first, count, starts, c, run, w, j, step, scale, b, y, filters, f, relu):
    """y[:, f : f + all columns of the tile, which is so high] of `count` rows from `first` on. Rows of w lie `step`
    items apart.
    """
    columns = simd.width(tile)
    for p in range(0, count, high):
        row = first + p + AHEAD * high
        if f == 0:
            prefetch(x, row * c, high * c)
        for _ in range(high):
            prefetch(y, row * filters + f, columns)
            row += 1
        at, to = simd.rows(starts, p, count, tile), simd.steps(filters, p, count, tile)
        acc = tile if scale.size > 0 else simd.add_row(tile, b, f, columns)
        acc = run_taps(acc, x, at, first * c, run, c, w, j, step)
        if scale.size > 0:
            acc = simd.scale_rows(acc, scale, b, f, columns)
        simd.store(simd.relu(acc) if relu else acc, y, to, first * filters + f, columns)


@kernel("(T[:,::1], T[:,::1], T[::1], T[::1], T[::1], T[:,::1], int64[::1], int64[::1], int64, boolean)", parallel=True)
def _multiply(x, w, panels, scale, b, y, starts, run, tasks, relu):
    """y (N,F) = x (N,C) @ w (C,F) scale + b. The whole panels of w are read from `panels`, unless that is empty."""
    (n, c), filters = x.shape, b.size
    wide, narrow = simd.zeros(x, M, N), simd.zeros(x, NARROW_M, NARROW_N)
    columns = simd.width(wide)
    whole = filters - filters % columns
    flat_x, flat_w, flat_y = flattened(x), flattened(w), flattened(y)
    for task in prange(tasks):
        first, end = piece(n, task, tasks, M)
        for f in range(0, whole, columns):
            if panels.size > 0:
                _panel(wide, M, flat_x, first, end - first, starts, c, run, panels, f * c, columns, scale, b, flat_y,
                       filters, f, relu)
            else:
                _panel(wide, M, flat_x, first, end - first, starts, c, run, flat_w, f, filters, scale, b, flat_y,
                       filters, f, relu)
        f = whole
        if filters - f >= simd.width(narrow):
            _panel(narrow, NARROW_M, flat_x, first, end - first, starts, c, run, flat_w, f, filters, scale, b, flat_y,
                   filters, f, relu)
            f += simd.width(narrow)
        if f < filters:
            gathered_product(flat_x, first * c, starts, end - first, run, c, flat_w, 0, scale, b, flat_y,
                             first * filters, filters, f, filters, True, relu)


def turn(a, out) -> None:
    """out (M,N) = a (N,M).T."""
    if min(a.shape) < SQUARE:
        copy(a.T, out)
    else:
        transpose(a.reshape(1, *a.shape), out.reshape(1, *out.shape))


def width(dtype) -> int:
    """The columns of a panel."""
    return int(N * simd.lanes(dtype))


def pays(filters: int, dtype) -> bool:
    """Whether these loops have an advantage: they do where the columns fill the narrow tile."""
    return bool(filters >= NARROW_N * simd.lanes(dtype))


def multiply(x, w, b, y, relu: bool = False, scale=None) -> None:
    """y (N,F) = x (N,C) @ w (C,F) + b (F,); max(y, 0) with `relu`. `scale` (F,) multiplies w. The bits do not depend on
    N or the threads.
    """
    (n, c), filters = x.shape, y.shape[1]
    columns, threads = width(w.dtype), get_num_threads()
    panels = zeros(w.dtype, 0)
    if filters == columns:
        panels = w.reshape(-1)
    elif n >= PACKED and filters > columns:
        panels = np.empty(filters // columns * columns * c, w.dtype)
        _pack(w, panels)
    tasks = max(1, -(-n // (ROWS * threads))) * threads
    scale = zeros(x.dtype, 0) if scale is None else scale
    _multiply(x, w, panels, scale, b, y, row_offsets(-(-n // tasks) + M, c), ONE_RUN, tasks, relu)
