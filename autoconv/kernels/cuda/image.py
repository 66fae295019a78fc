"""Images moved, turned, scaled and cropped: a thread an item of the result. In the gradient, whose items add up in a
fixed order, a thread a channel of a sample. Coordinates, borders and interpolation are those of the CPU's twin.
"""

import math

import numpy as np

from .array import number
from .kernels import inline, kernel
from .ptx import global_index
from .random import HALF, philox

CONSTANT, NEAREST, REFLECT, WRAP = 0, 1, 2, 3  # what lies outside of an image
FLIP, ROTATION, TRANSLATION, ZOOM, CROP = 0, 1, 2, 3, 4
FAR = 2**30  # coordinates are cut to this: beyond it they would not fit an integer


@kernel("(int64, float64, float64, float64, float64, int64, const uint64[::1], const uint64[::1], const uint64[::1],"
        " T[:,::1])")
def _draws(count, low, high, second_low, second_high, word, seed, stream, first, d):
    n, step = global_index(), 2.0**-24
    if n < count:
        words = philox((first[0] + np.uint64(n)) << HALF, stream[0], seed[0])
        second = words[1] if word == 1 else words[0]
        d[0, n] = low + (high - low) * (step * np.int64(words[0] >> np.uint64(8)))
        d[1, n] = second_low + (second_high - second_low) * (step * np.int64(second >> np.uint64(8)))


@inline
def rounded_down(c):
    """The largest integer that is not above `c`."""
    whole = np.int64(c)
    return whole - 1 if type(c)(whole) > c else whole


@inline
def turn(degrees):
    """Cosine and sine, by their series within an eighth of a turn: libdevice's do not stay within registers."""
    T = type(degrees)
    quarters = rounded_down(degrees / T(90) + T(1) / T(2))
    x = (degrees - T(90 * quarters)) * T(math.pi / 180)
    c, s = T(1), T(1)
    for i in range(16, 0, -2):
        c, s = T(1) - x * x * c / T(i * (i - 1)), T(1) - x * x * s / T(i * (i + 1))
    s *= x
    if quarters & 1:
        c, s = -s, c
    return (-c, -s) if quarters & 2 else (c, s)


@kernel("(int64, const T[:,::1], int64, int64, int64, T[:,::1])")
def _transforms(count, d, kind, h, w, t):
    T = t.dtype.type
    n = global_index()
    if n < count:
        a, b, half = d[0, n], d[1, n], T(1) / T(2)
        half_h, half_w = T(h - 1) * half, T(w - 1) * half
        for i in range(8):
            t[n, i] = T(1) if i == 0 or i == 4 else T(0)
        if kind == FLIP:
            if b <= half:
                t[n, 0], t[n, 2] = T(-1), T(w - 1)
            if a <= half:
                t[n, 4], t[n, 5] = T(-1), T(h - 1)
        elif kind == ROTATION:
            c, s = turn(a)
            t[n, 0], t[n, 1], t[n, 2] = c, -s, half_w - half_w * c + half_h * s
            t[n, 3], t[n, 4], t[n, 5] = s, c, half_h - half_w * s - half_h * c
        elif kind == TRANSLATION:
            t[n, 2], t[n, 5] = -b * T(w), -a * T(h)
        elif kind == ZOOM:
            t[n, 0], t[n, 2], t[n, 4], t[n, 5] = b, half_w * (T(1) - b), a, half_h * (T(1) - a)
        else:
            t[n, 2], t[n, 5] = T(rounded_down(b)), T(rounded_down(a))


@inline
def within(c, size, fill_mode):
    """The coordinate that stands for `c` on an axis of so many pixels, by what lies outside; NaN becomes 0."""
    T = type(c)
    last = T(size - 1)
    if fill_mode != NEAREST and not T(0) <= c <= last and size > 1:
        c = T(FAR) if c > T(FAR) else T(-FAR) if c < T(-FAR) else c
        if fill_mode == REFLECT:
            period = 2 * size
            c -= T(period * rounded_down(c / T(period)))
            if c >= T(size):
                c = T(period - 1) - c
        elif c < T(0):
            c += T(size * (np.int64(-c / last) + 1))
        else:
            c -= T(size * np.int64(c / last))
    return last if c > last else c if c > T(0) else T(0)


