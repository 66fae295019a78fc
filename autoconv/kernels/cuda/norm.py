"""Computes batch normalization over the rows of (M, C), one channel per column (columns.py).

Sums over rows are split into float64 partial sums, whose number depends only on the shape.
"""

import math

import numpy as np

from .. import across, trace
from . import array as arrays
from . import pointwise
from .arith import multiply  # noqa: F401 (re-exported)
from .columns import (
    ADDING,
    COLUMNS,
    add_parts,
    adding_kernel,
    adding_up,
    column_kernel,
    compute_sums,
    find_elements,
    place,
    run_rows,
)
from .conv import bias
from .fours import WIDTHS, moving
from .kernels import BlockKernel, cuda, inline, kernel
from .pointwise import relu_grad  # noqa: F401 (re-exported)
from .ptx import global_index


@inline
def choose_pivot(item):
    """Returns the number to subtract from a column's elements: `item`, or 0 if it is not finite."""
    return item if math.fabs(item) < math.inf else type(item)(0)


def _sums(size: int) -> BlockKernel:
    """Creates a kernel for partial[:, part, c] = the sums of x - x[0, c] and of its square over the
    rows of one part.

    The sums read x only once and lose little precision, because (x[0, c] - mean)^2 is at most the
    sum of (x - mean)^2 over all rows.
    """
    fetch, add = moving(size)[0], adding_up(size)

    @column_kernel("(const T[:,::1], float64[:,:,::1], SPREAD)", "_sums", size)
    def run(x, partial, columns, length, across, lanes):
        column, share, real = place(columns, across, lanes)
        pivot, here = cuda.local.array(size, x.dtype), cuda.local.array(size, x.dtype)
        sums = cuda.local.array((2, size), "float64")
        for e in range(size):
            sums[0, e] = sums[1, e] = 0
        if real:
            fetch(pivot, x, column)
            i, count, step = find_elements(share, columns, length, across, column, x.shape[0])
            for _ in range(count):
                fetch(here, x, i)
                for e in range(size):
                    away = np.float64(here[e]) - np.float64(choose_pivot(pivot[e]))
                    sums[0, e] += away
                    sums[1, e] += away * away
                i += step
        add(sums, partial, columns, across, lanes)

    return run


@adding_kernel("(const T[:,::1], const float64[:,:,::1], float64, T[::1], T[::1])", "_moments")
def _moments(x, partial, factor, mean, variance):
    """Computes mean and variance from the partial sums of `_sums`. factor = 1 / row count."""
    smem, t = cuda.shared.array((2, ADDING), "float64"), cuda.threadIdx.x
    c = cuda.blockIdx.x * COLUMNS + t % COLUMNS
    add_parts(partial, smem, c)
    if t < COLUMNS and c < mean.shape[0]:
        away = smem[0, t] * factor
        rest = smem[1, t] * factor - away * away
        mean[c], variance[c] = np.float64(choose_pivot(x[0, c])) + away, 0.0 if rest < 0 else rest


def _products(size: int) -> BlockKernel:
    """Creates a kernel for partial[:, part, c] = the sums of dy (x - mean) and of dy over the rows
    of one part. With `relu`, dy is taken as 0 where the ReLU's output is 0.
    """
    fetch, add = moving(size)[0], adding_up(size)

    @column_kernel("(const T[:,::1], const T[:,::1], const T[::1], const T[::1], const T[::1], "
                   "boolean, float64[:,:,::1], SPREAD)", "_products", size)
    def run(x, dy, mean, scale, shift, relu, partial, columns, length, across, lanes):
        column, share, real = place(columns, across, lanes)
        here, dy_values = cuda.local.array(size, x.dtype), cuda.local.array(size, x.dtype)
        center, slope = cuda.local.array(size, x.dtype), cuda.local.array(size, x.dtype)
        level, sums = cuda.local.array(size, x.dtype), cuda.local.array((2, size), "float64")
        for e in range(size):
            sums[0, e] = sums[1, e] = 0
        if real:
            fetch(center, mean, column)
            fetch(slope, scale, column)
            fetch(level, shift, column)
            i, count, step = find_elements(share, columns, length, across, column, x.shape[0])
            for _ in range(count):
                fetch(here, x, i)
                fetch(dy_values, dy, i)
                for e in range(size):
                    away = here[e] - center[e]
                    if not relu or not away * slope[e] + level[e] <= 0:
                        sums[0, e] += np.float64(dy_values[e]) * np.float64(away)
                        sums[1, e] += dy_values[e]
                i += step
        add(sums, partial, columns, across, lanes)

    return run


