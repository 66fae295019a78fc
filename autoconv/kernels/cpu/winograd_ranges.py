"""Finds weight gradients for which Winograd's algorithm is imprecise, and computes them directly.

Winograd's algorithm adds up a patch's pixels before it multiplies them. An element of dw is then a
difference of sums that contain products of other elements. So one large activation in the same tile
as one large gradient makes the other taps lose precision. The elements to recompute are chosen by
the magnitudes of the pixels x of each channel:

    spread = sum |x| / max |x|         1 for one large value, the number of pixels if all are equal
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

from ..buffers import scratch
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
CHANNELS, TASKS = 16, 8
# numbers of pixels that are read for all channels of a task before the next ones: of small images
# together, and of a part of a large image
GROUP, PART = 512, 2048
CHAIN = 64  # number of products in a partial sum
ROWS = 4  # number of channels of `a` without a 0 whose products are added together
VECTORS = 4  # number of vectors of channels of b whose products are added together


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
def _list_pixels(a, image, end, k, edges, zeros_too, values, places):
    """Lists the pixels of channel k that are not 0, or all if `zeros_too`, in images `image` to
    `end`: `values`, and image, row and column in `places`. Pixels outside an image are 0. `edges`
    are the first and the end of the rows and of the columns. Returns the number of listed pixels.
    """
    (_, h, w, c), flat, count = a.shape, flatten(a), 0
    for i in range(image, end):
        for row in range(edges[0], edges[1]):
            for column in range(edges[2], edges[3]):
                inside = 0 <= row < h and 0 <= column < w
                value = flat[((i * h + row) * w + column) * c + k] if inside else a.dtype.type(0)
                if value != 0 or zeros_too:
                    values[count] = value
                    places[count, 0], places[count, 1], places[count, 2] = i, row, column
                    count += 1
    return count


@inline
def _add_products(tile, rows, first, values, places, count, shift, b, j, sums, m):
    """sums[m + r, tap, j:] += values[first + r, e] times the pixel of b at places[e], moved by the
    tap, for all taps, all e below `count`, and each row r of the tile, whose columns are channels
    of b from j on. `shift` = (sign, top, left) tells how a tap moves. A partial sum has `CHAIN`
    terms.
    """
    _, h, w, c = b.shape
    sign, top, left = shift
    columns = min(simd.width(tile), c - j)
    src = simd.steps(values.shape[1], first, first + rows, tile)
    dst = simd.steps(9 * c, m, m + rows, tile)
    for tap in range(9):
        total = simd.load(tile, flatten(sums), dst, tap * c + j, columns)
        for start in range(0, count, CHAIN):
            acc = tile
            for e in range(start, min(start + CHAIN, count)):
                row = places[e, 1] + sign * (tap // 3 - top)
                column = places[e, 2] + sign * (tap % 3 - left)
                if 0 <= row < h and 0 <= column < w:
                    k = ((places[e, 0] * h + row) * w + column) * c + j
                    if columns == simd.width(tile):
                        acc = simd.fma(acc, flatten(values), src, e, flatten(b), k)
                    else:
                        acc = simd.fma_part(acc, flatten(values), src, e, flatten(b), k, columns)
            total = rowwise.add(total, acc)
        simd.store(total, flatten(sums), dst, tap * c + j, columns)


@allocating
def _recompute(dw, a, b, first, marks, is_x, top, left):
    """Computes dw for each channel first + i of `a` and each channel j of b with marks[i, j] > 0. If
    `is_x`, a is x and b is dy. Otherwise a is dy and b is x. A mark of 2 means that zeros are
    multiplied too, because zero times infinity is NaN. Channels of `a` without a 0 share b's loads.
    """
    n, h, w, others = b.shape
    shift = -1 if is_x else 1, top, left
    edges = (-top, h + 2 - top, -left, w + 2 - left) if is_x else (0, a.shape[1], 0, a.shape[2])
    width = edges[3] - edges[2]
    rows = min(edges[1] - edges[0], max(1, PART // width))
    group = max(1, GROUP // (rows * width))
    values = np.empty((ROWS, group * rows * width), a.dtype)
    places, counts = np.empty((*values.shape, 3), np.int64), np.zeros(ROWS, np.int64)
    channels = np.array([i for i in range(len(marks)) if marks[i].max() > 0])
    sums = np.zeros((channels.size, 9, others), dw.dtype)
    tile = simd.zeros(dw, ROWS, VECTORS)
    single = simd.zeros(dw, 1, VECTORS)
    for image, row in [(i, k) for i in range(0, n, group) for k in range(edges[0], edges[1], rows)]:
        stop = min(image + group, n)
        part = (row, min(row + rows, edges[1]), edges[2], edges[3])
        for m in range(0, channels.size, ROWS):
            high = min(ROWS, channels.size - m)
            for r in range(high):
                i = channels[m + r]
                counts[r] = _list_pixels(a, image, stop, first + i, part, marks[i].max() == 2,
                                         values[r], places[r])
            is_full = high == ROWS and counts.min() == (stop - image) * (part[1] - row) * width
            for j in range(0, others, simd.width(tile)):
                if is_full:
                    _add_products(tile, ROWS, 0, values, places[0], counts[0], shift, b, j, sums, m)
                for r in range(0 if is_full else high):
                    mark = marks[channels[m + r], j : j + simd.width(tile)].max()
                    if counts[r] > 0 and mark > 0:
                        _add_products(single, 1, r, values, places[r], counts[r], shift, b, j, sums,
                                      m + r)
    for tap, j in np.ndindex(9, others):
        for m in range(channels.size):
            if marks[channels[m], j] > 0:
                k = first + channels[m]
                dw[tap, k if is_x else j, j if is_x else k] = sums[m, tap, j]


@kernel("(T[:,:,::1], T[:,:,:,::1], T[:,:,:,::1], T[:,::1], T[:,::1], boolean, int64, int64)", parallel=True)
def _replace(dw, a, b, a_spreads, b_spreads, is_x, top, left):
    """Recomputes the elements of dw (9,C,F) whose sum of absolute terms is not certain to reach
    `ENOUGH` and whose channel of `a` has a smaller spread than their channel of b. If `is_x`, a is
    x and b is dy, and elements that are not finite are recomputed too. Otherwise a is dy and b x.
    """
    pixels, items, others = (b if is_x else a).size // dw.shape[2], a.shape[3], b.shape[3]
    tile, size = simd.zeros(dw, 9, 1), max(CHANNELS, items // TASKS)
    for task in prange((items + size - 1) // size):
        first = task * size
        marks = np.empty((min(size, items - first), others), np.int64)
        for i in range(len(marks)):
            spread = a_spreads[0, first + i]
            deviations = DEVIATIONS * math.sqrt(pixels) * a_spreads[1, first + i]
            for j in range(others):
                terms = spread * b_spreads[0, j] - deviations * b_spreads[1, j]
                smaller = spread < b_spreads[0, j] or (is_x and spread == b_spreads[0, j])
                marks[i, j] = 2 if is_x and terms != terms else terms < ENOUGH * pixels and smaller
            for j in range(0, others if is_x else 0, simd.width(tile)):
                dst = (first + i) * others + j
                acc = simd.load(tile, flatten(dw), simd.steps(dw.size // 9, 0, 9, tile), dst, simd.width(tile))
                if not transforms.finite(acc):
                    for e in range(j, min(j + simd.width(tile), others)):
                        marks[i, e] = max(marks[i, e], 1)
        if marks.max() > 0:
            _recompute(dw, a, b, first, marks, is_x, top, left)


def empty(parts: int, columns: int, dtype: np.dtype) -> np.ndarray:
    """Returns an array for the results of `parts` calls of `measure`."""
    return scratch((LINES * parts, columns), dtype)


def replace(dw, x, dy, x_ranges, dy_ranges, top: int, left: int) -> None:
    """Computes directly the elements of dw (9,C,F) for which Winograd's algorithm is imprecise."""
    x_spreads = scratch((2, x.shape[3]), x.dtype)
    dy_spreads = scratch((2, dy.shape[3]), x.dtype)
    _spreads(x_ranges, x_spreads)
    _spreads(dy_ranges, dy_spreads)
    _replace(dw, x, dy, x_spreads, dy_spreads, True, top, left)
    _replace(dw, dy, x, dy_spreads, x_spreads, False, top, left)
