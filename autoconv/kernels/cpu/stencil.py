"""Sums over windows, channel by channel, for depthwise convolution, its input gradient and average
pooling.

For a few adjacent pixels of a row and a vector of channels, the sums stay in registers while all
taps are added, and are written once. Input gradients are computed in the same way: a stride of s
divides the pixels into s classes, and the taps that reach a pixel of one class are equally spaced
in dy. Pixels at the borders have fewer taps, so no padded copy is needed.
"""

from functools import lru_cache
from math import gcd

import numpy as np
from numba import prange

from . import simd, vectors
from .epilogue import finish
from .flat import flatten
from .jit import inline, kernel

PIXELS = 6  # number of adjacent pixels of a row whose sums are in registers at a time
EDGE = 4  # vectors of channels per tile at the borders, where a tile has only one pixel
CACHE_LINE = 16  # number of float32 elements in a cache line


@inline
def clip_window(o, stride, pad, size, dilation, n):
    """Returns the first pixel of output o's window on an axis of n pixels, and the range low <= k <
    high of its taps inside the axis.
    """
    start = o * stride - pad
    low = 0 if start >= 0 else (-start + dilation - 1) // dilation
    high = min(size, (n - 1 - start) // dilation + 1)
    return start, low, high


@lru_cache(maxsize=256)
def forward_axis(size: int, stride: int, dilation: int, pad: int, outputs: int, has_w: bool = True) -> np.ndarray:
    """Returns one axis of a window of `size` taps as a single class of outputs: (first, step,
    count, source step, source, gap, tap, tap gap, taps).

    Output first + k*step reads `taps` elements of the source, which begin at source + k*source step
    and are `gap` apart. Their weights begin at `tap` and are `tap gap` apart. Without weights, all
    taps have the weight of tap 0.
    """
    return np.array([[0, 1, outputs, stride, -pad, dilation, 0, 1 if has_w else 0, size]], np.int64)


@lru_cache(maxsize=256)
def backward_axis(size: int, stride: int, dilation: int, pad: int, outputs: int,
                  has_w: bool = True) -> np.ndarray:
    """Returns one axis of the input gradient, which reads dy, in the format of `forward_axis`.
    There is one class of pixels for each remainder of a pixel's index modulo the stride.
    """
    classes, spacing = [], gcd(stride, dilation)
    tap_gap = stride // spacing
    for first in range(min(stride, outputs)):
        lowest = next((i for i in range(min(size, tap_gap)) if (first + pad - i * dilation) % stride == 0), size)
        taps = -(-(size - lowest) // tap_gap)
        # the last tap reads the element of dy with the lowest index
        tap = lowest + (taps - 1) * tap_gap if taps else 0
        classes.append((first, stride, -(-(outputs - first) // stride), 1, (first + pad - tap * dilation) // stride,
                        dilation // spacing, tap if has_w else 0, -tap_gap if has_w else 0, taps))
    return np.array(classes, np.int64).reshape(-1, 9)


@inline
def prefetch(x, k, count):
    """Prefetches `count` elements from x[k] on. Any k is allowed, because nothing is read."""
    for i in range(k, k + count, CACHE_LINE):
        vectors.prefetch(x, i)


@inline
def _prefetch_next(height, x, k, x_step, x_row, x_column, y, dst, y_step):
    """Prefetches one vector for each of `height` pixels of y. If pixels are further apart in x than
    their taps, x is larger than y, so two pixels in each of two rows of x are prefetched, too.
    """
    for m in range(height):
        vectors.prefetch(y, dst + m * y_step)
        if x_step > x_column:
            for pos in (k + m * x_step, k + m * x_step + x_row):
                vectors.prefetch(x, pos)
                vectors.prefetch(x, pos + x_column)


@inline
def _pixels(tile, height, x, k, x_step, count, w, j, taps, b, y, dst, y_step, end, row):
    """Computes `count` pixels of y that all have these taps, with `height` pixels per tile. The
    pixels begin at y[dst]; they are `y_step` apart in y and `x_step` apart in x. Each tile
    prefetches the pixels below it; rows of y have `row` elements.

    `taps` = (number of rows of taps, a row's step in x and in w, number of columns, a column's step
    in x and in w).
    """
    lanes = simd.width(tile)
    whole = b.size - b.size % lanes
    for first in range(0, count, height):
        src = simd.steps(x_step, first, count, tile)
        out = simd.steps(y_step, first, count, tile)
        next_x, next_y = k + first * x_step + taps[0] * taps[1], dst + first * y_step + row
        for c in range(0, whole, lanes):
            _prefetch_next(height, x, next_x + c, x_step, taps[1], taps[4], y, next_y + c, y_step)
            _sums(tile, x, src, k + c, w, j + c, taps, b, c, y, out, dst + c, lanes, end)
        if whole < b.size:
            _prefetch_next(height, x, next_x + whole, x_step, taps[1], taps[4], y, next_y + whole, y_step)
            _sums(tile, x, src, k + whole, w, j + whole, taps, b, whole, y, out, dst + whole, b.size - whole, end)


@inline
def _sums(tile, x, src, k, w, j, taps, b, c, y, out, dst, columns, end):
    """Computes one tile of `_pixels`: y[out[m] + dst + ...] = b[c + ...] + x[src[m] + k + ...] *
    w[j + ...] + the other taps' products.
    """
    rows, x_row, w_row, row_taps, x_column, w_column = taps
    acc = simd.add_row(tile, b, c, columns)
    for _ in range(rows):
        x_pos, w_pos = k, j
        for _ in range(row_taps):
            acc = vectors.add_products(acc, x, src, x_pos, w, w_pos, columns)
            x_pos += x_column
            w_pos += w_column
        k += x_row
        j += w_row
    _finish(acc, y, out, dst, columns, end)


@inline
def _finish(acc, y, out, dst, columns, end):
    """Divides the sums by end[0], applies the activation end[1], see simd.clip, and stores the result in y."""
    divisor, activation = end
    if divisor != 1:
        acc = vectors.divide(acc, divisor)
    simd.store(simd.clip(acc, activation), y, out, dst, columns)


@inline
def _neighbours(tile, x, k, x_step, count, w, j, taps, b, y, dst, y_step, end, row):
    """Computes `_pixels` for at least PIXELS pixels, if rows have three taps that are as far apart
    as the pixels. The last tile begins early enough to be full, so some pixels are computed twice.

    Each tile prefetches the pixels below it, in x and in y, whose rows have `row` elements.
    Prefetching a whole row at once would delay the loads of the tiles.
    """
    out, lanes = simd.steps(y_step, 0, PIXELS, tile), simd.width(tile)
    whole, next_row = b.size - b.size % lanes, taps[0] * taps[1]
    for start in range(0, count, PIXELS):
        first = min(start, count - PIXELS)
        x_pos, y_pos = k + first * x_step, dst + first * y_step
        for c in range(0, whole, lanes):
            for m in range(PIXELS):
                vectors.prefetch(x, x_pos + c + next_row + m * x_step)
                vectors.prefetch(y, y_pos + c + row + m * y_step)
            _neighbour_sums(tile, x, x_pos + c, x_step, w, j + c, taps, b, c, y, out, y_pos + c, lanes, end)
        if whole < b.size:
            _neighbour_sums(tile, x, x_pos + whole, x_step, w, j + whole, taps, b, whole, y, out, y_pos + whole,
                            b.size - whole, end)


@inline
def _touch(axis):
    """Returns whether pixels of this class have three taps each that are as far apart as the
    pixels, so that each pixel of x is read only once.
    """
    _, _, _, source_step, _, gap, _, _, taps = axis
    return taps == vectors.TAPS and gap == source_step


@inline
def _neighbour_sums(tile, x, k, x_step, w, j, taps, b, c, y, out, dst, columns, end):
    """Computes one tile of `_neighbours`."""
    rows, x_row, w_row, _, _, w_column = taps
    acc = simd.add_row(tile, b, c, columns)
    for _ in range(rows):
        acc = vectors.add_neighbours(acc, x, k, x_step, w, j, w_column, columns)
        k += x_row
        j += w_row
    _finish(acc, y, out, dst, columns, end)


@kernel("(T[:,:,:,::1], T[:,:,:,::1], T[::1], T[:,:,:,::1], int64[:,::1], int64[:,::1], int64, int64)",
        parallel=True)
def stencil(x, w, b, y, row_classes, column_classes, divisor, activation):
    """y (N,OH,OW,C) = the sums of x (N,H,W,C) times w (KH,KW,C,1), plus b (C,). The classes of rows
    and columns define which pixels of x a pixel of y reads. The sums are divided by `divisor` or,
    if `divisor` is 0, by the number of taps. `activation` is a number of epilogue.CODES.
    """
    _, high, wide, channels = x.shape
    n, oh, ow, _ = y.shape
    flat_x, flat_w, flat_y = flatten(x), flatten(w), flatten(y)
    tile, single = simd.zeros(x, PIXELS, 1), simd.zeros(x, 1, EDGE)
    for task in prange(n * oh):
        s, p = task // oh, task % oh
        _, step, _, source_step, source, gap, tap, tap_gap, taps = row_classes[p % row_classes.shape[0]]
        row, low, high_tap = clip_window(p // step, source_step, -source, taps, gap, high)
        rows = max(0, high_tap - low)
        x_row = gap * wide * channels
        w_row = tap_gap * w.shape[1] * channels
        x0 = (s * high + row + low * gap) * wide * channels
        w0 = (tap + low * tap_gap) * w.shape[1] * channels
        if column_classes[0, 3] == 1 and not _touch(column_classes[0]):
            prefetch(flat_x, x0 + rows * x_row, wide * channels)
        for kind in range(column_classes.shape[0]):
            first, step, count, source_step, source, gap, tap, tap_gap, taps = column_classes[kind]
            begin = min(count, max(0, -(source // source_step)))
            stop = max(begin, min(count, (wide - 1 - source - (taps - 1) * gap) // source_step + 1))
            x_step = source_step * channels
            y_step = step * channels
            y0 = (task * ow + first) * channels
            window = (rows, x_row, w_row, taps, gap * channels, tap_gap * channels)
            k = x0 + (source + begin * source_step) * channels
            j = w0 + tap * channels
            dst = y0 + begin * y_step
            end = (divisor if divisor > 0 else float(rows * taps), activation)
            if stop - begin >= PIXELS and _touch(column_classes[kind]):
                _neighbours(tile, flat_x, k, x_step, stop - begin, flat_w, j, window, b, flat_y, dst, y_step, end,
                            ow * channels)
            elif stop - begin > 1:
                _pixels(tile, PIXELS, flat_x, k, x_step, stop - begin, flat_w, j, window, b, flat_y, dst, y_step, end,
                        ow * channels)
            else:
                stop = begin
            for edge in range(begin + count - stop):  # pixels left of `begin` and right of `stop`
                q = edge if edge < begin else edge + stop - begin
                column, low, high_tap = clip_window(q, source_step, -source, taps, gap, wide)
                window = (rows, x_row, w_row, max(0, high_tap - low), gap * channels, tap_gap * channels)
                end = (divisor if divisor > 0 else float(rows * (high_tap - low)), activation)
                k = x0 + (column + low * gap) * channels
                j = w0 + (tap + low * tap_gap) * channels
                _pixels(single, 1, flat_x, k, x_step, 1, flat_w, j, window, b, flat_y, y0 + q * y_step, y_step, end,
                        ow * channels)
        finish(flat_y, b[:0], task * ow * channels, ow * channels, activation)
