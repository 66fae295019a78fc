"""Gradients of a convolution followed by 2x2 max pooling, computed from nonzero elements only.

Each pooled pixel q of filter f passes its gradient g to one of four pixels, so at most a quarter of
the convolution's output gradient is nonzero. For each nonzero element g, the kernels add g times a
stretch of memory (simd.axpy):

    dwt[f, :]             +=  g * (the window of x at the winner)
    dx's window at the winner  +=  g * w[:, f]

A window consists of `runs`, each of `length` elements.
"""

import numpy as np

from . import rowwise, simd, tasks
from .compress import append_nonzero
from .flat import flatten
from .jit import allocating, inline

S = simd.RUN_VECTORS
SHORT = S // 2  # vectors per row for short runs, such as three pixels of 16 channels
ROWS = 3  # number of runs per tile: all runs of a 3x3 kernel's window
# number of tiles that are as wide as a tile of AVX-512, which has six vectors
TILES = 6 * tasks.WIDEST_BYTES // (S * simd.VECTOR_BYTES)


@inline
def sparse_outer(
    x, start, windows, count, runs, length, gradient, winner, winner_start, filters, low, high, dwt, dwt_start, fresh
):
    """dwt[f, :] (+)= sum over q below `count` of gradient[q, f] * the window of x at windows[4q +
    winner[q, f]], for low <= f < high.
    """
    wide, short = simd.zeros(x, ROWS, S), simd.zeros(x, ROWS, SHORT)
    if length <= simd.width(short):
        _outer(short, x, start, windows, count, runs, length, gradient, winner, winner_start, filters, low, high, dwt,
               dwt_start, fresh)
    else:
        _outer(wide, x, start, windows, count, runs, length, gradient, winner, winner_start, filters, low, high, dwt,
               dwt_start, fresh)


@inline
def _outer(
    tile, x, start, windows, count, runs, length, gradient, winner, winner_start, filters, low, high, dwt, dwt_start,
    fresh,
):
    """Computes `sparse_outer` with tiles of the same shape as `tile`."""
    items, columns = runs.size * length, simd.width(tile)
    for f in range(low, high):
        for m in range(0, runs.size, ROWS):
            src = simd.rows(runs, m, runs.size, tile)
            dst = simd.steps(length, m, runs.size, tile)
            for c in range(0, length, columns):
                part, j = min(columns, length - c), dwt_start + f * items + c
                acc = tile if fresh else simd.load(tile, dwt, dst, j, part)
                e = f
                if part == columns:
                    for q in range(count):
                        k = start + windows[4 * q + winner[winner_start + e]]
                        acc = simd.axpy(acc, gradient, e, x, src, k + c)
                        e += filters
                else:
                    for q in range(count):
                        k = start + windows[4 * q + winner[winner_start + e]]
                        acc = simd.axpy_part(acc, gradient, e, x, src, k + c, part)
                        e += filters
                simd.store(acc, dwt, dst, j, part)


@allocating
def winners_lists(gradient, winner, winner_start, count, filters, length, places, values, begin):
    """For each pixel r of each 2x2 window q, lists the filters f whose maximum is at that pixel:
    places[r, begin[r, q] : begin[r, q + 1]] = f * length.

    `values` receives the gradients of these filters. Filters whose gradient is zero are omitted.
    Each row of `places` and `values` must have space for one more vector than the lists need.
    """
    zero, capacity, size = simd.zeros(gradient, 1, 1), places.shape[1], np.zeros(4, np.int64)
    all_places, all_values = flatten(places), flatten(values)
    for q in range(count):
        for r in range(4):
            begin[r, q] = size[r]
        for f in range(0, filters, simd.width(zero)):
            columns, j = min(simd.width(zero), filters - f), q * filters + f
            value = rowwise.row(zero, gradient, j, columns)
            place = rowwise.row_of_bytes(zero, winner, winner_start + j, columns)
            for r in range(4):
                pixel_dy = rowwise.select_equal(place, rowwise.full(zero, r), value)
                size[r] += append_nonzero(pixel_dy, all_values, all_places, r * capacity + size[r], f * length, length)
    for r in range(4):
        begin[r, count] = size[r]


@inline
def sparse_scatter(places, values, begin, windows, count, runs, length, wt, filters, dx, dx_start):
    """dx[windows[4q + r] + runs[m] + c] += sum over the list of pixel 4q + r of value * wt[m, f, c].

    Columns are divided in the same places on every processor, because windows overlap.
    """
    wide, short = simd.zeros(dx, 1, S), simd.zeros(dx, ROWS, SHORT)
    if length <= TILES * simd.width(short):
        _scatter(short, ROWS, places, values, begin, windows, count, runs, length, wt, filters, dx, dx_start)
    else:
        _scatter(wide, 1, places, values, begin, windows, count, runs, length, wt, filters, dx, dx_start)


@inline
def _scatter(tile, rows, places, values, begin, windows, count, runs, length, wt, filters, dx, dx_start):
    """Computes `sparse_scatter` with tiles of the same shape as `tile`, which has `rows` rows."""
    columns = TILES * simd.width(tile)
    for m in range(0, runs.size, rows):
        dst = simd.rows(runs, m, runs.size, tile)
        src = simd.steps(filters * length, 0, runs.size - m, tile)
        for c in range(0, length, columns):
            for q in range(count):
                for r in range(4):
                    first, last, j = begin[r, q], begin[r, q + 1], dx_start + windows[4 * q + r]
                    if first == last:
                        continue
                    for s in range(c, min(c + columns, length), simd.width(tile)):
                        part = min(simd.width(tile), length - s)
                        block = m * filters * length + s
                        acc = simd.load(tile, dx, dst, j + s, part)
                        if part == simd.width(tile):
                            for e in range(first, last):
                                acc = simd.axpy(acc, values[r], e, wt, src, block + places[r, e])
                        else:
                            for e in range(first, last):
                                place = block + places[r, e]
                                acc = simd.axpy_part(acc, values[r], e, wt, src, place, part)
                        simd.store(acc, dx, dst, j + s, part)
