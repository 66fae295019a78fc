"""Computes batch normalization over the rows of (M, C), with one channel per column.

The op fixes the number of partial sums over rows, so the thread count changes no bit of a sum. A
partial sum adds a few rows at a time in vector registers, and then adds these sums in float64.
"""

import math

import numpy as np
from numba import prange

from .. import across
from . import rowwise, simd
from .arith import multiply  # noqa: F401 (part of this module)
from .flat import flattened
from .jit import allocating, inline, kernel, recorded
from .pointwise import relu_grad  # noqa: F401 (part of this module)
from .products import bias, ones
from .rowwise import VECTORS

WIDE = 64  # elements: adjacent short rows are merged to a multiple of this length, to fill vectors
DEPTH = 32  # merged rows that are summed in the dtype of x; longer sums are in float64


@allocating
def repeated(row, times):
    """Returns an array with `times` consecutive copies of the row (C,)."""
    out = np.empty(times * row.size, row.dtype)
    for r in range(times):
        for c in range(row.size):
            out[r * row.size + c] = row[c]
    return out


@inline
def times_for(channels):
    """Returns the number of rows to merge: enough to fill vectors, unless that is too many."""
    times = WIDE // math.gcd(channels, WIDE)
    return times if times * channels <= 8 * WIDE else max(1, WIDE // channels)


@inline
def share(rows, p, count):
    """Returns the first row of the p-th of `count` partial sums, and the row after its last."""
    return rows * p // count, rows * (p + 1) // count


@inline
def add_folded(wide, out):
    """out (C,) float64 += the sum of the consecutive rows of length C in the merged row `wide`."""
    for r in range(wide.size // out.size):
        for c in range(out.size):
            out[c] += wide[r * out.size + c]


@inline
def deviations(x, i, stop, center, sums, squares):
    """Sums x - center and its square per column of x[i : stop], in rows as long as `center`."""
    none, wide = simd.zeros(x, 1, VECTORS), center.size
    for j in range(0, wide, simd.width(none)):
        columns, at = min(simd.width(none), wide - j), i + j
        around, total, squared = rowwise.row(none, center, j, columns), none, none
        while at < stop:
            if at + columns > stop:
                columns = stop - at
                around = rowwise.row(none, center, j, columns)
            away = rowwise.subtract(rowwise.row(none, x, at, columns), around)
            total, squared = rowwise.add(total, away), rowwise.multiply_add(away, away, squared)
            at += wide
        columns = min(simd.width(none), wide - j)
        rowwise.put(total, sums, j, columns)
        rowwise.put(squared, squares, j, columns)


@kernel("(T[:,::1], float64[:,:,::1], T[::1], T[::1])", parallel=True)
def moments(x, parts, mean, variance):
    """Computes the mean and the biased variance of each column; `parts` (2, P, C) is a work buffer.

    Each block of rows is centered on the previous block's mean, so few digits are lost and x is
    read once. In float64, the sums of all blocks are combined around x's first row.
    """
    (rows, channels), count = x.shape, parts.shape[1]
    flat, pivot = flattened(x), np.zeros(channels, x.dtype)
    for c in range(channels if rows > 0 else 0):
        pivot[c] = x[0, c] if np.abs(x[0, c]) < np.inf else 0
    for p in prange(count):
        begin, end = share(rows, p, count)
        center = repeated(pivot, times_for(channels))
        sums, squares = np.empty(center.size, x.dtype), np.empty(center.size, x.dtype)
        total, squared, block = np.empty(channels), np.empty(channels), DEPTH * center.size
        parts[0, p], parts[1, p] = 0, 0
        for turn in range(-1, ((end - begin) * channels + block - 1) // block):  # turn -1: first mean
            i = begin * channels + max(turn, 0) * block
            stop = min(i + block, end * channels)
            size = max((stop - i) // channels, 1)
            deviations(flat, i, stop, center, sums, squares)
            total[:], squared[:] = 0, 0
            add_folded(sums, total)
            add_folded(squares, squared)
            for c in range(channels):
                away = np.float64(center[c]) - pivot[c]
                if turn >= 0:
                    parts[0, p, c] += total[c] + size * away
                    parts[1, p, c] += squared[c] + away * (2 * total[c] + size * away)
                step = total[c] / size
                center[c] += step if np.abs(step) < np.inf else 0.0
            for r in range(1, center.size // channels):
                center[r * channels : (r + 1) * channels] = center[:channels]
    for c in range(channels):
        total_c, squared_c = 0.0, 0.0
        for p in range(count):
            total_c += parts[0, p, c]
            squared_c += parts[1, p, c]
        rest = squared_c - total_c * total_c / rows
        mean[c], variance[c] = pivot[c] + total_c / rows, 0.0 if rest < 0 else rest / rows


@kernel("(T[:,::1], T[:,::1], boolean, T[::1], T[::1], T[::1], boolean, T[:,::1])", parallel=True)
def _normalize(x, other, two, mean, scale, shift, relu, y):
    times, source, target = times_for(x.shape[1]), flattened(x), flattened(y)
    beside = flattened(other)
    center, scales, shifts = repeated(mean, times), repeated(scale, times), repeated(shift, times)
    wide, none = center.size, simd.zeros(x, 1, VECTORS)
    width, block = simd.width(none), DEPTH * center.size
    for task in prange((x.size + block - 1) // block):
        stop = min((task + 1) * block, x.size)
        for j in range(0, wide, width):
            columns, at = min(width, wide - j), task * block + j
            around, slope = rowwise.row(none, center, j, columns), rowwise.row(none, scales, j, columns)
            level = rowwise.row(none, shifts, j, columns)
            while at < stop:
                here = min(columns, stop - at)
                value = rowwise.subtract(rowwise.row(none, source, at, here), around)
                value = rowwise.add(rowwise.multiply(value, slope), level)
                if two:
                    value = rowwise.add(value, rowwise.row(none, beside, at, here))
                rowwise.put(simd.relu(value) if relu else value, target, at, here)
                at += wide


def normalize(x, mean, scale, shift, relu, y, other=None) -> None:
    """y = (x - mean) scale + shift, plus `other` if given; with `relu`, a ReLU is applied to y."""
    _normalize(x, x if other is None else other, other is not None, mean, scale, shift, relu, y)


@inline
def gradient_sums(x, dy, i, stop, center, scale, shift, relu, sums, products):
    """Sums dy and dy (x - center) per column of [i : stop], in rows as long as `center`."""
    none, wide = simd.zeros(x, 1, VECTORS), center.size
    for j in range(0, wide, simd.width(none)):
        columns, at, total, product = min(simd.width(none), wide - j), i + j, none, none
        around, slope = rowwise.row(none, center, j, columns), rowwise.row(none, scale, j, columns)
        level = rowwise.row(none, shift, j, columns)
        while at < stop:
            here = min(columns, stop - at)
            away = rowwise.subtract(rowwise.row(none, x, at, here), around)
            gradient = rowwise.row(none, dy, at, here)
            if relu:
                gradient = rowwise.passed(rowwise.add(rowwise.multiply(away, slope), level), gradient)
            total, product = rowwise.add(total, gradient), rowwise.multiply_add(gradient, away, product)
            at += wide
        rowwise.put(total, sums, j, columns)
        rowwise.put(product, products, j, columns)


@kernel("(T[:,::1], T[:,::1], T[::1], T[::1], T[::1], T[::1], boolean, float64[:,:,::1], T[::1], T[::1])",
        parallel=True)
def parameter_grads(x, dy, mean, inverse, scale, shift, relu, parts, dgamma, dbeta):
    """dgamma = sum(dy (x - mean) inverse), dbeta = sum(dy); `relu`: dy = 0 if the ReLU gave 0."""
    (rows, channels), count = x.shape, parts.shape[1]
    pixels, gradients, times = flattened(x), flattened(dy), times_for(channels)
    center, scales, shifts = repeated(mean, times), repeated(scale, times), repeated(shift, times)
    for p in prange(count):
        begin, end = share(rows, p, count)
        sums, products = np.empty(center.size, x.dtype), np.empty(center.size, x.dtype)
        parts[0, p], parts[1, p] = 0, 0
        for i in range(begin * channels, end * channels, DEPTH * center.size):
            gradient_sums(pixels, gradients, i, min(i + DEPTH * center.size, end * channels), center, scales, shifts,
                          relu, sums, products)
            add_folded(products, parts[0, p])
            add_folded(sums, parts[1, p])
    for c in range(channels):
        product, total = 0.0, 0.0
        for p in range(count):
            product += parts[0, p, c]
            total += parts[1, p, c]
        dgamma[c], dbeta[c] = product * inverse[c], total


@kernel("(T[:,::1], T[:,::1], T[::1], T[::1], T[::1], T[::1], boolean, T[::1], T[::1], T[:,::1])", parallel=True)
def input_grad(x, dy, mean, inverse, scale, shift, relu, dgamma, dbeta, dx):
    """dx = scale (dy - mean(dy) - xhat mean(dy xhat)), with xhat = (x - mean) inverse. With `relu`,
    dy is 0 for each element for which the ReLU gave 0.
    """
    (rows, channels), times = x.shape, times_for(x.shape[1])
    pixels, gradients, target = flattened(x), flattened(dy), flattened(dx)
    center, scales, shifts = repeated(mean, times), repeated(scale, times), repeated(shift, times)
    means, slopes = np.empty_like(center), np.empty_like(center)
    for j in range(center.size):
        c = j % channels
        means[j], slopes[j] = dbeta[c] / rows, dgamma[c] / rows * inverse[c]
    wide, none = center.size, simd.zeros(x, 1, VECTORS)
    width, block = simd.width(none), DEPTH * center.size
    for task in prange((x.size + block - 1) // block):
        stop = min((task + 1) * block, x.size)
        for j in range(0, wide, width):
            columns, at = min(width, wide - j), task * block + j
            around, factor = rowwise.row(none, center, j, columns), rowwise.row(none, scales, j, columns)
            level, average = rowwise.row(none, shifts, j, columns), rowwise.row(none, means, j, columns)
            slope = rowwise.row(none, slopes, j, columns)
            while at < stop:
                here = min(columns, stop - at)
                away = rowwise.subtract(rowwise.row(none, pixels, at, here), around)
                gradient = rowwise.row(none, gradients, at, here)
                if relu:
                    gradient = rowwise.passed(rowwise.add(rowwise.multiply(away, factor), level), gradient)
                gradient = rowwise.subtract(gradient, rowwise.multiply_add(away, slope, average))
                rowwise.put(rowwise.multiply(factor, gradient), target, at, here)
                at += wide


@kernel("(T[::1], T[::1], float64, T[::1], T[::1], T[::1], T[::1], T[::1], T[::1])")
def _coefficients(mean, variance, epsilon, gamma, beta, center, inverse, scale, shift):
    for c in range(mean.size):
        center[c], shift[c] = mean[c], beta[c]
        inverse[c] = 1 / math.sqrt(variance[c] + epsilon)
        scale[c] = inverse[c] * gamma[c]


def coefficients(mean, variance, epsilon, gamma, beta, center, inverse, scale, shift) -> None:
    """center = mean, inverse = 1 / sqrt(variance + epsilon), scale = gamma inverse, shift = beta.
    A gamma of None counts as ones, a beta of None as zeros.
    """
    gamma = ones(mean.dtype, mean.size) if gamma is None else gamma
    _coefficients(mean, variance, float(epsilon), gamma, bias(beta, mean.dtype, mean.size), center, inverse, scale,
                  shift)


@kernel("(T[:,::1], T[::1], T[::1], T[::1], T[::1], T[::1], float64, T[:,::1], T[::1])")
def _fold(w, b, gamma, beta, mean, variance, epsilon, folded, shift):
    scale = np.empty(mean.size, w.dtype)
    for c in range(mean.size):
        factor = gamma[c] / math.sqrt(variance[c] + epsilon)
        scale[c], shift[c] = factor, (b[c] - mean[c]) * factor + beta[c]
    for r in range(w.shape[0]):
        for c in range(w.shape[1]):
            folded[r, c] = w[r, c] * scale[c]


def fold(w, b, gamma, beta, mean, variance, epsilon, folded, shift) -> None:
    """folded (R,C) = w scale, shift (C,) = (b - mean) scale + beta, scale = gamma / sqrt(variance +
    epsilon). Defaults for None: b and beta 0, gamma 1. One thread takes microseconds for most nets.
    """
    like = mean.dtype, mean.size
    _fold(w, bias(b, *like), ones(*like) if gamma is None else gamma, bias(beta, *like), mean, variance,
          float(epsilon), folded, shift)


@kernel("(T[::1], T[::1], float64)")
def _moving_average(average, batch, momentum):
    for c in range(average.size):
        average[c] = average[c] * momentum + batch[c] * (1 - momentum)


def moving_average(average, batch, momentum) -> None:
    """average = average momentum + batch (1 - momentum), in place."""
    _moving_average(average, batch, float(momentum))


@recorded
def combine_moments(gather, count, mean, variance, share):
    """Combines the moments of all ranks, with messages between processes in every replay."""
    across.combine_moments(gather, count, mean, variance, share)


@recorded
def sum_gradients(gather, share, dgamma, dbeta, of_gamma, of_beta):
    """Sums dgamma and dbeta over all ranks, with messages between processes in every replay."""
    across.sum_gradients(gather, share, dgamma, dbeta, of_gamma, of_beta)
