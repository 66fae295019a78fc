"""Max and average pooling on the CPU, parallel over the batch, vectorised over the channels."""

import numpy as np
from numba import prange

from ...arguments.shapes import Window
from .jit import inline, kernel


@inline
def inside(o, stride, before, size, dilation, n):
    """The first pixel of output o's window on an axis of n pixels, and which positions low <= k < high fall inside."""
    start = o * stride - before
    low = 0 if start >= 0 else (-start + dilation - 1) // dilation
    high = min(size, (n - 1 - start) // dilation + 1)
    return start, low, high


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
                            larger = (row[k] > best[k]) | ((row[k] != row[k]) & (best[k] == best[k]))
                            best[k] = row[k] if larger else best[k]
                            at[k] = index if larger else at[k]


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
    _max(x, y, winner, tuple(window))


def max_pool2d_grad(dy, winner, dx, window: Window) -> None:
    """dx (N,H,W,C) from dy (N,OH,OW,C)."""
    _max_grad(dy, winner, dx, tuple(window))


def avg_pool2d(x, y, window: Window) -> None:
    """y (N,OH,OW,C): the means of the windows of x (N,H,W,C)."""
    _average(x, y, tuple(window))


def avg_pool2d_grad(dy, dx, window: Window) -> None:
    """dx (N,H,W,C) from dy (N,OH,OW,C)."""
    _average_grad(dy, dx, tuple(window))
