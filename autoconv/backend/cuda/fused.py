"""Convolution + bias + ReLU + 2x2 max pooling as one kernel, and its gradients.

Forward computes only the pixels that the pooling reads, and keeps the pooled value and one byte that says which of the
four won. Backward spreads the pooled gradients to their winners, and goes on as the ordinary convolution does.
"""

import math

import numpy as np

from ...arguments.shapes import Window
from . import array as arrays
from . import gather, tiles
from .conv import (  # noqa: F401 (kernels of the gradients, as part of this module)
    _ADD_PARTS,
    _INPUT_GRADIENT,
    _WEIGHT_GRADIENT,
    bias,
    check_countable,
    conv2d_input_grad,
    conv2d_masked_input_grad,
    conv2d_weight_grad,
    family,
    outer_product,
    pick,
    scaled,
)
from .fours import starts_fours
from .outer import outer
from .product import SUMS, copying, layout, place_of, product_kernel, put, summing
from .ptx import global_index, load, store, times
from .runtime import BlockKernel, ItemKernel, cuda, inline, kernel
from .tiles import Tile
from .unpool import reading


@inline
def largest(sums, c):
    """The largest of a column's four sums, and which it is: the first of equal ones. A NaN wins."""
    best, which = sums[0, c], np.uint8(0)
    for e in range(1, 4):
        item = sums[e, c]
        if item > best or (item != item and best == best):
            best, which = item, np.uint8(e)
    return best, which


