"""Convolutions with at most half as many filters as the widest vectors have lanes. The lanes of a
tile hold pixels, and its rows hold filters.

An example is LeNet-5's first layer with six filters. A band of rows of an image is copied, with its
border, into a separate plane for each channel. Output pixel q, counted along the rows of a plane,
reads element q + tap of a plane for every tap. So a tile's columns are neighbouring pixels, here
64. Finally, the results are transposed without the border, so that a pixel's filters are adjacent.
"""

import numpy as np
from numba import prange

from ...arguments.shapes import Window
from . import simd, tasks, vectors
from .flat import flatten
from .jit import allocating, inline, kernel
from .tasks import piece

M, N = simd.TILE
BAND = 32  # number of output rows that are processed at a time
LEAST, WASTE = 9, 1.5  # minimum number of taps; maximum ratio of computed to needed pixels


def pays(f: int, size: tuple[int, int], window: Window, groups: int, dtype: np.dtype) -> bool:
    """Returns whether to use this method for f filters, outputs of this size and this window."""
    (rows, columns), tile = size, tasks.widest_tile(dtype)
    wide = columns + window.span_w - 1
    return (f <= M and 2 * f <= tasks.widest_lanes(dtype) and groups == 1 and window[2:4] == (1, 1)
            and min(window[6:]) >= 0 and window.kh * window.kw >= LEAST
            and -(-rows * wide // tile) * tile <= WASTE * rows * columns)


@allocating
def _copy_planes(x, s, first, count, wide, top, left, padding):
    """Returns one plane per channel with `count` rows of image s and its border, from row `first`
    on, followed by `padding` zeros.
    """
    _, h, w, c = x.shape
    flat, plane = flatten(x), count * wide
    planes = np.zeros(c * plane + padding, x.dtype)
    for i in range(max(0, top - first), min(count, top + h - first)):
        dst, start = i * wide + left, (s * h + first + i - top) * w * c
        if c == 1:
            simd.copy(planes, dst, flat, start, w)
        else:
            for j in range(w):
                for k in range(c):
                    planes[k * plane + dst + j] = flat[start + j * c + k]
    return planes


@inline
def _products(tile, planes, plane, wide, c, window, w, b, ones, filters, out, step, total, relu):
    """out[f * step + q] = the result of each filter f at each output pixel q below `total`."""
    kh, kw, dh, dw = window
    columns = simd.width(tile)
    src, dst = simd.steps(1, 0, filters, tile), simd.steps(step, 0, filters, tile)
    for q in range(0, total, columns):
        acc, k = simd.fma(tile, b, src, 0, ones, 0), 0
        for i in range(kh):
            for j in range(kw):
                p = q + i * dh * wide + j * dw
                for _ in range(c):
                    acc = simd.fma(acc, w, src, k, planes, p)
                    k += filters
                    p += plane
        simd.store(simd.clip(acc, simd.RELU if relu else simd.LINEAR), out, dst, q, columns)


@allocating
def _scale_weights(w, scale):
    """Returns w with each filter multiplied by its scale, or w itself if `scale` is empty."""
    if scale.size == 0:
        return w
    result = np.empty_like(w)
    for k in range(w.size):
        result[k] = w[k] * scale[k % scale.size]
    return result


@kernel("(T[:,:,:,::1], T[::1], T[::1], T[::1], T[:,:,:,::1], UniTuple(int64, 4), UniTuple(int64, 4), boolean, int64)",
        parallel=True)
def _forward(x, w, scale, b, y, window, border, relu, pieces):
    (n, _, _, c), (_, oh, ow, filters), (wide, top, left, span) = x.shape, y.shape, border
    tile, square = simd.zeros(x, M, N), simd.zeros(x, 1, 1)
    lanes, columns = simd.width(square), simd.width(tile)
    for task in prange(n * pieces):
        s, flat, ones, weights = task // pieces, flatten(y), np.ones(columns, x.dtype), _scale_weights(w, scale)
        begin, end = piece(oh, task % pieces, pieces, 1)
        line = np.empty((ow + lanes) * filters + lanes, x.dtype)
        for first in range(begin, end, BAND):
            count = min(BAND, end - first)
            total, rows = count * wide, count + span - 1
            step = total + columns
            planes = _copy_planes(x, s, first, rows, wide, top, left, step)
            out = np.empty((filters + lanes - 1) // lanes * lanes * step, x.dtype)
            _products(tile, planes, rows * wide, wide, c, window, weights, b, ones, filters, out, step, total,
                      relu)
            for i in range(count):
                # elements beyond a pixel's filters are overwritten later, by its first filters or
                # by the next pixels
                for j in range(0, ow, lanes):
                    for f in range((filters - 1) // lanes * lanes, -1, -lanes):
                        source, place = f * step + i * wide + j, j * filters + f
                        vectors.turn(square, out, source, step, line, place, filters)
                simd.copy(flat, (s * oh + first + i) * ow * filters, line, 0, ow * filters)


def conv2d(x, w, b, y, window: Window, relu: bool, scale) -> None:
    """Computes y (N,OH,OW,F) from x (N,H,W,C), w (KH*KW*C*F,) and b (F,). `scale` (F,) multiplies
    w, unless `scale` is empty.
    """
    border = x.shape[2] + window.left + window.right, window.top, window.left, window.span_h
    pieces = 1 if len(x) == 1 and w.size * y.size // b.size <= tasks.SMALL else tasks.pieces(len(x), y.shape[1])
    _forward(x, w, scale, b, y, (window.kh, window.kw, window.dh, window.dw), border, relu, pieces)
