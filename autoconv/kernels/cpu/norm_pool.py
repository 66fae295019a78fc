"""Batch normalization, ReLU and 2x2 max pooling in one pass over memory, and their gradients.

For the backward pass, each window's maximum is stored, with one byte for its index. The sums for
the parameters' gradients include only these winners, and are computed by `norm.parameter_grads`.
"""

import numpy as np
from numba import prange

from . import rowwise, simd
from .flat import flatten
from .jit import kernel
from .norm import coefficients, moments, parameter_grads  # noqa: F401 (re-exported)


@kernel("(T[:,:,:,::1], T[::1], T[::1], T[::1], T[:,:,:,::1], T[:,:,:,::1], uint8[:,:,:,::1])", parallel=True)
def normalize_pool(x, mean, scale, shift, y, peak, winner):
    """y (N,H//2,W//2,C) = the largest of (x - mean) scale + shift in each window, or 0 if that is
    negative. `peak` receives the x of the largest element and `winner` its index, 0 to 3; on a tie,
    the first index.
    """
    (_, h, w, c), (n, oh, ow, _) = x.shape, y.shape
    source, target, tops, places = flatten(x), flatten(y), flatten(peak), flatten(winner)
    zero = simd.zeros(x, 1, 1)
    for task in prange(n * oh):
        for j in range(ow):
            first, dst = ((task // oh * h + task % oh * 2) * w + 2 * j) * c, (task * ow + j) * c
            for f in range(0, c, simd.width(zero)):
                columns = min(simd.width(zero), c - f)
                center = rowwise.row(zero, mean, f, columns)
                slope = rowwise.row(zero, scale, f, columns)
                level = rowwise.row(zero, shift, f, columns)
                top = rowwise.row(zero, source, first + f, columns)
                best = rowwise.add(rowwise.multiply(rowwise.subtract(top, center), slope), level)
                place = zero
                for k in range(1, 4):
                    pixel = rowwise.row(zero, source, first + (k // 2 * w + k % 2) * c + f, columns)
                    value = rowwise.add(rowwise.multiply(rowwise.subtract(pixel, center), slope), level)
                    place = rowwise.select_larger(value, best, rowwise.full(zero, k), place)
                    top = rowwise.select_larger(value, best, pixel, top)
                    best = rowwise.select_larger(value, best, value, best)
                rowwise.put(simd.clip(best, simd.RELU), target, dst + f, columns)
                rowwise.put(top, tops, dst + f, columns)
                rowwise.put_bytes(place, places, dst + f, columns)


@kernel("(T[:,:,:,::1], T[:,:,:,::1], uint8[:,:,:,::1], T[:,:,:,::1], T[::1], T[::1], T[::1], "
        "T[::1], T[::1], T[::1], T[:,:,:,::1])", parallel=True)
def input_grad_pool(x, peak, winner, dy, mean, inverse, scale, shift, dgamma, dbeta, dx):
    """Computes dx (N,H,W,C) from dy (N,H//2,W//2,C), as `norm.input_grad` does from a gradient that
    has dy at each winner whose output is above 0, and 0 elsewhere.
    """
    (n, h, w, c), (_, oh, ow, _), rows = x.shape, dy.shape, x.size // x.shape[3]
    pixels, target, gradients = flatten(x), flatten(dx), flatten(dy)
    tops, places = flatten(peak), flatten(winner)
    means, slopes, zero = np.empty_like(mean), np.empty_like(mean), simd.zeros(x, 1, 1)
    for f in range(c):
        means[f], slopes[f] = dbeta[f] / rows, dgamma[f] / rows * inverse[f]
    # numbers of windows, including the incomplete ones at the edges, which the pooling ignores
    high, wide = (h + 1) // 2, (w + 1) // 2
    for task in prange(n * high):
        s, i = task // high, task % high
        for j in range(wide):
            inside, first = i < oh and j < ow, ((s * h + 2 * i) * w + 2 * j) * c
            for f in range(0, c, simd.width(zero)):
                columns, gradient, place = min(simd.width(zero), c - f), zero, zero
                center = rowwise.row(zero, mean, f, columns)
                factor = rowwise.row(zero, scale, f, columns)
                slope = rowwise.row(zero, slopes, f, columns)
                average = rowwise.row(zero, means, f, columns)
                if inside:
                    src = ((s * oh + i) * ow + j) * c + f
                    value = rowwise.subtract(rowwise.row(zero, tops, src, columns), center)
                    value = rowwise.add(rowwise.multiply(value, factor), rowwise.row(zero, shift, f, columns))
                    gradient = rowwise.relu_grad(value, rowwise.row(zero, gradients, src, columns))
                    place = rowwise.row_of_bytes(zero, places, src, columns)
                for k in range(4):
                    if inside or (2 * i + k // 2 < h and 2 * j + k % 2 < w):
                        pos = first + (k // 2 * w + k % 2) * c + f
                        diff = rowwise.subtract(rowwise.row(zero, pixels, pos, columns), center)
                        grad = rowwise.select_equal(place, rowwise.full(zero, k), gradient)
                        grad = rowwise.subtract(grad, rowwise.multiply_add(diff, slope, average))
                        rowwise.put(rowwise.multiply(factor, grad), target, pos, columns)
