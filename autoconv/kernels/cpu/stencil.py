"""Sums over windows, channel by channel: what depthwise convolution, its input gradient and average pooling are.

The sums of some neighbouring pixels of a row, a vector of channels each, stay in registers while all taps are added,
and are written once. A gradient is such a sum as well: stride s makes s classes of pixels, and the taps that reach a
pixel of one class lie at equal distances in dy. Pixels at the borders have fewer taps; nothing is copied.
"""

from functools import lru_cache
from math import gcd

import numpy as np
from numba import prange

from . import simd, vectors
from .flat import flattened
from .jit import inline, kernel

PIXELS = 6  # neighbours of a row whose sums are in registers at a time
EDGE = 4  # vectors of channels at a time where a pixel has taps of its own
CACHE_LINE = 16  # items, if they are float32


@inline
def inside(o, stride, before, size, dilation, n):
    """The first pixel of output o's window on an axis of n pixels, and which positions low <= k < high fall inside."""
    start = o * stride - before
    low = 0 if start >= 0 else (-start + dilation - 1) // dilation
    high = min(size, (n - 1 - start) // dilation + 1)
    return start, low, high


@lru_cache(maxsize=256)
def forward_axis(size: int, stride: int, dilation: int, before: int, outputs: int, weighted: bool = True) -> np.ndarray:
    """One axis of a window of `size` taps, as its only class of outputs: (first, step, count, source step, source, gap,
    tap, tap gap, taps).

    Output first + k*step reads the source at source + k*source step, and on from there at a number of taps, `gap` apart
    in the source and `tap gap` apart in the weights, from `tap` on. Without weights all taps have those of tap 0.
    """
    return np.array([[0, 1, outputs, stride, -before, dilation, 0, 1 if weighted else 0, size]], np.int64)


@lru_cache(maxsize=256)
def backward_axis(size: int, stride: int, dilation: int, before: int, outputs: int,
                  weighted: bool = True) -> np.ndarray:
    """One axis of the gradient, which reads dy: a class for each remainder of a pixel by the stride."""
    classes, apart = [], gcd(stride, dilation)
    tap_gap = stride // apart
    for first in range(min(stride, outputs)):
        lowest = next((i for i in range(min(size, tap_gap)) if (first + before - i * dilation) % stride == 0), size)
        taps = -(-(size - lowest) // tap_gap)
        tap = lowest + (taps - 1) * tap_gap if taps else 0  # the last one, which reads the first of dy
        classes.append((first, stride, -(-(outputs - first) // stride), 1, (first + before - tap * dilation) // stride,
                        dilation // apart, tap if weighted else 0, -tap_gap if weighted else 0, taps))
    return np.array(classes, np.int64).reshape(-1, 9)


@inline
def prefetch(x, k, count):
    """Asks for `count` items that are read soon. They may lie outside the array: nothing is read."""
    for i in range(k, k + count, CACHE_LINE):
        vectors.prefetch(x, i)


@inline
def _ask_below(height, x, k, x_step, x_row, x_column, y, to, y_step):
    """Asks for a vector of each of `height` pixels of y. Where they lie further apart in x than their taps do, x is the
    larger array, and is asked for two rows of two pixels each.
    """
    for m in range(height):
        vectors.prefetch(y, to + m * y_step)
        if x_step > x_column:
            for at in (k + m * x_step, k + m * x_step + x_row):
                vectors.prefetch(x, at)
                vectors.prefetch(x, at + x_column)


@inline
def _pixels(tile, height, x, k, x_step, count, w, j, taps, b, y, to, y_step, end, row):
    """`count` pixels of y, `y_step` apart from `to` on, that all have these taps, `height` of them in a tile. In x they
    are `x_step` apart. With each tile the pixels below it are asked for; y's rows have `row` items.

    `taps` are their rows, a row's step in x and in w, their columns, a column's step in x and in w.
    """
    lanes = simd.width(tile)
    whole = b.size - b.size % lanes
    for first in range(0, count, height):
        at, out = simd.steps(x_step, first, count, tile), simd.steps(y_step, first, count, tile)
        below, next_y = k + first * x_step + taps[0] * taps[1], to + first * y_step + row
        for c in range(0, whole, lanes):
            _ask_below(height, x, below + c, x_step, taps[1], taps[4], y, next_y + c, y_step)
            _sums(tile, x, at, k + c, w, j + c, taps, b, c, y, out, to + c, lanes, end)
        if whole < b.size:
            _ask_below(height, x, below + whole, x_step, taps[1], taps[4], y, next_y + whole, y_step)
            _sums(tile, x, at, k + whole, w, j + whole, taps, b, whole, y, out, to + whole, b.size - whole, end)


@inline
def _sums(tile, x, at, k, w, j, taps, b, c, y, out, to, columns, end):
    """One tile of `_pixels`: y[out[m] + to + ...] = b[c + ...] + x[at[m] + k + ...] * w[j + ...] + the other taps'."""
    rows, x_row, w_row, in_a_row, x_column, w_column = taps
    acc = simd.add_row(tile, b, c, columns)
    for _ in range(rows):
        from_x, from_w = k, j
        for _ in range(in_a_row):
            acc = vectors.add_products(acc, x, at, from_x, w, from_w, columns)
            from_x += x_column
            from_w += w_column
        k += x_row
        j += w_row
    _finish(acc, y, out, to, columns, end)


@inline
def _finish(acc, y, out, to, columns, end):
    """Divides by end[0], cuts off below 0 where end[1] says so, and stores."""
    divisor, relu = end
    if divisor != 1:
        acc = vectors.divided(acc, divisor)
    simd.store(simd.relu(acc) if relu else acc, y, out, to, columns)


@inline
def _neighbours(tile, x, k, x_step, count, w, j, taps, b, y, to, y_step, end, row):
    """`_pixels` for at least PIXELS pixels with rows of three taps, as far apart as the pixels. The last tile begins
    early enough to be full: some pixels are computed twice. With each tile the pixels below it are asked for, in x and
    in y, whose rows have `row` items: a whole row at once would keep the loads of the tiles waiting.
    """
    out, lanes = simd.steps(y_step, 0, PIXELS, tile), simd.width(tile)
    whole, below = b.size - b.size % lanes, taps[0] * taps[1]
    for start in range(0, count, PIXELS):
        first = min(start, count - PIXELS)
        from_x, to_y = k + first * x_step, to + first * y_step
        for c in range(0, whole, lanes):
            for m in range(PIXELS):
                vectors.prefetch(x, from_x + c + below + m * x_step)
                vectors.prefetch(y, to_y + c + row + m * y_step)
            _neighbour_sums(tile, x, from_x + c, x_step, w, j + c, taps, b, c, y, out, to_y + c, lanes, end)
        if whole < b.size:
            _neighbour_sums(tile, x, from_x + whole, x_step, w, j + whole, taps, b, whole, y, out, to_y + whole,
                            b.size - whole, end)


@inline
def _touch(axis):
    """Whether neighbours of this class have three taps each, as far apart as they are: each pixel of x is read once."""
    _, _, _, source_step, _, gap, _, _, taps = axis
    return taps == vectors.TAPS and gap == source_step


@inline
def _neighbour_sums(tile, x, k, x_step, w, j, taps, b, c, y, out, to, columns, end):
    """One tile of `_neighbours`."""
    rows, x_row, w_row, _, _, w_column = taps
    acc = simd.add_row(tile, b, c, columns)
    for _ in range(rows):
        acc = vectors.add_neighbours(acc, x, k, x_step, w, j, w_column, columns)
        k += x_row
        j += w_row
    _finish(acc, y, out, to, columns, end)


@kernel("(T[:,:,:,::1], T[:,:,:,::1], T[::1], T[:,:,:,::1], int64[:,::1], int64[:,::1], int64, boolean)",
        parallel=True)
def stencil(x, w, b, y, row_classes, column_classes, divisor, relu):
    """y (N,OH,OW,C) = the sums of x (N,H,W,C) times w (KH,KW,C,1), + b (C,), where the classes of rows and columns say
    which pixels of x a pixel of y reads. They are divided by `divisor`, or by the number of taps where that is 0.
    `relu` cuts them off below 0.
    """
    _, high, wide, channels = x.shape
    n, oh, ow, _ = y.shape
    flat_x, flat_w, flat_y = flattened(x), flattened(w), flattened(y)
    some, one = simd.zeros(x, PIXELS, 1), simd.zeros(x, 1, EDGE)
    for task in prange(n * oh):
        s, p = task // oh, task % oh
        _, step, _, source_step, source, gap, tap, tap_gap, taps = row_classes[p % row_classes.shape[0]]
        row, low, high_tap = inside(p // step, source_step, -source, taps, gap, high)
        rows, x_row, w_row = max(0, high_tap - low), gap * wide * channels, tap_gap * w.shape[1] * channels
        from_x, from_w = (s * high + row + low * gap) * wide * channels, (tap + low * tap_gap) * w.shape[1] * channels
        if column_classes[0, 3] == 1 and not _touch(column_classes[0]):
            prefetch(flat_x, from_x + rows * x_row, wide * channels)
        for kind in range(column_classes.shape[0]):
            first, step, count, source_step, source, gap, tap, tap_gap, taps = column_classes[kind]
            begin = min(count, max(0, -(source // source_step)))
            stop = max(begin, min(count, (wide - 1 - source - (taps - 1) * gap) // source_step + 1))
            x_step, y_step, to = source_step * channels, step * channels, (task * ow + first) * channels
            window = (rows, x_row, w_row, taps, gap * channels, tap_gap * channels)
            k, j, at = from_x + (source + begin * source_step) * channels, from_w + tap * channels, to + begin * y_step
            end = (divisor if divisor > 0 else float(rows * taps), relu)
            if stop - begin >= PIXELS and _touch(column_classes[kind]):
                _neighbours(some, flat_x, k, x_step, stop - begin, flat_w, j, window, b, flat_y, at, y_step, end,
                            ow * channels)
            elif stop - begin > 1:
                _pixels(some, PIXELS, flat_x, k, x_step, stop - begin, flat_w, j, window, b, flat_y, at, y_step, end,
                        ow * channels)
            else:
                stop = begin
            for edge in range(begin + count - stop):  # to the left and to the right of these
                q = edge if edge < begin else edge + stop - begin
                column, low, high_tap = inside(q, source_step, -source, taps, gap, wide)
                window = (rows, x_row, w_row, max(0, high_tap - low), gap * channels, tap_gap * channels)
                end = (divisor if divisor > 0 else float(rows * (high_tap - low)), relu)
                k, j = from_x + (column + low * gap) * channels, from_w + (tap + low * tap_gap) * channels
                _pixels(one, 1, flat_x, k, x_step, 1, flat_w, j, window, b, flat_y, to + q * y_step, y_step, end,
                        ow * channels)
