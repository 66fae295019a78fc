"""3x3 convolutions of images with one or three channels, whose windows have nine or 27 elements.

Because the sums are so short, the fixed costs of a tile matter as much as its products. So a tile
is two rows of adjacent pixels, whose positions need no table, and the weights of nine taps are
loaded once for all these pixels (first_tile.py). Images without padding are read in place. With
padding, a band of rows at a time is copied together with its border.

    forward             bias, scale, ReLU and 2x2 pooling in registers; prefetches y's next rows
    weight gradient     sums of nine window elements in registers along a row of pixels; no masks
    ... before pooling  from the winners only; each lane selects its winner's pixel from two rows

Sums have the same order for any number of threads. Outputs do not depend on the batch size.
"""

import numpy as np
from numba import prange

from ...arguments.shapes import Window
from ..buffers import scratch
from . import rowwise, simd, tasks, tile2x2, vectors
from .first_tile import add_outer, add_window, add_winners, positions
from .flat import flatten
from .jit import allocating, inline, kernel
from .products import add_parts, zeros
from .tasks import piece

CHANNELS = (1, 3)
# pixels in one row, and in both rows, of a tile with one vector of filters; larger tiles are slower
PIXELS, TILE = 4, 8
ITEMS, ALL = 9, 27  # window elements in a weight gradient's tile, and in a window of three channels
BAND = 32  # number of output rows, before pooling, that are processed at a time


def pays(c: int, f: int, size: tuple[int, int], window: Window, groups: int, dtype: np.dtype) -> bool:
    """Returns whether to use this method for a convolution from c channels to f filters with
    outputs of this size.
    """
    return (c in CHANNELS and window[:6] == (3, 3, 1, 1, 1, 1) and min(window[6:]) >= 0 and groups == 1
            and f % tasks.widest_lanes(dtype) == 0 and size[0] > 1 and size[1] >= PIXELS)


def winners_fit(c: int, dtype: np.dtype) -> bool:
    """Returns whether a weight gradient before 2x2 pooling can be computed from the winners only.
    This requires AVX-512 and that four pixels fit into a vector.
    """
    return simd.VECTOR_BYTES == 64 and 4 * c <= simd.lanes(dtype)


@allocating
def read_rows(x, s, first, count, border):
    """Returns a flat array with `count` rows of image s and its border, from row `first` on, and
    the index of the first row's first element.
    """
    _, h, w, c = x.shape
    high, wide, top, left = border
    flat = flatten(x)
    if high == h and wide == w:
        return flat, (s * h + first) * w * c
    scratch = np.zeros(count * wide * c, x.dtype)
    for i in range(max(0, top - first), min(count, top + h - first)):
        simd.copy(scratch, (i * wide + left) * c, flat, (s * h + first + i - top) * w * c, w * c)
    return scratch, 0


