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
the element of this channel and filter is computed again by its definition, as are elements that
are not finite. Most such channels and filters are nearly always 0 after a ReLU. So the side with
the smaller spread lists its nonzero pixels, and only their products are added. docs/kernels.md
states the error bound. The kernels find these sums of x and dy while both are in the cache. The
elements to recompute depend on values only, never on the threads.
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
# minimum number of channels in a task of `_replace`, and maximum number of tasks if that allows;
# adjacent channels share cache lines
CHANNELS, TASKS = 4, 8
GROUP = 512  # pixels that are read for all channels of a task before the next ones are read
CHAIN = 64  # number of products in a partial sum
VECTORS = 4  # number of vectors of sums that `_add_products` keeps in registers


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
def _list_pixels(a, image, end, k, top, left, rows, columns, zeros_too, values, places):
    """Lists the pixels of channel k that are not 0, or all if `zeros_too`, in images `image` to `end`:
    their numbers in `values`, and image, row and column in `places`. Pixels outside an image are 0.
    Returns their count.
    """
    (_, h, w, c), flat, count = a.shape, flatten(a), 0
    for image in range(image, end):
        for row in range(-top, rows - top):
            for column in range(-left, columns - left):
                inside = 0 <= row < h and 0 <= column < w
                value = flat[((image * h + row) * w + column) * c + k] if inside else a.dtype.type(0)
                if value != 0 or zeros_too:
                    values[count] = value
                    places[count, 0], places[count, 1], places[count, 2] = image, row, column
                    count += 1
    return count


@inline
def _add_products(tile, factors, starts, count, b, j, columns, sums, dst):
    """sums[dst : + columns] += factors[e] * b[starts[e] + j : + columns] for all e below `count`, in
    partial sums of `CHAIN` products.
    """
    row = simd.steps(0, 0, 1, tile)
    total = simd.load(tile, sums, row, dst, columns)
    for first in range(0, count, CHAIN):
        acc = tile
        for e in range(first, min(first + CHAIN, count)):
            acc = simd.axpy_part(acc, factors, e, b, row, starts[e] + j, columns)
        total = rowwise.add(total, acc)
    simd.store(total, sums, row, dst, columns)


@allocating
def _recompute(dw, a, b, first, marks, is_x, top, left):
    """Computes the elements of dw for channel first + i of `a` and channel j of b if marks[i, j] is
    above 0. If `is_x`, a is x and b is dy. Otherwise a is dy and b is x. A mark of 2 means that
    zeros are multiplied too, because zero times infinity is NaN.
    """
    (n, high, wide, others), tile, sign = b.shape, simd.zeros(dw, 1, VECTORS), -1 if is_x else 1
    rows, columns = (high + 2, wide + 2) if is_x else a.shape[1:3]
    group, width = max(1, GROUP // (rows * columns)), simd.width(tile)
    values, places = np.empty(group * rows * columns, a.dtype), np.empty((group * rows * columns, 3), np.int64)
    factors, starts = np.empty_like(values), np.empty(values.size, np.int64)
    channels = np.array([i for i in range(len(marks)) if marks[i].max() > 0])
    sums = np.zeros((channels.size, 9, others), dw.dtype)
    for image in range(0, n, group):
        for m in range(channels.size):
            i = channels[m]
            count = _list_pixels(a, image, min(image + group, n), first + i, top if is_x else 0, left if is_x else 0,
                                 rows, columns, marks[i].max() == 2, values, places)
            for tap in range(9 if count else 0):
                pairs = 0
                for e in range(count):
                    row, column = places[e, 1] + sign * (tap // 3 - top), places[e, 2] + sign * (tap % 3 - left)
                    if 0 <= row < high and 0 <= column < wide:
                        factors[pairs] = values[e]
                        starts[pairs] = ((places[e, 0] * high + row) * wide + column) * others
                        pairs += 1
                for j in range(0, others, width):
                    if marks[i, j] > 0:
                        _add_products(tile, factors, starts, pairs, flatten(b), j, min(width, others - j), flatten(sums),
                                      (m * 9 + tap) * others + j)
    for tap in range(9):
        for j in range(others):
            for m in range(channels.size):
                k = first + channels[m]
                if marks[channels[m], j] > 0:
                    dw[tap, k if is_x else j, j if is_x else k] = sums[m, tap, j]


@kernel("(T[:,:,::1], T[:,:,:,::1], T[:,:,:,::1], T[:,::1], T[:,::1], boolean, int64, int64)", parallel=True)
def _replace(dw, a, b, a_spreads, b_spreads, is_x, top, left):
    """Recomputes directly the elements of dw (9,C,F) whose sum of absolute terms is not certain to
    reach `ENOUGH` and whose channel of `a` has a smaller spread than the channel of b. If `is_x`, a
    is x and b is dy, and elements that are not finite are recomputed too. Otherwise a is dy and b is x.
    """
    pixels = (b if is_x else a).size // dw.shape[2]
    tile, enough, deviations = simd.zeros(dw, 9, 1), ENOUGH * pixels, DEVIATIONS * math.sqrt(pixels)
    lanes, width, items, others = simd.width(tile), simd.width(simd.zeros(dw, 1, VECTORS)), a.shape[3], b.shape[3]
    size = max(CHANNELS, items // TASKS)
    for task in prange((items + size - 1) // size):
        first, marked = task * size, False
        marks = np.empty((min(size, items - first), others), np.int64)
        for i in range(len(marks)):
            spread, root = a_spreads[0, first + i], deviations * a_spreads[1, first + i]
            for j in range(others):
                other = b_spreads[0, j]
                terms = spread * other - root * b_spreads[1, j]
                marks[i, j] = terms < enough and (spread < other or is_x and spread == other)
                if is_x and terms != terms:
                    marks[i, j] = 2
            for j in range(0, others if is_x else 0, lanes):
                acc = simd.load(tile, flatten(dw), simd.steps(dw.size // 9, 0, 9, tile), (first + i) * others + j, lanes)
                if not transforms.finite(acc):
                    marks[i, j] = max(marks[i, j], 1)
            for j in range(0, others, width):
                marks[i, j : j + width] = marks[i, j : j + width].max()
            marked = marked or marks[i].max() > 0
        if marked:
            _recompute(dw, a, b, first, marks, is_x, top, left)


def empty(parts: int, columns: int, dtype: np.dtype) -> np.ndarray:
    """Returns an array for the results of `parts` calls of `measure`."""
    return np.empty((LINES * parts, columns), dtype)


def replace(dw, x, dy, x_ranges, dy_ranges, top: int, left: int) -> None:
    """Computes directly the elements of dw (9,C,F) for which Winograd's algorithm is imprecise."""
    x_spreads = np.empty((2, x.shape[3]), x.dtype)
    dy_spreads = np.empty((2, dy.shape[3]), x.dtype)
    _spreads(x_ranges, x_spreads)
    _spreads(dy_ranges, dy_spreads)
    _replace(dw, x, dy, x_spreads, dy_spreads, True, top, left)
    _replace(dw, dy, x, dy_spreads, x_spreads, False, top, left)
