"""Finds weight gradients for which Winograd's algorithm is imprecise, and computes them directly.

Winograd's algorithm adds up a patch's pixels before it multiplies them. An element of dw is then a
difference of sums that contain products of other elements. So one large activation in the same tile
as one large gradient makes the other taps lose precision. The elements to recompute are chosen by
the magnitudes of the pixels x of each channel:

    spread = sum |x| / max |x|         1 for a single large value, the number of pixels if all are equal
    power  = sum |x|^2 / max |x|^2     between spread^2 / pixels and spread

In units of the largest product max |x| max |dy|, the sum of an element's absolute terms, over all
shifts of x against dy, has the mean spread(x) spread(dy) / pixels and a variance of at most
power(x) power(dy) / pixels. If the mean minus `DEVIATIONS` standard deviations is below `ENOUGH`,
the elements of this channel and vector of filters are computed again by their definition, as are
elements that are not finite. docs/kernels.md states the error bound. The kernels find these sums
of x and dy while both are in the cache. The elements to recompute depend on values only, never on
the threads.
"""

import math

import numpy as np
from numba import prange

from . import rowwise, simd, transforms
from .flat import flatten
from .jit import allocating, inline, kernel

ENOUGH = 4.0
DEVIATIONS = 5.0
SMALLEST_SQUARE = 1e-30
PIXELS = 4  # number of pixels that `measure` reads at a time
LINES = 3 * PIXELS  # rows of a result: maximum, sum and sum of squares, each of every fourth pixel
CHANNELS = 4  # number of channels in a task of `_replace`; adjacent channels share cache lines
CHAIN = 64  # pixels whose products form a separate partial sum


@inline
def measure(x, start, step, count, columns, ranges, dst, fresh):
    """ranges (LINES, step), from `dst` on, = the largest |x|, the sum of |x| and the sum of x^2 in
    `columns` channels of `count` pixels that are `step` elements apart. Unless `fresh`, the
    previous contents of `ranges` are included.
    """
    lanes, j = simd.width(simd.zeros(x, 1, 1)), 0
    while columns - j >= lanes:
        _measure_vector(x, start + j, step, count, lanes, ranges, dst + j, fresh)
        j += lanes
    if columns > j:
        _measure_vector(x, start + j, step, count, columns - j, ranges, dst + j, fresh)


@inline
def _measure_vector(x, k, step, count, columns, ranges, top, fresh):
    """Runs `measure` for the channels of one vector, or for the first `columns` of them."""
    tile, vec, lines, whole = simd.zeros(x, PIXELS, 1), simd.zeros(x, 1, 1), PIXELS * step, count // PIXELS
    places = simd.steps(step, 0, PIXELS, tile)
    largest = tile if fresh else simd.load(tile, ranges, places, top, columns)
    total = tile if fresh else simd.load(tile, ranges, places, top + lines, columns)
    squares = tile if fresh else simd.load(tile, ranges, places, top + 2 * lines, columns)
    for _ in range(whole):
        value = rowwise.absolute(simd.load(tile, x, places, k, columns))
        largest, total = rowwise.larger(value, largest), rowwise.add(total, value)
        squares = rowwise.multiply_add(value, value, squares)
        k += PIXELS * step
    simd.store(largest, ranges, places, top, columns)
    simd.store(total, ranges, places, top + lines, columns)
    simd.store(squares, ranges, places, top + 2 * lines, columns)
    for _ in range(whole * PIXELS, count):
        value = rowwise.absolute(rowwise.row(vec, x, k, columns))
        rowwise.put(rowwise.larger(value, rowwise.row(vec, ranges, top, columns)), ranges, top, columns)
        pos = top + lines
        rowwise.put(rowwise.add(value, rowwise.row(vec, ranges, pos, columns)), ranges, pos, columns)
        pos += lines
        squares = rowwise.row(vec, ranges, pos, columns)
        rowwise.put(rowwise.multiply_add(value, value, squares), ranges, pos, columns)
        k += step


@kernel("(T[:,::1], T[:,::1])")
def _spreads(ranges, spreads):
    """spreads (2, channels) = each channel's spread and the square root of its power. The spread is
    infinity if all values are 0, and NaN if their sum is not finite.
    """
    for k in range(ranges.shape[1]):
        largest = total = squares = ranges.dtype.type(0)
        for line in range(ranges.shape[0]):
            if line % LINES < PIXELS:
                largest = max(largest, ranges[line, k])
            elif line % LINES < 2 * PIXELS:
                total += ranges[line, k]
            else:
                squares += ranges[line, k]
        square = largest * largest
        spreads[1, k] = 0
        if not total < np.inf:
            spreads[0, k] = np.nan
        elif largest == 0:
            spreads[0, k] = np.inf
        else:
            spreads[0, k] = total / largest
            # If squares underflow, their sum is too small; the spread, an upper bound, replaces it.
            spreads[1, k] = math.sqrt(squares / square if square > SMALLEST_SQUARE else spreads[0, k])


