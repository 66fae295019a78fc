"""The three matrix products of convolutional and dense layers, as loops around the register tile
(simd.py).

One matrix of each product is not stored but gathered: its element (p, q) is x[pixels[p] + taps[q]]
of a flat array. All arrays are flat, and all positions count elements. Columns are computed in
whole wide tiles as long as these fit; narrow tiles compute the remaining columns.

    gathered_product    y[p, f]   = b[f] + sum over q of  x[pixels[p] + taps[q]] * w[q, f]
    gathered_outer      dw[q, f]  =        sum over p of  x[pixels[p] + taps[q]] * dy[p, f]
    scattered_product   dx[pixels[p] + c]  +=  sum over f of  dy[sources[p] + f] * wt[f, c]      at each tap
"""

from functools import lru_cache

import numpy as np
from numba import prange

from . import simd, tasks, tile2x2
from .flat import flatten
from .jit import allocating, inline, kernel
from .stencil import prefetch

M, N = simd.TILE
NARROW_M, NARROW_N = simd.NARROW
# number of tiles that are as wide as a tile of AVX-512
TILES = tasks.WIDEST_TILE * tasks.WIDEST_BYTES // (N * simd.VECTOR_BYTES)
ONE_RUN = np.zeros(1, np.int64)  # value of `runs` for ordinary matrices, whose rows are one run
# For weight gradients with more columns than one tile: the minimum number of window elements for
# copying dy, and the number of pixels that are copied at a time.
MANY, STRETCH = 64, 48
# number of rows of the tiles for pooling, in which every four rows are one window
POOL_M, POOL_NARROW_M = 4, 8


@lru_cache(maxsize=64)
def zeros(dtype: np.dtype, count: int) -> np.ndarray:
    """Returns `count` zeros. The array is shared, so it must not be modified."""
    return np.zeros(count, dtype)


@lru_cache(maxsize=64)
def ones(dtype: np.dtype, count: int) -> np.ndarray:
    """Returns `count` ones. The array is shared, so it must not be modified."""
    return np.ones(count, dtype)


@lru_cache(maxsize=64)
def row_offsets(count: int, step: int) -> np.ndarray:
    """Returns the offsets of `count` rows that are `step` elements apart."""
    return np.arange(count, dtype=np.int64) * step


def bias(b: np.ndarray | None, dtype: np.dtype, count: int) -> np.ndarray:
    """Returns b, or `count` zeros if b is None."""
    return zeros(dtype, count) if b is None else b


@inline
def run_taps(acc, x, src, start, runs, run_length, w, j, filters):
    """Runs the inner loop of a gathered product: acc[m, :] += x[src[m] + start + tap] * w[tap, :]
    over all taps.

    `runs` contains the first tap of each run of `run_length` consecutive elements. The rows of w
    begin at w[j] and have `filters` elements.
    """
    for t in range(runs.size):
        k = start + runs[t]
        for _ in range(run_length):
            acc = simd.fma(acc, x, src, k, w, j)
            k += 1
            j += filters
    return acc


@inline
def run_taps_ahead(acc, x, src, start, runs, run_length, w, j, filters):
    """Runs `run_taps`, and prefetches the rows of w that follow these."""
    for t in range(runs.size):
        k = start + runs[t]
        for _ in range(run_length):
            prefetch(w, j + run_length * filters, simd.width(acc))
            acc = simd.fma(acc, x, src, k, w, j)
            k += 1
            j += filters
    return acc


@inline
def run_taps_part(acc, x, src, start, runs, run_length, w, j, filters, columns):
    """Runs `run_taps` for a tile of which only the first `columns` columns exist."""
    for t in range(runs.size):
        k = start + runs[t]
        for _ in range(run_length):
            acc = simd.fma_part(acc, x, src, k, w, j, columns)
            k += 1
            j += filters
    return acc


@inline
def first_sum(tile, scale, b, y, dst, y_start, f, columns, fresh):
    """Returns the tile from which a gathered product's sums start."""
    if not fresh:
        return simd.load(tile, y, dst, y_start + f, columns)
    return simd.add_row(tile, b, f, columns) if scale.size == 0 else tile


@inline
def last_sum(acc, scale, b, f, columns, is_last, activation):
    """Scales complete sums, and applies the activation to them."""
    if is_last and scale.size > 0:
        acc = simd.scale_rows(acc, scale, b, f, columns)
    return simd.clip(acc, activation if is_last else simd.LINEAR)


