"""Weight gradients of 3x3 convolutions by Winograd's F(2,3) along rows, the counterpart of
winograd_rows.py.

    D = (dy0, dy0 + dy1, dy0 - dy1, dy1) of two adjacent gradients of a row
    V of the pixels as in the forward pass
    dU[i] = sum over pairs of V[i] D[i]    dw = (dU0 + (dU1 + dU2) / 2, (dU1 - dU2) / 2, (dU1 + dU2) / 2 - dU3)

A row of pixels is multiplied by the three rows of gradients whose windows read it. The tile's rows
are channels, and its vectors are the three rows of taps, so each element of V is used three times.
"""

import numpy as np
from numba import prange

from ...arguments.shapes import Window
from ..buffers import scratch
from . import rowwise, simd, tasks, transforms, vectors, winograd_ranges
from .flat import flatten
from .jit import inline, kernel
from .products import add_parts
from .stencil import prefetch
from .tasks import piece
from .winograd_ranges import measure
from .winograd_rows import transform_row

# number of pairs whose products are added to a tile of dU before the next tile is computed; these
# pairs form whole rows, at least two
PAIRS = 64
CHANNELS = 8 if simd.VECTOR_BYTES == 64 else 4  # rows of the tile; a row has three vectors
MULTIPLE = 8  # the number of channels must be a multiple of this
SMALLEST = 8  # minimum number of outputs in a row


def pays(c: int, f: int, size: tuple[int, int], window: Window, groups: int, dtype: np.dtype) -> bool:
    """Returns whether to use this method for the weight gradient of a convolution."""
    return (transforms.serve(window, groups) and c % MULTIPLE == f % tasks.widest_lanes(dtype) == 0
            and size[1] >= SMALLEST)


@inline
def _transform_gradients(vec, dy, start, filters, ow, d, dst, step, sums, accumulate):
    """d (4, pairs, F) = D of the row of gradients at dy[start]. The four parts of d are `step`
    apart. If `accumulate`, the gradients are also added to `sums`.
    """
    lanes = simd.width(vec)
    for f in range(0, filters, lanes):
        total, j = rowwise.row(vec, sums, f, lanes), dst + f
        for q in range(0, ow, 2):
            k = start + q * filters + f
            first = rowwise.row(vec, dy, k, lanes)
            second = rowwise.row(vec, dy, k + filters, lanes if q + 1 < ow else 0)
            pair_sum = rowwise.add(first, second)
            rowwise.put(first, d, j, lanes)
            rowwise.put(pair_sum, d, j + step, lanes)
            rowwise.put(rowwise.subtract(first, second), d, j + 2 * step, lanes)
            rowwise.put(second, d, j + 3 * step, lanes)
            total, j = rowwise.add(total, pair_sum), j + filters
        if accumulate:
            rowwise.put(total, sums, f, lanes)


