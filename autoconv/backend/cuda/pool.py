"""Max and average pooling: a thread an item of the result."""

from ...arguments.shapes import Window
from .ptx import global_index
from .runtime import kernel
from .windows import output, real_taps, tap


@kernel("(int64, const T[:,:,:,::1], T[:,:,:,::1], int32[:,:,:,::1], UniTuple(int64, 10))")
def _max(count, x, y, winner, window):
    """The largest pixel of each window and its position i*kw + j, the first in scan order; a NaN is larger than all."""
    _, oh, ow, channels = y.shape
    kh, kw, sh, sw, dh, dw, top, _, left, _ = window
    item = global_index()
    if item < count:
        c, q = item % channels, item // channels % ow
        p, n = item // (channels * ow) % oh, item // (channels * ow * oh)
        i_low, i_high = real_taps(p, kh, sh, dh, top, x.shape[1])
        j_low, j_high = real_taps(q, kw, sw, dw, left, x.shape[2])
        best, where = x[n, tap(p, i_low, sh, dh, top), tap(q, j_low, sw, dw, left), c], i_low * kw + j_low
        for i in range(i_low, i_high):
            for j in range(j_low, j_high):
                pixel = x[n, tap(p, i, sh, dh, top), tap(q, j, sw, dw, left), c]
                if pixel > best or (pixel != pixel and best == best):
                    best, where = pixel, i * kw + j
        y[n, p, q, c], winner[n, p, q, c] = best, where


@kernel("(int64, const T[:,:,:,::1], const int32[:,:,:,::1], T[:,:,:,::1], UniTuple(int64, 10))")
def _max_grad(count, dy, winner, dx, window):
    """dx: for each pixel the gradients of the windows that it won, in the order of its taps."""
    _, h, wide, channels = dx.shape
    kh, kw, sh, sw, dh, dw, top, _, left, _ = window
    item = global_index()
    if item < count:
        c, t = item % channels, item // channels % wide
        r, n = item // (channels * wide) % h, item // (channels * wide * h)
        total = dx.dtype.type(0)
        for i in range(kh):
            p = output(r, i, sh, dh, top, dy.shape[1])
            if p >= 0:
                for j in range(kw):
                    q = output(t, j, sw, dw, left, dy.shape[2])
                    if q >= 0 and winner[n, p, q, c] == i * kw + j:
                        total += dy[n, p, q, c]
        dx[n, r, t, c] = total


@kernel("(int64, const T[:,:,:,::1], T[:,:,:,::1], UniTuple(int64, 10))")
def _average(count, x, y, window):
    """The mean over the real pixels of each window."""
    _, oh, ow, channels = y.shape
    kh, kw, sh, sw, dh, dw, top, _, left, _ = window
    item = global_index()
    if item < count:
        c, q = item % channels, item // channels % ow
        p, n = item // (channels * ow) % oh, item // (channels * ow * oh)
        i_low, i_high = real_taps(p, kh, sh, dh, top, x.shape[1])
        j_low, j_high = real_taps(q, kw, sw, dw, left, x.shape[2])
        total = y.dtype.type(0)
        for i in range(i_low, i_high):
            for j in range(j_low, j_high):
                total += x[n, tap(p, i, sh, dh, top), tap(q, j, sw, dw, left), c]
        y[n, p, q, c] = total / y.dtype.type((i_high - i_low) * (j_high - j_low))


@kernel("(int64, const T[:,:,:,::1], T[:,:,:,::1], UniTuple(int64, 10))")
def _average_grad(count, dy, dx, window):
    """dx: for each pixel its share of the gradients of the windows it lies in."""
    _, h, wide, channels = dx.shape
    kh, kw, sh, sw, dh, dw, top, _, left, _ = window
    item = global_index()
    if item < count:
        c, t = item % channels, item // channels % wide
        r, n = item // (channels * wide) % h, item // (channels * wide * h)
        total = dx.dtype.type(0)
        for i in range(kh):
            p = output(r, i, sh, dh, top, dy.shape[1])
            if p >= 0:
                i_low, i_high = real_taps(p, kh, sh, dh, top, h)
                for j in range(kw):
                    q = output(t, j, sw, dw, left, dy.shape[2])
                    if q >= 0:
                        j_low, j_high = real_taps(q, kw, sw, dw, left, wide)
                        total += dy[n, p, q, c] / dx.dtype.type((i_high - i_low) * (j_high - j_low))
        dx[n, r, t, c] = total


def max_pool2d(x, y, winner, window: Window) -> None:
    """y (N,OH,OW,C) and the winners' positions (N,OH,OW,C) int32 in the windows of x (N,H,W,C)."""
    _max(y.size, x, y, winner, tuple(window))


def max_pool2d_grad(dy, winner, dx, window: Window) -> None:
    """dx (N,H,W,C) from dy (N,OH,OW,C)."""
    _max_grad(dx.size, dy, winner, dx, tuple(window))


def avg_pool2d(x, y, window: Window) -> None:
    """y (N,OH,OW,C): the means of the windows of x (N,H,W,C)."""
    _average(y.size, x, y, tuple(window))


def avg_pool2d_grad(dy, dx, window: Window) -> None:
    """dx (N,H,W,C) from dy (N,OH,OW,C)."""
    _average_grad(dx.size, dy, dx, tuple(window))
