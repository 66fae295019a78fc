"""Computes max and average pooling. Each thread handles one or four channels of a pixel.

Adjacent 2x2 windows have separate kernels, in which a thread handles all four pixels of a window.
The kernels for other windows loop over a window's taps.
"""

import numpy as np

from ...arguments.shapes import Window
from .fours import WIDTHS, moving, portions, vector_kernel, width
from .kernels import ItemKernel, cuda, inline
from .ptx import global_index, times
from .windows import DIVISORS, make_divisors, output, place, ravel, real_taps, tap, taps_to

IMAGES = "T[:,:,:,::1]"


@inline
def larger(item, best):
    """Returns whether `item` replaces the maximum `best`: if it is larger, or the first NaN."""
    return not item <= best and best == best


def _max(size: int) -> ItemKernel:
    """Creates a kernel: y, winner = each window's first maximum and its position i*kw + j. NaN
    counts as the largest value.
    """
    fetch, put = moving(size)

    @vector_kernel(f"(int64, const {IMAGES}, {IMAGES}, int32[:,:,:,::1], UniTuple(int64, 10), {DIVISORS})",
                   "_max", size)
    def run(count, x, y, winner, window, divisors):
        kh, kw, sh, sw, dh, dw, top, _, left, _ = window
        h, wide, pieces, item = x.shape[1], x.shape[2], divisors[1][0], global_index()
        best, here = cuda.local.array(size, x.dtype), cuda.local.array(size, x.dtype)
        index = cuda.local.array(size, np.int32)
        if item < count:
            n, p, q, c = place(item, divisors)
            i_low, i_high = real_taps(p, kh, sh, divisors[5], top, h)
            j_low, j_high = real_taps(q, kw, sw, divisors[6], left, wide)
            first = (tap(p, i_low, sh, dh, top), tap(q, j_low, sw, dw, left))
            step = times(dw, pieces)
            fetch(best, x, ravel(n, first[0], first[1], c, h, wide, pieces))
            for e in range(size):
                index[e] = times(i_low, kw) + j_low
            for i in range(i_low, i_high):
                read = ravel(n, tap(p, i, sh, dh, top), first[1], c, h, wide, pieces)
                k, end = times(i, kw) + j_low, times(i, kw) + j_high
                while k < end:
                    fetch(here, x, read)
                    for e in range(size):
                        if larger(here[e], best[e]):
                            best[e], index[e] = here[e], k
                    k, read = k + 1, read + step
            put(y, item, best)
            put(winner, item, index)

    return run


def _max_grad(size: int) -> ItemKernel:
    """Creates a kernel: dx[pixel] = the sum of dy over the windows whose maximum is this pixel,
    added in tap order.
    """
    fetch, put = moving(size)

    @vector_kernel(f"(int64, const {IMAGES}, const int32[:,:,:,::1], {IMAGES}, UniTuple(int64, 10), {DIVISORS})",
                   "_max_grad", size)
    def run(count, dy, winner, dx, window, divisors):
        kh, kw, _, _, dh, dw, top, _, left, _ = window
        oh, ow, pieces, item = dy.shape[1], dy.shape[2], divisors[1][0], global_index()
        total, dy_values = cuda.local.array(size, dx.dtype), cuda.local.array(size, dx.dtype)
        winners = cuda.local.array(size, np.int32)
        if item < count:
            n, r, t, c = place(item, divisors)
            for e in range(size):
                total[e] = 0
            down = taps_to(r, kh, divisors[3], dh, top, oh)
            along = taps_to(t, kw, divisors[4], dw, left, ow)
            for a in range(down[2]):
                i = down[0] + times(a, down[1])
                p = down[3] - a if dh == 1 else output(r, i, divisors[3], dh, top, oh)
                if p >= 0:
                    line = ravel(n, p, 0, c, oh, ow, pieces)
                    k, b, q, read = times(i, kw) + along[0], 0, 0, line + times(along[3], pieces)
                    while b < along[2]:
                        if dw != 1:
                            q = output(t, b, divisors[4], dw, left, ow)
                            read = line + times(q, pieces)
                        if q >= 0:
                            fetch(dy_values, dy, read)
                            fetch(winners, winner, read)
                            for e in range(size):
                                if winners[e] == k:
                                    total[e] += dy_values[e]
                        b, k, read = b + 1, k + along[1], read - pieces
            put(dx, item, total)

    return run