@inline
def gathered_product(
    x, start, pixels, count, runs, run_length, w, w_start, w_step, scale, b, y, y_start, filters, f, end, fresh,
    is_last, activation
):
    """y[p, f:end] (+)= sum over q of x[start + pixels[p] + taps[q]] * w[q, f:end], for p below
    `count`.

    If `fresh`, the sum starts from b[f:end], otherwise from y. y has rows of `filters` elements, and
    the rows of w are `w_step` elements apart. If `is_last`, the sum is complete: `scale`, unless it
    is empty, multiplies it before b is added, and `activation`, see simd.clip, is applied.
    """
    wide = simd.zeros(x, M, N)
    narrow = simd.zeros(x, NARROW_M, NARROW_N)
    single = simd.zeros(x, NARROW_M, 1)
    columns = simd.width(wide)
    # rows that fit one narrow tile but not one wide tile are left to the narrow tiles
    while end - f >= columns and not M < count <= NARROW_M:
        for p in range(0, count, M):
            dst = simd.steps(filters, p, count, wide)
            acc = first_sum(wide, scale, b, y, dst, y_start, f, columns, fresh)
            src = simd.rows(pixels, p, count, wide)
            if p == 0 and not is_last:
                acc = run_taps_ahead(acc, x, src, start, runs, run_length, w, w_start + f, w_step)
            else:
                acc = run_taps(acc, x, src, start, runs, run_length, w, w_start + f, w_step)
            acc = last_sum(acc, scale, b, f, columns, is_last, activation)
            simd.store(acc, y, dst, y_start + f, columns)
        f += columns
    while f < end:
        part = min(simd.width(narrow), end - f)
        if part > simd.width(single):
            _product_part(narrow, x, start, pixels, count, runs, run_length, w, w_start, w_step, scale, b, y, y_start,
                          filters, f, part, fresh, is_last, activation)
        else:
            _product_part(single, x, start, pixels, count, runs, run_length, w, w_start, w_step, scale, b, y, y_start,
                          filters, f, part, fresh, is_last, activation)
        f += part


@inline
def _product_part(
    tile, x, start, pixels, count, runs, run_length, w, w_start, w_step, scale, b, y, y_start, filters, f, part,
    fresh, is_last, activation
):
    """Computes columns f to f + `part` of `gathered_product` with a tile that is wide enough."""
    for p in range(0, count, NARROW_M):
        dst = simd.steps(filters, p, count, tile)
        acc = first_sum(tile, scale, b, y, dst, y_start, f, part, fresh)
        src = simd.rows(pixels, p, count, tile)
        if part == simd.width(tile):
            acc = run_taps(acc, x, src, start, runs, run_length, w, w_start + f, w_step)
        else:
            acc = run_taps_part(acc, x, src, start, runs, run_length, w, w_start + f, w_step, part)
        acc = last_sum(acc, scale, b, f, part, is_last, activation)
        simd.store(acc, y, dst, y_start + f, part)


