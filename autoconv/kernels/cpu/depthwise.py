"""Depthwise convolution on the CPU: each channel has its own M kernels.

y[p, q, c*M + m] = b[c*M + m] + sum over i, j of x[p*sh + i*dh - top, q*sw + j*dw - left, c] * w[i,
j, c, m]

The forward pass and the input gradient use the loops of stencil.py. The weight gradient keeps the
sums of nine taps in registers while it visits the pixels that these taps read. If channels have
several kernels, each channel is copied once per kernel.
"""

from functools import lru_cache
from itertools import groupby, product

import numpy as np
from numba import prange

from ...arguments.shapes import Window
from ..buffers import scratch
from . import simd, tasks, vectors
from .arith import copy
from .arith import sum as sum_axes
from .epilogue import CODES
from .flat import flatten
from .jit import inline, kernel
from .pointwise import relu_grad  # noqa: F401 (re-exported: the gradient with relu)
from .products import add_parts, add_rows, bias
from .stencil import backward_axis, clip_window, forward_axis, stencil

M, N = simd.NARROW  # number of taps, and of vectors of channels, that are summed at a time
STRIP = 4096  # elements of dy per pass; they and the matching elements of x stay in the L1 cache


@lru_cache(maxsize=256)
def _regions(x_shape: tuple[int, ...], oh: int, ow: int, window: Window) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Divides the output pixels into rectangles whose pixels all read the same taps. Returns (first
    row, end, first column, end, first tap, end) of each rectangle, the taps' offsets in x, relative
    to the pixel that tap (0, 0) reads, and the taps' offsets in dw.
    """
    _, h, w, c = x_shape
    kh, kw, sh, sw, dh, dw, top, _, left, _ = window
    rectangles, x_taps, w_taps = [], [], []
    for (p, p_end, i_low, i_end), (q, q_end, j_low, j_end) in product(_runs(oh, sh, top, kh, dh, h),
                                                                      _runs(ow, sw, left, kw, dw, w)):
        taps = list(product(range(i_low, i_end), range(j_low, j_end)))
        rectangles.append((p, p_end, q, q_end, len(x_taps), len(x_taps) + len(taps)))
        x_taps += [(i * dh * w + j * dw) * c for i, j in taps]
        w_taps += [(i * kw + j) * c for i, j in taps]
    # largest rectangle first, so that the rectangles at the edges find their pixels in the cache
    rectangles.sort(key=lambda r: (r[0] - r[1]) * (r[3] - r[2]))
    return np.array(rectangles, np.int64).reshape(-1, 6), np.array(x_taps, np.int64), np.array(w_taps, np.int64)


def _runs(outputs: int, stride: int, pad: int, size: int, dilation: int, n: int) -> list[tuple[int, int, int, int]]:
    """Divides the outputs along an axis into stretches whose windows have the same taps inside the
    image. Returns (first output, end, first tap, end) of each stretch.
    """
    taps = [clip_window.py_func(o, stride, pad, size, dilation, n)[1:] for o in range(outputs)]
    stretches, first = [], 0
    for (low, end), members in groupby(taps):
        length = len(list(members))
        stretches.append((first, first + length, low, end))
        first += length
    return stretches


@kernel("(T[:,:,:,::1], T[:,:,:,::1], T[:,::1], T[:,::1], int64[:,::1], int64[::1], int64[::1],"
        " UniTuple(int64, 10))", parallel=True)
def _weight_gradient(x, dy, partial, partial_b, rectangles, x_taps, w_taps, window):
    """Writes partial sums of dw to `partial` (parts, KH*KW*C) and of db to `partial_b` (parts, C),
    each over a fraction of the samples.
    """
    (n, h, wide, channels), parts = x.shape, partial.shape[0]
    _, oh, ow, _ = dy.shape
    kh, _, sh, sw, dh, _, top, _, left, _ = window
    flat_x, flat_dy, flat_dw = flatten(x), flatten(dy), flatten(partial)
    tile = simd.zeros(x, M, N)
    lanes = simd.width(tile)
    whole = channels - channels % lanes
    x_steps, dy_steps = (sh * wide * channels, sw * channels), (ow * channels, channels)
    for part in prange(parts):
        begin, end, total = n * part // parts, n * (part + 1) // parts, part * partial.shape[1]
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
                    ahead = (kh * dh * wide * channels + (size[0] - 1) * x_steps[0], size[0] * dy_steps[0])
                    for tap in range(tap_low, tap_end, M):
                        src = simd.rows(x_taps, tap, tap_end, tile)
                        dst = simd.rows(w_taps, tap, tap_end, tile)
                        for c in range(0, whole, lanes):
                            _outer(tile, flat_x, src, k + c, x_steps, flat_dy, j + c, dy_steps, size, flat_dw, dst,
                                   total + c, lanes, ahead)
                        if whole < channels:
                            _outer(tile, flat_x, src, k + whole, x_steps, flat_dy, j + whole, dy_steps, size, flat_dw,
                                   dst, total + whole, channels - whole, ahead)
            add_rows(flat_dy, s * oh * ow * channels, oh * ow, channels, flatten(partial_b),
                     part * channels, channels, s == begin)


@inline
def _outer(tile, x, src, k, x_steps, dy, j, dy_steps, size, dw, dst, total, columns, ahead):
    """dw[dst[t] + total + ...] += the sum over `size` (rows, columns) pixels of x[src[t] + k + ...]
    * dy[j + ...]. Also prefetches x and dy; `ahead` contains the distances, in elements.
    """
    acc = simd.load(tile, dw, dst, total, columns)
    for p in range(size[0]):
        x_start, dy_start = k + p * x_steps[0], j + p * dy_steps[0]
        if columns == simd.width(tile):  # this call needs no masks
            acc = _row(acc, x, src, x_start, x_steps[1], dy, dy_start, dy_steps[1], size[1], simd.width(tile), ahead)
        else:
            acc = _row(acc, x, src, x_start, x_steps[1], dy, dy_start, dy_steps[1], size[1], columns, ahead)
    simd.store(acc, dw, dst, total, columns)


@inline
def _row(acc, x, src, k, x_step, dy, j, dy_step, count, columns, ahead):
    """Adds the products of one row of pixels to `acc`."""
    for _ in range(count):
        for c in range(0, simd.width(acc), simd.width(acc) // N):
            vectors.prefetch(x, k + ahead[0] + c)
            vectors.prefetch(dy, j + ahead[1] + c)
        acc = vectors.add_products(acc, x, src, k, dy, j, columns)
        k += x_step
        j += dy_step
    return acc


def depthwise_conv2d(x, w, b, y, window: Window, activation: str = "linear") -> None:
    """Computes y (N,OH,OW,C*M) from x (N,H,W,C), w (KH,KW,C,M) and b (C*M,), which may be None.
    The activation is applied to y.
    """
    kh, kw, sh, sw, dh, dw, top, _, left, _ = window
    stencil(_repeat(x, w.shape[3]), w.reshape(kh, kw, -1, 1), bias(b, y.dtype, y.shape[3]), y,
            forward_axis(kh, sh, dh, top, y.shape[1]), forward_axis(kw, sw, dw, left, y.shape[2]), 1,
            CODES[activation])


def depthwise_conv2d_input_grad(dy, w, dx, window: Window) -> None:
    """Computes dx (N,H,W,C) from dy (N,OH,OW,C*M) and w (KH,KW,C,M)."""
    (kh, kw, sh, sw, dh, dw, top, _, left, _), multiplier = window, w.shape[3]
    wide = dx if multiplier == 1 else scratch((*dx.shape[:3], dy.shape[3]), dx.dtype)
    stencil(dy, w.reshape(kh, kw, -1, 1), bias(None, dx.dtype, dy.shape[3]), wide,
            backward_axis(kh, sh, dh, top, dx.shape[1]), backward_axis(kw, sw, dw, left, dx.shape[2]), 1,
            simd.LINEAR)
    if multiplier > 1:
        sum_axes(wide.reshape(*dx.shape, multiplier), (4,), dx.reshape(*dx.shape, 1))


def depthwise_conv2d_weight_grad(x, dy, dw, db, window: Window) -> None:
    """Computes dw (KH,KW,C,M) and db (C*M,) from x (N,H,W,C) and dy (N,OH,OW,C*M)."""
    wide = _repeat(x, dw.shape[3])
    parts = tasks.parts(len(x), dy.size // db.size, dw.size)
    partial = scratch((parts, dw.size), x.dtype)
    partial_b = scratch((parts, db.size), x.dtype)
    _weight_gradient(wide, dy, partial, partial_b, *_regions(wide.shape, *dy.shape[1:3], window), tuple(window))
    add_parts(partial, dw.reshape(-1))
    add_parts(partial_b, db)


def _repeat(x, times: int) -> np.ndarray:
    """Repeats each channel of x (N,H,W,C) `times` times, once for each of its kernels."""
    if times == 1:
        return x
    wide = scratch((*x.shape, times), x.dtype)
    copy(x[..., None], wide)
    return wide.reshape(*x.shape[:3], x.shape[3] * times)
