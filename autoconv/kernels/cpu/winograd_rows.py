"""3x3 convolutions with few filters by Winograd's F(2,3) along rows: 4 products instead of 6 for
two outputs and three taps.

Two adjacent outputs of a row read four pixels d of each of three rows. With the three weights g of
a row of taps,

    V = (d0 - d2, d1 + d2, d2 - d1, d1 - d3)    U = (g0, (g0 + g1 + g2) / 2, (g0 - g1 + g2) / 2, g2)
    M[i] = sum over rows and channels of V[i] U[i]    y = (M0 + M1 + M2, M1 - M2 - M3) + b

V of a row of pixels is computed once, including the zeros of the border, and used for the three
rows of outputs that need it, so no image is copied. The two-dimensional form in winograd.py saves
more products but has longer transforms, so it is faster if there are more filters. Results that are
not finite are computed again directly, as in winograd.py. Sums do not depend on the threads or on
other images.
"""

import numpy as np
from numba import prange

from ...arguments.shapes import Window
from . import rowwise, simd, tasks, transforms, vectors
from .flat import flatten
from .jit import allocating, inline, kernel
from .products import ones, zeros
from .stencil import prefetch
from .tasks import piece

# pairs of outputs in a tile, if its rows have one vector and if they have two
ONE, TWO = (16, 8) if simd.VECTOR_BYTES == 64 else (8, 4)
# pairs that are computed together, if the filters fill one vector of AVX-512, and if they fill two
PAIRS = (16, 8)
WASTE, LEAST = 1.15, 3  # maximum ratio of computed to needed outputs; minimum number of channels


