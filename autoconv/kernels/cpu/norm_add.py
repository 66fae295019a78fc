"""The gradient of batch normalization followed by the addition of another array and ReLU, in one
pass over memory.

The backward pass finds in y which elements passed the ReLU. In the same pass that sums up the
parameters' gradients, it writes the gradient of these elements, which is also the gradient of the
other array.
"""

import numpy as np
from numba import prange

from . import norm, rowwise, simd
from .flat import flattened
from .jit import inline, kernel
from .norm import coefficients, input_grad, moments, normalize  # noqa: F401 (part of this module)
from .rowwise import VECTORS


@inline
def passed_sums(x, y, dy, more, two, i, stop, center, passed, sums, products):
    """passed = dy, or dy + more if `two`, where y > 0, otherwise 0. For each column, `sums`
    receives the sum of passed and `products` the sum of passed * (x - center), over [i : stop] as
    rows of center's size.
    """
    none, wide = simd.zeros(x, 1, VECTORS), center.size
    for j in range(0, wide, simd.width(none)):
        columns, at, total, product = min(simd.width(none), wide - j), i + j, none, none
        around = rowwise.row(none, center, j, columns)
        while at < stop:
            here = min(columns, stop - at)
            gradient = rowwise.row(none, dy, at, here)
            if two:
                gradient = rowwise.add(gradient, rowwise.row(none, more, at, here))
            gradient = rowwise.passed(rowwise.row(none, y, at, here), gradient)
            rowwise.put(gradient, passed, at, here)
            away = rowwise.subtract(rowwise.row(none, x, at, here), around)
            total, product = rowwise.add(total, gradient), rowwise.multiply_add(gradient, away, product)
            at += wide
        rowwise.put(total, sums, j, columns)
        rowwise.put(product, products, j, columns)


@kernel("(T[:,::1], T[:,::1], T[:,::1], T[:,::1], boolean, T[::1], T[::1], float64[:,:,::1], T[:,::1], T[::1], T[::1])",
        parallel=True)
def parameter_grads_add(x, y, dy, more, two, mean, inverse, parts, passed, dgamma, dbeta):
    """passed = dy, or dy + more if `two`, where y > 0, otherwise 0; dgamma = sum of passed (x -
    mean) inverse, dbeta = sum of passed, over rows.
    """
    (rows, channels), count, times = x.shape, parts.shape[1], norm.times_for(x.shape[1])
    pixels, results, target = flattened(x), flattened(y), flattened(passed)
    gradients, others, center = flattened(dy), flattened(more), norm.repeated(mean, times)
    for p in prange(count):
        begin, end = norm.share(rows, p, count)
        sums, products = np.empty(center.size, x.dtype), np.empty(center.size, x.dtype)
        parts[0, p], parts[1, p] = 0, 0
        for i in range(begin * channels, end * channels, norm.DEPTH * center.size):
            passed_sums(pixels, results, gradients, others, two, i, min(i + norm.DEPTH * center.size, end * channels),
                        center, target, sums, products)
            norm.add_folded(products, parts[0, p])
            norm.add_folded(sums, parts[1, p])
    for c in range(channels):
        product, total = 0.0, 0.0
        for p in range(count):
            product += parts[0, p, c]
            total += parts[1, p, c]
        dgamma[c], dbeta[c] = product * inverse[c], total