@inline
def pooled_product(x, start, windows, count, runs, run_length, w, scale, b, y, winner, y_start, filters):
    """y[q, f] = relu(max over the 2x2 window q of the gathered product), for q below `count`.
    `scale` has the same meaning as in `gathered_product`.

    `windows` contains the positions of each window's four pixels. `winner`, unless it is empty,
    receives the index of the largest of the four.
    """
    wide, narrow = simd.zeros(x, POOL_M, N), simd.zeros(x, POOL_NARROW_M, NARROW_N)
    single, f = simd.zeros(x, POOL_NARROW_M, 1), 0
    while filters - f >= simd.width(wide):
        for q in range(0, count, POOL_M // 4):
            src = tile2x2.windows(windows, q, count, wide)
            acc = wide if scale.size > 0 else simd.add_row(wide, b, f, simd.width(wide))
            acc = run_taps(acc, x, src, start, runs, run_length, w, f, filters)
            if scale.size > 0:
                acc = simd.scale_rows(acc, scale, b, f, simd.width(wide))
            _store_pooled(acc, y, winner, q, count, y_start + f, filters, simd.width(wide))
        f += simd.width(wide)
    while f < filters:
        part = min(simd.width(narrow), filters - f)
        if part > simd.width(single):
            _pool_part(narrow, x, start, windows, count, runs, run_length, w, scale, b, y, winner, y_start, filters, f,
                       part)
        else:
            _pool_part(single, x, start, windows, count, runs, run_length, w, scale, b, y, winner, y_start, filters, f,
                       part)
        f += part


@inline
def _pool_part(tile, x, start, windows, count, runs, run_length, w, scale, b, y, winner, y_start, filters, f, part):
    """Computes columns f to f + `part` of `pooled_product` with a tile that is wide enough."""
    for q in range(0, count, POOL_NARROW_M // 4):
        src = tile2x2.windows(windows, q, count, tile)
        acc = tile if scale.size > 0 else simd.add_row(tile, b, f, part)
        acc = run_taps_part(acc, x, src, start, runs, run_length, w, f, filters, part)
        if scale.size > 0:
            acc = simd.scale_rows(acc, scale, b, f, part)
        _store_pooled(acc, y, winner, q, count, y_start + f, filters, part)


@inline
def _store_pooled(acc, y, winner, q, count, j, filters, columns):
    best = tile2x2.window_max(acc)
    dst = simd.steps(filters, q, count, best)
    simd.store(simd.clip(best, simd.RELU), y, dst, j, columns)
    if winner.size > 0:
        tile2x2.store_winners(acc, best, winner, dst, j, columns)


@inline
def gathered_outer(x, start, pixels, count, taps, items, dy, dy_start, dw, dw_start, filters, f, end, fresh):
    """dw[q, f:end] (+)= sum over p below `count` of x[start + pixels[p] + taps[q]] * dy[p, f:end],
    for q below `items`.

    If `fresh`, the sum starts from zero, otherwise from dw. dy and dw have rows of `filters`
    elements.
    """
    wide = simd.zeros(x, M, N)
    narrow = simd.zeros(x, NARROW_M, NARROW_N)
    single = simd.zeros(x, NARROW_M, 1)
    columns = simd.width(wide)
    whole = f + (end - f) // columns * columns
    if filters > columns and items >= MANY:
        _outer_copied(wide, x, start, pixels, count, taps, items, dy, dy_start, dw, dw_start, filters, f, whole, fresh)
        f = whole
    while f < whole:
        for q in range(0, items, M):
            dst = simd.steps(filters, q, items, wide)
            acc = wide if fresh else simd.load(wide, dw, dst, dw_start + f, columns)
            src = simd.rows(taps, q, items, wide)
            j = dy_start + f
            for p in range(count):
                acc = simd.fma(acc, x, src, start + pixels[p], dy, j)
                j += filters
            simd.store(acc, dw, dst, dw_start + f, columns)
        f += columns
    while f < end:
        part = min(simd.width(narrow), end - f)
        if part > simd.width(single):
            _outer_part(narrow, x, start, pixels, count, taps, items, dy, dy_start, dw, dw_start, filters, f, part,
                        fresh)
        else:
            _outer_part(single, x, start, pixels, count, taps, items, dy, dy_start, dw, dw_start, filters, f, part,
                        fresh)
        f += part


@allocating
def _outer_copied(wide, x, start, pixels, count, taps, items, dy, dy_start, dw, dw_start, filters, f, end, fresh):
    """Computes whole wide tiles of `gathered_outer` for a stretch of pixels at a time. One tile's
    columns of dy are copied contiguously, and stay in the L1 cache for all window elements. Without
    the copy, rows that are a power of two apart would compete for a few cache sets.

    Each tile also prefetches a fraction of the next stretch of x and dy.
    """
    columns, tiles = simd.width(wide), (items + M - 1) // M
    stretches = max(1, count // STRETCH)
    panel = np.empty((count // stretches + 1) * columns, dy.dtype)
    shares = tiles * max(1, (end - f) // columns)
    for s in range(stretches):
        first, stop = count * s // stretches, count * (s + 1) // stretches
        chunk, row, is_first = pixels[first:stop], dy_start + first * filters, fresh and s == 0
        share_x = (chunk[-1] - chunk[0]) // shares + 1
        share_dy = chunk.size * filters // shares + 1
        next_x, next_dy = start + chunk[-1] + taps[items - 1], row + chunk.size * filters
        for k in range(f, end, columns):
            for p in range(chunk.size):
                simd.copy(panel, p * columns, dy, row + p * filters + k, columns)
            for q in range(0, items, M):
                prefetch(x, next_x, share_x)
                prefetch(dy, next_dy, share_dy)
                next_x += share_x
                next_dy += share_dy
                _outer_tile(wide, x, start, chunk, taps, items, q, panel, dw, dw_start + k, filters, is_first)


@inline
def _outer_tile(wide, x, start, pixels, taps, items, q, panel, dw, dw_start, filters, fresh):
    """Computes the tile from window element q on, with the columns of dy that `panel` contains."""
    dst = simd.steps(filters, q, items, wide)
    acc = wide if fresh else simd.load(wide, dw, dst, dw_start, simd.width(wide))
    src, j = simd.rows(taps, q, items, wide), 0
    for p in range(pixels.size):
        acc = simd.fma(acc, x, src, start + pixels[p], panel, j)
        j += simd.width(wide)
    simd.store(acc, dw, dst, dw_start, simd.width(wide))


@inline
def _outer_part(tile, x, start, pixels, count, taps, items, dy, dy_start, dw, dw_start, filters, f, part, fresh):
    """Computes columns f to f + `part` of `gathered_outer` with a tile that is wide enough."""
    for q in range(0, items, NARROW_M):
        dst = simd.steps(filters, q, items, tile)
        acc = tile if fresh else simd.load(tile, dw, dst, dw_start + f, part)
        src = simd.rows(taps, q, items, tile)
        j = dy_start + f
        if part == simd.width(tile):  # this loop needs no masks
            for p in range(count):
                acc = simd.fma(acc, x, src, start + pixels[p], dy, j)
                j += filters
        else:
            for p in range(count):
                acc = simd.fma_part(acc, x, src, start + pixels[p], dy, j, part)
                j += filters
        simd.store(acc, dw, dst, dw_start + f, part)


@inline
def scattered_product(
    dy, dy_start, sources, pixels, count, block, wt, j, dx, dx_start, first_f, group_f, row, c, end
):
    """dx[pixels[p] + c:end] += sum over f of dy[sources[p] + f] * wt[f, c:end], for p below
    `count`, for one tap or a row of taps.

    f runs over the `group_f` filters from `first_f` on. wt begins at wt[j] and has rows of `row`
    elements. All pixels of a tile, at most NARROW_M, come from the same block of `block`
    consecutive pixels. The elements that a tile adds to must not overlap. Columns are divided in
    the same places on every processor, because a row of taps adds several columns to one element.
    """
    wide = simd.zeros(dy, M, N)
    narrow = simd.zeros(dy, NARROW_M, NARROW_N)
    single = simd.zeros(dy, NARROW_M, 1)
    first, most, less = dy_start + first_f, TILES * simd.width(wide), TILES * simd.width(narrow)
    while c < end:
        part = most if end - c >= most else min(less, end - c)
        k, dst = j + c, dx_start + c
        if part > simd.width(narrow):
            _scatter_part(wide, M, dy, first, sources, pixels, count, block, wt, k, dx, dst,
                          group_f, row, part)
        elif part > simd.width(single):
            _scatter_part(narrow, NARROW_M, dy, first, sources, pixels, count, block, wt, k, dx, dst,
                          group_f, row, part)
        else:
            _scatter_part(single, NARROW_M, dy, first, sources, pixels, count, block, wt, k, dx, dst,
                          group_f, row, part)
        c += part


@inline
def _scatter_part(
    tile, high, dy, first, sources, pixels, count, block, wt, j, dx, dx_start, group_f, row, part
):
    """Computes `part` columns of `scattered_product`, from wt[j] and dx[dx_start] on, with tiles of
    `high` rows.
    """
    whole = part - part % simd.width(tile)
    for end_p in range(block, count + 1, block):
        for p in range(end_p - block, end_p, high):
            src, dst = simd.rows(sources, p, end_p, tile), simd.rows(pixels, p, end_p, tile)
            for s in range(0, whole, simd.width(tile)):  # this loop needs no masks
                acc, k = simd.load(tile, dx, dst, dx_start + s, simd.width(tile)), j + s
                for f in range(first, first + group_f):
                    acc = simd.fma(acc, dy, src, f, wt, k)
                    k += row
                simd.store(acc, dx, dst, dx_start + s, simd.width(tile))
            if whole < part:
                acc = simd.load(tile, dx, dst, dx_start + whole, part - whole)
                k = j + whole
                for f in range(first, first + group_f):
                    acc = simd.fma_part(acc, dy, src, f, wt, k, part - whole)
                    k += row
                simd.store(acc, dx, dst, dx_start + whole, part - whole)


@inline
def add_rows(x, start, count, step, total, total_start, columns, fresh):
    """total[f] (+)= sum over `count` rows of x, which are `step` elements apart, for f below
    `columns`.
    """
    row = simd.zeros(x, 1, N)
    for f in range(0, columns, simd.width(row)):
        part = min(simd.width(row), columns - f)
        acc = row if fresh else simd.add_row(row, total, total_start + f, part)
        for p in range(count):
            acc = simd.add_row(acc, x, start + p * step + f, part)
        simd.store(acc, total, simd.steps(0, 0, 1, row), total_start + f, part)


@kernel("(T[:,::1], T[::1])", parallel=True)
def add_parts(partial, total):
    """total = partial[0] + partial[1] + ..., in this order. Blocks of elements are distributed over
    the threads.
    """
    (count, size), block = partial.shape, 1024
    for task in prange((size + block - 1) // block):
        start = task * block
        add_rows(flatten(partial), start, count, size, total, start, min(block, size - start), True)