def pays(c: int, f: int, size: tuple[int, int], window: Window, groups: int, dtype: np.dtype) -> bool:
    """Returns whether to use this method for a convolution from c channels to f filters with
    outputs of this size. This depends only on the shape, not on the batch size.
    """
    lanes, outputs = tasks.widest_lanes(dtype), size[1]
    pairs = dict(zip((lanes, 2 * lanes), PAIRS)).get(f, 0)
    return (transforms.serve(window, groups) and c >= LEAST and pairs > 0
            and -(-outputs // (2 * pairs)) * 2 * pairs <= WASTE * outputs)


@inline
def _transform_weights(row, w, f, c, filters, rotate, u, dst):
    """u (4, C, 3, columns), from u[dst] on, = U of the columns of w (9,C,F) that fill a row of the
    tile, from filter f on. If `rotate`, w is rotated by 180 degrees first.
    """
    columns = simd.width(row)
    first, step = (8 * c * filters, -c * filters) if rotate else (0, c * filters)
    for k in range(3 * c):
        i, j = first + k % 3 * 3 * step + k // 3 * filters + f, dst + k * columns
        g0, g1 = rowwise.row(row, w, i, columns), rowwise.row(row, w, i + step, columns)
        g2 = rowwise.row(row, w, i + 2 * step, columns)
        outer = rowwise.add(g0, g2)
        rowwise.put(g0, u, j, columns)
        rowwise.put(vectors.divide(rowwise.add(outer, g1), 2.0), u, j + 3 * c * columns, columns)
        rowwise.put(vectors.divide(rowwise.subtract(outer, g1), 2.0), u, j + 6 * c * columns, columns)
        rowwise.put(g2, u, j + 9 * c * columns, columns)


@inline
def _pixel(vec, x, start, c, p, wide, columns):
    """Returns a vector of channels of pixel p in a row of `wide` pixels; zeros if p is outside."""
    return rowwise.row(vec, x, start + p * c, columns if 0 <= p < wide else 0)


@inline
def transform_row(vec, x, start, c, wide, left, pairs, block, v, dst, step):
    """v (4, blocks of `block` channels, pairs, block) = V of the row of pixels at x[start], after
    `left` zeros. The four parts of v are `step` apart.
    """
    lanes = simd.width(vec)
    for k in range(0, c, lanes):
        columns, p, j = min(lanes, c - k), -left, dst + k // block * block * pairs + k % block
        d0 = _pixel(vec, x, start + k, c, p, wide, columns)
        d1 = _pixel(vec, x, start + k, c, p + 1, wide, columns)
        for _ in range(pairs):
            p += 2
            d2 = _pixel(vec, x, start + k, c, p, wide, columns)
            d3 = _pixel(vec, x, start + k, c, p + 1, wide, columns)
            rowwise.put(rowwise.subtract(d0, d2), v, j, lanes)
            rowwise.put(rowwise.add(d1, d2), v, j + step, lanes)
            rowwise.put(rowwise.subtract(d2, d1), v, j + 2 * step, lanes)
            rowwise.put(rowwise.subtract(d1, d3), v, j + 3 * step, lanes)
            d0, d1, j = d2, d3, j + block


@inline
def _open_row(vec, x, image, i, high, wide, c, left, pairs, v, dst, size):
    """v = V of row i of an image, or zeros if row i is outside the image."""
    if 0 <= i < high:
        transform_row(vec, x, image + i * wide * c, c, wide, left, pairs, simd.width(vec), v, dst,
                      size // 4)
    else:
        for j in range(dst, dst + size):
            v[j] = 0


@inline
def _products(tile, height, v, rows, part, first, c, u, j, m, x, addend, y, ahead):
    """m (4, height, columns) = M of the pairs of one tile, from pair `first` on. The tile reads
    three rows of pixels, whose transforms V begin in the array v at the positions `rows`, and the
    transformed weights from u[j] on. `ahead` describes the stretches of x, y and `addend` that are
    needed next. Each of four steps prefetches a quarter of these stretches.
    """
    lanes, filters = simd.width(simd.zeros(v, 1, 1)), simd.width(tile)
    out, block = simd.steps(filters, 0, height, tile), part // ((c + lanes - 1) // lanes)
    next_x, share_x, next_y, share_y = ahead
    for i in range(4):
        prefetch(x, next_x + i * share_x, share_x)
        prefetch(y, next_y + i * share_y, share_y)
        prefetch(addend, next_y + i * share_y, min(share_y, addend.size))
        acc, shift = tile, i * part + first * lanes
        row0, row1, row2 = rows[0] + shift, rows[1] + shift, rows[2] + shift
        for k in range(0, c, lanes):
            for e in range(min(lanes, c - k)):
                acc = simd.fma_apart(acc, v, row0 + e, u, j)
                acc = simd.fma_apart(acc, v, row1 + e, u, j + filters)
                acc = simd.fma_apart(acc, v, row2 + e, u, j + 2 * filters)
                j += 3 * filters
            row0, row1, row2 = row0 + block, row1 + block, row2 + block
        simd.store(acc, m, out, i * height * filters, filters)


@inline
def _results(row, m, height, count, scale, b, f, addend, y, dst, pixels, relu):
    """Stores one row's columns, from filter f on, of the outputs of `count` pairs, but at most
    `pixels` outputs, from y[dst] on. Returns whether all were finite before `addend` was added.
    """
    columns, filters, finite = simd.width(row), b.size, True
    for t in range(count):
        j, step = t * columns, height * columns
        m0, m1 = rowwise.row(row, m, j, columns), rowwise.row(row, m, j + step, columns)
        m2 = rowwise.row(row, m, j + 2 * step, columns)
        m3 = rowwise.row(row, m, j + 3 * step, columns)
        y0 = simd.scale_rows(rowwise.add(m0, rowwise.add(m1, m2)), scale, b, f, columns)
        y1 = simd.scale_rows(rowwise.subtract(rowwise.subtract(m1, m2), m3), scale, b, f, columns)
        finite = finite and transforms.finite(y0) and transforms.finite(y1)
        is_full = 2 * t + 1 < pixels
        if addend.size > 0:
            y0 = rowwise.add(y0, rowwise.row(row, addend, dst, columns))
            y1 = rowwise.add(y1, rowwise.row(row, addend, dst + filters, columns if is_full else 0))
        if relu:
            y0, y1 = simd.clip(y0, simd.RELU), simd.clip(y1, simd.RELU)
        rowwise.put(y0, y, dst, columns)
        rowwise.put(y1, y, dst + filters, columns if is_full else 0)
        dst += 2 * filters
    return finite


@inline
def _recompute(x, image, high, wide, c, i, p, w, rotate, scale, b, addend, y, dst, pixels, relu):
    """Computes `pixels` outputs from y[dst] on directly. The first output's window begins at row i
    and column p of the image.
    """
    filters, zero = b.size, x.dtype.type(0)
    for q in range(pixels):
        for f in range(filters):
            total = zero
            for tap in range(9):
                row, column, k = i + tap // 3, p + q + tap % 3, (8 - tap if rotate else tap) * c
                inside = 0 <= row < high and 0 <= column < wide
                for e in range(c):
                    value = x[image + (row * wide + column) * c + e] if inside else zero
                    total += value * w[(k + e) * filters + f]
            total = total * scale[f] + b[f]
            if addend.size > 0:
                total += addend[dst + f]
            y[dst + f] = zero if relu and total < zero else total
        dst += filters


@allocating
def _image(tile, height, row, x, s, w, scale, b, addend, y, begin, end, top, left, rotate, relu,
           group):
    """Computes the rows from `begin` to `end` of the output of image s. If a result is not finite,
    all results of its group of `group` pairs are computed again.
    """
    (_, high, wide, c), (_, oh, ow, filters) = x.shape, y.shape
    vec, columns, pairs = simd.zeros(x, 1, 1), simd.width(row), (ow + 1) // 2
    flat, out, image = flatten(x), flatten(y), s * (x.size // x.shape[0])
    part = (c + simd.width(vec) - 1) // simd.width(vec) * simd.width(vec) * pairs
    size = 4 * part  # number of elements in V of one row; v is a ring buffer of three rows
    v = np.empty(3 * size + height * simd.width(vec), x.dtype)
    u = np.empty(12 * c * filters, x.dtype)
    m = np.empty(4 * height * columns, x.dtype)
    for f in range(0, filters, columns):
        _transform_weights(row, w, f, c, filters, rotate, u, 12 * c * f)
    for i in range(begin, begin + 2):
        _open_row(vec, flat, image, i - top, high, wide, c, left, pairs, v, i % 3 * size, size)
    for o in range(begin, end):
        _open_row(vec, flat, image, o + 2 - top, high, wide, c, left, pairs, v, (o + 2) % 3 * size, size)
        rows = (o % 3 * size, (o + 1) % 3 * size, (o + 2) % 3 * size)
        y_start = (s * oh + o) * ow * filters
        next_x = image + (o + 3 - top) * wide * c
        share_x = wide * c // (4 * ((pairs + height - 1) // height))
        for first in range(0, pairs, group):
            finite = True
            end_group = min(first + group, pairs)
            for p in range(first, end_group, height):
                count, pixels = min(height, end_group - p), ow - 2 * p
                pair_x = next_x + p // height * 4 * share_x
                for f in range(0, filters, columns):
                    start = y_start + 2 * p * filters + f
                    next_y = y_start + 2 * (p * filters + count * f)
                    _products(tile, height, v, rows, part, p, c, u, 12 * c * f, m, flat, addend, out,
                              (pair_x, share_x, next_y, count * columns // 2))
                    finite = _results(row, m, height, count, scale, b, f, addend, out, start, pixels,
                                      relu) and finite
            if not finite:
                pixels = min(2 * (end_group - first), ow - 2 * first)
                _recompute(flat, image, high, wide, c, o - top, 2 * first - left, w, rotate, scale, b,
                           addend, out, y_start + 2 * first * filters, pixels, relu)


@kernel("(T[:,:,:,::1], T[::1], T[::1], T[::1], T[::1], T[:,:,:,::1], int64, int64, boolean, boolean,"
        " int64, int64)", parallel=True)
def _forward(x, w, scale, b, addend, y, top, left, rotate, relu, group, pieces):
    vec, pair = simd.zeros(x, 1, 1), simd.zeros(x, 1, 2)
    for task in prange(x.shape[0] * pieces):
        s = task // pieces
        begin, end = piece(y.shape[1], task % pieces, pieces, 1)
        if y.shape[3] == simd.width(vec):
            _image(simd.zeros(x, ONE, 1), ONE, vec, x, s, w, scale, b, addend, y, begin, end, top, left,
                   rotate, relu, group)
        else:
            _image(simd.zeros(x, TWO, 2), TWO, pair, x, s, w, scale, b, addend, y, begin, end, top, left,
                   rotate, relu, group)


def conv2d(x, w, b, y, window: Window, relu: bool = False, rotate: bool = False, scale=None, addend=None) -> None:
    """Computes y (N,OH,OW,F) from x (N,H,W,C), w (9*C*F) scale (F,) and b (F,); see conv.py."""
    scale = ones(x.dtype, b.size) if scale is None else scale
    addend = zeros(x.dtype, 0) if addend is None else addend.reshape(-1)
    group = PAIRS[b.size // tasks.widest_lanes(x.dtype) - 1]
    _forward(x, w.reshape(-1), scale, b, addend, y, window.top, window.left, rotate, relu, group,
             tasks.pieces(x.shape[0], y.shape[1]))
