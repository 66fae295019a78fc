"""Images moved, turned, scaled and cropped, each by a transform of its own, and the random numbers that choose one.

Coordinates, borders and interpolation are those of TensorFlow's ImageProjectiveTransformV3, which Keras's layers call.
"""

import math

import numpy as np
from numba import prange

from .jit import inline, kernel
from .random import HALF, philox

CONSTANT, NEAREST, REFLECT, WRAP = 0, 1, 2, 3  # what lies outside of an image
FLIP, ROTATION, TRANSLATION, ZOOM, CROP = 0, 1, 2, 3, 4
FAR = 2**30  # coordinates are cut to this: beyond it they would not fit an integer


@kernel("(float64, float64, float64, float64, int64, uint64, uint64, uint64, T[:,::1])")
def draws(low, high, second_low, second_high, word, seed, stream, first, d):
    """d[0, n] evenly in low..high, d[1, n] in second_low..second_high: d (2, N).

    They are made of words 0 and `word` of the first block of sample `first + n`.
    """
    step = 2.0**-24
    for n in range(d.shape[1]):
        words = philox((first + np.uint64(n)) << HALF, stream, seed)
        d[0, n] = low + (high - low) * (step * np.int64(words[0] >> np.uint64(8)))
        d[1, n] = second_low + (second_high - second_low) * (step * np.int64(words[word] >> np.uint64(8)))


@inline
def turn(degrees):
    """Cosine and sine, by their series within an eighth of a turn: quarters of a turn are exact."""
    one = type(degrees)(1)
    quarters = math.floor(degrees / type(one)(90) + one / type(one)(2))
    x = (degrees - type(one)(90 * quarters)) * type(one)(math.pi / 180)
    c, s = one, one
    for i in range(16, 0, -2):
        c, s = one - x * x * c / type(one)(i * (i - 1)), one - x * x * s / type(one)(i * (i + 1))
    s *= x
    if quarters & 1:
        c, s = -s, c
    return (-c, -s) if quarters & 2 else (c, s)


@kernel("(T[:,::1], int64, int64, int64, T[:,::1])")
def transforms(d, kind, h, w, t):
    """The transforms t (N, 8) of images (h, w) that draws d (2, N) mean: vertical ones, then horizontal ones.

    FLIP: flipped where at most 1/2. ROTATION: degrees, d[0] alone. TRANSLATION: shares of h and w, down and right.
    ZOOM: how much larger a part is shown. CROP: the first row and column, rounded down.
    """
    one, two = t.dtype.type(1), t.dtype.type(2)
    half_h, half_w = t.dtype.type(h - 1) / two, t.dtype.type(w - 1) / two
    for n in range(t.shape[0]):
        a, b = d[0, n], d[1, n]
        for i in range(8):
            t[n, i] = one if i == 0 or i == 4 else 0
        if kind == FLIP:
            if b <= 0.5:
                t[n, 0], t[n, 2] = -one, w - 1
            if a <= 0.5:
                t[n, 4], t[n, 5] = -one, h - 1
        elif kind == ROTATION:
            c, s = turn(a)
            t[n, 0], t[n, 1], t[n, 2] = c, -s, half_w - half_w * c + half_h * s
            t[n, 3], t[n, 4], t[n, 5] = s, c, half_h - half_w * s - half_h * c
        elif kind == TRANSLATION:
            t[n, 2], t[n, 5] = -b * t.dtype.type(w), -a * t.dtype.type(h)
        elif kind == ZOOM:
            t[n, 0], t[n, 2], t[n, 4], t[n, 5] = b, half_w * (one - b), a, half_h * (one - a)
        else:
            t[n, 2], t[n, 5] = math.floor(b), math.floor(a)


@inline
def within(c, size, fill_mode):
    """The coordinate that stands for `c` on an axis of so many pixels, by what lies outside; NaN becomes 0."""
    last = type(c)(size - 1)
    if fill_mode != NEAREST and not 0 <= c <= last and size > 1:
        c = type(c)(max(-FAR, min(c, FAR)))
        if fill_mode == REFLECT:
            period = 2 * size
            c -= type(c)(period * math.floor(c / type(c)(period)))
            if c >= size:
                c = type(c)(period - 1) - c
        elif c < 0:
            c += type(c)(size * (int(-c / last) + 1))
        else:
            c -= type(c)(size * int(c / last))
    return last if c > last else c if c > 0 else type(c)(0)