@inline
def _source(t, n, i, j, h, w, fill_mode, bilinear):
    """Where pixel (i, j) of a result comes from: its row and column, and how far towards the next row and column.

    Without interpolation that is the nearest pixel. Row -2 stands for outside.
    """
    T = t.dtype.type
    n = min(n, t.shape[0] - 1)
    x, y, half = T(j), T(i), T(1) / T(2)
    scale = t[n, 6] * x + t[n, 7] * y + T(1)
    column = (t[n, 0] * x + t[n, 1] * y + t[n, 2]) / scale
    row = (t[n, 3] * x + t[n, 4] * y + t[n, 5]) / scale
    if scale == T(0):
        return -2, -2, T(0), T(0)
    if fill_mode == CONSTANT:
        if not (T(-1) < column < T(w) and T(-1) < row < T(h)):
            return -2, -2, T(0), T(0)
    else:
        column, row = within(column, w, fill_mode), within(row, h, fill_mode)
    if not bilinear:
        if row <= -half or column <= -half:
            return -2, -2, T(0), T(0)
        return np.int64(row + half), np.int64(column + half), T(0), T(0)
    r, c = rounded_down(row), rounded_down(column)
    return r, c, row - T(r), column - T(c)


@inline
def pixel(x, n, i, j, c, fill_value):
    """x[n, i, j, c], outside of the image the fill value."""
    return x[n, i, j, c] if 0 <= i < x.shape[1] and 0 <= j < x.shape[2] else fill_value


@kernel("(int64, const T[:,:,:,::1], const T[:,::1], int64, float64, boolean, T[:,:,:,::1])")
def _affine_transform(count, x, transform, fill_mode, fill_value, bilinear, y):
    item = global_index()
    if item < count:
        fill, one = y.dtype.type(fill_value), y.dtype.type(1)
        k, place = item % y.shape[3], item // y.shape[3]
        j, place = place % y.shape[2], place // y.shape[2]
        i, n = place % y.shape[1], place // y.shape[1]
        r, c, v, u = _source(transform, n, i, j, x.shape[1], x.shape[2], fill_mode, bilinear)
        if r < -1 or not bilinear:
            y[n, i, j, k] = pixel(x, n, r, c, k, fill)
        else:
            above = (one - u) * pixel(x, n, r, c, k, fill) + u * pixel(x, n, r, c + 1, k, fill)
            below = (one - u) * pixel(x, n, r + 1, c, k, fill) + u * pixel(x, n, r + 1, c + 1, k, fill)
            y[n, i, j, k] = (one - v) * above + v * below


@kernel("(int64, const T[:,:,:,::1], const T[:,::1], int64, boolean, T[:,:,:,::1])")
def _affine_transform_grad(count, dy, transform, fill_mode, bilinear, dx):
    item, one = global_index(), dx.dtype.type(1)
    if item < count:
        n, k = item // dx.shape[3], item % dx.shape[3]
        h, w = dx.shape[1], dx.shape[2]
        for i in range(h):
            for j in range(w):
                dx[n, i, j, k] = dx.dtype.type(0)
        for i in range(dy.shape[1]):
            for j in range(dy.shape[2]):
                r, c, v, u = _source(transform, n, i, j, h, w, fill_mode, bilinear)
                for p in range(2 if bilinear else 1):
                    for q in range(2 if bilinear else 1):
                        if 0 <= r + p < h and 0 <= c + q < w:
                            share = (v if p else one - v) * (u if q else one - u)
                            dx[n, r + p, c + q, k] += share * dy[n, i, j, k]


def draws(low, high, second_low, second_high, word, seed, stream, first, d):
    """d[0, n] evenly in low..high, d[1, n] in second_low..second_high, of words 0 and `word` of sample `first + n`."""
    key = (number(d.gpu, part, np.uint64) for part in (seed, stream, first))
    _draws(d.shape[1], low, high, second_low, second_high, word, *key, d)


def transforms(d, kind, h, w, t):
    """The transforms t (N, 8) of images (h, w) that draws d (2, N) mean."""
    _transforms(t.shape[0], d, kind, h, w, t)


def affine_transform(x, transform, fill_mode, fill_value, bilinear, y):
    """y[n, i, j] is what lies in x[n] where transform[n] leads from (i, j)."""
    _affine_transform(y.size, x, transform, fill_mode, fill_value, bilinear, y)


def affine_transform_grad(dy, transform, fill_mode, bilinear, dx):
    """Each item of dy goes to the pixels that its value was made of, by their shares."""
    _affine_transform_grad(dx.shape[0] * dx.shape[3], dy, transform, fill_mode, bilinear, dx)
