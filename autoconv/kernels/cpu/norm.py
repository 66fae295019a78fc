"""Computes batch normalization over the rows of (M, C), with one channel per column.

The op fixes the number of partial sums over rows, so results have the same bits for any number of
threads. A partial sum adds a few rows at a time in vector registers, and these sums in float64.
"""

import math

import numpy as np
from numba import prange

from .. import across
from . import rowwise, simd
from .arith import multiply  # noqa: F401 (re-exported)
from .epilogue import CODES, activate, activate_grad
from .flat import flatten
from .jit import allocating, inline, kernel, record_calls
from .pointwise import relu_grad  # noqa: F401 (re-exported)
from .products import bias, ones
from .rowwise import VECTORS
from .simd import LINEAR
from .stencil import prefetch

WIDE = 64  # adjacent short rows are merged into rows of a multiple of this length, to fill vectors
DEPTH = 32  # number of merged rows that are summed in the dtype of x; longer sums are in float64
LARGE = 1 << 20  # minimum number of elements of arrays that a core's caches do not hold


@allocating
def repeat(row, times):
    """Returns an array with `times` consecutive copies of the row (C,)."""
    out = np.empty(times * row.size, row.dtype)
    for r in range(times):
        for c in range(row.size):
            out[r * row.size + c] = row[c]
    return out


