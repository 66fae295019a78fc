"""Max and average pooling on the CPU, parallel over the batch, vectorised over the channels."""

import numpy as np
from numba import prange

from ...arguments.shapes import Window
from .jit import inline, kernel

SIDE_BY_SIDE = Window(2, 2, 2, 2)  # the usual pooling: 2x2 windows that neither overlap nor need padding


@inline
def inside(o, stride, before, size, dilation, n):
    """The first pixel of output o's window on an axis of n pixels, and which positions low <= k < high fall inside."""
    start = o * stride - before
    low = 0 if start >= 0 else (-start + dilation - 1) // dilation
    high = min(size, (n - 1 - start) // dilation + 1)
    return start, low, high


@inline
def larger(pixel, best):
    """Whether the pixel takes the place of the best so far; a NaN does, and keeps it."""
    return (pixel > best) | ((pixel != pixel) & (best == best))


@kernel("(T[:,:,:,::1], T[:,:,:,::1], int32[:,:,:,::1], UniTuple(int64, 10))", parallel=True)
def _max(x, y, winner, window):
    """The largest pixel of each window and its position i*kw + j, the first in scan order; a NaN is larger than all."""
    n, h, w, c = x.shape
    _, oh, ow, _ = y.shape
    kh, kw, sh, sw, dh, dw, top, _, left, _ = window
    for s in prange(n):
        for p in range(oh):
            r, i_low, i_high = inside(p, sh, top, kh, dh, h)
            for q in range(ow):
                t, j_low, j_high = inside(q, sw, left, kw, dw, w)
                best, at = y[s, p, q], winner[s, p, q]
                best[:] = x[s, r + i_low * dh, t + j_low * dw]
                at[:] = i_low * kw + j_low
                for i in range(i_low, i_high):
                    for j in range(j_low, j_high):
                        row, index = x[s, r + i * dh, t + j * dw], np.int32(i * kw + j)
                        for k in range(c):
                            better = larger(row[k], best[k])
                            best[k], at[k] = row[k] if better else best[k], index if better else at[k]


@kernel("(T[:,:,:,::1], T[:,:,:,::1], int32[:,:,:,::1])", parallel=True)
def _max_2x2(x, y, winner):
    """`_max` for 2x2 windows side by side without padding: each vector of channels in registers."""
    n, oh, ow, c = y.shape
    for s in prange(n):
        for p in range(oh):
            for q in range(ow):
                for k in range(c):
                    best, at = x[s, 2 * p, 2 * q, k], np.int32(0)
                    for i in range(1, 4):
                        pixel = x[s, 2 * p + i // 2, 2 * q + i % 2, k]
                        better = larger(pixel, best)
                        best, at = pixel if better else best, np.int32(i) if better else at
                    y[s, p, q, k], winner[s, p, q, k] = best, at


@kernel("(T[:,:,:,::1], int32[:,:,:,::1], T[:,:,:,::1])", parallel=True)
def _max_2x2_grad(dy, winner, dx):
    """`_max_grad` for 2x2 windows side by side without padding: each pixel is written once."""
    n, oh, ow, c = dy.shape
    zero = dx.dtype.type(0)
    for s in prange(n):
        dx[s, 2 * oh :] = 0
        dx[s, :, 2 * ow :] = 0
        for p in range(oh):
            for q in range(ow):
                for k in range(c):
                    gradient, at = dy[s, p, q, k], winner[s, p, q, k]
                    for i in range(4):
                        dx[s, 2 * p + i // 2, 2 * q + i % 2, k] = gradient if at == np.int32(i) else zero


@kernel("(T[:,:,:,::1], int32[:,:,:,::1], T[:,:,:,::1], UniTuple(int64, 10))", parallel=True)
def _max_grad(dy, winner, dx, window):
    """dx: every window's gradient, added to its winner."""
    n, h, w, c = dx.shape
    _, oh, ow, _ = dy.shape
    kh, kw, sh, sw, dh, dw, top, _, left, _ = window
    for s in prange(n):
        dx[s] = 0
        for p in range(oh):
            r, i_low, i_high = inside(p, sh, top, kh, dh, h)
            for q in range(ow):
                t, j_low, j_high = inside(q, sw, left, kw, dw, w)
                gradient, at = dy[s, p, q], winner[s, p, q]
                for i in range(i_low, i_high):
                    for j in range(j_low, j_high):
                        row, index = dx[s, r + i * dh, t + j * dw], np.int32(i * kw + j)
                        for k in range(c):
                            row[k] += gradient[k] if at[k] == index else row.dtype.type(0)


@kernel("(T[:,:,:,::1], T[:,:,:,::1], UniTuple(int64, 10))", parallel=True)
def _average(x, y, window):
    """The mean over the real pixels of each window."""
    n, h, w, _ = x.shape
    _, oh, ow, _ = y.shape
    kh, kw, sh, sw, dh, dw, top, _, left, _ = window
    for s in prange(n):
        for p in range(oh):
            r, i_low, i_high = inside(p, sh, top, kh, dh, h)
            for q in range(ow):
                t, j_low, j_high = inside(q, sw, left, kw, dw, w)
                total = y[s, p, q]
                total[:] = 0
                for i in range(i_low, i_high):
                    for j in range(j_low, j_high):
                        total += x[s, r + i * dh, t + j * dw]
                total /= (i_high - i_low) * (j_high - j_low)


@kernel("(T[:,:,:,::1], T[:,:,:,::1], UniTuple(int64, 10))", parallel=True)
def _average_grad(dy, dx, window):
    """dx: every window's gradient, shared out evenly among its real pixels."""
    n, h, w, _ = dx.shape
    _, oh, ow, _ = dy.shape
    kh, kw, sh, sw, dh, dw, top, _, left, _ = window
    for s in prange(n):
        dx[s] = 0
        for p in range(oh):
            r, i_low, i_high = inside(p, sh, top, kh, dh, h)
            for q in range(ow):
                t, j_low, j_high = inside(q, sw, left, kw, dw, w)
                share = dy[s, p, q] / ((i_high - i_low) * (j_high - j_low))
                for i in range(i_low, i_high):
                    for j in range(j_low, j_high):
                        dx[s, r + i * dh, t + j * dw] += share


def max_pool2d(x, y, winner, window: Window) -> None:
    """y (N,OH,OW,C) and the winners' positions (N,OH,OW,C) int32 in the windows of x (N,H,W,C)."""
    if window == SIDE_BY_SIDE:
        _max_2x2(x, y, winner)
    else:
        _max(x, y, winner, tuple(window))


def max_pool2d_grad(dy, winner, dx, window: Window) -> None:
    """dx (N,H,W,C) from dy (N,OH,OW,C)."""
    if window == SIDE_BY_SIDE:
        _max_2x2_grad(dy, winner, dx)
    else:
        _max_grad(dy, winner, dx, tuple(window))


def avg_pool2d(x, y, window: Window) -> None:
    """y (N,OH,OW,C): the means of the windows of x (N,H,W,C)."""
    _average(x, y, tuple(window))


def avg_pool2d_grad(dy, dx, window: Window) -> None:
    """dx (N,H,W,C) from dy (N,OH,OW,C)."""
    _average_grad(dy, dx, tuple(window))
