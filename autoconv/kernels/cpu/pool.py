"""Computes max and average pooling: parallel over the batch, vectorized over the channels."""

from functools import lru_cache

import numpy as np
from numba import prange
from numpy.typing import DTypeLike

from ...arguments.shapes import Window
from ..buffers import scratch
from . import simd
from .arith import divide
from .jit import inline, kernel
from .products import bias, ones
from .stencil import backward_axis, clip_window, forward_axis, stencil
from .tasks import loops, piece

FEW = 1 << 12  # number of 2x2 windows that one thread processes while a second thread starts
SIDE_BY_SIDE = Window(2, 2, 2, 2)  # the usual pooling: 2x2 windows without overlap or padding


@inline
def larger(pixel, best):
    """Returns whether `pixel` replaces the maximum `best`: if it is larger or the first NaN."""
    return (pixel > best) | ((pixel != pixel) & (best == best))


@kernel("(T[:,:,:,::1], T[:,:,:,::1], int32[:,:,:,::1], UniTuple(int64, 10))", parallel=True)
def _max(x, y, winner, window):
    """y = each window's maximum, winner = its first position i*kw + j; NaN exceeds all numbers."""
    n, h, w, c = x.shape
    _, oh, ow, _ = y.shape
    kh, kw, sh, sw, dh, dw, top, _, left, _ = window
    for s in prange(n):
        for p in range(oh):
            r, i_low, i_high = clip_window(p, sh, top, kh, dh, h)
            for q in range(ow):
                t, j_low, j_high = clip_window(q, sw, left, kw, dw, w)
                best, argmax = y[s, p, q], winner[s, p, q]
                best[:] = x[s, r + i_low * dh, t + j_low * dw]
                argmax[:] = i_low * kw + j_low
                for i in range(i_low, i_high):
                    for j in range(j_low, j_high):
                        row, index = x[s, r + i * dh, t + j * dw], np.int32(i * kw + j)
                        for k in range(c):
                            better = larger(row[k], best[k])
                            best[k], argmax[k] = row[k] if better else best[k], index if better else argmax[k]


