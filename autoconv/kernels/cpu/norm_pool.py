"""Batch normalization, ReLU and 2x2 max pooling in one pass over memory, and their gradients.

For the backward pass, each window's maximum is stored, with one byte for its index. The sums for
the parameters' gradients include only these winners; norm.py's kernel computes them.
"""

import numpy as np
from numba import prange

from . import rowwise, simd
from .flat import flattened
from .jit import kernel
from .norm import coefficients, moments, parameter_grads  # noqa: F401 (part of this module)


@kernel("(T[:,:,:,::1], T[::1], T[::1], T[::1], T[:,:,:,::1], T[:,:,:,::1], uint8[:,:,:,::1])", parallel=True)
def normalize_pool(x, mean, scale, shift, y, peak, winner):
    """y (N,H//2,W//2,C) = the largest of (x - mean) scale + shift in each window, or 0 if that is
    negative. `peak` receives the x of the largest element and `winner` its index, 0 to 3; on a tie,
    the first index.
    """
    (_, h, w, c), (n, oh, ow, _) = x.shape, y.shape
    source, target, tops, places = flattened(x), flattened(y), flattened(peak), flattened(winner)
    none = simd.zeros(x, 1, 1)
    for task in prange(n * oh):
        for j in range(ow):
            first, to = ((task // oh * h + task % oh * 2) * w + 2 * j) * c, (task * ow + j) * c
            for f in range(0, c, simd.width(none)):
                columns = min(simd.width(none), c - f)
                center, slope = rowwise.row(none, mean, f, columns), rowwise.row(none, scale, f, columns)
                level = rowwise.row(none, shift, f, columns)
                top = rowwise.row(none, source, first + f, columns)
                best = rowwise.add(rowwise.multiply(rowwise.subtract(top, center), slope), level)
                place = none
                for k in range(1, 4):
                    here = rowwise.row(none, source, first + (k // 2 * w + k % 2) * c + f, columns)
                    value = rowwise.add(rowwise.multiply(rowwise.subtract(here, center), slope), level)
                    place = rowwise.where_larger(value, best, rowwise.filled(none, k), place)
                    top = rowwise.where_larger(value, best, here, top)
                    best = rowwise.where_larger(value, best, value, best)
                rowwise.put(simd.relu(best), target, to + f, columns)
                rowwise.put(top, tops, to + f, columns)
                rowwise.put_bytes(place, places, to + f, columns)


@kernel("(T[:,:,:,::1], T[:,:,:,::1], uint8[:,:,:,::1], T[:,:,:,::1], T[::1], T[::1], T[::1], T[::1], T[::1], T[::1],"
        " T[:,:,:,::1])", parallel=True)
def input_grad_pool(x, peak, winner, dy, mean, inverse, scale, shift, dgamma, dbeta, dx):
    """dx (N,H,W,C) from dy (N,H//2,W//2,C): `norm.input_grad` of dy, placed at each winner whose
    output is above 0.
    """
    (n, h, w, c), (_, oh, ow, _), rows = x.shape, dy.shape, x.size // x.shape[3]
    pixels, target, gradients = flattened(x), flattened(dx), flattened(dy)
    tops, places = flattened(peak), flattened(winner)
    means, slopes, none = np.empty_like(mean), np.empty_like(mean), simd.zeros(x, 1, 1)
    for f in range(c):
        means[f], slopes[f] = dbeta[f] / rows, dgamma[f] / rows * inverse[f]
    # numbers of windows, including those at the edges that the pooling ignores
    high, wide = (h + 1) // 2, (w + 1) // 2
    for task in prange(n * high):
        s, i = task // high, task % high
        for j in range(wide):
            within, first = i < oh and j < ow, ((s * h + 2 * i) * w + 2 * j) * c
            for f in range(0, c, simd.width(none)):
                columns, gradient, place = min(simd.width(none), c - f), none, none
                center, factor = rowwise.row(none, mean, f, columns), rowwise.row(none, scale, f, columns)
                slope, average = rowwise.row(none, slopes, f, columns), rowwise.row(none, means, f, columns)
                if within:
                    pooled = ((s * oh + i) * ow + j) * c + f
                    value = rowwise.subtract(rowwise.row(none, tops, pooled, columns), center)
                    value = rowwise.add(rowwise.multiply(value, factor), rowwise.row(none, shift, f, columns))
                    gradient = rowwise.passed(value, rowwise.row(none, gradients, pooled, columns))
                    place = rowwise.row_of_bytes(none, places, pooled, columns)
                for k in range(4):
                    if within or (2 * i + k // 2 < h and 2 * j + k % 2 < w):
                        at = first + (k // 2 * w + k % 2) * c + f
                        away = rowwise.subtract(rowwise.row(none, pixels, at, columns), center)
                        here = rowwise.where_equal(place, rowwise.filled(none, k), gradient)
                        here = rowwise.subtract(here, rowwise.multiply_add(away, slope, average))
                        rowwise.put(rowwise.multiply(factor, here), target, at, columns)
