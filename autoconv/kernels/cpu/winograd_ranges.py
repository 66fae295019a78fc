"""The ranges of values that Winograd's weight gradients can represent, and the direct sum for all others.

Winograd's products add a patch's pixels up before they are multiplied. An element of dw is then a difference of sums
that contain products of other elements, so one large activation in the same tile as one large gradient costs the other
taps their digits. The pixels' magnitudes decide, channel by channel:

    spread = sum |x| / max |x|      1 for a single large value, the number of pixels if all are equal
    terms  = spread of x * spread of dy / pixels

`terms` is the sum of an element's absolute terms, averaged over all shifts of x against dy, in units of the largest
product. Below `ENOUGH` the elements of this channel and filter are computed again by their definition, as are those
that are not finite. docs/kernels.md states the bound. The kernels measure while x and dy are in the cache; which
elements are computed again depends on values only, never on the threads.
"""

import numpy as np
from numba import prange

from . import rowwise, simd, transforms
from .flat import flattened
from .jit import allocating, inline, kernel

ENOUGH = 4.0
PIXELS = 4  # pixels that are measured at a time
LINES = 2 * PIXELS  # rows of a partial sum's ranges: the largest values of every fourth pixel, then the sums
CHANNELS = 4  # channels in a task of `_replace`: their pixels lie in the same cache lines
CHAIN = 256  # pixels whose products form a separate partial sum


@inline
def measure(x, start, step, count, columns, ranges, at, fresh):
    """ranges (LINES, step), from `at` on, = the largest and the sum of |x| in `columns` channels of
    `count` pixels that are `step` elements apart. Unless `fresh`, earlier pixels are included.
    """
    lanes, j = simd.width(simd.zeros(x, 1, 1)), 0
    while columns - j >= lanes:
        _measure_vector(x, start + j, step, count, lanes, ranges, at + j, fresh)
        j += lanes
    if columns > j:
        _measure_vector(x, start + j, step, count, columns - j, ranges, at + j, fresh)


@inline
def _measure_vector(x, k, step, count, columns, ranges, top, fresh):
    """Runs `measure` for the channels of one vector, or its first `columns`."""
    four, one, below, whole = simd.zeros(x, PIXELS, 1), simd.zeros(x, 1, 1), top + PIXELS * step, count // PIXELS
    places = simd.steps(step, 0, PIXELS, four)
    largest = four if fresh else simd.load(four, ranges, places, top, columns)
    total = four if fresh else simd.load(four, ranges, places, below, columns)
    for _ in range(whole):
        value = rowwise.absolute(simd.load(four, x, places, k, columns))
        largest, total = rowwise.larger(value, largest), rowwise.add(total, value)
        k += PIXELS * step
    simd.store(largest, ranges, places, top, columns)
    simd.store(total, ranges, places, below, columns)
    for _ in range(whole * PIXELS, count):
        value = rowwise.absolute(rowwise.row(one, x, k, columns))
        rowwise.put(rowwise.larger(value, rowwise.row(one, ranges, top, columns)), ranges, top, columns)
        rowwise.put(rowwise.add(value, rowwise.row(one, ranges, below, columns)), ranges, below, columns)
        k += step


@inline
def _spread(ranges, channel):
    """Returns sum / max of one channel's magnitudes; infinity if all are 0, and 0 if the sum is not
    finite.
    """
    largest, total = ranges.dtype.type(0), ranges.dtype.type(0)
    for line in range(ranges.shape[0]):
        if line % LINES < PIXELS:
            largest = max(largest, ranges[line, channel])
        else:
            total += ranges[line, channel]
    if not total < np.inf:
        return ranges.dtype.type(0)
    return total / largest if largest > 0 else ranges.dtype.type(np.inf)


@kernel("(T[:,::1], T[:,::1], T[::1], T[::1])")
def _spreads(x_ranges, dy_ranges, of_x, of_dy):
    """of_x, of_dy = the spread of each channel of x, and the least spread in each vector of dy's
    channels.
    """
    for k in range(of_x.size):
        of_x[k] = _spread(x_ranges, k)
    lanes = dy_ranges.shape[1] // of_dy.size
    for v in range(of_dy.size):
        of_dy[v] = _spread(dy_ranges, v * lanes)
        for f in range(v * lanes + 1, (v + 1) * lanes):
            of_dy[v] = min(of_dy[v], _spread(dy_ranges, f))