@adding_kernel("(const float64[:,:,::1], const T[::1], T[::1], T[::1])", "_parameter_grads")
def _parameter_grads(partial, inverse, dgamma, dbeta):
    """Computes dgamma and dbeta from the partial sums of `_products`."""
    smem, t = cuda.shared.array((2, ADDING), "float64"), cuda.threadIdx.x
    c = cuda.blockIdx.x * COLUMNS + t % COLUMNS
    add_parts(partial, smem, c)
    if t < COLUMNS and c < dgamma.shape[0]:
        dgamma[c], dbeta[c] = smem[0, t] * inverse[c], smem[1, t]


def _normalize(size: int) -> BlockKernel:
    fetch, put = moving(size)

    @column_kernel("(const T[:,::1], const T[:,::1], boolean, const T[::1], const T[::1], const "
                   "T[::1], boolean, T[:,::1], SPREAD)", "_normalize", size)
    def run(x, addend, has_addend, mean, scale, shift, relu, y, columns, length, across, lanes):
        column, share, real = place(columns, across, lanes)
        here = cuda.local.array(size, x.dtype)
        addend_values = cuda.local.array(size, x.dtype)
        zero = x.dtype.type(0)
        center, slope = cuda.local.array(size, x.dtype), cuda.local.array(size, x.dtype)
        level = cuda.local.array(size, x.dtype)
        if real:
            fetch(center, mean, column)
            fetch(slope, scale, column)
            fetch(level, shift, column)
            i, count, step = find_elements(share, columns, length, across, column, x.shape[0])
            for _ in range(count):
                fetch(here, x, i)
                if has_addend:
                    fetch(addend_values, addend, i)
                for e in range(size):
                    value = (here[e] - center[e]) * slope[e] + level[e]
                    if has_addend:
                        value += addend_values[e]
                    here[e] = zero if relu and value < zero else value
                put(y, i, here)
                i += step

    return run


def _input_grad(size: int) -> BlockKernel:
    fetch, put = moving(size)

    @column_kernel("(const T[:,::1], const T[:,::1], const T[::1], const T[::1], const T[::1], const T[::1], boolean,"
                   " T[:,::1], const T[::1], const T[::1], SPREAD)", "_input_grad", size)
    def run(x, dy, mean, inverse, scale, shift, relu, dx, dgamma, dbeta, columns, length, across, lanes):
        column, share, real = place(columns, across, lanes)
        here, dy_values = cuda.local.array(size, x.dtype), cuda.local.array(size, x.dtype)
        center, slope = cuda.local.array(size, x.dtype), cuda.local.array(size, x.dtype)
        level, average = cuda.local.array(size, x.dtype), cuda.local.array(size, x.dtype)
        product, zero = cuda.local.array(size, x.dtype), x.dtype.type(0)
        part = x.dtype.type(1) / x.dtype.type(x.shape[0])
        if real:
            fetch(center, mean, column)
            fetch(slope, scale, column)
            fetch(level, shift, column)
            for e in range(size):
                c = column * size + e
                average[e] = dbeta[c] * part
                product[e] = dgamma[c] * part * inverse[c]
            i, count, step = find_elements(share, columns, length, across, column, x.shape[0])
            for _ in range(count):
                fetch(here, x, i)
                fetch(dy_values, dy, i)
                for e in range(size):
                    away = here[e] - center[e]
                    if relu and away * slope[e] + level[e] <= zero:
                        dy_values[e] = zero
                    here[e] = slope[e] * (dy_values[e] - (average[e] + away * product[e]))
                put(dx, i, here)
                i += step

    return run


_SUMS, _PRODUCTS, _NORMALIZE, _INPUT_GRAD = (
    tuple(map(make, WIDTHS)) for make in (_sums, _products, _normalize, _input_grad))


@kernel("(int64, const T[::1], const T[::1], float64, const T[::1], boolean, const T[::1], "
        "boolean, T[::1], T[::1], T[::1], T[::1])")
def _coefficients(count, mean, variance, epsilon, gamma, has_gamma, beta, has_beta, center, inverse, scale, shift):
    real = mean.dtype.type
    c = global_index()
    if c < count:
        factor = real(1) / math.sqrt(variance[c] + real(epsilon))
        center[c], inverse[c] = mean[c], factor
        scale[c] = factor * gamma[c] if has_gamma else factor
        shift[c] = beta[c] if has_beta else real(0)


@kernel("(int64, const T[:,::1], const T[::1], boolean, const T[::1], boolean, const T[::1], "
        "boolean, const T[::1], const T[::1], float64, T[:,::1], T[::1])")