@inline
def _outputs(x, k, row, c, w, scale, b, y, winner, y_start, rows, wide, filters, relu, pool):
    """Computes `rows` rows of `wide` outputs, two rows at a time. If `rows` is odd, one row is
    computed twice. The window of the first output begins at x[k].
    """
    tile = simd.zeros(x, TILE, 1)
    lanes = simd.width(tile)
    for start_line in range(0, rows, 2):
        line = min(start_line, rows - 2)
        for f in range(0, filters, lanes):
            for first in range(0, wide, PIXELS):
                p = min(first, wide - PIXELS)
                acc = tile if scale.size > 0 else simd.add_row(tile, b, f, lanes)
                pos = k + line * row + p * c
                if c == 1:
                    acc = add_window(acc, x, pos, row, 1, w, f, filters)
                else:
                    for channel in range(3):
                        acc = add_window(acc, x, pos + channel, row, 3, w, channel * filters + f, 3 * filters)
                if scale.size > 0:
                    acc = simd.scale_rows(acc, scale, b, f, lanes)
                if pool:
                    best = tile2x2.window_max(acc)
                    out = simd.steps(filters, p // 2, wide // 2, best)
                    start = y_start + line // 2 * (wide // 2) * filters + f
                    simd.store(simd.clip(best, simd.RELU), y, out, start, lanes)
                    if winner.size > 0:
                        tile2x2.store_winners(acc, best, winner, out, start, lanes)
                else:
                    start = y_start + (line * wide + p) * filters + f
                    out = positions(start, wide * filters, filters, acc)
                    simd.store(simd.clip(acc, simd.RELU if relu else simd.LINEAR), y, out, 0, lanes)
                    for i in range(start + 2 * wide * filters, start + (2 * wide + PIXELS) * filters, filters):
                        vectors.prefetch(y, i)
                        vectors.prefetch(y, i + wide * filters)


@kernel("(T[:,:,:,::1], T[::1], T[::1], T[::1], T[:,:,:,::1], uint8[::1], UniTuple(int64, 4), boolean, boolean, int64)",
        parallel=True)
def _forward(x, w, scale, b, y, winner, border, relu, pool, pieces):
    n, _, _, c = x.shape
    side = 2 if pool else 1
    rows, wide, filters = side * y.shape[1], side * y.shape[2], y.shape[3]
    for task in prange(n * pieces):
        s, row = task // pieces, border[1] * c
        begin, end = piece(rows // 2, task % pieces, pieces, 1)
        end = rows if end == rows // 2 else 2 * end
        for start in range(2 * begin, end, BAND):
            first = min(start, end - 2)
            count = min(BAND, end - first)
            source, k = read_rows(x, s, first, count + 2, border)
            y_start = (s * y.shape[1] + first // side) * y.shape[2] * filters
            _outputs(source, k, row, c, w, scale, b, flatten(y), winner, y_start, count, wide, filters, relu, pool)


def conv2d(x, w, b, y, window: Window, relu: bool, scale, winner=None) -> None:
    """Computes conv.conv2d or, with `winner`, fused.conv2d_relu_pool."""
    pool = winner is not None
    rows = y.shape[1] * (2 if pool else 1)
    work = y.size * ITEMS * x.shape[3] * (4 if pool else 1)
    pieces = 1 if len(x) == 1 and work <= tasks.SMALL else tasks.pieces(len(x), rows // 2)
    scale = zeros(x.dtype, 0) if scale is None else scale
    winner = winner.reshape(-1) if pool else np.empty(0, np.uint8)
    _forward(x, w.reshape(-1), scale, b, y, winner, _border(x, window), relu, pool, pieces)


def _border(x, window: Window) -> tuple[int, int, int, int]:
    """Returns the number of rows and of columns of an image with its border, and the first row and
    column of the image within them.
    """
    _, h, w, _ = x.shape
    return h + window.top + window.bottom, w + window.left + window.right, window.top, window.left


@inline
def _add_gradient(tile, lines, x, k, row, c, dy, start, rows, wide, filters, dw, dw_start, db, db_start):
    """Adds the gradients of weights and biases from `rows` rows of `wide` outputs to dw[dw_start +
    ...] and db[db_start + ...]. A tile covers `lines` rows of the window. Prefetches the next row
    of dy.
    """
    zero, lanes, step = simd.zeros(x, 1, 1), simd.width(tile), wide * filters
    for line in range(rows):
        for f in range(0, filters, lanes):
            total = rowwise.row(zero, db, db_start + f, lanes)
            for i in range(0, 3, lines):
                out = simd.steps(filters, i * ITEMS, ALL, tile)
                acc = simd.load(tile, dw, out, dw_start + f, lanes)
                pos, j = k + (line + i) * row, start + line * step + f
                for _ in range(wide // 2):
                    acc = add_outer(acc, x, pos, row, dy, j, filters, lines, 2)
                    if i == 0:
                        total = rowwise.add(total, rowwise.row(zero, dy, j, lanes))
                        total = rowwise.add(total, rowwise.row(zero, dy, j + filters, lanes))
                        vectors.prefetch(dy, j + step)
                        vectors.prefetch(dy, j + step + filters)
                    pos += 2 * c
                    j += 2 * filters
                if wide % 2:
                    acc = add_outer(acc, x, pos, row, dy, j, filters, lines, 1)
                    if i == 0:
                        total = rowwise.add(total, rowwise.row(zero, dy, j, lanes))
                simd.store(acc, dw, out, dw_start + f, lanes)
            rowwise.put(total, db, db_start + f, lanes)


@inline
def _add_pooled(tile, lines, x, k, row, c, y, winner, dy, start, rows, wide, filters, dw, dw_start, db, db_start):
    """Adds the gradients of weights and biases from `rows` rows of `wide` pooled outputs to
    dw[dw_start + ...] and db[db_start + ...], as `_add_gradient` does.
    """
    zero, lanes, step = simd.zeros(x, 1, 1), simd.width(tile), wide * filters
    for line in range(rows):
        for f in range(0, filters, lanes):
            for i in range(0, 3, lines):
                out = simd.steps(filters, i * ITEMS, ALL, tile)
                total = rowwise.row(zero, db, db_start + f, lanes)
                acc = simd.load(tile, dw, out, dw_start + f, lanes)
                pos, j = k + (2 * line + i) * row, start + line * step + f
                for _ in range(wide):
                    gradient = rowwise.relu_grad(rowwise.row(zero, y, j, lanes), rowwise.row(zero, dy, j, lanes))
                    acc = add_winners(acc, x, pos, row, gradient, winner, j, lines)
                    total = rowwise.add(total, gradient)
                    vectors.prefetch(y, j + step)
                    vectors.prefetch(dy, j + step)
                    pos += 2 * c
                    j += filters
                simd.store(acc, dw, out, dw_start + f, lanes)
                if i == 0:
                    rowwise.put(total, db, db_start + f, lanes)


@kernel("(T[:,:,:,::1], T[:,:,:,::1], T[:,::1], T[:,::1], UniTuple(int64, 4))", parallel=True)
def _weight_gradient(x, dy, partial, partial_b, border):
    """Writes partial sums of dw to `partial` (parts, items*F) and of db to `partial_b` (parts, F),
    each over a fraction of the samples.
    """
    (n, _, _, c), (rows, wide, filters), (parts, size) = x.shape, dy.shape[1:], partial.shape
    tile, dw, db = simd.zeros(x, ITEMS, 1), flatten(partial), flatten(partial_b)
    for part in prange(parts):
        partial[part] = 0
        partial_b[part] = 0
        for s in range(n * part // parts, n * (part + 1) // parts):
            for first in range(0, rows, BAND):
                count, row = min(BAND, rows - first), border[1] * c
                source, k = read_rows(x, s, first, count + 2, border)
                start = (s * rows + first) * wide * filters
                if c == 1:
                    _add_gradient(tile, 3, source, k, row, 1, flatten(dy), start, count, wide, filters, dw,
                                  part * size, db, part * filters)
                else:
                    _add_gradient(tile, 1, source, k, row, 3, flatten(dy), start, count, wide, filters, dw,
                                  part * size, db, part * filters)


@kernel("(T[:,:,:,::1], T[:,:,:,::1], uint8[::1], T[:,:,:,::1], T[:,::1], T[:,::1], UniTuple(int64, 4))", parallel=True,
        vector_bytes=64)
def _pooled_weight_gradient(x, y, winner, dy, partial, partial_b, border):
    """Computes the sums of `_weight_gradient` for a convolution followed by 2x2 pooling. y and dy
    are the pooled outputs and their gradients.
    """
    (n, _, _, c), (rows, wide, filters), (parts, size) = x.shape, dy.shape[1:], partial.shape
    tile, dw, db = simd.zeros(x, ITEMS, 1), flatten(partial), flatten(partial_b)
    for part in prange(parts):
        partial[part] = 0
        partial_b[part] = 0
        for s in range(n * part // parts, n * (part + 1) // parts):
            for first in range(0, rows, BAND // 2):
                count, row = min(BAND // 2, rows - first), border[1] * c
                source, k = read_rows(x, s, 2 * first, 2 * count + 2, border)
                start = (s * rows + first) * wide * filters
                if c == 1:
                    _add_pooled(tile, 3, source, k, row, 1, flatten(y), winner, flatten(dy), start, count,
                                wide, filters, dw, part * size, db, part * filters)
                else:
                    _add_pooled(tile, 1, source, k, row, 3, flatten(y), winner, flatten(dy), start, count,
                                wide, filters, dw, part * size, db, part * filters)


def weight_grad(x, dy, dw, db, window: Window, y=None, winner=None) -> None:
    """Computes conv.conv2d_weight_grad or, with `y` and `winner`, fused.conv2d_relu_pool_grad."""
    parts = tasks.parts(len(x), dy.size // db.size, dw.size)
    partial = scratch((parts, dw.size), x.dtype)
    partial_b = scratch((parts, db.size), x.dtype)
    if winner is None:
        _weight_gradient(x, dy, partial, partial_b, _border(x, window))
    else:
        _pooled_weight_gradient(x, y, winner.reshape(-1), dy, partial, partial_b, _border(x, window))
    add_parts(partial, dw.reshape(-1))
    add_parts(partial_b, db)
