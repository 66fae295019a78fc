"""Batch normalisation over the rows of (M, C), one channel a column.

Sums over rows are made of a number of parts that the op fixes, added in their order in float64, so they have the same
bits for any number of threads.
"""

import numpy as np
from numba import prange

from .jit import inline, kernel, recorded


@inline
def add_parts(parts, factor, out):
    """out (C,) = factor times the sum of the parts (P, C), in their order."""
    for c in range(out.size):
        total = 0.0
        for p in range(parts.shape[0]):
            total += parts[p, c]
        out[c] = total * factor


@kernel("(T[:,::1], float64[:,::1], T[::1], T[::1])", parallel=True)
def moments(x, parts, mean, variance):
    """The mean and the biased variance of each column; `parts` (P, C) is room to work in."""
    (rows, channels), count = x.shape, parts.shape[0]
    for p in prange(count):
        parts[p] = 0
        for i in range(p * rows // count, (p + 1) * rows // count):
            for c in range(channels):
                parts[p, c] += x[i, c]
    add_parts(parts, 1 / rows, mean)
    for p in prange(count):
        parts[p] = 0
        for i in range(p * rows // count, (p + 1) * rows // count):
            for c in range(channels):
                parts[p, c] += (x[i, c] - mean[c]) ** 2
    add_parts(parts, 1 / rows, variance)


@kernel("(T[:,::1], T[::1], T[::1], T[::1], T[:,::1])", parallel=True)
def normalize(x, mean, scale, shift, y):
    """y = (x - mean) scale + shift."""
    for i in prange(x.shape[0]):
        for c in range(x.shape[1]):
            y[i, c] = (x[i, c] - mean[c]) * scale[c] + shift[c]


@kernel("(T[:,::1], T[:,::1], T[::1], T[::1], float64[:,::1], T[::1], T[::1])", parallel=True)
def parameter_grads(x, dy, mean, inverse, parts, dgamma, dbeta):
    """dgamma = sum of dy (x - mean) inverse, dbeta = sum of dy, over the rows."""
    (rows, channels), count = x.shape, parts.shape[0]
    for p in prange(count):
        parts[p] = 0
        for i in range(p * rows // count, (p + 1) * rows // count):
            for c in range(channels):
                parts[p, c] += dy[i, c] * ((x[i, c] - mean[c]) * inverse[c])
    add_parts(parts, 1.0, dgamma)
    for p in prange(count):
        parts[p] = 0
        for i in range(p * rows // count, (p + 1) * rows // count):
            for c in range(channels):
                parts[p, c] += dy[i, c]
    add_parts(parts, 1.0, dbeta)


@kernel("(T[:,::1], T[:,::1], T[::1], T[::1], T[::1], T[::1], T[::1], T[:,::1])", parallel=True)
def input_grad(x, dy, mean, inverse, scale, dgamma, dbeta, dx):
    """dx = scale (dy - mean of dy - xhat mean of (dy xhat)), with xhat = (x - mean) inverse."""
    share = mean.dtype.type(1 / x.shape[0])
    for i in prange(x.shape[0]):
        for c in range(x.shape[1]):
            xhat = (x[i, c] - mean[c]) * inverse[c]
            dx[i, c] = scale[c] * (dy[i, c] - share * (dbeta[c] + xhat * dgamma[c]))


@recorded
def inverse_deviation(variance, epsilon, inverse):
    """inverse = 1 / sqrt(variance + epsilon)."""
    inverse[...] = 1 / np.sqrt(variance + variance.dtype.type(epsilon))


@recorded
def multiply(a, b, out):
    np.multiply(a, b, out=out)


@recorded
def copy(a, out):
    out[...] = a


@recorded
def moving_average(average, batch, momentum):
    """average = average momentum + batch (1 - momentum), in place."""
    average *= average.dtype.type(momentum)
    average += batch * average.dtype.type(1 - momentum)
