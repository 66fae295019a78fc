"""Computes depthwise convolution, with M separate kernels for each channel.

A thread computes one element of the result, or four adjacent channels of it if M is 1.

    y[p, q, c*M + m] = b[c*M + m]
        + sum over i, j of x[p*sh + i*dh - top, q*sw + j*dw - left, c] * w[i, j, c, m]
"""

from ...arguments.shapes import Window
from . import array as arrays
from . import pointwise
from .conv import PARTS, add_parts, bias, channel_sums, check_countable
from .fours import WIDTHS, moving, portions, vector_kernel, width
from .gather import divide, divisor
from .kernels import ItemKernel, cuda
from .pointwise import relu_grad  # noqa: F401 (re-exported: the gradient with relu)
from .ptx import global_index, in_range, times
from .windows import DIVISORS, make_divisors, output, place, ravel, real_outputs, real_taps, tap, taps_to

IMAGES = "T[:,:,:,::1]"


def _forward(size: int) -> ItemKernel:
    fetch, put = moving(size)

    @vector_kernel(f"(int64, const {IMAGES}, const {IMAGES}, const T[::1], boolean, {IMAGES}, UniTuple(int64, 10),"
                   f" {DIVISORS}, UniTuple(int64, 3), boolean)", "_forward", size)
    def run(count, x, w, b, has_bias, y, window, divisors, m_divisor, relu):
        kh, kw, sh, sw, dh, dw, top, _, left, _ = window
        h, wide, pieces, item, zero = x.shape[1], x.shape[2], x.shape[3] // size, global_index(), y.dtype.type(0)
        total, here = cuda.local.array(size, y.dtype), cuda.local.array(size, y.dtype)
        factor = cuda.local.array(size, y.dtype)
        if item < count:
            n, p, q, f = place(item, divisors)
            c, step = divide(f, m_divisor), times(dw, pieces)
            for e in range(size):
                total[e] = 0
            if has_bias:
                fetch(total, b, f)
            i_low, i_high = real_taps(p, kh, sh, divisors[5], top, h)
            j_low, j_high = real_taps(q, kw, sw, divisors[6], left, wide)
            for i in range(i_low, i_high):
                read = ravel(n, tap(p, i, sh, dh, top), tap(q, j_low, sw, dw, left), c, h, wide, pieces)
                weight = times(times(i, kw) + j_low, divisors[1][0]) + f
                end = weight + times(j_high - j_low, divisors[1][0])
                while weight < end:
                    fetch(here, x, read)
                    fetch(factor, w, weight)
                    for e in range(size):
                        total[e] += here[e] * factor[e]
                    read, weight = read + step, weight + divisors[1][0]
            for e in range(size):
                total[e] = zero if relu and total[e] < zero else total[e]
            put(y, item, total)

    return run


def _input_gradient(size: int) -> ItemKernel:
    fetch, put = moving(size)

    @vector_kernel(f"(int64, const {IMAGES}, const {IMAGES}, {IMAGES}, UniTuple(int64, 10), {DIVISORS}, int64)",
                   "_input_gradient", size)
    def run(count, dy, w, dx, window, divisors, m):
        kh, kw, _, _, dh, dw, top, _, left, _ = window
        oh, ow, pieces, item = dy.shape[1], dy.shape[2], dy.shape[3] // size, global_index()
        total, here = cuda.local.array(size, dx.dtype), cuda.local.array(size, dx.dtype)
        factor = cuda.local.array(size, dx.dtype)
        if item < count:
            n, r, t, c = place(item, divisors)
            f = times(c, m)
            for e in range(size):
                total[e] = 0
            down = taps_to(r, kh, divisors[3], dh, top, oh)
            along = taps_to(t, kw, divisors[4], dw, left, ow)
            for a in range(down[2]):
                i = down[0] + times(a, down[1])
                p = down[3] - a if dh == 1 else output(r, i, divisors[3], dh, top, oh)
                if p >= 0:
                    line = ravel(n, p, 0, f, oh, ow, pieces)
                    weight = times(times(i, kw) + along[0], pieces) + f
                    b, q, read, step = 0, 0, line + times(along[3], pieces), times(along[1], pieces)
                    while b < along[2]:
                        if dw != 1:
                            q = output(t, b, divisors[4], dw, left, ow)
                            read = line + times(q, pieces)
                        if q >= 0:
                            for k in range(1 if size > 1 else m):
                                fetch(here, dy, read + k)
                                fetch(factor, w, weight + k)
                                for e in range(size):
                                    total[e] += here[e] * factor[e]
                        b, read, weight = b + 1, read - pieces, weight + step
            put(dx, item, total)

    return run