def _average(size: int) -> ItemKernel:
    """Creates a kernel: y = the mean of each window's pixels inside the image."""
    fetch, put = moving(size)

    @vector_kernel(f"(int64, const {IMAGES}, {IMAGES}, UniTuple(int64, 10), {DIVISORS})", "_average", size)
    def run(count, x, y, window, divisors):
        kh, kw, sh, sw, dh, dw, top, _, left, _ = window
        h, wide, pieces, item = x.shape[1], x.shape[2], divisors[1][0], global_index()
        total, here = cuda.local.array(size, x.dtype), cuda.local.array(size, x.dtype)
        if item < count:
            n, p, q, c = place(item, divisors)
            i_low, i_high = real_taps(p, kh, sh, divisors[5], top, h)
            j_low, j_high = real_taps(q, kw, sw, divisors[6], left, wide)
            for e in range(size):
                total[e] = 0
            step, length = times(dw, pieces), times(j_high - j_low, times(dw, pieces))
            for i in range(i_low, i_high):
                read = ravel(n, tap(p, i, sh, dh, top), tap(q, j_low, sw, dw, left), c, h, wide, pieces)
                end = read + length
                while read < end:
                    fetch(here, x, read)
                    for e in range(size):
                        total[e] += here[e]
                    read += step
            real = y.dtype.type(times(i_high - i_low, j_high - j_low))
            for e in range(size):
                total[e] /= real
            put(y, item, total)

    return run


def _average_grad(size: int) -> ItemKernel:
    """Creates a kernel: dx[pixel] = the sum of dy / the window's pixel count, over all windows that
    contain this pixel.
    """
    fetch, put = moving(size)

    @vector_kernel(f"(int64, const {IMAGES}, {IMAGES}, UniTuple(int64, 10), {DIVISORS})", "_average_grad", size)
    def run(count, dy, dx, window, divisors):
        kh, kw, sh, sw, dh, dw, top, _, left, _ = window
        h, wide, oh, ow, item = dx.shape[1], dx.shape[2], dy.shape[1], dy.shape[2], global_index()
        pieces = divisors[1][0]
        total = cuda.local.array(size, dx.dtype)
        dy_values = cuda.local.array(size, dx.dtype)
        if item < count:
            n, r, t, c = place(item, divisors)
            for e in range(size):
                total[e] = 0
            down = taps_to(r, kh, divisors[3], dh, top, oh)
            along = taps_to(t, kw, divisors[4], dw, left, ow)
            for a in range(down[2]):
                i = down[0] + times(a, down[1])
                p = down[3] - a if dh == 1 else output(r, i, divisors[3], dh, top, oh)
                if p >= 0:
                    i_low, i_high = real_taps(p, kh, sh, divisors[5], top, h)
                    line = ravel(n, p, 0, c, oh, ow, pieces)
                    for b in range(along[2]):
                        j = along[0] + times(b, along[1])
                        q = along[3] - b if dw == 1 else output(t, j, divisors[4], dw, left, ow)
                        if q >= 0:
                            j_low, j_high = real_taps(q, kw, sw, divisors[6], left, wide)
                            real = dx.dtype.type(times(i_high - i_low, j_high - j_low))
                            fetch(dy_values, dy, line + times(q, pieces))
                            for e in range(size):
                                total[e] += dy_values[e] / real
            put(dx, item, total)

    return run


# Kernels for adjacent 2x2 windows. Pixel k of a window is k // 2 rows below the first pixel of the
# window and k % 2 columns to its right. At the lower and right edges of an image, the last pixels
# may be outside all windows, or the last windows may extend beyond the image.


@inline
def has_pixel(k, p, q, height, across):
    """Returns whether pixel k of window (p, q) is inside the image, given that pixel 0 is."""
    return (k < 2 or 2 * p + 1 < height) and (k % 2 == 0 or 2 * q + 1 < across)


@inline
def pixel_offset(k, across, pieces):
    """Returns the memory offset of a window's pixel k from the window's first pixel."""
    return (times(across, pieces) if k >= 2 else 0) + (pieces if k % 2 == 1 else 0)


