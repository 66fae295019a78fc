"""Finds the source of each pixel of a transformed image. A transform is 8 numbers t; see `source`.

Coordinates, borders and interpolation follow TensorFlow's ImageProjectiveTransformV3, which Keras's
layers call. Constants have the coordinates' dtype, because 0.0 would be float64 on a GPU.
"""

import math

import numpy as np

CONSTANT, NEAREST, REFLECT, WRAP = 0, 1, 2, 3  # fill modes for pixels outside the image
FLIP, ROTATION, TRANSLATION, ZOOM, CROP = 0, 1, 2, 3, 4
FAR = 2**30  # maximum absolute value of a coordinate; larger values might overflow an integer


def round_down(c):
    """Returns the largest integer that is not above `c`."""
    whole = np.int64(c)
    return whole - 1 if type(c)(whole) > c else whole


def rotation(degrees):
    """Returns the cosine and sine of an angle. Their Taylor series are used for angles up to 45
    degrees only, so multiples of 90 degrees are exact. On a GPU, library functions would need
    memory in addition to registers.
    """
    T = type(degrees)
    quarters = round_down(degrees / T(90) + T(1) / T(2))
    x = (degrees - T(90 * quarters)) * T(math.pi / 180)
    c, s = T(1), T(1)
    for i in range(16, 0, -2):
        c, s = T(1) - x * x * c / T(i * (i - 1)), T(1) - x * x * s / T(i * (i + 1))
    s *= x
    if quarters & 1:
        c, s = -s, c
    return (-c, -s) if quarters & 2 else (c, s)


def set_transform(d, n, kind, h, w, t):
    """t[n] = the transform of images (h, w) for the draws d[0, n] (vertical) and d[1, n]
    (horizontal). FLIP: a draw of at most 1/2 flips that axis. ROTATION: d[0, n] is the angle in
    degrees. TRANSLATION: the draws are offsets down and right, as fractions of h and w. ZOOM: they
    are the visible fractions of h and w. CROP: rounded down, they are the first row and column.
    """
    T = t.dtype.type
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
        c, s = rotation(a)
        t[n, 0], t[n, 1], t[n, 2] = c, -s, half_w - half_w * c + half_h * s
        t[n, 3], t[n, 4], t[n, 5] = s, c, half_h - half_w * s - half_h * c
    elif kind == TRANSLATION:
        t[n, 2], t[n, 5] = -b * T(w), -a * T(h)
    elif kind == ZOOM:
        t[n, 0], t[n, 2], t[n, 4], t[n, 5] = b, half_w * (T(1) - b), a, half_h * (T(1) - a)
    else:
        t[n, 2], t[n, 5] = T(round_down(b)), T(round_down(a))


def map_coordinate(c, size, fill_mode):
    """Maps the coordinate `c` into an axis of `size` pixels by the rule `fill_mode`; NaN becomes 0.
    """
    T = type(c)
    last = T(size - 1)
    if fill_mode != NEAREST and not T(0) <= c <= last and size > 1:
        c = T(FAR) if c > T(FAR) else T(-FAR) if c < T(-FAR) else c
        if fill_mode == REFLECT:
            period = 2 * size
            c -= T(period * round_down(c / T(period)))
            if c >= T(size):
                c = T(period - 1) - c
        elif c < T(0):
            c += T(size * (np.int64(-c / last) + 1))
        else:
            c -= T(size * np.int64(c / last))
    return last if c > last else c if c > T(0) else T(0)


def read_transform(t, n):
    """Returns the 8 numbers of sample n's transform. If t has one transform, all samples use it."""
    n = min(n, t.shape[0] - 1)
    return t[n, 0], t[n, 1], t[n, 2], t[n, 3], t[n, 4], t[n, 5], t[n, 6], t[n, 7]


def source(t, i, j, h, w, fill_mode, bilinear):
    """Returns the source of pixel (i, j): row (t3 j + t4 i + t5) / s and column
    (t0 j + t1 i + t2) / s, with s = t6 j + t7 i + 1. Splits both into floor and fractional part.

    Without interpolation, the source is the nearest pixel. Row -2 marks a source outside the image.
    """
    T = type(t[0])
    zero, one, half = T(0), T(1), T(1) / T(2)
    x, y, high, wide = T(j), T(i), T(h), T(w)
    column = t[0] * x + t[1] * y + t[2]
    row = t[3] * x + t[4] * y + t[5]
    scale = t[6] * x + t[7] * y + one
    if scale != one:
        if scale == zero:
            return -2, -2, zero, zero
        column, row = column / scale, row / scale
    if not (zero <= column <= wide - one and zero <= row <= high - one):
        if fill_mode != CONSTANT:
            column = map_coordinate(column, w, fill_mode)
            row = map_coordinate(row, h, fill_mode)
        elif not (-one < column < wide and -one < row < high):
            return -2, -2, zero, zero
    if not bilinear:
        if row <= -half or column <= -half:
            return -2, -2, zero, zero
        return np.int64(row + half), np.int64(column + half), zero, zero
    r, c = np.int64(row + one) - 1, np.int64(column + one) - 1  # rounded down, as both exceed -1
    return r, c, row - T(r), column - T(c)


def pixel(x, n, i, j, c, fill_value):
    """Returns x[n, i, j, c], or `fill_value` if (i, j) is outside the image."""
    return x[n, i, j, c] if 0 <= i < x.shape[1] and 0 <= j < x.shape[2] else fill_value


def blend(a, b, c, d, v, u):
    """Interpolates bilinearly: u to the right, from a to b and c to d, then v down between them."""
    one = type(u)(1)
    upper = (one - u) * a + u * b
    lower = (one - u) * c + u * d
    return (one - v) * upper + v * lower
