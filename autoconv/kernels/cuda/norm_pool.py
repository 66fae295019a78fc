"""Computes batch normalization, ReLU and 2x2 max pooling in one kernel, and their gradients. A
thread handles all pixels of a window.
"""

from .columns import column_kernel, find_elements, place, spread
from .fours import WIDTHS, moving, portions, width
from .gather import divisor, find_pixel
from .kernels import BlockKernel, cuda
from .norm import coefficients, moments, parameter_grads  # noqa: F401 (re-exported)
from .pool import has_pixel, larger, pixel_offset

IMAGES = "T[:,:,:,::1]"
DIVISORS = "UniTuple(UniTuple(int64, 3), 2)"


def _normalize_pool(size: int) -> BlockKernel:
    fetch, put = moving(size)

    @column_kernel(f"(const {IMAGES}, const T[::1], const T[::1], const T[::1], {IMAGES}, {IMAGES},"
                   f" uint8[:,:,:,::1], int64, {DIVISORS}, SPREAD)", "_normalize_pool", size)
    def run(x, mean, scale, shift, y, peak, winner, windows, divisors, columns, length, across, lanes):
        column, share, real = place(columns, across, lanes)
        here, best = cuda.local.array(size, x.dtype), cuda.local.array(size, x.dtype)
        top, index = cuda.local.array(size, x.dtype), cuda.local.array(size, "uint8")
        center, slope = cuda.local.array(size, x.dtype), cuda.local.array(size, x.dtype)
        level, zero = cuda.local.array(size, x.dtype), x.dtype.type(0)
        if real:
            fetch(center, mean, column)
            fetch(slope, scale, column)
            fetch(level, shift, column)
            i, count, step = find_elements(share, 1, length, across, 0, windows)
            for _ in range(count):
                n, p, q = find_pixel(i, divisors)
                first = ((n * x.shape[1] + 2 * p) * x.shape[2] + 2 * q) * columns + column
                fetch(top, x, first)
                for e in range(size):
                    best[e], index[e] = (top[e] - center[e]) * slope[e] + level[e], 0
                for k in range(1, 4):
                    fetch(here, x, first + pixel_offset(k, x.shape[2], columns))
                    for e in range(size):
                        value = (here[e] - center[e]) * slope[e] + level[e]
                        if larger(value, best[e]):
                            top[e], best[e], index[e] = here[e], value, k
                for e in range(size):
                    best[e] = zero if best[e] < zero else best[e]
                put(y, i * columns + column, best)
                put(peak, i * columns + column, top)
                put(winner, i * columns + column, index)
                i += step

    return run


def _input_grad_pool(size: int) -> BlockKernel:
    """Creates the kernel of `input_grad_pool`. Each thread handles whole windows, including
    incomplete windows at the edges.
    """
    fetch, put = moving(size)

    @column_kernel(f"(const {IMAGES}, const {IMAGES}, const uint8[:,:,:,::1], const {IMAGES}, "
                   f"const T[::1], const T[::1], const T[::1], const T[::1], {IMAGES}, const "
                   f"T[::1], const T[::1], int64, int64, {DIVISORS}, SPREAD)", "_input_grad_pool", size)
    def run(x, peak, winner, dy, mean, inverse, scale, shift, dx, dgamma, dbeta, rows, windows,
            divisors, columns, length, across, lanes):
        h, wide, oh, ow = x.shape[1], x.shape[2], dy.shape[1], dy.shape[2]
        column, share, real = place(columns, across, lanes)
        here, dy_values = cuda.local.array(size, x.dtype), cuda.local.array(size, x.dtype)
        center, slope = cuda.local.array(size, x.dtype), cuda.local.array(size, x.dtype)
        level, average = cuda.local.array(size, x.dtype), cuda.local.array(size, x.dtype)
        product, winners = cuda.local.array(size, x.dtype), cuda.local.array(size, "uint8")
        part, zero = x.dtype.type(1) / x.dtype.type(rows), x.dtype.type(0)
        if real:
            fetch(center, mean, column)
            fetch(slope, scale, column)
            fetch(level, shift, column)
            for e in range(size):
                c = column * size + e
                average[e] = dbeta[c] * part
                product[e] = dgamma[c] * part * inverse[c]
            i, count, step = find_elements(share, 1, length, across, 0, windows)
            for _ in range(count):
                n, p, q = find_pixel(i, divisors)
                for e in range(size):
                    dy_values[e], winners[e] = zero, 0
                if p < oh and q < ow:
                    source = ((n * oh + p) * ow + q) * columns + column
                    fetch(here, peak, source)
                    fetch(dy_values, dy, source)
                    fetch(winners, winner, source)
                    for e in range(size):
                        if (here[e] - center[e]) * slope[e] + level[e] <= zero:
                            dy_values[e] = zero
                first = ((n * h + 2 * p) * wide + 2 * q) * columns + column
                for k in range(4):
                    if has_pixel(k, p, q, h, wide):
                        pixel = first + pixel_offset(k, wide, columns)
                        fetch(here, x, pixel)
                        for e in range(size):
                            gradient = dy_values[e] if winners[e] == k else zero
                            here[e] = slope[e] * (gradient - (average[e] + (here[e] - center[e]) * product[e]))
                        put(dx, pixel, here)
                i += step

    return run


_NORMALIZE_POOL, _INPUT_GRAD_POOL = (tuple(map(make, WIDTHS)) for make in (_normalize_pool, _input_grad_pool))


def normalize_pool(x, mean, scale, shift, y, peak, winner):
    """y (N,H//2,W//2,C) = the largest of (x - mean) scale + shift in each window, or 0 if that is
    negative. `peak` receives the element of x for which it is largest, and `winner` that element's
    index, 0 to 3; on a tie, the first index.
    """
    (_, oh, ow, channels), size = y.shape, width(x.shape[3], x, mean, scale, shift, y, peak, winner)
    for images, *results in portions(size, x, y, peak, winner):
        windows = len(images) * oh * ow
        blocks, *grid = spread(windows, channels // size)
        _NORMALIZE_POOL[size // 4](blocks, images, mean, scale, shift, *results, windows,
                                   (divisor(oh), divisor(ow)), *grid)


def input_grad_pool(x, peak, winner, dy, mean, inverse, scale, shift, dgamma, dbeta, dx):
    """Computes dx (N,H,W,C) from dy (N,H//2,W//2,C): the result of `norm.input_grad` for dy placed
    at each window's winner, if the window's output is above 0.
    """
    (_, h, w, channels), size = x.shape, width(x.shape[3], x, peak, winner, dy, mean, scale, shift, dx)
    high, wide = -(-h // 2), -(-w // 2)
    for images, peaks, winners, gradients, results in portions(size, x, peak, winner, dy, dx):
        windows = len(images) * high * wide
        blocks, *grid = spread(windows, channels // size)
        _INPUT_GRAD_POOL[size // 4](blocks, images, peaks, winners, gradients, mean, inverse, scale, shift, results,
                                    dgamma, dbeta, x.size // channels, windows, (divisor(high), divisor(wide)), *grid)