@inline
def count_repeats(channels):
    """Returns the number of rows to merge to fill vectors, or fewer to limit the merged length."""
    times = WIDE // math.gcd(channels, WIDE)
    return times if times * channels <= 8 * WIDE else max(1, WIDE // channels)


@inline
def prefetch_block(x, k, wide, columns):
    """Prefetches the `columns` elements that are `DEPTH` rows of length `wide` after x[k], if x is
    large. The processor does not, because a block's rows are read a few columns at a time.
    """
    if x.size >= LARGE:
        prefetch(x, k + DEPTH * wide, columns)


@inline
def share(rows, p, count):
    """Returns the first row of the p-th of `count` partial sums, and the row after its last."""
    return rows * p // count, rows * (p + 1) // count


@inline
def add_folded(wide, out):
    """out (C,) float64 += the sum of the rows of length C that were merged into the row `wide`."""
    for r in range(wide.size // out.size):
        for c in range(out.size):
            out[c] += wide[r * out.size + c]


@inline
def deviations(x, i, stop, center, sums, squares):
    """Sums x - center and its square per column of x[i : stop]. A row is as long as `center`."""
    zero, wide = simd.zeros(x, 1, VECTORS), center.size
    for j in range(0, wide, simd.width(zero)):
        columns, pos = min(simd.width(zero), wide - j), i + j
        mid, total, square = rowwise.row(zero, center, j, columns), zero, zero
        while pos < stop:
            if pos + columns > stop:
                columns = stop - pos
                mid = rowwise.row(zero, center, j, columns)
            prefetch_block(x, pos, wide, columns)
            diff = rowwise.subtract(rowwise.row(zero, x, pos, columns), mid)
            total, square = rowwise.add(total, diff), rowwise.multiply_add(diff, diff, square)
            pos += wide
        columns = min(simd.width(zero), wide - j)
        rowwise.put(total, sums, j, columns)
        rowwise.put(square, squares, j, columns)


@kernel("(T[:,::1], float64[:,:,::1], T[::1], T[::1])", parallel=True)
def moments(x, parts, mean, variance):
    """Computes the mean and the biased variance of each column; `parts` (2, P, C) is a work buffer.

    Each block of rows is centered on the previous block's mean, so little precision is lost, and x
    is read only once. The sums of all blocks are combined in float64, relative to x's first row.
    """
    (rows, channels), count = x.shape, parts.shape[1]
    flat, pivot = flatten(x), np.zeros(channels, x.dtype)
    for c in range(channels if rows > 0 else 0):
        pivot[c] = x[0, c] if np.abs(x[0, c]) < np.inf else 0
    for p in prange(count):
        begin, end = share(rows, p, count)
        center = repeat(pivot, count_repeats(channels))
        sums, squares = np.empty(center.size, x.dtype), np.empty(center.size, x.dtype)
        total, square, block = np.empty(channels), np.empty(channels), DEPTH * center.size
        parts[0, p], parts[1, p] = 0, 0
        for turn in range(-1, ((end - begin) * channels + block - 1) // block):  # turn -1 finds a mean
            i = begin * channels + max(turn, 0) * block
            stop = min(i + block, end * channels)
            size = max((stop - i) // channels, 1)
            deviations(flat, i, stop, center, sums, squares)
            total[:], square[:] = 0, 0
            add_folded(sums, total)
            add_folded(squares, square)
            for c in range(channels):
                shift = np.float64(center[c]) - pivot[c]
                if turn >= 0:
                    parts[0, p, c] += total[c] + size * shift
                    parts[1, p, c] += square[c] + shift * (2 * total[c] + size * shift)
                step = total[c] / size
                center[c] += step if np.abs(step) < np.inf else 0.0
            for r in range(1, center.size // channels):
                center[r * channels : (r + 1) * channels] = center[:channels]
    for c in range(channels):
        total_c, square_c = 0.0, 0.0
        for p in range(count):
            total_c += parts[0, p, c]
            square_c += parts[1, p, c]
        rest = square_c - total_c * total_c / rows
        mean[c], variance[c] = pivot[c] + total_c / rows, 0.0 if rest < 0 else rest / rows


@inline
def normalize_rows(x, first, stop, addend, has_addend, center, scale, shift, activation, y, target):
    """Writes activation((x - center) scale + shift + addend) for x[first : stop] to y, from
    y[target] on. Rows are as long as `center`.
    """
    wide, zero = center.size, simd.zeros(x, 1, VECTORS)
    for j in range(0, wide, simd.width(zero)):
        columns, pos = min(simd.width(zero), wide - j), first + j
        mid = rowwise.row(zero, center, j, columns)
        slope = rowwise.row(zero, scale, j, columns)
        level = rowwise.row(zero, shift, j, columns)
        while pos < stop:
            count = min(columns, stop - pos)
            prefetch_block(x, pos, wide, count)
            prefetch_block(y, pos - first + target, wide, count)
            value = rowwise.subtract(rowwise.row(zero, x, pos, count), mid)
            value = rowwise.add(rowwise.multiply(value, slope), level)
            if has_addend:
                value = rowwise.add(value, rowwise.row(zero, addend, pos, count))
            rowwise.put(activate(value, activation), y, pos - first + target, count)
            pos += wide


@kernel("(T[:,::1], T[:,::1], boolean, T[::1], T[::1], T[::1], int64, T[:,::1])", parallel=True)
def _normalize(x, addend, has_addend, mean, scale, shift, activation, y):
    times, source, target = count_repeats(x.shape[1]), flatten(x), flatten(y)
    addends = flatten(addend)
    center, scales, shifts = repeat(mean, times), repeat(scale, times), repeat(shift, times)
    block = DEPTH * center.size
    for task in prange((x.size + block - 1) // block):
        first = task * block
        normalize_rows(source, first, min(first + block, x.size), addends, has_addend, center, scales, shifts,
                       activation, target, first)


def normalize(x, mean, scale, shift, activation: str, y, addend=None) -> None:
    """y = activation((x - mean) scale + shift + addend); `addend` may be None."""
    _normalize(x, x if addend is None else addend, addend is not None, mean, scale, shift, CODES[activation], y)


@inline
def gradient_sums(x, dy, i, stop, center, scale, shift, activation, sums, products):
    """Sums dy and dy (x - center) per column of [i : stop]. A row is as long as `center`."""
    zero, wide = simd.zeros(x, 1, VECTORS), center.size
    for j in range(0, wide, simd.width(zero)):
        columns, pos, total, product = min(simd.width(zero), wide - j), i + j, zero, zero
        mid = rowwise.row(zero, center, j, columns)
        slope = rowwise.row(zero, scale, j, columns)
        level = rowwise.row(zero, shift, j, columns)
        while pos < stop:
            count = min(columns, stop - pos)
            prefetch_block(x, pos, wide, count)
            prefetch_block(dy, pos, wide, count)
            diff = rowwise.subtract(rowwise.row(zero, x, pos, count), mid)
            gradient = rowwise.row(zero, dy, pos, count)
            if activation > LINEAR:
                gradient = activate_grad(rowwise.add(rowwise.multiply(diff, slope), level), gradient, activation)
            total = rowwise.add(total, gradient)
            product = rowwise.multiply_add(gradient, diff, product)
            pos += wide
        rowwise.put(total, sums, j, columns)
        rowwise.put(product, products, j, columns)


@kernel("(T[:,::1], T[:,::1], T[::1], T[::1], T[::1], T[::1], int64, float64[:,:,::1], T[::1], T[::1])",
        parallel=True)
def _parameter_grads(x, dy, mean, inverse, scale, shift, activation, parts, dgamma, dbeta):
    (rows, channels), count = x.shape, parts.shape[1]
    pixels, gradients, times = flatten(x), flatten(dy), count_repeats(channels)
    center, scales, shifts = repeat(mean, times), repeat(scale, times), repeat(shift, times)
    for p in prange(count):
        begin, end = share(rows, p, count)
        sums, products = np.empty(center.size, x.dtype), np.empty(center.size, x.dtype)
        parts[0, p], parts[1, p] = 0, 0
        for i in range(begin * channels, end * channels, DEPTH * center.size):
            gradient_sums(pixels, gradients, i, min(i + DEPTH * center.size, end * channels), center, scales, shifts,
                          activation, sums, products)
            add_folded(products, parts[0, p])
            add_folded(sums, parts[1, p])
    for c in range(channels):
        product, total = 0.0, 0.0
        for p in range(count):
            product += parts[0, p, c]
            total += parts[1, p, c]
        dgamma[c], dbeta[c] = product * inverse[c], total


def parameter_grads(x, dy, mean, inverse, scale, shift, activation: str, parts, dgamma, dbeta) -> None:
    """dgamma = sum(g (x - mean) inverse), dbeta = sum(g), where g is the gradient before the activation whose
    result has the gradient dy.
    """
    _parameter_grads(x, dy, mean, inverse, scale, shift, CODES[activation], parts, dgamma, dbeta)


@kernel("(T[:,::1], T[:,::1], T[::1], T[::1], T[::1], T[::1], int64, T[::1], T[::1], T[:,::1])", parallel=True)
def _input_grad(x, dy, mean, inverse, scale, shift, activation, dgamma, dbeta, dx):
    (rows, channels), times = x.shape, count_repeats(x.shape[1])
    pixels, gradients, target = flatten(x), flatten(dy), flatten(dx)
    center, scales, shifts = repeat(mean, times), repeat(scale, times), repeat(shift, times)
    means, slopes = np.empty_like(center), np.empty_like(center)
    for j in range(center.size):
        c = j % channels
        means[j], slopes[j] = dbeta[c] / rows, dgamma[c] / rows * inverse[c]
    wide, zero = center.size, simd.zeros(x, 1, VECTORS)
    width, block = simd.width(zero), DEPTH * center.size
    for task in prange((x.size + block - 1) // block):
        stop = min((task + 1) * block, x.size)
        for j in range(0, wide, width):
            columns, pos = min(width, wide - j), task * block + j
            mid = rowwise.row(zero, center, j, columns)
            factor = rowwise.row(zero, scales, j, columns)
            level = rowwise.row(zero, shifts, j, columns)
            average = rowwise.row(zero, means, j, columns)
            slope = rowwise.row(zero, slopes, j, columns)
            while pos < stop:
                count = min(columns, stop - pos)
                prefetch_block(pixels, pos, wide, count)
                prefetch_block(gradients, pos, wide, count)
                prefetch_block(target, pos, wide, count)
                diff = rowwise.subtract(rowwise.row(zero, pixels, pos, count), mid)
                gradient = rowwise.row(zero, gradients, pos, count)
                if activation > LINEAR:
                    value = rowwise.add(rowwise.multiply(diff, factor), level)
                    gradient = activate_grad(value, gradient, activation)
                gradient = rowwise.subtract(gradient, rowwise.multiply_add(diff, slope, average))
                rowwise.put(rowwise.multiply(factor, gradient), target, pos, count)
                pos += wide


def input_grad(x, dy, mean, inverse, scale, shift, activation: str, dgamma, dbeta, dx) -> None:
    """dx = scale (g - mean(g) - xhat mean(g xhat)), with xhat = (x - mean) inverse; g as in `parameter_grads`."""
    _input_grad(x, dy, mean, inverse, scale, shift, CODES[activation], dgamma, dbeta, dx)


@kernel("(T[::1], T[::1], float64, T[::1], T[::1], T[::1], T[::1], T[::1], T[::1])")
def _coefficients(mean, variance, epsilon, gamma, beta, center, inverse, scale, shift):
    for c in range(mean.size):
        center[c], shift[c] = mean[c], beta[c]
        inverse[c] = 1 / math.sqrt(variance[c] + epsilon)
        scale[c] = inverse[c] * gamma[c]


def coefficients(mean, variance, epsilon, gamma, beta, center, inverse, scale, shift) -> None:
    """center = mean, inverse = 1 / sqrt(variance + epsilon), scale = gamma inverse, shift = beta.
    If gamma is None, it counts as ones; if beta is None, it counts as zeros.
    """
    gamma = ones(mean.dtype, mean.size) if gamma is None else gamma
    _coefficients(mean, variance, float(epsilon), gamma, bias(beta, mean.dtype, mean.size), center, inverse, scale,
                  shift)


@kernel("(T[:,::1], T[::1], T[::1], T[::1], T[::1], T[::1], float64, T[:,::1], T[::1])")
def _fold(w, b, gamma, beta, mean, variance, epsilon, w_folded, shift):
    scale = np.empty(mean.size, w.dtype)
    for c in range(mean.size):
        factor = gamma[c] / math.sqrt(variance[c] + epsilon)
        scale[c], shift[c] = factor, (b[c] - mean[c]) * factor + beta[c]
    for r in range(w.shape[0]):
        for c in range(w.shape[1]):
            w_folded[r, c] = w[r, c] * scale[c]


def fold(w, b, gamma, beta, mean, variance, epsilon, w_folded, shift) -> None:
    """w_folded (R,C) = w scale, shift (C,) = (b - mean) scale + beta, scale = gamma / sqrt(variance
    + epsilon). If None, b and beta count as zeros and gamma as ones. Runs in one thread, which
    takes microseconds for most nets.
    """
    spec = mean.dtype, mean.size
    _fold(w, bias(b, *spec), ones(*spec) if gamma is None else gamma, bias(beta, *spec), mean, variance,
          float(epsilon), w_folded, shift)


@kernel("(T[::1], T[::1], float64)")
def _moving_average(average, batch, momentum):
    for c in range(average.size):
        average[c] = average[c] * momentum + batch[c] * (1 - momentum)


def moving_average(average, batch, momentum) -> None:
    """average = average momentum + batch (1 - momentum), in place."""
    _moving_average(average, batch, float(momentum))


@record_calls
def combine_moments(gather, count, mean, variance, share):
    """Combines the moments of all ranks. Each replay of a recorded step combines them again."""
    across.combine_moments(gather, count, mean, variance, share)


@record_calls
def sum_gradients(gather, share, dgamma, dbeta, dgamma_total, dbeta_total):
    """Sums dgamma and dbeta over all ranks. Each replay of a recorded step sums them again."""
    across.sum_gradients(gather, share, dgamma, dbeta, dgamma_total, dbeta_total)