def _max_of_four(size: int) -> ItemKernel:
    """Creates the kernel of `_max` for adjacent 2x2 windows."""
    fetch, put = moving(size)

    @vector_kernel(f"(int64, const {IMAGES}, {IMAGES}, int32[:,:,:,::1], {DIVISORS})", "_max_of_four", size)
    def run(count, x, y, winner, divisors):
        h, wide, pieces, item = x.shape[1], x.shape[2], divisors[1][0], global_index()
        best, here = cuda.local.array(size, x.dtype), cuda.local.array(size, x.dtype)
        index = cuda.local.array(size, np.int32)
        if item < count:
            n, p, q, c = place(item, divisors)
            first = ravel(n, 2 * p, 2 * q, c, h, wide, pieces)
            fetch(best, x, first)
            for e in range(size):
                index[e] = 0
            for k in range(1, 4):
                if has_pixel(k, p, q, h, wide):
                    fetch(here, x, first + pixel_offset(k, wide, pieces))
                    for e in range(size):
                        if larger(here[e], best[e]):
                            best[e], index[e] = here[e], k
            put(y, item, best)
            put(winner, item, index)

    return run


def _max_of_four_grad(size: int) -> ItemKernel:
    """Creates the kernel of `_max_grad` for adjacent 2x2 windows, including the windows at the
    edges that have no output.
    """
    fetch, put = moving(size)

    @vector_kernel(f"(int64, const {IMAGES}, const int32[:,:,:,::1], {IMAGES}, {DIVISORS})", "_max_of_four_grad", size)
    def run(count, dy, winner, dx, divisors):
        h, wide, oh, ow, pieces = dx.shape[1], dx.shape[2], dy.shape[1], dy.shape[2], divisors[1][0]
        item, zero = global_index(), dx.dtype.type(0)
        dy_values, out = cuda.local.array(size, dx.dtype), cuda.local.array(size, dx.dtype)
        winners = cuda.local.array(size, np.int32)
        if item < count:
            n, p, q, c = place(item, divisors)
            for e in range(size):
                winners[e], dy_values[e] = -1, zero
            if p < oh and q < ow:
                fetch(dy_values, dy, ravel(n, p, q, c, oh, ow, pieces))
                fetch(winners, winner, ravel(n, p, q, c, oh, ow, pieces))
            first = ravel(n, 2 * p, 2 * q, c, h, wide, pieces)
            for k in range(4):
                if has_pixel(k, p, q, h, wide):
                    for e in range(size):
                        out[e] = dy_values[e] if winners[e] == k else zero
                    put(dx, first + pixel_offset(k, wide, pieces), out)

    return run


@inline
def _inverse_count(p, q, height, across, real):
    """Returns 1 / the pixel count of window (p, q). It is a power of two, so products are exact."""
    return (real(1) if 2 * p + 1 >= height else real(0.5)) * (real(1) if 2 * q + 1 >= across else real(0.5))


def _average_of_four(size: int) -> ItemKernel:
    """Creates the kernel of `_average` for adjacent 2x2 windows."""
    fetch, put = moving(size)

    @vector_kernel(f"(int64, const {IMAGES}, {IMAGES}, {DIVISORS})", "_average_of_four", size)
    def run(count, x, y, divisors):
        h, wide, pieces, item = x.shape[1], x.shape[2], divisors[1][0], global_index()
        total, here = cuda.local.array(size, x.dtype), cuda.local.array(size, x.dtype)
        if item < count:
            n, p, q, c = place(item, divisors)
            first = ravel(n, 2 * p, 2 * q, c, h, wide, pieces)
            share = _inverse_count(p, q, h, wide, x.dtype.type)
            fetch(total, x, first)
            for k in range(1, 4):
                if has_pixel(k, p, q, h, wide):
                    fetch(here, x, first + pixel_offset(k, wide, pieces))
                    for e in range(size):
                        total[e] += here[e]
            for e in range(size):
                total[e] *= share
            put(y, item, total)

    return run


