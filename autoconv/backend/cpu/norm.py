"""Batch normalisation over the rows of (M, C), one channel a column.

Sums over rows are made of a number of parts that the op fixes, added in their order in float64, so they have the same
bits for any number of threads.
"""

import numpy as np
from numba import prange

from .jit import inline, kernel, recorded
from .pointwise import relu_grad  # noqa: F401 (part of this module)

WIDE = 512  # items of neighbouring rows that one loop runs over: rows of few channels would cost more than the work


@inline
def add_parts(parts, out):
    """out (C,) = the sum of the parts (P, C), in their order."""
    for c in range(out.size):
        total = 0.0
        for p in range(parts.shape[0]):
            total += parts[p, c]
        out[c] = total


@inline
def repeated(row, times):
    """The row (C,) several times, one after the other."""
    out = np.empty(times * row.size, row.dtype)
    for r in range(times):
        for c in range(row.size):
            out[r * row.size + c] = row[c]
    return out


@inline
def fold(wide, out):
    """out (C,) = the sum of the rows of C that lie in `wide` one after the other."""
    out[:] = 0
    for r in range(wide.size // out.size):
        for c in range(out.size):
            out[c] += wide[r * out.size + c]


@kernel("(T[:,::1], float64[:,:,::1], T[::1], T[::1])", parallel=True)
def moments(x, parts, mean, variance):
    """The mean and the biased variance of each column; `parts` (2, P, C) is room to work in.

    A part takes its rows' mean, then their squares around it, while they lie in the cache. Chan, Golub and LeVeque
    (1979) put parts together.
    """
    (rows, channels), count = x.shape, parts.shape[1]
    flat, times = x.reshape(x.size), max(1, WIDE // channels)
    for p in prange(count):
        first, stop = p * rows // count * channels, (p + 1) * rows // count * channels
        sums = np.zeros(times * channels)
        for i in range(first, stop, sums.size):
            some = flat[i : min(i + sums.size, stop)]
            for j in range(some.size):
                sums[j] += some[j]
        fold(sums, parts[0, p])
        for c in range(channels):
            parts[0, p, c] /= max((stop - first) // channels, 1)
        center = repeated(parts[0, p], times)
        sums[:] = 0
        for i in range(first, stop, sums.size):
            some = flat[i : min(i + sums.size, stop)]
            for j in range(some.size):
                sums[j] += (some[j] - center[j]) ** 2
        fold(sums, parts[1, p])
    for c in range(channels):
        total = 0.0
        for p in range(count):
            total += parts[0, p, c] * ((p + 1) * rows // count - p * rows // count)
        average, total = total / rows, 0.0
        for p in range(count):
            size = (p + 1) * rows // count - p * rows // count
            total += parts[1, p, c] + size * (parts[0, p, c] - average) ** 2
        mean[c], variance[c] = average, total / rows


@kernel("(T[:,::1], T[::1], T[::1], T[::1], boolean, T[:,::1])", parallel=True)
def normalize(x, mean, scale, shift, relu, y):
    """y = (x - mean) scale + shift, or with `relu` the larger of that and 0."""
    zero = mean.dtype.type(0)
    for i in prange(x.shape[0]):
        for c in range(x.shape[1]):
            value = (x[i, c] - mean[c]) * scale[c] + shift[c]
            y[i, c] = zero if relu & (value < 0) else value


@kernel("(T[:,::1], T[:,::1], T[::1], T[::1], T[::1], T[::1], boolean, float64[:,:,::1], T[::1], T[::1])",
        parallel=True)
def parameter_grads(x, dy, mean, inverse, scale, shift, relu, parts, dgamma, dbeta):
    """dgamma = sum of dy (x - mean) inverse, dbeta = sum of dy, over the rows; with `relu` over those that it let by.

    The gradients that it let by are made in a loop of their own: LLVM gives up on loops over more arrays.
    """
    (rows, channels), count, zero = x.shape, parts.shape[1], mean.dtype.type(0)
    pixels, gradients, times = x.reshape(x.size), dy.reshape(dy.size), max(1, WIDE // channels)
    center, scales, shifts = repeated(mean, times), repeated(scale, times), repeated(shift, times)
    for p in prange(count):
        first, stop = p * rows // count * channels, (p + 1) * rows // count * channels
        products, sums, passed = np.zeros(center.size), np.zeros(center.size), np.empty(center.size, dy.dtype)
        for i in range(first, stop, center.size):
            n = min(center.size, stop - i)
            some, dsome = pixels[i : i + n], gradients[i : i + n]
            if relu:
                for j in range(n):
                    gradient = dsome[j]
                    passed[j] = zero if (some[j] - center[j]) * scales[j] + shifts[j] <= 0 else gradient
                dsome = passed[:n]
            for j in range(n):
                products[j] += dsome[j] * (some[j] - center[j])
                sums[j] += dsome[j]
        fold(products, parts[0, p])
        fold(sums, parts[1, p])
    add_parts(parts[0], dgamma)
    add_parts(parts[1], dbeta)
    for c in range(channels):
        dgamma[c] *= inverse[c]


@kernel("(T[:,::1], T[:,::1], T[::1], T[::1], T[::1], T[::1], boolean, T[::1], T[::1], T[:,::1])", parallel=True)
def input_grad(x, dy, mean, inverse, scale, shift, relu, dgamma, dbeta, dx):
    """dx = scale (dy - mean of dy - xhat mean of (dy xhat)), with xhat = (x - mean) inverse, and dy = 0 where `relu`
    let nothing by.
    """
    share, zero = mean.dtype.type(1 / x.shape[0]), mean.dtype.type(0)
    for i in prange(x.shape[0]):
        for c in range(x.shape[1]):
            centered, gradient = x[i, c] - mean[c], dy[i, c]
            gradient = zero if relu & (centered * scale[c] + shift[c] <= 0) else gradient
            dx[i, c] = scale[c] * (gradient - share * (dbeta[c] + centered * inverse[c] * dgamma[c]))


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