def _fold(count, w, b, has_bias, gamma, has_gamma, beta, has_beta, mean, variance, epsilon, w_folded, shift):
    real, channels = mean.dtype.type, w.shape[1]
    item = global_index()
    if item < count:
        r, c = item // channels, item % channels
        factor = real(1) / math.sqrt(variance[c] + real(epsilon))
        if has_gamma:
            factor *= gamma[c]
        w_folded[r, c] = w[r, c] * factor
        if r == 0:
            centered = (b[c] if has_bias else real(0)) - mean[c]
            shift[c] = centered * factor + (beta[c] if has_beta else real(0))


@kernel("(int64, T[::1], const T[::1], float64)")
def _moving_average(count, average, batch, momentum):
    real = average.dtype.type
    c = global_index()
    if c < count:
        average[c] = average[c] * real(momentum) + batch[c] * real(1.0 - momentum)


def moments(x, parts, mean, variance):
    """Computes each column's mean and biased variance. `parts`, a CPU buffer, is not used here."""
    partial = compute_sums(_SUMS, x)
    _moments((-(-mean.size // COLUMNS),), x, partial, 1 / x.shape[0], mean, variance)


def normalize(x, mean, scale, shift, activation, y, addend=None):
    """y = activation((x - mean) scale + shift + addend); `addend` may be None."""
    has_addend = addend is not None
    run_rows(_NORMALIZE, x, addend if has_addend else x, has_addend, mean, scale, shift, activation == "relu", y)
    pointwise.activate(y, activation)


def parameter_grads(x, dy, mean, inverse, scale, shift, activation, parts, dgamma, dbeta):
    """dgamma = sum of g (x - mean) inverse, dbeta = sum of g, over the rows, where g is the gradient before
    the activation whose result has the gradient dy.
    """
    dy = _before_activation(x, dy, mean, scale, shift, activation)
    add_products(compute_sums(_PRODUCTS, x, dy, mean, scale, shift, activation == "relu"), inverse, dgamma, dbeta)


def _before_activation(x, dy, mean, scale, shift, activation):
    """Returns the gradient before the activation, or dy if the kernels compute it."""
    if activation in ("linear", "relu"):
        return dy
    argument, gradient = (arrays.empty(x.gpu, x.shape, x.dtype) for _ in range(2))
    normalize(x, mean, scale, shift, "linear", argument)
    pointwise.activate_grad(argument.reshape(-1), dy.reshape(-1), gradient.reshape(-1), activation)
    return gradient


def add_products(partial, inverse, dgamma, dbeta):
    """Computes dgamma and dbeta (C,) from the partial sums (2, P, C) of dy (x - mean) and dy."""
    _parameter_grads((-(-dgamma.size // COLUMNS),), partial, inverse, dgamma, dbeta)


def input_grad(x, dy, mean, inverse, scale, shift, activation, dgamma, dbeta, dx):
    """dx = scale (g - mean of g - xhat mean of (g xhat)), with xhat = (x - mean) inverse; g as in
    `parameter_grads`.
    """
    dy = _before_activation(x, dy, mean, scale, shift, activation)
    run_rows(_INPUT_GRAD, x, dy, mean, inverse, scale, shift, activation == "relu", dx, extra=(dgamma, dbeta))


def coefficients(mean, variance, epsilon, gamma, beta, center, inverse, scale, shift):
    """center = mean, inverse = 1 / sqrt(variance + epsilon), scale = gamma inverse, shift = beta.
    gamma = None is equivalent to ones, beta = None to zeros.
    """
    _coefficients(mean.size, mean, variance, float(epsilon), *bias(gamma, mean), *bias(beta, mean),
                  center, inverse, scale, shift)


def fold(w, b, gamma, beta, mean, variance, epsilon, w_folded, shift):
    """w_folded (R,C) = w (R,C) scale, shift (C,) = (b - mean) scale + beta, with scale = gamma /
    sqrt(variance + epsilon). b or beta = None is equivalent to zeros, gamma = None to ones.
    """
    vectors = *bias(b, mean), *bias(gamma, mean), *bias(beta, mean)
    _fold(w.size, w, *vectors, mean, variance, float(epsilon), w_folded, shift)


def moving_average(average, batch, momentum):
    """average = average momentum + batch (1 - momentum), in place."""
    _moving_average(average.size, average, batch, float(momentum))


def combine_moments(gather, count, mean, variance, share):
    """Combines the moments of all ranks on the host (across.py), so a CUDA graph cannot contain
    this step.
    """
    if not isinstance(trace.current(), trace.DryRun):
        across.combine_moments(gather, count, mean, variance, share)


def sum_gradients(gather, share, dgamma, dbeta, dgamma_total, dbeta_total):
    """Sums the gradients of all ranks on the host (across.py), so a CUDA graph cannot contain this
    step.
    """
    if not isinstance(trace.current(), trace.DryRun):
        across.sum_gradients(gather, share, dgamma, dbeta, dgamma_total, dbeta_total)
