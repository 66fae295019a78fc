"""2-D convolution: forward, input gradient, weight gradient. A thread an item of the result, no sum across threads.

A weight gradient is PARTS partial sums, each over its share of the output's rows, that are added in their order.
"""

from ...shapes import Window
from . import array as arrays
from .pointwise import relu_grad  # noqa: F401 (part of this room: the gradient of conv2d with relu)
from .runtime import cuda, inline, kernel
from .windows import output, tap

PARTS = 32


@inline
def window_sum(x, w, n, p, q, f, group, window):
    """The sum over the window of output pixel (p, q) of image n, for filter f, whose group is `group`."""
    kh, kw, sh, sw, dh, dw, top, _, left, _ = window
    channels = w.shape[2]
    total = x.dtype.type(0)
    for i in range(kh):
        r = tap(p, i, sh, dh, top)
        if 0 <= r < x.shape[1]:
            for j in range(kw):
                t = tap(q, j, sw, dw, left)
                if 0 <= t < x.shape[2]:
                    for c in range(channels):
                        total += x[n, r, t, group * channels + c] * w[i, j, c, f]
    return total


@kernel("(int64, T[:,:,:,::1], T[:,:,:,::1], T[::1], boolean, T[:,:,:,::1], UniTuple(int64, 10), int64, boolean)")
def _forward(count, x, w, b, has_bias, y, window, groups, relu):
    _, oh, ow, filters = y.shape
    zero = y.dtype.type(0)
    for item in range(cuda.grid(1), count, cuda.gridsize(1)):
        f, q = item % filters, item // filters % ow
        p, n = item // (filters * ow) % oh, item // (filters * ow * oh)
        total = window_sum(x, w, n, p, q, f, f // (filters // groups), window)
        if has_bias:
            total += b[f]
        y[n, p, q, f] = zero if relu and total < zero else total


@kernel("(int64, T[:,:,:,::1], T[:,:,:,::1], T[::1], boolean, T[:,:,:,::1], UniTuple(int64, 10), int64)")
def _input_gradient(count, dy, w, b, has_bias, dx, window, groups):
    _, h, wide, channels = dx.shape
    kh, kw, sh, sw, dh, dw, top, _, left, _ = window
    each_c, each_f = channels // groups, dy.shape[3] // groups
    for item in range(cuda.grid(1), count, cuda.gridsize(1)):
        c, t = item % channels, item // channels % wide
        r, n = item // (channels * wide) % h, item // (channels * wide * h)
        first = c // each_c * each_f
        total = b[c] if has_bias else dx.dtype.type(0)
        for i in range(kh):
            p = output(r, i, sh, dh, top, dy.shape[1])
            if p >= 0:
                for j in range(kw):
                    q = output(t, j, sw, dw, left, dy.shape[2])
                    if q >= 0:
                        for f in range(first, first + each_f):
                            total += dy[n, p, q, f] * w[i, j, c % each_c, f]
        dx[n, r, t, c] = total


@kernel("(int64, T[:,:,:,::1], T[:,:,:,::1], T[:,:,:,:,::1], UniTuple(int64, 10), int64)")
def _weight_gradient(count, x, dy, partial, window, groups):
    """partial (PARTS, KH, KW, C/groups, F)."""
    parts, kh, kw, channels, filters = partial.shape
    _, _, sh, sw, dh, dw, top, _, left, _ = window
    oh, rows = dy.shape[1], dy.shape[0] * dy.shape[1]
    for item in range(cuda.grid(1), count, cuda.gridsize(1)):
        f, c = item % filters, item // filters % channels
        tap_number, part = item // (filters * channels) % (kh * kw), item // (filters * channels * kh * kw)
        i, j = tap_number // kw, tap_number % kw
        channel = f // (filters // groups) * channels + c
        total = x.dtype.type(0)
        for row in range(rows * part // parts, rows * (part + 1) // parts):
            n, p = row // oh, row % oh
            r = tap(p, i, sh, dh, top)
            if 0 <= r < x.shape[1]:
                for q in range(dy.shape[2]):
                    t = tap(q, j, sw, dw, left)
                    if 0 <= t < x.shape[2]:
                        total += x[n, r, t, channel] * dy[n, p, q, f]
        partial[part, i, j, c, f] = total


@kernel("(int64, T[:,::1], T[:,::1])")
def _channel_sums(count, rows, partial):
    """partial (PARTS, F): each the sums over its share of the rows (M, F)."""
    parts, filters = partial.shape
    length = rows.shape[0]
    for item in range(cuda.grid(1), count, cuda.gridsize(1)):
        f, part = item % filters, item // filters
        total = rows.dtype.type(0)
        for i in range(length * part // parts, length * (part + 1) // parts):
            total += rows[i, f]
        partial[part, f] = total


@kernel("(int64, T[:,::1], T[::1])")
def _add_parts(count, partial, total):
    """total = partial[0] + ... + partial[-1], in this order."""
    for i in range(cuda.grid(1), count, cuda.gridsize(1)):
        item = partial[0, i]
        for part in range(1, partial.shape[0]):
            item += partial[part, i]
        total[i] = item


def conv2d(x, w, b, y, window: Window, groups: int = 1, relu: bool = False) -> None:
    """y (N,OH,OW,F) = x (N,H,W,C) * w (KH,KW,C/groups,F) + b (F,) or None; max(y, 0) with `relu`."""
    _forward(y.size, x, w, *bias(b, w), y, tuple(window), groups, relu)


def conv2d_input_grad(dy, w, dx, window: Window, groups: int = 1, b=None) -> None:
    """dx (N,H,W,C) from dy (N,OH,OW,F): also the transposed convolution, which adds a bias b (C,)."""
    _input_gradient(dx.size, dy, w, *bias(b, w), dx, tuple(window), groups)


def conv2d_weight_grad(x, dy, dw, db, window: Window, groups: int = 1) -> None:
    """dw (KH,KW,C/groups,F) and db (F,) from x (N,H,W,C) and dy (N,OH,OW,F)."""
    partial = arrays.empty(x.gpu, (PARTS, *dw.shape), x.dtype)
    _weight_gradient(partial.size, x, dy, partial, tuple(window), groups)
    add_parts(partial, dw)
    channel_sums(dy, db)


def channel_sums(dy, db) -> None:
    """db (F,) = the sum of dy (..., F) over all but its last axis."""
    partial = arrays.empty(dy.gpu, (PARTS, db.size), dy.dtype)
    _channel_sums(partial.size, dy.reshape(-1, db.size), partial)
    add_parts(partial, db)


def add_parts(partial, total) -> None:
    """total = the sum of the partial ones (PARTS, ...), in their order."""
    _add_parts(total.size, partial.reshape(partial.shape[0], total.size), total.reshape(-1))


def bias(b, like):
    """What a kernel takes for a bias: an array, and whether it is one. `like` stands in where there is none."""
    return (like.reshape(-1), False) if b is None else (b, True)
