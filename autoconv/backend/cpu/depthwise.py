"""Depthwise convolution on the CPU: each channel has its own M kernels.

y[p, q, c*M + m] = b[c*M + m] + sum over i, j of x[p*sh + i*dh - top, q*sw + j*dw - left, c] * w[i, j, c, m]

The sums of some neighbouring pixels of a row, a vector of channels each, are in registers while all taps are added;
they are written once (`_gather`). The input gradient is such a sum as well: stride s makes s classes of pixels, and
the taps that reach a pixel of one class lie at equal distances in dy. The weight gradient keeps nine taps in registers
while it goes over the pixels that these taps reach (`_weight_gradient`). Borders have fewer taps, nothing is copied.
"""

from functools import lru_cache
from itertools import groupby, product
from math import gcd

import numpy as np
from numba import prange

from ...arguments.shapes import Window
from . import simd, vectors
from .arith import copy
from .arith import sum as sum_axes
from .conv import add_parts
from .jit import inline, kernel
from .pointwise import relu_grad  # noqa: F401 (part of this module: the gradient of a convolution with relu)
from .pool import inside
from .products import PARTS, add_rows, bias

PIXELS = 6  # neighbours of a row whose sums are in registers at a time
EDGE = 4  # vectors of channels at a time where a pixel has taps of its own
STRIP = 2048  # items of dy at a time: with the x that they meet they stay in the first-level cache
CACHE_LINE = 16  # items, if they are float32
M, N = simd.NARROW  # taps and vectors of channels that the weight gradient sums at a time


@lru_cache(maxsize=256)
def _forward_axis(size: int, stride: int, dilation: int, before: int, outputs: int) -> np.ndarray:
    """One axis of a convolution as its only class of outputs: (first, step, count, source step, source, ...).

    Output first + k*step reads source + k*source step and on from there: a number of taps, `source gap` apart in the
    source and `tap gap` apart in the kernel. The last four items are source gap, first tap, tap gap and taps.
    """
    return np.array([[0, 1, outputs, stride, -before, dilation, 0, 1, size]], np.int64)