def _weight_gradient(size: int) -> ItemKernel:
    """Creates a kernel for partial (parts, KH, KW, C, M) = the weight gradient's partial sums, each
    over `length` rows of dy.
    """
    fetch, put = moving(size)

    @vector_kernel(f"(int64, const {IMAGES}, const {IMAGES}, T[:,:,:,:,::1], UniTuple(int64, 10), "
                   f"{DIVISORS}, UniTuple(UniTuple(int64, 3), 3), int64)", "_weight_gradient", size)
    def run(count, x, dy, partial, window, divisors, extra_divisors, length):
        _, _, sh, sw, dh, dw, top, _, left, _ = window
        (number, h, wide, channels), (_, oh, ow, filters) = x.shape, dy.shape
        (m_divisor, sw_divisor, oh_divisor), item, rows = extra_divisors, global_index(), times(number, oh)
        total, here = cuda.local.array(size, x.dtype), cuda.local.array(size, x.dtype)
        dy_values = cuda.local.array(size, x.dtype)
        if item < count:
            (part, i, j, f), step = place(item, divisors), times(sw, channels // size)
            low, high = real_outputs(j, sw_divisor, dw, left, wide, ow)
            for e in range(size):
                total[e] = 0
            for row in range(times(part, length), min(times(part + 1, length), rows)):
                n = divide(row, oh_divisor)
                r = tap(row - times(n, oh), i, sh, dh, top)
                if in_range(r, h):
                    read = ravel(n, r, tap(low, j, sw, dw, left), divide(f, m_divisor), h, wide, channels // size)
                    dy_index = times(times(row, ow) + low, filters // size) + f
                    for _ in range(low, high):
                        fetch(here, x, read)
                        fetch(dy_values, dy, dy_index)
                        for e in range(size):
                            total[e] += here[e] * dy_values[e]
                        read, dy_index = read + step, dy_index + filters // size
            put(partial, item, total)

    return run


_FORWARD, _INPUT_GRADIENT, _WEIGHT_GRADIENT = (
    tuple(map(make, WIDTHS)) for make in (_forward, _input_gradient, _weight_gradient))


def depthwise_conv2d(x, w, b, y, window: Window, activation: str = "linear") -> None:
    """Computes y (N,OH,OW,C*M) from x (N,H,W,C), w (KH,KW,C,M) and b (C*M,) or None. The activation is
    applied to y.
    """
    flat_b, has_bias = bias(b, w)
    size = _width(w, x, y, flat_b)
    for portion, result in portions(size, x, y):
        divisors = make_divisors(*y.shape[1:3], y.shape[3] // size, window)
        _FORWARD[size // 4](result.size // size, portion, w, flat_b, has_bias, result,
                            tuple(window), divisors, divisor(w.shape[3]), activation == "relu")
    pointwise.activate(y, activation)


def depthwise_conv2d_input_grad(dy, w, dx, window: Window) -> None:
    """Computes dx (N,H,W,C) from dy (N,OH,OW,C*M)."""
    size = _width(w, dy, dx)
    for portion, result in portions(size, dy, dx):
        divisors = make_divisors(*dx.shape[1:3], dx.shape[3] // size, window)
        _INPUT_GRADIENT[size // 4](result.size // size, portion, w, result, tuple(window), divisors, w.shape[3])


def depthwise_conv2d_weight_grad(x, dy, dw, db, window: Window) -> None:
    """Computes dw (KH,KW,C,M) and db (C*M,) from x (N,H,W,C) and dy (N,OH,OW,C*M)."""
    check_countable(x.shape[:3])  # checks the number of pixels, not of elements
    check_countable(dy.shape[:3])
    size = _width(dw, x, dy)
    rows = dy.shape[0] * dy.shape[1]
    length = -(-rows // PARTS)
    partial = arrays.empty(x.gpu, (-(-rows // max(length, 1)), *dw.shape), x.dtype)
    divisors = make_divisors(*dw.shape[:2], dy.shape[3] // size, window)
    _WEIGHT_GRADIENT[size // 4](partial.size // size, x, dy, partial, tuple(window), divisors,
                                tuple(map(divisor, (dw.shape[3], window.sw, dy.shape[1]))), length)
    add_parts(partial, dw)
    channel_sums(dy, db)


def _width(w, *images) -> int:
    """Returns the number of channels per thread: four if each channel has one kernel and
    `fours.width` allows it, otherwise one.
    """
    return width(w.shape[2], w, *images) if w.shape[3] == 1 else 1