@inline
def _open_plane(x, image, k, top, left, plane, rows, columns):
    """plane (rows, columns) = channel k of an image of x, surrounded by zeros. Returns whether any
    value is nonzero.
    """
    _, h, w, c = x.shape
    flat, empty = flatten(x), True
    for i in range(rows):
        for j in range(columns):
            row, column = i - top, j - left
            inside = 0 <= row < h and 0 <= column < w
            value = flat[((image * h + row) * w + column) * c + k] if inside else x.dtype.type(0)
            plane[i * columns + j] = value
            empty = empty and value == 0
    return not empty


@inline
def _add_image(tile, taps, plane, columns, dy, start, filters, oh, ow, exact, dst):
    """exact (9, lanes) += the products of one plane with a vector of dy's filters, in partial sums
    of at most `CHAIN` pixels, but at least one row.
    """
    lanes, height = simd.width(tile), max(1, CHAIN // ow)
    src, out = simd.rows(taps, 0, 9, tile), simd.steps(lanes, 0, 9, tile)
    for first in range(0, oh, height):
        acc = tile
        for i in range(first, min(first + height, oh)):
            k, j = i * columns, start + i * ow * filters
            for _ in range(ow):
                acc = simd.fma(acc, plane, src, k, dy, j)
                k += 1
                j += filters
        simd.store(rowwise.add(acc, simd.load(tile, exact, out, dst, lanes)), exact, out, dst, lanes)


@allocating
def _recompute(dw, x, dy, k, f, marks, top, left):
    """Computes dw for the vector of filters from f on, and for each channel from k on whose element
    of `marks` is above 0. An image of zeros is skipped, unless the element is 2, which marks values
    that are not finite.
    """
    (n, oh, ow, filters), c = dy.shape, x.shape[3]
    tile, columns = simd.zeros(x, 9, 1), ow + 2
    lanes = simd.width(tile)
    plane = np.empty((oh + 2) * columns, x.dtype)
    taps = np.empty(9, np.int64)
    exact = np.zeros(marks.size * 9 * lanes, x.dtype)
    for tap in range(9):
        taps[tap] = tap // 3 * columns + tap % 3
    for image in range(n):
        for e in range(marks.size):
            if marks[e] > 0 and (_open_plane(x, image, k + e, top, left, plane, oh + 2, columns) or marks[e] == 2):
                _add_image(tile, taps, plane, columns, flatten(dy), image * oh * ow * filters + f, filters, oh, ow,
                           exact, e * 9 * lanes)
    for e in range(marks.size):
        if marks[e] > 0:
            acc = simd.load(tile, exact, simd.steps(lanes, 0, 9, tile), e * 9 * lanes, lanes)
            simd.store(acc, flatten(dw), simd.steps(c * filters, 0, 9, tile), (k + e) * filters + f, lanes)


@kernel("(T[:,:,::1], T[:,:,:,::1], T[:,:,:,::1], T[:,::1], T[:,::1], int64, int64)", parallel=True)
def _replace(dw, x, dy, x_spreads, dy_spreads, top, left):
    """Recomputes directly the elements of dw (9,C,F) that are not finite, or whose sum of absolute
    terms is not certain to reach `ENOUGH`.
    """
    _, c, f = dw.shape
    tile, blocks, pixels = simd.zeros(dw, 9, 1), (c + CHANNELS - 1) // CHANNELS, dy.size // f
    lanes = simd.width(tile)
    enough = ENOUGH * pixels
    deviations = DEVIATIONS * math.sqrt(pixels)
    for task in prange(blocks * (f // lanes)):
        k, first = task // (f // lanes) * CHANNELS, task % (f // lanes) * lanes
        marks, has_marks = np.zeros(min(CHANNELS, c - k), np.int64), False
        for e in range(marks.size):
            acc = simd.load(tile, flatten(dw), simd.steps(c * f, 0, 9, tile), (k + e) * f + first, lanes)
            if not transforms.finite(acc):
                marks[e] = 2
            for j in range(first, first + lanes):
                terms = x_spreads[0, k + e] * dy_spreads[0, j]
                terms -= deviations * x_spreads[1, k + e] * dy_spreads[1, j]
                if terms != terms:
                    marks[e] = 2
                elif terms < enough:
                    marks[e] = max(marks[e], 1)
            has_marks = has_marks or marks[e] > 0
        if has_marks:
            _recompute(dw, x, dy, k, first, marks, top, left)


def empty(parts: int, columns: int, dtype: np.dtype) -> np.ndarray:
    """Returns an array for the results of `parts` calls of `measure`."""
    return np.empty((LINES * parts, columns), dtype)


def replace(dw, x, dy, x_ranges, dy_ranges, top: int, left: int) -> None:
    """Computes directly the elements of dw (9,C,F) for which Winograd's algorithm is imprecise."""
    x_spreads = np.empty((2, x.shape[3]), x.dtype)
    dy_spreads = np.empty((2, dy.shape[3]), x.dtype)
    _spreads(x_ranges, x_spreads)
    _spreads(dy_ranges, dy_spreads)
    _replace(dw, x, dy, x_spreads, dy_spreads, top, left)