@inline
def _source(t, i, j, h, w, fill_mode, bilinear):
    """Where pixel (i, j) of a result comes from: its row and column, and how far towards the next row and column.

    Without interpolation that is the nearest pixel. Row -2 stands for outside.
    """
    zero, one = type(t[0])(0), type(t[0])(1)
    x, y, high, wide = type(one)(j), type(one)(i), type(one)(h), type(one)(w)
    column, row, scale = t[0] * x + t[1] * y + t[2], t[3] * x + t[4] * y + t[5], t[6] * x + t[7] * y + one
    if scale != one:
        if scale == zero:
            return -2, -2, zero, zero
        column, row = column / scale, row / scale
    if not (zero <= column <= wide - one and zero <= row <= high - one):
        if fill_mode != CONSTANT:
            column, row = within(column, w, fill_mode), within(row, h, fill_mode)
        elif not (-one < column < wide and -one < row < high):
            return -2, -2, zero, zero
    if not bilinear:
        half = one / type(one)(2)
        if row <= -half or column <= -half:
            return -2, -2, zero, zero
        return int(row + half), int(column + half), zero, zero
    r, c = int(row + one) - 1, int(column + one) - 1  # rounded down, as nothing is below -1
    return r, c, row - type(one)(r), column - type(one)(c)


@inline
def pixel(x, n, i, j, c, fill_value):
    """x[n, i, j, c], outside of the image the fill value."""
    return x[n, i, j, c] if 0 <= i < x.shape[1] and 0 <= j < x.shape[2] else fill_value


@kernel("(T[:,:,:,::1], T[:,::1], int64, float64, boolean, T[:,:,:,::1])", parallel=True)
def affine_transform(x, transform, fill_mode, fill_value, bilinear, y):
    """y[n, i, j] is what lies at column (t0 j + t1 i + t2) / s and row (t3 j + t4 i + t5) / s of x[n], with
    s = t6 j + t7 i + 1. x (N, H, W, C), transform (N or 1, 8), y (N, OH, OW, C).
    """
    fill, one = y.dtype.type(fill_value), y.dtype.type(1)
    h, w, channels = x.shape[1:]
    for n in prange(y.shape[0]):
        t = transform[min(np.int64(n), transform.shape[0] - 1)]
        for i in range(y.shape[1]):
            for j in range(y.shape[2]):
                r, c, v, u = _source(t, i, j, h, w, fill_mode, bilinear)
                if r < -1 or not bilinear:
                    inside = 0 <= r < h and 0 <= c < w
                    for k in range(channels):
                        y[n, i, j, k] = x[n, r, c, k] if inside else fill
                elif 0 <= r < h - 1 and 0 <= c < w - 1:
                    for k in range(channels):
                        above = (one - u) * x[n, r, c, k] + u * x[n, r, c + 1, k]
                        below = (one - u) * x[n, r + 1, c, k] + u * x[n, r + 1, c + 1, k]
                        y[n, i, j, k] = (one - v) * above + v * below
                else:
                    for k in range(channels):
                        above = (one - u) * pixel(x, n, r, c, k, fill) + u * pixel(x, n, r, c + 1, k, fill)
                        below = (one - u) * pixel(x, n, r + 1, c, k, fill) + u * pixel(x, n, r + 1, c + 1, k, fill)
                        y[n, i, j, k] = (one - v) * above + v * below


@kernel("(T[:,:,:,::1], T[:,::1], int64, boolean, T[:,:,:,::1])", parallel=True)
def affine_transform_grad(dy, transform, fill_mode, bilinear, dx):
    """Each item of dy goes to the pixels that its value was made of, by their shares: a thread adds up a sample."""
    one = dx.dtype.type(1)
    h, w, channels = dx.shape[1:]
    for n in prange(dx.shape[0]):
        dx[n] = 0
        t = transform[min(np.int64(n), transform.shape[0] - 1)]
        for i in range(dy.shape[1]):
            for j in range(dy.shape[2]):
                r, c, v, u = _source(t, i, j, h, w, fill_mode, bilinear)
                for p in range(2 if bilinear else 1):
                    for q in range(2 if bilinear else 1):
                        if 0 <= r + p < h and 0 <= c + q < w:
                            share = (v if p else one - v) * (u if q else one - u)
                            for k in range(channels):
                                dx[n, r + p, c + q, k] += share * dy[n, i, j, k]
