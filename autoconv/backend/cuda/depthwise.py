"""Depthwise convolution: each channel has its own M kernels. A thread an item of the result, no sum across threads.

y[p, q, c*M + m] = b[c*M + m] + sum over i, j of x[p*sh + i*dh - top, q*sw + j*dw - left, c] * w[i, j, c, m]
"""

from ...arguments.shapes import Window
from . import array as arrays
from .conv import PARTS, add_parts, bias, channel_sums
from .pointwise import relu_grad  # noqa: F401 (part of this module: the gradient of a convolution with relu)
from .ptx import global_index
from .runtime import kernel
from .windows import output, tap


@kernel("(int64, const T[:,:,:,::1], const T[:,:,:,::1], const T[::1], boolean, T[:,:,:,::1],"
        " UniTuple(int64, 10), boolean)")
def _forward(count, x, w, b, has_bias, y, window, relu):
    _, oh, ow, filters = y.shape
    kh, kw, sh, sw, dh, dw, top, _, left, _ = window
    m = w.shape[3]
    item = global_index()
    if item < count:
        f, q = item % filters, item // filters % ow
        p, n = item // (filters * ow) % oh, item // (filters * ow * oh)
        total = b[f] if has_bias else y.dtype.type(0)
        for i in range(kh):
            r = tap(p, i, sh, dh, top)
            if 0 <= r < x.shape[1]:
                for j in range(kw):
                    t = tap(q, j, sw, dw, left)
                    if 0 <= t < x.shape[2]:
                        total += x[n, r, t, f // m] * w[i, j, f // m, f % m]
        y[n, p, q, f] = y.dtype.type(0) if relu and total < y.dtype.type(0) else total


@kernel("(int64, const T[:,:,:,::1], const T[:,:,:,::1], T[:,:,:,::1], UniTuple(int64, 10))")
def _input_gradient(count, dy, w, dx, window):
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
                    if q >= 0:
                        for m in range(w.shape[3]):
                            total += dy[n, p, q, c * w.shape[3] + m] * w[i, j, c, m]
        dx[n, r, t, c] = total


@kernel("(int64, const T[:,:,:,::1], const T[:,:,:,::1], T[:,:,:,:,::1], UniTuple(int64, 10))")
def _weight_gradient(count, x, dy, partial, window):
    """partial (PARTS, KH, KW, C, M)."""
    parts, kh, kw, channels, m = partial.shape
    _, _, sh, sw, dh, dw, top, _, left, _ = window
    filters, oh, rows = channels * m, dy.shape[1], dy.shape[0] * dy.shape[1]
    item = global_index()
    if item < count:
        f, tap_number, part = item % filters, item // filters % (kh * kw), item // (filters * kh * kw)
        i, j = tap_number // kw, tap_number % kw
        total = x.dtype.type(0)
        for row in range(rows * part // parts, rows * (part + 1) // parts):
            n, p = row // oh, row % oh
            r = tap(p, i, sh, dh, top)
            if 0 <= r < x.shape[1]:
                for q in range(dy.shape[2]):
                    t = tap(q, j, sw, dw, left)
                    if 0 <= t < x.shape[2]:
                        total += x[n, r, t, f // m] * dy[n, p, q, f]
        partial[part, i, j, f // m, f % m] = total


def depthwise_conv2d(x, w, b, y, window: Window, relu: bool = False) -> None:
    """y (N,OH,OW,C*M) from x (N,H,W,C), w (KH,KW,C,M) and b (C*M,) or None; max(y, 0) with `relu`."""
    _forward(y.size, x, w, *bias(b, w), y, tuple(window), relu)


def depthwise_conv2d_input_grad(dy, w, dx, window: Window) -> None:
    """dx (N,H,W,C) from dy (N,OH,OW,C*M)."""
    _input_gradient(dx.size, dy, w, dx, tuple(window))


def depthwise_conv2d_weight_grad(x, dy, dw, db, window: Window) -> None:
    """dw (KH,KW,C,M) and db (C*M,) from x (N,H,W,C) and dy (N,OH,OW,C*M)."""
    partial = arrays.empty(x.gpu, (PARTS, *dw.shape), x.dtype)
    _weight_gradient(partial.size, x, dy, partial, tuple(window))
    add_parts(partial, dw)
    channel_sums(dy, db)
