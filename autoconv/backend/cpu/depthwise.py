"""Depthwise convolution on the CPU: each channel has its own M kernels. Vectorised over the channels.

y[p, q, c*M + m] = b[c*M + m] + sum over i, j of x[p*sh + i*dh - top, q*sw + j*dw - left, c] * w[i, j, c, m]
"""

import numpy as np
from numba import prange

from ...arguments.shapes import Window
from .conv import add_parts
from .jit import inline, kernel
from .pool import inside
from .products import PARTS, bias


@inline
def _spread(row, weights, out):
    """out[c*M + m] += row[c] * weights[c, m]."""
    c, m = weights.shape
    if m == 1:
        for k in range(c):
            out[k] += row[k] * weights[k, 0]
    else:
        for k in range(c):
            for i in range(m):
                out[k * m + i] += row[k] * weights[k, i]


@kernel("(T[:,:,:,::1], T[:,:,:,::1], T[::1], T[:,:,:,::1], UniTuple(int64, 10))", parallel=True)
def _forward(x, w, b, y, window):
    n, h, wide, _ = x.shape
    _, oh, ow, _ = y.shape
    kh, kw, sh, sw, dh, dw, top, _, left, _ = window
    for s in prange(n):
        for p in range(oh):
            r, i_low, i_high = inside(p, sh, top, kh, dh, h)
            for q in range(ow):
                t, j_low, j_high = inside(q, sw, left, kw, dw, wide)
                out = y[s, p, q]
                out[:] = b
                for i in range(i_low, i_high):
                    for j in range(j_low, j_high):
                        _spread(x[s, r + i * dh, t + j * dw], w[i, j], out)


@kernel("(T[:,:,:,::1], T[:,:,:,::1], T[:,:,:,::1], UniTuple(int64, 10))", parallel=True)
def _input_gradient(dy, w, dx, window):
    n, h, wide, c = dx.shape
    _, oh, ow, _ = dy.shape
    kh, kw, sh, sw, dh, dw, top, _, left, _ = window
    m = w.shape[3]
    for s in prange(n):
        dx[s] = 0
        for p in range(oh):
            r, i_low, i_high = inside(p, sh, top, kh, dh, h)
            for q in range(ow):
                t, j_low, j_high = inside(q, sw, left, kw, dw, wide)
                gradient = dy[s, p, q]
                for i in range(i_low, i_high):
                    for j in range(j_low, j_high):
                        row, weights = dx[s, r + i * dh, t + j * dw], w[i, j]
                        for k in range(c):
                            for e in range(m):
                                row[k] += gradient[k * m + e] * weights[k, e]


@kernel("(T[:,:,:,::1], T[:,:,:,::1], T[:,:,:,:,::1], T[:,::1], UniTuple(int64, 10))", parallel=True)
def _weight_gradient(x, dy, partial, partial_b, window):
    n, h, wide, c = x.shape
    _, oh, ow, _ = dy.shape
    kh, kw, sh, sw, dh, dw, top, _, left, _ = window
    m = partial.shape[4]
    for part in prange(PARTS):
        partial[part] = 0
        partial_b[part] = 0
        for s in range(n * part // PARTS, n * (part + 1) // PARTS):
            for p in range(oh):
                r, i_low, i_high = inside(p, sh, top, kh, dh, h)
                for q in range(ow):
                    t, j_low, j_high = inside(q, sw, left, kw, dw, wide)
                    gradient = dy[s, p, q]
                    partial_b[part] += gradient
                    for i in range(i_low, i_high):
                        for j in range(j_low, j_high):
                            row, weights = x[s, r + i * dh, t + j * dw], partial[part, i, j]
                            for k in range(c):
                                for e in range(m):
                                    weights[k, e] += row[k] * gradient[k * m + e]


def depthwise_conv2d(x, w, b, y, window: Window) -> None:
    """y (N,OH,OW,C*M) from x (N,H,W,C), w (KH,KW,C,M) and b (C*M,) or None."""
    _forward(x, w, bias(b, y.dtype, y.shape[3]), y, tuple(window))


def depthwise_conv2d_input_grad(dy, w, dx, window: Window) -> None:
    """dx (N,H,W,C) from dy (N,OH,OW,C*M)."""
    _input_gradient(dy, w, dx, tuple(window))


def depthwise_conv2d_weight_grad(x, dy, dw, db, window: Window) -> None:
    """dw (KH,KW,C,M) and db (C*M,) from x (N,H,W,C) and dy (N,OH,OW,C*M)."""
    partial, partial_b = np.empty((PARTS, *dw.shape), x.dtype), np.empty((PARTS, *db.shape), x.dtype)
    _weight_gradient(x, dy, partial, partial_b, tuple(window))
    add_parts(partial.reshape(PARTS, -1), dw.reshape(-1))
    add_parts(partial_b, db)