@inline
def _open_plane(x, image, k, top, left, plane, rows, columns):
    """plane (rows, columns) = channel k of an image of x, surrounded by zeros. Returns whether any
    value is nonzero.
    """
    _, h, w, c = x.shape
    flat, empty = flattened(x), True
    for i in range(rows):
        for j in range(columns):
            row, column = i - top, j - left
            inside = 0 <= row < h and 0 <= column < w
            value = flat[((image * h + row) * w + column) * c + k] if inside else x.dtype.type(0)
            plane[i * columns + j] = value
            empty = empty and value == 0
    return not empty


@inline
def _add_image(nine, taps, plane, columns, dy, start, filters, oh, ow, exact, at):
    """exact (9, lanes) += the products of one plane with a vector of dy's filters, in partial sums
    of `CHAIN` pixels or a row.
    """
    lanes, height = simd.width(nine), max(1, CHAIN // ow)
    places, to = simd.rows(taps, 0, 9, nine), simd.steps(lanes, 0, 9, nine)
    for first in range(0, oh, height):
        acc = nine
        for i in range(first, min(first + height, oh)):
            k, j = i * columns, start + i * ow * filters
            for _ in range(ow):
                acc = simd.fma(acc, plane, places, k, dy, j)
                k += 1
                j += filters
        simd.store(rowwise.add(acc, simd.load(nine, exact, to, at, lanes)), exact, to, at, lanes)


@allocating
def _again(dw, x, dy, k, f, chosen, top, left):
    """Computes dw for the channels from k on whose `chosen` is above 0, for the vector of filters
    at f. An image of zeros is skipped, unless `chosen` is 2, which marks values that are not
    finite.
    """
    (n, oh, ow, filters), c = dy.shape, x.shape[3]
    nine, columns = simd.zeros(x, 9, 1), ow + 2
    lanes, plane, taps = simd.width(nine), np.empty((oh + 2) * columns, x.dtype), np.empty(9, np.int64)
    exact = np.zeros(chosen.size * 9 * lanes, x.dtype)
    for tap in range(9):
        taps[tap] = tap // 3 * columns + tap % 3
    for image in range(n):
        for e in range(chosen.size):
            if chosen[e] > 0 and (_open_plane(x, image, k + e, top, left, plane, oh + 2, columns) or chosen[e] == 2):
                _add_image(nine, taps, plane, columns, flattened(dy), image * oh * ow * filters + f, filters, oh, ow,
                           exact, e * 9 * lanes)
    for e in range(chosen.size):
        if chosen[e] > 0:
            acc = simd.load(nine, exact, simd.steps(lanes, 0, 9, nine), e * 9 * lanes, lanes)
            simd.store(acc, flattened(dw), simd.steps(c * filters, 0, 9, nine), (k + e) * filters + f, lanes)


@kernel("(T[:,:,::1], T[:,:,:,::1], T[:,:,:,::1], T[::1], T[::1], int64, int64)", parallel=True)
def _replace(dw, x, dy, of_x, of_dy, top, left):
    """Computes directly the elements of dw (9,C,F) that are not finite, or whose terms are fewer than `ENOUGH`."""
    _, c, f = dw.shape
    nine, blocks, pixels = simd.zeros(dw, 9, 1), (c + CHANNELS - 1) // CHANNELS, dy.size // f
    lanes = simd.width(nine)
    for task in prange(blocks * of_dy.size):
        k, v = task // of_dy.size * CHANNELS, task % of_dy.size
        chosen, found = np.zeros(min(CHANNELS, c - k), np.int64), False
        for e in range(chosen.size):
            acc = simd.load(nine, flattened(dw), simd.steps(c * f, 0, 9, nine), (k + e) * f + v * lanes, lanes)
            terms = of_x[k + e] * of_dy[v]
            if not (transforms.finite(acc) and terms > 0):
                chosen[e] = 2
            elif terms < ENOUGH * pixels:
                chosen[e] = 1
            found = found or chosen[e] > 0
        if found:
            _again(dw, x, dy, k, v * lanes, chosen, top, left)


def empty(parts: int, columns: int, dtype: np.dtype) -> np.ndarray:
    """Returns an array for the results of `parts` calls of `measure`."""
    return np.empty((LINES * parts, columns), dtype)


def replace(dw, x, dy, x_ranges, dy_ranges, top: int, left: int) -> None:
    """Replaces the elements of dw (9,C,F) that Winograd's products cannot represent by direct sums.
    """
    of_x = np.empty(x.shape[3], x.dtype)
    of_dy = np.empty(dy.shape[3] // simd.lanes(dy.dtype), dy.dtype)
    _spreads(x_ranges, dy_ranges, of_x, of_dy)
    _replace(dw, x, dy, of_x, of_dy, top, left)
