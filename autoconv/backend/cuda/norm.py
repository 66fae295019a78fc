"""Batch normalisation over the rows of (M, C), one channel a column.

Sums over rows are made of a number of parts that the op fixes, a thread a part of a column, added in their order in
float64.
"""

import math

from .. import across, trace
from .arith import multiply  # noqa: F401 (part of this module)
from .conv import bias
from .pointwise import relu_grad  # noqa: F401 (part of this module)
from .ptx import global_index
from .runtime import kernel


@kernel("(int64, const T[:,::1], float64[:,:,::1])")
def _sums(count, x, parts):
    """parts[0, p, c] = the sum of its share of column c."""
    _, number, channels = parts.shape
    item = global_index()
    if item < count:
        p, c = item // channels, item % channels
        total = 0.0
        for i in range(x.shape[0] * p // number, x.shape[0] * (p + 1) // number):
            total += x[i, c]
        parts[0, p, c] = total


@kernel("(int64, const T[:,::1], const T[::1], float64[:,:,::1])")
def _squares(count, x, mean, parts):
    """parts[0, p, c] = the sum of (x - mean)^2 over its share of column c."""
    _, number, channels = parts.shape
    item = global_index()
    if item < count:
        p, c = item // channels, item % channels
        total = 0.0
        for i in range(x.shape[0] * p // number, x.shape[0] * (p + 1) // number):
            total += (x[i, c] - mean[c]) * (x[i, c] - mean[c])
        parts[0, p, c] = total


@kernel("(int64, const T[:,::1], const T[:,::1], const T[::1], const T[::1], const T[::1], const T[::1], boolean,"
        " float64[:,:,::1])")
def _products(count, x, dy, mean, inverse, scale, shift, relu, parts):
    """parts[:, p, c] = the sums of dy (x - mean) inverse and of dy over its share of column c."""
    _, number, channels = parts.shape
    item = global_index()
    if item < count:
        p, c = item // channels, item % channels
        products, gradients = 0.0, 0.0
        for i in range(x.shape[0] * p // number, x.shape[0] * (p + 1) // number):
            centered = x[i, c] - mean[c]
            if not relu or not centered * scale[c] + shift[c] <= 0:
                products += dy[i, c] * (centered * inverse[c])
                gradients += dy[i, c]
        parts[0, p, c], parts[1, p, c] = products, gradients


@kernel("(int64, const float64[:,:,::1], int64, float64, T[::1])")
def _add_parts(count, parts, which, factor, out):
    """out (C,) = factor times the sum of the parts [which] (P, C), in their order."""
    c = global_index()
    if c < count:
        total = 0.0
        for p in range(parts.shape[1]):
            total += parts[which, p, c]
        out[c] = total * factor


@kernel("(int64, const T[:,::1], const T[:,::1], boolean, const T[::1], const T[::1], const T[::1], boolean,"
        " T[:,::1])")
def _normalize(count, x, other, two, mean, scale, shift, relu, y):
    channels, zero = x.shape[1], x.dtype.type(0)
    item = global_index()
    if item < count:
        i, c = item // channels, item % channels
        value = (x[i, c] - mean[c]) * scale[c] + shift[c]
        if two:
            value += other[i, c]
        y[i, c] = zero if relu and value < 0 else value


@kernel("(int64, const T[:,::1], const T[:,::1], const T[::1], const T[::1], const T[::1], const T[::1], boolean,"
        " const T[::1], const T[::1], T[:,::1])")
def _input_grad(count, x, dy, mean, inverse, scale, shift, relu, dgamma, dbeta, dx):
    channels, share = x.shape[1], mean.dtype.type(1) / mean.dtype.type(x.shape[0])
    item = global_index()
    if item < count:
        i, c = item // channels, item % channels
        centered, gradient = x[i, c] - mean[c], dy[i, c]
        if relu and centered * scale[c] + shift[c] <= 0:
            gradient = x.dtype.type(0)
        dx[i, c] = scale[c] * (gradient - share * (dbeta[c] + centered * inverse[c] * dgamma[c]))


@kernel("(int64, const T[::1], const T[::1], float64, const T[::1], boolean, const T[::1], boolean, T[::1], T[::1],"
        " T[::1], T[::1])")
def _coefficients(count, mean, variance, epsilon, gamma, scaled, beta, shifted, center, inverse, scale, shift):
    real = mean.dtype.type
    c = global_index()
    if c < count:
        factor = real(1) / math.sqrt(variance[c] + real(epsilon))
        center[c], inverse[c] = mean[c], factor
        scale[c] = factor * gamma[c] if scaled else factor
        shift[c] = beta[c] if shifted else real(0)


@kernel("(int64, const T[:,::1], const T[::1], boolean, const T[::1], boolean, const T[::1], boolean, const T[::1],"
        " const T[::1], float64, T[:,::1], T[::1])")
def _fold(count, w, b, biased, gamma, scaled, beta, shifted, mean, variance, epsilon, folded, shift):
    real, channels = mean.dtype.type, w.shape[1]
    item = global_index()
    if item < count:
        r, c = item // channels, item % channels
        factor = real(1) / math.sqrt(variance[c] + real(epsilon))
        if scaled:
            factor *= gamma[c]
        folded[r, c] = w[r, c] * factor
        if r == 0:
            centered = (b[c] if biased else real(0)) - mean[c]
            shift[c] = centered * factor + (beta[c] if shifted else real(0))


@kernel("(int64, T[::1], const T[::1], float64)")
def _moving_average(count, average, batch, momentum):
    real = average.dtype.type
    c = global_index()
    if c < count:
        average[c] = average[c] * real(momentum) + batch[c] * real(1.0 - momentum)


def moments(x, parts, mean, variance):
    """The mean and the biased variance of each column; `parts` (2, P, C) is room to work in."""
    _sums(parts.size // 2, x, parts)
    _add_parts(mean.size, parts, 0, 1 / x.shape[0], mean)
    _squares(parts.size // 2, x, mean, parts)
    _add_parts(variance.size, parts, 0, 1 / x.shape[0], variance)


def normalize(x, mean, scale, shift, relu, y, other=None):
    """y = (x - mean) scale + shift, to which `other` is added; or with `relu` the larger of that and 0."""
    _normalize(y.size, x, x if other is None else other, other is not None, mean, scale, shift, relu, y)


def parameter_grads(x, dy, mean, inverse, scale, shift, relu, parts, dgamma, dbeta):
    """dgamma = sum of dy (x - mean) inverse, dbeta = sum of dy, over rows, those that `relu` let by."""
    _products(parts.size // 2, x, dy, mean, inverse, scale, shift, relu, parts)
    add_parts(parts, dgamma, dbeta)


def add_parts(parts, dgamma, dbeta):
    """dgamma, dbeta (C,) = the sums of the parts (2, P, C) over P, in their order."""
    _add_parts(dgamma.size, parts, 0, 1.0, dgamma)
    _add_parts(dbeta.size, parts, 1, 1.0, dbeta)


def input_grad(x, dy, mean, inverse, scale, shift, relu, dgamma, dbeta, dx):
    """dx = scale (dy - mean of dy - xhat mean of (dy xhat)), with xhat = (x - mean) inverse, and dy = 0 where `relu`
    let nothing by.
    """
    _input_grad(dx.size, x, dy, mean, inverse, scale, shift, relu, dgamma, dbeta, dx)


def coefficients(mean, variance, epsilon, gamma, beta, center, inverse, scale, shift):
    """center = mean, inverse = 1 / sqrt(variance + epsilon), scale = gamma inverse, shift = beta; gamma may be None for
    ones, beta for zeros.
    """
    _coefficients(mean.size, mean, variance, float(epsilon), *bias(gamma, mean), *bias(beta, mean), center, inverse,
                  scale, shift)


def fold(w, b, gamma, beta, mean, variance, epsilon, folded, shift):
    """folded (R,C) = w (R,C) scale and shift (C,) = (b - mean) scale + beta, with scale = gamma / sqrt(variance +
    epsilon); b and beta may be None for zeros, gamma for ones.
    """
    vectors = *bias(b, mean), *bias(gamma, mean), *bias(beta, mean)
    _fold(w.size, w, *vectors, mean, variance, float(epsilon), folded, shift)


def moving_average(average, batch, momentum):
    """average = average momentum + batch (1 - momentum), in place."""
    _moving_average(average.size, average, batch, float(momentum))


def combine_moments(gather, count, mean, variance, share):
    """On the host, so no graph can hold it."""
    if not isinstance(trace.current(), trace.DryRun):
        across.combine_moments(gather, count, mean, variance, share)


def sum_gradients(gather, share, dgamma, dbeta, of_gamma, of_beta):
    """On the host, so no graph can hold it."""
    if not isinstance(trace.current(), trace.DryRun):
        across.sum_gradients(gather, share, dgamma, dbeta, of_gamma, of_beta)