@inline
def _products(tile, v, d, count, pairs, block, filters, part_v, part_d, c, low, high, du, start, fresh,
              x, next_x, dy, next_dy):
    """du (4, blocks of filters, C, 3, lanes) (+)= the products of `count` rows of pixels with their
    gradients, for channels `low` to `high`. Meanwhile, the next rows of x and dy are prefetched, a
    few cache lines at a time.
    """
    lanes, group = simd.width(tile) // 3, max(simd.width(tile) // 3, CHANNELS)
    shares = 4 * count * (filters // lanes) * ((high - low) // CHANNELS)
    share_x, share_dy = 2 * count * pairs * c // shares, 2 * count * pairs * filters // shares
    for i in range(4):
        for f in range(0, filters, lanes):
            for k in range(low, high, CHANNELS):
                j = start + ((i * filters + f) * c + k * lanes) * 3
                out = simd.steps(3 * lanes, 0, CHANNELS, tile)
                acc = tile if fresh else simd.load(tile, du, out, j, 3 * lanes)
                for r in range(count):
                    prefetch(x, next_x, share_x)
                    prefetch(dy, next_dy, share_dy)
                    next_x, next_dy = next_x + share_x, next_dy + share_dy
                    src = i * part_v + (r * block + k // group * pairs) * group + k % group
                    row = i * part_d + r * pairs * filters + f
                    for _ in range(pairs):
                        acc = simd.fma_three(acc, v, src, d, row + 2 * pairs * filters, row + pairs * filters, row)
                        src, row = src + group, row + filters
                simd.store(acc, du, out, j, 3 * lanes)


@kernel("(T[:,:,:,::1], T[:,:,:,::1], T[:,::1], T[:,::1], T[:,::1], T[:,::1], int64, int64, int64)", parallel=True)
def _sums(x, dy, partial, partial_b, x_ranges, dy_ranges, top, left, pieces):
    """Writes partial sums of dU to `partial` and of db to `partial_b`, each over a fraction of the
    samples, in pieces of the channels. Each piece also measures the ranges of x; the first piece
    measures those of dy, too.
    """
    (n, high, wide, c), (_, oh, ow, filters), parts = x.shape, dy.shape, partial.shape[0]
    vec, tile, pairs = simd.zeros(x, 1, 1), simd.zeros(x, CHANNELS, 3), (ow + 1) // 2
    flat, flat_dy, du = flatten(x), flatten(dy), flatten(partial)
    group = max(simd.width(vec), CHANNELS)
    block = (c + group - 1) // group * pairs
    rows = max(2, PAIRS // pairs)
    part_v, part_d = rows * block * group, (rows + 2) * pairs * filters
    for task in prange(parts * pieces):
        part = task // pieces
        begin, end = n * part // parts, n * (part + 1) // parts
        low, stop = piece(c, task % pieces, pieces, CHANNELS)
        v = np.empty(4 * part_v, x.dtype)
        d = np.empty(4 * part_d, x.dtype)
        sums = np.zeros(filters, x.dtype)
        for s in range(begin, end):
            for r in range(0, high, rows):
                count = min(rows, high - r)
                fresh, lines = s == begin and r == 0, winograd_ranges.LINES * part
                measure(flat, (s * high + r) * wide * c + low, c, count * wide, stop - low, flatten(x_ranges),
                        lines * c + low, fresh)
                if low == 0:
                    o = oh * r // high
                    measure(flat_dy, (s * oh + o) * ow * filters, filters, (oh * (r + count) // high - o) * ow, filters,
                            flatten(dy_ranges), lines * filters, fresh)
                for i in range(count):
                    start = (s * high + r + i) * wide * c
                    transform_row(vec, flat, start, c, wide, left, pairs, group, v, i * block * group, part_v)
                for i in range(count + 2):
                    o, dst = r + top - 2 + i, i * pairs * filters
                    if 0 <= o < oh:
                        start = (s * oh + o) * ow * filters
                        _transform_gradients(vec, flat_dy, start, filters, ow, d, dst, part_d, sums, i >= 2 or r == 0)
                    else:
                        for e in range(4):
                            for j in range(dst + e * part_d, dst + e * part_d + pairs * filters):
                                d[j] = 0
                _products(tile, v, d, count, pairs, block, filters, part_v, part_d, c, low, stop, du,
                          part * 12 * c * filters, fresh, flat, (s * high + r + count) * wide * c,
                          flat_dy, (s * oh + r + count + top) * ow * filters)
        if low == 0:
            simd.copy(flatten(partial_b), part * filters, sums, 0, filters)


@kernel("(T[::1], T[:,:,::1])", parallel=True)
def _weights(du, dw):
    """dw (9,C,F) = the weight gradient, computed from dU."""
    (_, c, filters), vec, flat = dw.shape, simd.zeros(dw, 1, 1), flatten(dw)
    lanes = simd.width(vec)
    for task in prange(c * (filters // lanes)):
        k, f = task // (filters // lanes), task % (filters // lanes) * lanes
        for tap in range(3):
            j, step = (f * c + k * lanes) * 3 + tap * lanes, 3 * c * filters
            u0, u1 = rowwise.row(vec, du, j, lanes), rowwise.row(vec, du, j + step, lanes)
            u2 = rowwise.row(vec, du, j + 2 * step, lanes)
            u3 = rowwise.row(vec, du, j + 3 * step, lanes)
            outer = vectors.divide(rowwise.add(u1, u2), 2.0)
            dst = (3 * tap * c + k) * filters + f
            rowwise.put(rowwise.add(u0, outer), flat, dst, lanes)
            rowwise.put(vectors.divide(rowwise.subtract(u1, u2), 2.0), flat, dst + c * filters, lanes)
            rowwise.put(rowwise.subtract(outer, u3), flat, dst + 2 * c * filters, lanes)


def conv2d_weight_grad(x, dy, dw, db, window: Window) -> None:
    """Computes dw (3,3,C,F) and db (F,) from x (N,H,W,C) and dy (N,OH,OW,F). See conv.py."""
    c, f = x.shape[3], db.size
    parts = tasks.parts(len(x), dy.size // f, 12 * c * f)
    partial = scratch((parts, 12 * c * f), x.dtype)
    partial_b = scratch((parts, f), x.dtype)
    ranges = winograd_ranges.empty(parts, c, x.dtype), winograd_ranges.empty(parts, f, x.dtype)
    _sums(x, dy, partial, partial_b, *ranges, window.top, window.left, tasks.pieces(parts, c // CHANNELS))
    du = np.empty(12 * c * f, x.dtype)
    add_parts(partial, du)
    add_parts(partial_b, db)
    _weights(du, dw.reshape(9, c, f))
    winograd_ranges.replace(dw.reshape(9, c, f), x, dy, *ranges, window.top, window.left)
