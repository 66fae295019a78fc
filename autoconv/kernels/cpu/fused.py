"""Convolution + bias + ReLU + 2x2 max pooling as one kernel, forward and backward.

Forward computes only the pixels that the pooling reads, four rows of a tile for each of its windows, takes their
maximum in registers and keeps the pooled value and one byte that says which of the four it was. Backward spreads each
pooled gradient to its winner, in a scratch of one chunk, and runs both gradients of the convolution on that.
"""

from functools import lru_cache

import numpy as np
from numba import prange

from ...shapes import Window
from . import simd
from .conv import PARTS, add_parts, has_border, plan, read_chunk, transpose_tap
from .jit import inline, kernel
from .products import bias, gathered_outer, pooled_product, scattered_product, sum_rows


@lru_cache(maxsize=256)
def _windows(n: int, h: int, w: int, channels: int, window: Window) -> np.ndarray:
    """The plan's `pixels` in the order of the pooling: the four pixels of a 2x2 window in a row."""
    p, (oh, ow) = plan(n, h, w, channels, channels, window), window.output_size(h, w)
    pixels = p.pixels.reshape(p.samples, oh, ow)[:, : oh // 2 * 2, : ow // 2 * 2]
    return np.ascontiguousarray(
        pixels.reshape(p.samples, oh // 2, 2, ow // 2, 2).transpose(0, 1, 3, 2, 4).ravel()
    )


@kernel("(T[:,:,:,::1], T[::1], T[::1], T[:,:,:,::1], uint8[::1], int64[::1], int64, int64[::1], int64,"
        " UniTuple(int64, 4))", parallel=True)
def _forward(x, w, b, y, winner, windows, samples, runs, run_length, border):
    n = x.shape[0]
    per_sample, filters = y.shape[1] * y.shape[2], b.size
    for chunk in prange((n + samples - 1) // samples):
        first = chunk * samples
        count = min(samples, n - first)
        source, start = read_chunk(x, first, count, border)
        pooled_product(source, start, windows, count * per_sample, runs, run_length, w, b, y.reshape(y.size), winner,
                       first * per_sample * filters, filters, winner.size > 0)


@inline
def _unpool(dy, y, winner, start, count, filters, spread, masked):
    """Each pooled gradient at its winner's row of `spread`, zero at the three others; none where the ReLU was at 0."""
    for q in range(count):
        row = start + q * filters
        gradient, value, which = dy[row : row + filters], y[row : row + filters], winner[row : row + filters]
        for f in range(filters):
            masked[q * filters + f] = 0 if value[f] <= 0 else gradient[f]
        for r in range(4):
            out = spread[(4 * q + r) * filters : (4 * q + r + 1) * filters]
            for f in range(filters):
                out[f] = masked[q * filters + f] if which[f] == r else 0


@kernel("(T[:,:,:,::1], T[::1], T[:,:,:,::1], uint8[::1], T[::1], T[:,:,:,::1], T[:,:,::1], T[:,::1], T[::1], T[::1],"
        " int64[::1], int64, int64[::1], int64[::1], UniTuple(int64, 4))", parallel=True)
def _backward(x, w, y, winner, dy, dx, partial, partial_b, dw, db, windows, samples, taps, points, border):
    """dw, db, and dx unless it has no samples; PARTS shares of the batch, whose weight gradients are added in order."""
    n, _, _, c = x.shape
    per_sample, filters, items = y.shape[1] * y.shape[2], y.shape[3], taps.size
    chunks = (n + samples - 1) // samples
    wt = np.empty(w.size, w.dtype)
    if dx.shape[0] > 0:
        for t in prange(points.size):
            transpose_tap(w, t, wt, 1, c, filters)
    for part in prange(PARTS):
        begin, end = chunks * part // PARTS, chunks * (part + 1) // PARTS
        if begin == end:
            partial[part] = 0
            partial_b[part] = 0
        spread = np.empty(4 * samples * per_sample * filters, dy.dtype)
        masked = np.empty(samples * per_sample * filters, dy.dtype)
        for chunk in range(begin, end):
            first = chunk * samples
            count = min(samples, n - first)
            pooled, fresh = count * per_sample, chunk == begin
            _unpool(dy, y.reshape(y.size), winner, first * per_sample * filters, pooled, filters, spread, masked)
            source, start = read_chunk(x, first, count, border)
            gathered_outer(source, start, windows, 4 * pooled, taps, items, spread, 0, partial.reshape(partial.size),
                           part * items * filters, filters, 0, filters, fresh)
            sum_rows(masked, 0, pooled, partial_b.reshape(partial_b.size), part * filters, filters, fresh)
            if dx.shape[0] > 0:
                _input_gradient(spread, windows, 4 * pooled, points, wt, dx, first, count, filters, border)
    for q in prange(items):
        add_parts(partial, q, dw, filters)
    db[:] = partial_b[0]
    for part in range(1, PARTS):
        db += partial_b[part]


@inline
def _input_gradient(dy, pixels, total, points, wt, dx, first, count, filters, border):
    """dx of one chunk: zero, and to that every pixel adds its share."""
    _, h, w, c = dx.shape
    high, wide, top, left = border
    direct = not has_border(dx, border)
    target = dx.reshape(dx.size) if direct else np.empty(count * high * wide * c, dx.dtype)
    start = first * high * wide * c if direct else 0
    target[start : start + count * high * wide * c] = 0
    scattered_product(dy, 0, pixels, total, points, wt, target, start, filters, 0, filters, c, 0, c)
    if not direct:
        for s in range(count):
            for i in range(h):
                simd.copy(dx.reshape(dx.size), ((first + s) * h + i) * w * c,
                          target, ((s * high + top + i) * wide + left) * c, w * c)


_NO_WINNERS = np.empty(0, np.uint8)


def conv2d_relu_pool(x, w, b, y, winner, window: Window) -> None:
    """y (N,OH//2,OW//2,F) = 2x2 max pooling of relu(conv2d(x, w, b)); `winner` (uint8, y's shape) or None."""
    p = plan(*x.shape, x.shape[3], window)
    winner = _NO_WINNERS if winner is None else winner.reshape(-1)
    _forward(x, w.reshape(-1), bias(b, x.dtype, y.shape[3]), y, winner, _windows(*x.shape, window), p.samples,
             p.runs, p.run_length, p.border)


def conv2d_relu_pool_grad(x, w, y, winner, dy, dx, dw, db, window: Window) -> None:
    """dx (N,H,W,C) or None, dw (KH,KW,C,F) and db (F,) from dy (N,OH//2,OW//2,F)."""
    p = plan(*x.shape, x.shape[3], window)
    filters = y.shape[3]
    dx = np.empty((0, *x.shape[1:]), x.dtype) if dx is None else dx
    partial, partial_b = np.empty((PARTS, p.taps.size, filters), x.dtype), np.empty((PARTS, filters), x.dtype)
    _backward(x, w.reshape(-1), y, winner.reshape(-1), dy.reshape(-1), dx, partial, partial_b, dw.reshape(-1), db,
              _windows(*x.shape, window), p.samples, p.taps, p.points, p.border)