@kernel("(T[:,:,:,::1], T[:,:,:,::1], int32[:,:,:,::1])", parallel=True)
def _max_2x2(x, y, winner):
    """Computes `_max` in registers, for 2x2 windows without overlap or padding."""
    n, oh, ow, c = y.shape
    for s in prange(n):
        for p in range(oh):
            for q in range(ow):
                for k in range(c):
                    best, argmax = x[s, 2 * p, 2 * q, k], np.int32(0)
                    for i in range(1, 4):
                        pixel = x[s, 2 * p + i // 2, 2 * q + i % 2, k]
                        better = larger(pixel, best)
                        best = pixel if better else best
                        argmax = np.int32(i) if better else argmax
                    y[s, p, q, k], winner[s, p, q, k] = best, argmax


@kernel("(T[:,:,:,::1], int32[:,:,:,::1], T[:,:,:,::1])", parallel=True)
def _max_2x2_grad(dy, winner, dx):
    """Computes `_max_grad` for 2x2 windows without overlap or padding. Writes each pixel once."""
    n, oh, ow, c = dy.shape
    zero = dx.dtype.type(0)
    for s in prange(n):
        dx[s, 2 * oh :] = 0
        dx[s, :, 2 * ow :] = 0
        for p in range(oh):
            for q in range(ow):
                for k in range(c):
                    gradient, argmax = dy[s, p, q, k], winner[s, p, q, k]
                    for i in range(4):
                        dx[s, 2 * p + i // 2, 2 * q + i % 2, k] = gradient if argmax == np.int32(i) else zero


@kernel("(T[:,:,:,::1], int32[:,:,:,::1], T[:,:,:,::1], UniTuple(int64, 10))", parallel=True)
def _max_grad(dy, winner, dx, window):
    """dx = 0, then adds each window's gradient to the pixel of dx that was the window's maximum."""
    n, h, w, c = dx.shape
    _, oh, ow, _ = dy.shape
    kh, kw, sh, sw, dh, dw, top, _, left, _ = window
    for s in prange(n):
        dx[s] = 0
        for p in range(oh):
            r, i_low, i_high = clip_window(p, sh, top, kh, dh, h)
            for q in range(ow):
                t, j_low, j_high = clip_window(q, sw, left, kw, dw, w)
                gradient, argmax = dy[s, p, q], winner[s, p, q]
                for i in range(i_low, i_high):
                    for j in range(j_low, j_high):
                        row, index = dx[s, r + i * dh, t + j * dw], np.int32(i * kw + j)
                        for k in range(c):
                            row[k] += gradient[k] if argmax[k] == index else row.dtype.type(0)


@kernel("(T[:,:,:,::1], T[:,:,:,::1])", parallel=True)
def _average_2x2(x, y):
    """y = the means of 2x2 windows of x without overlap or padding."""
    n, oh, ow, c = y.shape
    quarter, count = y.dtype.type(0.25), loops(n * oh, y.size, FEW)
    for task in prange(count):
        first, end = piece(n * oh, task, count, 1)
        for row in range(first, end):
            s, p = row // oh, row % oh
            for q in range(ow):
                for k in range(c):
                    total = x[s, 2 * p, 2 * q, k] + x[s, 2 * p, 2 * q + 1, k]
                    total += x[s, 2 * p + 1, 2 * q, k] + x[s, 2 * p + 1, 2 * q + 1, k]
                    y[s, p, q, k] = quarter * total


@kernel("(T[:,:,:,::1], T[:,:,:,::1])", parallel=True)
def _average_2x2_grad(dy, dx):
    """dx = the input gradient of `_average_2x2`. Each pixel is written once."""
    n, oh, ow, c = dy.shape
    quarter = dy.dtype.type(0.25)
    for s in prange(n):
        dx[s, 2 * oh :] = 0
        dx[s, :, 2 * ow :] = 0
        for p in range(oh):
            for q in range(ow):
                for k in range(c):
                    share = quarter * dy[s, p, q, k]
                    for i in range(4):
                        dx[s, 2 * p + i // 2, 2 * q + i % 2, k] = share


def max_pool2d(x, y, winner, window: Window) -> None:
    """y (N,OH,OW,C) = the maximum of each window of x (N,H,W,C); winner = its position, int32."""
    if window == SIDE_BY_SIDE:
        _max_2x2(x, y, winner)
    else:
        _max(x, y, winner, tuple(window))


def max_pool2d_grad(dy, winner, dx, window: Window) -> None:
    """dx (N,H,W,C) = the input gradient of `max_pool2d` for dy (N,OH,OW,C)."""
    if window == SIDE_BY_SIDE:
        _max_2x2_grad(dy, winner, dx)
    else:
        _max_grad(dy, winner, dx, tuple(window))


def avg_pool2d(x, y, window: Window) -> None:
    """y (N,OH,OW,C) = the mean of each window of x (N,H,W,C), over the window's pixels inside x."""
    if window == SIDE_BY_SIDE:
        _average_2x2(x, y)
        return
    kh, kw, sh, sw, dh, dw, top, _, left, _ = window
    stencil(x, *_unit_weights(x), y, forward_axis(kh, sh, dh, top, y.shape[1], has_w=False),
            forward_axis(kw, sw, dw, left, y.shape[2], has_w=False), _size(x, y, window), simd.LINEAR)


def avg_pool2d_grad(dy, dx, window: Window) -> None:
    """Divides each window's gradient in dy (N,OH,OW,C) evenly among its pixels in dx (N,H,W,C)."""
    if window == SIDE_BY_SIDE:
        _average_2x2_grad(dy, dx)
        return
    kh, kw, sh, sw, dh, dw, top, _, left, _ = window
    size = _size(dx, dy, window)
    if size == 0:
        window_dy = dy
        dy = scratch(dy.shape, dy.dtype)
        divide(window_dy, _sizes(*dx.shape[1:3], *dy.shape[1:3], window, dy.dtype), dy)
    stencil(dy, *_unit_weights(dy), dx, backward_axis(kh, sh, dh, top, dx.shape[1], has_w=False),
            backward_axis(kw, sw, dw, left, dx.shape[2], has_w=False), size or 1, simd.LINEAR)


def _unit_weights(x) -> tuple[np.ndarray, np.ndarray]:
    """Returns weights of 1 and a bias of 0, for sums without weights and bias."""
    return ones(x.dtype, x.shape[3]).reshape(1, 1, -1, 1), bias(None, x.dtype, x.shape[3])


def _size(x, y, window: Window) -> int:
    """Returns the number of pixels per window, or 0 if some windows are not entirely inside x."""
    sizes = _sizes(*x.shape[1:3], *y.shape[1:3], window, x.dtype)
    return window.kh * window.kw if (sizes == window.kh * window.kw).all() else 0


@lru_cache(maxsize=64)
def _sizes(h: int, w: int, oh: int, ow: int, window: Window, dtype: DTypeLike) -> np.ndarray:
    """Returns the number of pixels inside the image for each window, as (OH,OW,1)."""
    axes = (oh, window.sh, window.top, window.kh, h), (ow, window.sw, window.left, window.kw, w)
    rows, columns = (np.array([high - low for _, low, high in (clip_window.py_func(o, stride, pad, size, 1, n)
                                                               for o in range(outputs))], dtype)
                     for outputs, stride, pad, size, n in axes)
    return (rows[:, None] * columns)[..., None]
