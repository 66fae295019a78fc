"""Gradients of batch normalization that is followed by the addition of another array and a ReLU, in
one pass over memory.

The backward pass reads from y which elements passed the ReLU. While it sums up the parameters'
gradients, it also writes dy with zeros for all other elements, which is the gradient of the added
array.
"""

import numpy as np
from numba import prange

from . import norm, rowwise, simd
from .flat import flatten
from .jit import inline, kernel
from .norm import coefficients, input_grad, moments, normalize  # noqa: F401 (re-exported)
from .rowwise import VECTORS


@inline
def masked_sums(x, y, dy, second_dy, has_second_dy, i, stop, center, masked_dy, sums, products):
    """masked_dy = dy, or dy + second_dy if `has_second_dy`, where y > 0, otherwise 0. For each
    column, `sums` receives the sum of masked_dy, and `products` the sum of masked_dy * (x -
    center). The sums are over the elements [i : stop], whose rows are as long as `center`.
    """
    zero, wide = simd.zeros(x, 1, VECTORS), center.size
    for j in range(0, wide, simd.width(zero)):
        columns, pos, total, product = min(simd.width(zero), wide - j), i + j, zero, zero
        mid = rowwise.row(zero, center, j, columns)
        while pos < stop:
            count = min(columns, stop - pos)
            for array in (x, y, dy, masked_dy):
                norm.prefetch_block(array, pos, wide, count)
            gradient = rowwise.row(zero, dy, pos, count)
            if has_second_dy:
                gradient = rowwise.add(gradient, rowwise.row(zero, second_dy, pos, count))
            gradient = rowwise.relu_grad(rowwise.row(zero, y, pos, count), gradient)
            rowwise.put(gradient, masked_dy, pos, count)
            diff = rowwise.subtract(rowwise.row(zero, x, pos, count), mid)
            total = rowwise.add(total, gradient)
            product = rowwise.multiply_add(gradient, diff, product)
            pos += wide
        rowwise.put(total, sums, j, columns)
        rowwise.put(product, products, j, columns)


@kernel("(T[:,::1], T[:,::1], T[:,::1], T[:,::1], boolean, T[::1], T[::1], float64[:,:,::1], T[:,::1], T[::1], T[::1])",
        parallel=True)
def parameter_grads_add(x, y, dy, second_dy, has_second_dy, mean, inverse, parts, masked_dy, dgamma, dbeta):
    """masked_dy = dy, or dy + second_dy if `has_second_dy`, where y > 0, otherwise 0. Sums over
    rows: dgamma = sum(masked_dy (x - mean) inverse), dbeta = sum(masked_dy).
    """
    (rows, channels), count, times = x.shape, parts.shape[1], norm.count_repeats(x.shape[1])
    pixels, results, target = flatten(x), flatten(y), flatten(masked_dy)
    gradients, extra, center = flatten(dy), flatten(second_dy), norm.repeat(mean, times)
    for p in prange(count):
        begin, end = norm.share(rows, p, count)
        sums, products = np.empty(center.size, x.dtype), np.empty(center.size, x.dtype)
        parts[0, p], parts[1, p] = 0, 0
        for i in range(begin * channels, end * channels, norm.DEPTH * center.size):
            masked_sums(pixels, results, gradients, extra, has_second_dy, i,
                        min(i + norm.DEPTH * center.size, end * channels), center, target, sums, products)
            norm.add_folded(products, parts[0, p])
            norm.add_folded(sums, parts[1, p])
    for c in range(channels):
        product, total = 0.0, 0.0
        for p in range(count):
            product += parts[0, p, c]
            total += parts[1, p, c]
        dgamma[c], dbeta[c] = product * inverse[c], total