@lru_cache(maxsize=256)
def _backward_axis(size: int, stride: int, dilation: int, before: int, outputs: int) -> np.ndarray:
    """One axis of the input gradient, which reads dy: a class for each remainder of a pixel by the stride."""
    classes = []
    for first in range(min(stride, outputs)):
        taps = [i for i in reversed(range(size)) if (first + before - i * dilation) % stride == 0]
        apart = gcd(stride, dilation)
        source, tap = ((first + before - taps[0] * dilation) // stride, taps[0]) if taps else (0, 0)
        classes.append([first, stride, -(-(outputs - first) // stride), 1, source, dilation // apart, tap,
                        -(stride // apart), len(taps)])
    return np.array(classes, np.int64).reshape(-1, 9)


@inline
def _prefetch(x, k, count):
    """Asks for `count` items that are read soon. They may lie outside the array: nothing is read."""
    for i in range(k, k + count, CACHE_LINE):
        vectors.prefetch(x, i)


@inline
def _pixels(tile, x, k, x_step, count, w, j, taps, b, y, to, y_step, relu):
    """`count` pixels of y, `y_step` apart from `to` on, that all have these taps; in x they are `x_step` apart.

    `taps` are their rows, a row's step in x and in w, their columns, a column's step in x and in w.
    """
    lanes = simd.width(tile)
    whole = b.size - b.size % lanes
    for first in range(0, count, PIXELS):
        at, out = simd.steps(x_step, first, count, tile), simd.steps(y_step, first, count, tile)
        for c in range(0, whole, lanes):
            _sums(tile, x, at, k + c, w, j + c, taps, b, c, y, out, to + c, lanes, relu)
        if whole < b.size:
            _sums(tile, x, at, k + whole, w, j + whole, taps, b, whole, y, out, to + whole, b.size - whole, relu)


@inline
def _sums(tile, x, at, k, w, j, taps, b, c, y, out, to, columns, relu):
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
    simd.store(simd.relu(acc) if relu else acc, y, out, to, columns)


@inline
def _neighbours(tile, x, k, x_step, count, w, j, taps, b, y, to, y_step, relu):
    """`_pixels` for at least PIXELS pixels with rows of three taps, as far apart as the pixels. The last tile begins
    early enough to be full: some pixels are computed twice.
    """
    out, lanes = simd.steps(y_step, 0, PIXELS, tile), simd.width(tile)
    whole = b.size - b.size % lanes
    for start in range(0, count, PIXELS):
        first = min(start, count - PIXELS)
        from_x, to_y = k + first * x_step, to + first * y_step
        for c in range(0, whole, lanes):
            _neighbour_sums(tile, x, from_x + c, x_step, w, j + c, taps, b, c, y, out, to_y + c, lanes, relu)
        if whole < b.size:
            _neighbour_sums(tile, x, from_x + whole, x_step, w, j + whole, taps, b, whole, y, out, to_y + whole,
                            b.size - whole, relu)


@inline
def _neighbour_sums(tile, x, k, x_step, w, j, taps, b, c, y, out, to, columns, relu):
    """One tile of `_neighbours`."""
    rows, x_row, w_row, _, _, w_column = taps
    acc = simd.add_row(tile, b, c, columns)
    for _ in range(rows):
        acc = vectors.add_neighbours(acc, x, k, x_step, w, j, w_column, columns)
        k += x_row
        j += w_row
    simd.store(simd.relu(acc) if relu else acc, y, out, to, columns)


@kernel("(T[:,:,:,::1], T[:,:,:,::1], T[::1], T[:,:,:,::1], int64[:,::1], int64[:,::1], boolean)", parallel=True)
def _gather(x, w, b, y, row_classes, column_classes, relu):
    """y (N,OH,OW,C) = the sums of x (N,H,W,C) times w (KH,KW,C,1), + b (C,), where the classes of rows and columns say
    which pixels of x a pixel of y reads. `relu` cuts the sums off below 0.
    """
    _, high, wide, channels = x.shape
    n, oh, ow, _ = y.shape
    flat_x, flat_w, flat_y = x.reshape(x.size), w.reshape(w.size), y.reshape(y.size)
    some, one = simd.zeros(x, PIXELS, 1), simd.zeros(x, 1, EDGE)
    for task in prange(n * oh):
        s, p = task // oh, task % oh
        _, step, _, source_step, source, gap, tap, tap_gap, taps = row_classes[p % row_classes.shape[0]]
        row, low, end = inside(p // step, source_step, -source, taps, gap, high)
        rows, x_row, w_row = max(0, end - low), gap * wide * channels, tap_gap * w.shape[1] * channels
        from_x, from_w = (s * high + row + low * gap) * wide * channels, (tap + low * tap_gap) * w.shape[1] * channels
        _prefetch(flat_x, from_x + rows * x_row, wide * channels)
        for kind in range(column_classes.shape[0]):
            first, step, count, source_step, source, gap, tap, tap_gap, taps = column_classes[kind]
            begin = min(count, max(0, -(source // source_step)))
            stop = max(begin, min(count, (wide - 1 - source - (taps - 1) * gap) // source_step + 1))
            x_step, y_step, to = source_step * channels, step * channels, (task * ow + first) * channels
            window = (rows, x_row, w_row, taps, gap * channels, tap_gap * channels)
            k, j, at = from_x + (source + begin * source_step) * channels, from_w + tap * channels, to + begin * y_step
            if stop - begin >= PIXELS and taps == vectors.TAPS and gap == source_step:
                _neighbours(some, flat_x, k, x_step, stop - begin, flat_w, j, window, b, flat_y, at, y_step, relu)
            else:
                _pixels(some, flat_x, k, x_step, stop - begin, flat_w, j, window, b, flat_y, at, y_step, relu)
            for edge in range(begin + count - stop):  # to the left and to the right of these
                q = edge if edge < begin else edge + stop - begin
                column, low, end = inside(q, source_step, -source, taps, gap, wide)
                window = (rows, x_row, w_row, max(0, end - low), gap * channels, tap_gap * channels)
                k, j = from_x + (column + low * gap) * channels, from_w + (tap + low * tap_gap) * channels
                _pixels(one, flat_x, k, x_step, 1, flat_w, j, window, b, flat_y, to + q * y_step, y_step, relu)


@lru_cache(maxsize=256)
def _regions(x_shape: tuple[int, ...], oh: int, ow: int, window: Window) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The output pixels as rectangles, all of whose pixels reach the same taps: (first row, end, first column, end,
    first tap, end) each. For the taps where they lie in x, seen from the pixel that tap (0, 0) reads, and in dw.
    """
    _, h, w, c = x_shape
    kh, kw, sh, sw, dh, dw, top, _, left, _ = window
    rectangles, in_x, in_w = [], [], []
    for (p, p_end, i_low, i_end), (q, q_end, j_low, j_end) in product(_runs(oh, sh, top, kh, dh, h),
                                                                      _runs(ow, sw, left, kw, dw, w)):
        taps = list(product(range(i_low, i_end), range(j_low, j_end)))
        rectangles.append((p, p_end, q, q_end, len(in_x), len(in_x) + len(taps)))
        in_x += [(i * dh * w + j * dw) * c for i, j in taps]
        in_w += [(i * kw + j) * c for i, j in taps]
    return np.array(rectangles, np.int64).reshape(-1, 6), np.array(in_x, np.int64), np.array(in_w, np.int64)


def _runs(outputs: int, stride: int, before: int, size: int, dilation: int, n: int) -> list[tuple[int, int, int, int]]:
    """An axis' outputs as stretches (first, end) whose windows have the same taps (low, end) inside the image."""
    taps = [inside.py_func(o, stride, before, size, dilation, n)[1:] for o in range(outputs)]
    stretches, first = [], 0
    for (low, end), same in groupby(taps):
        length = len(list(same))
        stretches.append((first, first + length, low, end))
        first += length
    return stretches


@kernel("(T[:,:,:,::1], T[:,:,:,::1], T[:,::1], T[:,::1], int64[:,::1], int64[::1], int64[::1],"
        " UniTuple(int64, 10))", parallel=True)
def _weight_gradient(x, dy, partial, partial_b, rectangles, in_x, in_w, window):
    """dw (PARTS, KH*KW*C) and db (PARTS, C): partial sums, each over its share of the samples."""
    n, h, wide, channels = x.shape
    _, oh, ow, _ = dy.shape
    kh, _, sh, sw, dh, _, top, _, left, _ = window
    flat_x, flat_dy, flat_dw = x.reshape(x.size), dy.reshape(dy.size), partial.reshape(partial.size)
    tile = simd.zeros(x, M, N)
    lanes = simd.width(tile)
    whole = channels - channels % lanes
    x_steps, dy_steps = (sh * wide * channels, sw * channels), (ow * channels, channels)
    for part in prange(PARTS):
        begin, end, total = n * part // PARTS, n * (part + 1) // PARTS, part * partial.shape[1]
        partial[part] = 0
        partial_b[part] = 0
        for s in range(begin, end):
            for rectangle in range(rectangles.shape[0]):
                first, last, q, q_end, tap_low, tap_end = rectangles[rectangle]
                strip = max(1, STRIP // (channels * (q_end - q)))
                for p in range(first, last, strip):
                    size = (min(strip, last - p), q_end - q)
                    k = ((s * h + p * sh - top) * wide + q * sw - left) * channels
                    j = ((s * oh + p) * ow + q) * channels
                    _prefetch(flat_dy, j + size[0] * dy_steps[0], size[0] * dy_steps[0])
                    _prefetch(flat_x, k + kh * dh * wide * channels + (size[0] - 1) * x_steps[0], size[0] * x_steps[0])
                    for tap in range(tap_low, tap_end, M):
                        at, to = simd.rows(in_x, tap, tap_end, tile), simd.rows(in_w, tap, tap_end, tile)
                        for c in range(0, whole, lanes):
                            _outer(tile, flat_x, at, k + c, x_steps, flat_dy, j + c, dy_steps, size, flat_dw, to,
                                   total + c, lanes)
                        if whole < channels:
                            _outer(tile, flat_x, at, k + whole, x_steps, flat_dy, j + whole, dy_steps, size, flat_dw,
                                   to, total + whole, channels - whole)
            add_rows(flat_dy, s * oh * ow * channels, oh * ow, channels, partial_b.reshape(partial_b.size),
                     part * channels, channels, s == begin)


@inline
def _outer(tile, x, at, k, x_steps, dy, j, dy_steps, size, dw, to, total, columns):
    """dw[to[t] + total + ...] += the sum over `size` (rows, columns) pixels of x[at[t] + k + ...] * dy[j + ...]."""
    acc = simd.load(tile, dw, to, total, columns)
    for p in range(size[0]):
        from_x, from_dy = k + p * x_steps[0], j + p * dy_steps[0]
        for _ in range(size[1]):
            acc = vectors.add_products(acc, x, at, from_x, dy, from_dy, columns)
            from_x += x_steps[1]
            from_dy += dy_steps[1]
    simd.store(acc, dw, to, total, columns)


def depthwise_conv2d(x, w, b, y, window: Window, relu: bool = False) -> None:
    """y (N,OH,OW,C*M) from x (N,H,W,C), w (KH,KW,C,M) and b (C*M,) or None; max(y, 0) with `relu`."""
    kh, kw, sh, sw, dh, dw, top, _, left, _ = window
    _gather(_repeated(x, w.shape[3]), w.reshape(kh, kw, -1, 1), bias(b, y.dtype, y.shape[3]), y,
            _forward_axis(kh, sh, dh, top, y.shape[1]), _forward_axis(kw, sw, dw, left, y.shape[2]), relu)


def depthwise_conv2d_input_grad(dy, w, dx, window: Window) -> None:
    """dx (N,H,W,C) from dy (N,OH,OW,C*M)."""
    (kh, kw, sh, sw, dh, dw, top, _, left, _), multiplier = window, w.shape[3]
    wide = dx if multiplier == 1 else np.empty((*dx.shape[:3], dy.shape[3]), dx.dtype)
    _gather(dy, w.reshape(kh, kw, -1, 1), bias(None, dx.dtype, dy.shape[3]), wide,
            _backward_axis(kh, sh, dh, top, dx.shape[1]), _backward_axis(kw, sw, dw, left, dx.shape[2]), False)
    if multiplier > 1:
        sum_axes(wide.reshape(*dx.shape, multiplier), (4,), dx.reshape(*dx.shape, 1))


def depthwise_conv2d_weight_grad(x, dy, dw, db, window: Window) -> None:
    """dw (KH,KW,C,M) and db (C*M,) from x (N,H,W,C) and dy (N,OH,OW,C*M)."""
    wide = _repeated(x, dw.shape[3])
    partial, partial_b = np.empty((PARTS, dw.size), x.dtype), np.empty((PARTS, db.size), x.dtype)
    _weight_gradient(wide, dy, partial, partial_b, *_regions(wide.shape, *dy.shape[1:3], window), tuple(window))
    add_parts(partial, dw.reshape(-1))
    add_parts(partial_b, db)


def _repeated(x, times: int) -> np.ndarray:
    """x (N,H,W,C), each channel `times` times: what lies beside the weights of several kernels a channel."""
    if times == 1:
        return x
    wide = np.empty((*x.shape, times), x.dtype)
    copy(x[..., None], wide)
    return wide.reshape(*x.shape[:3], -1)
