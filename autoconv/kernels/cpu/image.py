"""Applies a geometric transform to each image of a batch, and draws random transforms. The formulas
are in formulas/geometry.py.
"""

import numpy as np
from numba import prange

from ..formulas import compile_formulas, geometry
from .jit import inline, kernel
from .random import HALF, philox, uniform

_geometry = compile_formulas(geometry, inline)
set_transform = _geometry.set_transform
read_transform = _geometry.read_transform
source = _geometry.source
pixel, blend = _geometry.pixel, _geometry.blend


@kernel("(float64, float64, float64, float64, int64, uint64, uint64, uint64, T[:,::1])")
def draws(low, high, second_low, second_high, word, seed, stream, first, d):
    """Draws d[0, n] uniformly from low..high and d[1, n] from second_low..second_high; d is (2, N).

    The draws use words 0 and `word` of the first block of random words of sample `first + n`.
    """
    for n in range(d.shape[1]):
        words = philox((first + np.uint64(n)) << HALF, stream, seed)
        d[0, n] = uniform(words[0], low, high)
        d[1, n] = uniform(words[word], second_low, second_high)


@kernel("(T[:,::1], int64, int64, int64, T[:,::1])")
def transforms(d, kind, h, w, t):
    """Computes the transforms t (N, 8) of images (h, w) from the random draws d (2, N)."""
    for n in range(t.shape[0]):
        set_transform(d, n, kind, h, w, t)


@kernel("(T[:,:,:,::1], T[:,::1], int64, float64, boolean, T[:,:,:,::1])", parallel=True)
def affine_transform(x, transform, fill_mode, fill_value, bilinear, y):
    """y[n, i, j] = x[n] at column (t0 j + t1 i + t2) / s and row (t3 j + t4 i + t5) / s, with
    s = t6 j + t7 i + 1. x (N, H, W, C), transform t (N or 1, 8), y (N, OH, OW, C).
    """
    fill = y.dtype.type(fill_value)
    h, w, channels = x.shape[1:]
    for n in prange(y.shape[0]):
        t = read_transform(transform, np.int64(n))
        for i in range(y.shape[1]):
            for j in range(y.shape[2]):
                r, c, v, u = source(t, i, j, h, w, fill_mode, bilinear)
                if r < -1 or not bilinear:
                    inside = 0 <= r < h and 0 <= c < w
                    for k in range(channels):
                        y[n, i, j, k] = x[n, r, c, k] if inside else fill
                elif 0 <= r < h - 1 and 0 <= c < w - 1:
                    for k in range(channels):
                        y[n, i, j, k] = blend(x[n, r, c, k], x[n, r, c + 1, k],
                                              x[n, r + 1, c, k], x[n, r + 1, c + 1, k], v, u)
                else:
                    for k in range(channels):
                        y[n, i, j, k] = blend(pixel(x, n, r, c, k, fill), pixel(x, n, r, c + 1, k, fill),
                                              pixel(x, n, r + 1, c, k, fill), pixel(x, n, r + 1, c + 1, k, fill), v, u)


@kernel("(T[:,:,:,::1], T[:,::1], int64, boolean, T[:,:,:,::1])", parallel=True)
def affine_transform_grad(dy, transform, fill_mode, bilinear, dx):
    """dx = 0, then adds each element of dy, times interpolation weights, to its source pixels."""
    one = dx.dtype.type(1)
    h, w, channels = dx.shape[1:]
    for n in prange(dx.shape[0]):
        dx[n] = 0
        t = read_transform(transform, np.int64(n))
        for i in range(dy.shape[1]):
            for j in range(dy.shape[2]):
                r, c, v, u = source(t, i, j, h, w, fill_mode, bilinear)
                for p in range(2 if bilinear else 1):
                    for q in range(2 if bilinear else 1):
                        if 0 <= r + p < h and 0 <= c + q < w:
                            share = (v if p else one - v) * (u if q else one - u)
                            for k in range(channels):
                                dx[n, r + p, c + q, k] += share * dy[n, i, j, k]