def _pooled(name: str, tile: Tile, tensor_cores: bool) -> BlockKernel:
    """y (count, F) = the largest of the four sums of each window, + b, and max(y, 0); `winner` says which it was.

    `lengths` as in conv.py. A row of 32 is 8 windows and the four pixels of each (gather.py), so a thread has all four.
    `cut`: into how many parts the sum is, and the stages of each; `sums_of_parts` (parts, 4, count, F) gets the four of
    each part if there are several, for `_pool_parts`.
    """
    at = layout(tile, False, False)
    locate, where = gather.rows_of(tile, True), place_of(tile)
    run = summing(tensor_cores, tile, at, gather.filling(tile, at, copying(tensor_cores, tile), False))
    rows, columns, depth, whole = tile.rows // 4, tile.columns, tile.depth, tile.widths[1] == 4
    size, each = at.size * tile.stages, gather.rows_of_a_thread(tile)

    @product_kernel("(const T[::1], const T[::1], const T[::1], T[::1], uint8[::1], T[::1], int64,"
                    f" UniTuple(int64, 4), {gather.SIGNATURE}, UniTuple(int64, 2), boolean, boolean)", name, tile,
                    tensor_cores)
    def product(x, w, b, y, winner, sums_of_parts, count, lengths, sizes, steps, divisors, cut, has_bias, keep_winner):
        shared, zero = cuda.shared.array(size, x.dtype, 16), x.dtype.type(0)
        places, sums = cuda.local.array((3, each), "int32"), cuda.local.array((4, SUMS), x.dtype)
        begin = cuda.blockIdx.y * columns
        locate(places, count, 0, sizes, steps, divisors)
        part, skipped = cuda.blockIdx.z, cuda.blockIdx.z * cut[1]
        source = (x, w, places, skipped, begin, lengths[1], 0, lengths[2], sizes, steps, divisors)
        run(shared, min(cut[1], (sizes[4] + depth - 1) // depth - skipped), source, sums)
        row, n, mine = where()
        m = cuda.blockIdx.x * rows + row // 32 * 8 + row % 8
        for c in range(0, SUMS, 2):
            f = begin + n + 4 * c
            if mine and m < count and f < lengths[1]:
                both, at = f + 1 < lengths[1], m * lengths[0] + f
                if cut[0] > 1:
                    for e in range(4):
                        put(sums_of_parts, times(4 * part + e, count) * lengths[0] + at, sums[e, c], sums[e, c + 1],
                            both, whole)
                    continue
                left, which = largest(sums, c)
                right, other = largest(sums, c + 1)
                if has_bias:
                    left += load(b, f)
                    right += load(b, f + 1) if both else zero
                put(y, at, zero if left < zero else left, zero if right < zero else right, both, whole)
                if keep_winner:
                    put(winner, at, which, other, both, whole)

    return product


_FORWARD = family("forward", _pooled, tiles.FORWARD)


@kernel("(int64, const T[::1], const T[::1], T[::1], uint8[::1], int64, UniTuple(int64, 3), boolean, boolean)")
def _pool_parts(count, sums_of_parts, b, y, winner, parts, filters, has_bias, keep_winner):
    """The same from the four sums of each window, each the sum of its parts in their order."""
    sums, zero = cuda.local.array((4, 1), y.dtype), y.dtype.type(0)
    item = global_index()
    if item < count:
        for e in range(4):
            sums[e, 0] = 0
        for part in range(parts):
            for e in range(4):
                sums[e, 0] += load(sums_of_parts, times(4 * part + e, count) + item)
        best, which = largest(sums, 0)
        if has_bias:
            best += load(b, item - times(gather.divided(item, filters), filters[0]))
        store(y, item, zero if best < zero else best)
        if keep_winner:
            store(winner, item, which)


_FIRST_WEIGHT_GRADIENT = family("first_weight_gradient", outer(True), tiles.FIRST_WEIGHT_GRADIENT)


def _unpooling(width: int) -> ItemKernel:
    """spread (N,H,W,F) = each pooled gradient at its winner, zero at the others and where the ReLU was at 0.

    An item is `width` filters of one window, also of those that stick out at the bottom or at the right: there, pixels
    belong to no window. `sizes` = (H, W, F); the divisors are of windows along H, along W, and pieces of F.
    """
    read, write = reading(width)

    @kernel("(int64, const T[::1], const uint8[::1], const T[::1], T[::1], UniTuple(int64, 3),"
            " UniTuple(UniTuple(int64, 3), 3))", f"unpool_{width}")
    def run(count, y, winner, dy, spread, sizes, divisors):
        height, across, filters = sizes
        item = global_index()
        if item < count:
            window = gather.divided(item, divisors[2])
            n, p, q = gather.pixel_of(window, divisors)
            f = times(item - times(window, divisors[2][0]), width)
            whole = p < height // 2 and q < across // 2
            pooled = times(times(times(n, height // 2) + p, across // 2) + q, filters) + f
            given = read(y, winner, dy, pooled if whole else 0)
            for e in range(4):
                r, t = 2 * p + e // 2, 2 * q + e % 2
                if r < height and t < across:
                    write(spread, times(times(times(n, height) + r, across) + t, filters) + f, given, e, whole)

    return run


_UNPOOL = (_unpooling(1), _unpooling(4))


def _unpool(y, winner, dy, spread) -> None:
    n, high, wide, filters = spread.shape
    fours = y.size > 0 and filters % 4 == 0 and starts_fours(y, winner, dy, spread)
    high, wide, pieces = (high + 1) // 2, (wide + 1) // 2, filters // 4 if fours else filters
    _UNPOOL[fours](n * high * wide * pieces, *(a.reshape(-1) for a in (y, winner, dy, spread)), spread.shape[1:],
                   tuple(map(gather.divisor, (high, wide, pieces))))


def conv2d_relu_pool(x, w, b, y, winner, window: Window, scale=None) -> None:
    """y (N,OH//2,OW//2,F) = 2x2 max pooling of relu(conv2d(x, w, b)); `winner` (uint8, y's shape) says which won,
    unless it is empty. `scale` (F,) multiplies w.
    """
    w, filters, count = scaled(w, scale), y.shape[3], math.prod(y.shape[:3])
    gathering = gather.forward(x.shape, y.shape[1:3], window, x.shape[3])
    kernel, tile = pick(_FORWARD, (4 * count, filters), 1, gathering.sizes[4], x.shape[3], filters, (x, w, y, winner),
                        tiles.LONG)
    grid = tiles.blocks(tile, 4 * count, filters)
    parts, each = tiles.cut(tile, math.prod(grid), gathering.sizes[4], tiles.LONG)
    sums = arrays.empty(y.gpu, (parts, 4, y.size) if parts > 1 else (0,), y.dtype)
    flat_b, has_bias = bias(b, w)
    results = y.reshape(-1), winner.reshape(-1)
    kernel((*grid, parts), x.reshape(-1), w.reshape(-1), flat_b, *results, sums.reshape(-1), count, (filters,) * 4,
           *gathering, (parts, each), has_bias, winner.size > 0)
    if parts > 1:
        _pool_parts(y.size, sums.reshape(-1), flat_b, *results, parts, gather.divisor(filters), has_bias,
                    winner.size > 0)


def _first_weight_gradient(x, y, winner, dy, dw, db, window: Window) -> None:
    """dw and db without the gradient before the pooling in memory: pixels are counted window by window, four each."""
    gathering = gather.forward(x.shape, y.shape[1:3], window, x.shape[3])
    outer_product(_FIRST_WEIGHT_GRADIENT, x, (y, winner, dy), dw, db, gathering, 4 * math.prod(y.shape[:3]))


def conv2d_relu_pool_grad(x, w, y, winner, dy, dx, dw, db, window: Window, masked: bool = False) -> None:
    """dx (N,H,W,C) or None, dw (KH,KW,C,F) and db (F,) from dy (N,OH//2,OW//2,F). With `masked` dx is 0 where x is not
    above 0: the gradient before the ReLU that made x.
    """
    if dx is None and x.shape[3] % 4:  # a first layer, whose gradient is large and read once
        _first_weight_gradient(x, y, winner, dy, dw, db, window)
        return
    size = window.output_size(x.shape[1], x.shape[2])
    shape = (x.shape[0], *size, y.shape[3])
    check_countable(shape)
    spread = arrays.empty(x.gpu, shape, x.dtype)
    _unpool(y, winner, dy, spread)
    conv2d_weight_grad(x, spread, dw, db, window)
    if masked:
        conv2d_masked_input_grad(spread, w, x, dx, window)
    elif dx is not None:
        conv2d_input_grad(spread, w, dx, window)
