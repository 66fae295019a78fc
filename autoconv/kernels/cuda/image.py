"""Transforms images (formulas/geometry.py), with one thread per element of the result. The gradient
has one thread per channel of a sample, which adds all the channel's sums in a fixed order.
"""

import numpy as np

from ..formulas import compile_formulas, geometry
from .array import number
from .kernels import inline, kernel
from .ptx import global_index
from .random import HALF, philox, uniform

_geometry = compile_formulas(geometry, inline)
set_transform = _geometry.set_transform
read_transform = _geometry.read_transform
source = _geometry.source
pixel, blend = _geometry.pixel, _geometry.blend


@kernel("(int64, float64, float64, float64, float64, int64, const uint64[::1], const uint64[::1], "
        "const uint64[::1], T[:,::1])")
def _draws(count, low, high, second_low, second_high, word, seed, stream, first, d):
    n = global_index()
    if n < count:
        words = philox((first[0] + np.uint64(n)) << HALF, stream[0], seed[0])
        second = words[1] if word == 1 else words[0]
        d[0, n] = uniform(words[0], low, high)
        d[1, n] = uniform(second, second_low, second_high)


@kernel("(int64, const T[:,::1], int64, int64, int64, T[:,::1])")
def _transforms(count, d, kind, h, w, t):
    n = global_index()
    if n < count:
        set_transform(d, n, kind, h, w, t)


@kernel("(int64, const T[:,:,:,::1], const T[:,::1], int64, float64, boolean, T[:,:,:,::1])")
def _affine_transform(count, x, transform, fill_mode, fill_value, bilinear, y):
    item = global_index()
    if item < count:
        fill = y.dtype.type(fill_value)
        k, place = item % y.shape[3], item // y.shape[3]
        j, place = place % y.shape[2], place // y.shape[2]
        i, n = place % y.shape[1], place // y.shape[1]
        own = read_transform(transform, n)
        r, c, v, u = source(own, i, j, x.shape[1], x.shape[2], fill_mode, bilinear)
        if r < -1 or not bilinear:
            y[n, i, j, k] = pixel(x, n, r, c, k, fill)
        else:
            y[n, i, j, k] = blend(pixel(x, n, r, c, k, fill), pixel(x, n, r, c + 1, k, fill),
                                  pixel(x, n, r + 1, c, k, fill), pixel(x, n, r + 1, c + 1, k, fill), v, u)


@kernel("(int64, const T[:,:,:,::1], const T[:,::1], int64, boolean, T[:,:,:,::1])")
def _affine_transform_grad(count, dy, transform, fill_mode, bilinear, dx):
    item, one = global_index(), dx.dtype.type(1)
    if item < count:
        n, k = item // dx.shape[3], item % dx.shape[3]
        h, w, own = dx.shape[1], dx.shape[2], read_transform(transform, n)
        for i in range(h):
            for j in range(w):
                dx[n, i, j, k] = dx.dtype.type(0)
        for i in range(dy.shape[1]):
            for j in range(dy.shape[2]):
                r, c, v, u = source(own, i, j, h, w, fill_mode, bilinear)
                for p in range(2 if bilinear else 1):
                    for q in range(2 if bilinear else 1):
                        if 0 <= r + p < h and 0 <= c + q < w:
                            share = (v if p else one - v) * (u if q else one - u)
                            dx[n, r + p, c + q, k] += share * dy[n, i, j, k]


def draws(low, high, second_low, second_high, word, seed, stream, first, d):
    """Sets d[0, n] and d[1, n] to uniform random numbers in [low, high) and [second_low,
    second_high), from words 0 and `word` of sample `first + n`.
    """
    key = (number(d.gpu, part, np.uint64) for part in (seed, stream, first))
    _draws(d.shape[1], low, high, second_low, second_high, word, *key, d)


def transforms(d, kind, h, w, t):
    """t (N, 8) = the transforms of images (h, w) that the random numbers d (2, N) define."""
    _transforms(t.shape[0], d, kind, h, w, t)


def affine_transform(x, transform, fill_mode, fill_value, bilinear, y):
    """y[n, i, j] = the pixel of x[n] at the position to which transform[n] maps (i, j)."""
    _affine_transform(y.size, x, transform, fill_mode, fill_value, bilinear, y)


def affine_transform_grad(dy, transform, fill_mode, bilinear, dx):
    """dx = for each pixel of x, the sum of dy times the pixel's interpolation weights."""
    _affine_transform_grad(dx.shape[0] * dx.shape[3], dy, transform, fill_mode, bilinear, dx)