def _average_of_four_grad(size: int) -> ItemKernel:
    """Creates the kernel of `_average_grad` for adjacent 2x2 windows, including the windows at the
    edges that have no output.
    """
    fetch, put = moving(size)

    @vector_kernel(f"(int64, const {IMAGES}, {IMAGES}, {DIVISORS})", "_average_of_four_grad", size)
    def run(count, dy, dx, divisors):
        h, wide, oh, ow, pieces, i = dx.shape[1], dx.shape[2], dy.shape[1], dy.shape[2], divisors[1][0], global_index()
        dy_values = cuda.local.array(size, dx.dtype)
        if i < count:
            n, p, q, c = place(i, divisors)
            for e in range(size):
                dy_values[e] = 0
            if p < oh and q < ow:
                fetch(dy_values, dy, ravel(n, p, q, c, oh, ow, pieces))
                share = _inverse_count(p, q, h, wide, dx.dtype.type)
                for e in range(size):
                    dy_values[e] *= share
            first = ravel(n, 2 * p, 2 * q, c, h, wide, pieces)
            for k in range(4):
                if has_pixel(k, p, q, h, wide):
                    put(dx, first + pixel_offset(k, wide, pieces), dy_values)

    return run


_MAX, _MAX_GRAD, _AVERAGE, _AVERAGE_GRAD = (
    tuple(map(make, WIDTHS)) for make in (_max, _max_grad, _average, _average_grad))
_FOUR, _FOUR_GRAD, _FOUR_AVERAGE, _FOUR_AVERAGE_GRAD = (
    tuple(map(make, WIDTHS)) for make in (_max_of_four, _max_of_four_grad, _average_of_four, _average_of_four_grad))


def max_pool2d(x, y, winner, window: Window) -> None:
    """y, winner (N,OH,OW,C) = the maximum of each window of x (N,H,W,C), and the maximum's position
    in the window (int32).
    """
    _forward(_FOUR if _are_adjacent(window) else _MAX, window, x, y, winner)


def max_pool2d_grad(dy, winner, dx, window: Window) -> None:
    """Computes the input gradient dx (N,H,W,C) of max_pool2d from dy (N,OH,OW,C)."""
    _backward(_FOUR_GRAD if _are_adjacent(window) else _MAX_GRAD, window, dy, winner, dx)


def avg_pool2d(x, y, window: Window) -> None:
    """y (N,OH,OW,C) = the mean of each window of x (N,H,W,C)."""
    _forward(_FOUR_AVERAGE if _are_adjacent(window) else _AVERAGE, window, x, y)


def avg_pool2d_grad(dy, dx, window: Window) -> None:
    """Computes the input gradient dx (N,H,W,C) of avg_pool2d from dy (N,OH,OW,C)."""
    _backward(_FOUR_AVERAGE_GRAD if _are_adjacent(window) else _AVERAGE_GRAD, window, dy, dx)


def _are_adjacent(window: Window) -> bool:
    """Returns whether windows are adjacent and 2x2, with at most one padding pixel at the end."""
    kh, kw, sh, sw, dh, dw, top, bottom, left, right = window
    return ((kh, kw, sh, sw, dh, dw, top, left) == (2, 2, 2, 2, 1, 1, 0, 0)) and max(bottom, right) <= 1


def _forward(kernels: tuple[ItemKernel, ...], window: Window, *arrays) -> None:
    """Runs a pooling kernel over the pixels of y, the second array."""
    _run(kernels, window, arrays, *arrays[1].shape[1:3])


def _backward(kernels: tuple[ItemKernel, ...], window: Window, *arrays) -> None:
    """Runs a gradient kernel over the pixels of dx, the last array, or over its 2x2 windows."""
    rows, columns = arrays[-1].shape[1:3]
    if _are_adjacent(window):
        rows, columns = -(-rows // 2), -(-columns // 2)
    _run(kernels, window, arrays, rows, columns)


def _run(kernels: tuple[ItemKernel, ...], window: Window, arrays: tuple, rows: int, columns: int) -> None:
    """Runs a kernel with rows * columns threads per image for each channel, or for each group of
    four channels.
    """
    size = width(arrays[0].shape[3], *arrays)
    pieces = arrays[0].shape[3] // size
    arguments = (make_divisors(rows, columns, pieces, window),)
    for portion in portions(size, *arrays):
        kernels[size // 4](len(portion[0]) * rows * columns * pieces, *portion,
                           *(() if _are_adjacent(window) else (tuple(window),)), *arguments)
