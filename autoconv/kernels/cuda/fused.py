"""Computes convolution, bias, ReLU and 2x2 max pooling in one kernel, and their gradients.

The forward pass computes only the pixels that the pooling reads. It stores each pooled value and
one byte with the index of the winning pixel. The backward pass writes each pooled gradient to the
pixel that won, and continues like an ordinary convolution.
"""

import math

import numpy as np

from ...arguments.shapes import Window
from . import array as arrays
from . import gather, tiles
from .conv import (  # noqa: F401 (the gradients' kernels are re-exported)
    _ADD_PARTS,
    _INPUT_GRADIENT,
    _WEIGHT_GRADIENT,
    check_countable,
    conv2d_input_grad,
    conv2d_masked_input_grad,
    conv2d_weight_grad,
    family,
    outer_product,
    pick,
)
from .ending import BIAS, RELU, SCALE, finish_four, finish_sum, load_scale_bias, make_epilogue, store_four
from .fours import starts_fours
from .fragments import COLUMNS, make_layout
from .kernels import BlockKernel, ItemKernel, cuda, inline, kernel
from .outer import outer
from .product import copying, make_sum_locator, product_kernel, row_offset, summing
from .ptx import global_index, load, store, times
from .tiles import Tile
from .unpool import reading


@inline
def largest(sums, r, c):
    """Returns the largest of the four sums of column c from row r on, and its index; on a tie, the
    first one. NaN counts as the largest.
    """
    best, index = sums[r, c], np.uint8(0)
    for e in range(1, 4):
        item = sums[r + e, c]
        if item > best or (item != item and best == best):
            best, index = item, np.uint8(e)
    return best, index


def _make_pooled_product(name: str, tile: Tile, tensor_cores: bool) -> BlockKernel:
    """Creates a kernel: y (count, F) = the largest of the four sums of each window, with the
    operations of `epilogue` applied (ending.py); the scale is applied before taking the largest.
    `winner` receives the index of the largest sum.

    `lengths` is defined in conv.py. The four pixels of a window are four adjacent rows (gather.py),
    so a single thread has all of them. `cut`: the number of partial sums, and the number of stages
    in each. If there are several, `sums_of_parts` (parts, 4, count, F) receives each partial sum of
    the four pixels, for `_pool_parts`.
    """
    layout = make_layout(tile, False, False)
    locate, find_sum = gather.make_row_locator(tile, True), make_sum_locator(tile)
    run = summing(tensor_cores, tile, layout, gather.filling(tile, layout, copying(tensor_cores, tile), False))
    rows, columns, depth, whole = tile.rows // 4, tile.columns, tile.depth, tile.widths[1] == 4
    size, height, places_size = layout.size * tile.stages, tile.warp_rows // 8, 4 * tile.rows

    @product_kernel("(const T[::1], const T[::1], const T[::1], const T[::1], T[::1], uint8[::1], T[::1], int64,"
                    f" UniTuple(int64, 4), {gather.SIGNATURE}, UniTuple(int64, 2), int64, boolean)",
                    name, tile, tensor_cores)
    def product(x, w, b, scale, y, winner, sums_of_parts, count, lengths, sizes, steps, divisors,
                cut, epilogue, keep_winner):
        smem = cuda.shared.array(size, x.dtype, 128)
        places = cuda.shared.array(places_size, "int32", 16)
        sums = cuda.local.array((height, COLUMNS), x.dtype)
        begin = cuda.blockIdx.y * columns
        locate(places, count, 0, sizes, steps, divisors)
        part, skipped = cuda.blockIdx.z, cuda.blockIdx.z * cut[1]
        source = (x, w, places, skipped, begin, lengths[1], 0, lengths[2], sizes, steps, divisors)
        run(smem, min(cut[1], (sizes[4] + depth - 1) // depth - skipped), source, sums)
        row, n, valid = find_sum()
        for c in range(0, COLUMNS, 4):
            f, rest = begin + n + c, lengths[1] - begin - n - c
            for r in range(0, height, 4):
                m = cuda.blockIdx.x * rows + (row + row_offset(r)) // 4
                if valid and m < count and rest > 0:
                    index = times(m, lengths[0]) + f
                    if cut[0] > 1:
                        for e in range(r, r + 4):
                            store_four(sums_of_parts, times(4 * part + e - r, count) * lengths[0] + index,
                                       (sums[e, c], sums[e, c + 1], sums[e, c + 2], sums[e, c + 3]), rest, whole)
                        continue
                    factors, addends = load_scale_bias(b, scale, f, rest, epilogue & (SCALE | BIAS))
                    for e in range(r, r + 4):
                        sums[e, c], sums[e, c + 1] = sums[e, c] * factors[0], sums[e, c + 1] * factors[1]
                        sums[e, c + 2], sums[e, c + 3] = sums[e, c + 2] * factors[2], sums[e, c + 3] * factors[3]
                    (p, i), (q, j) = largest(sums, r, c), largest(sums, r, c + 1)
                    (s, k), (t, l) = largest(sums, r, c + 2), largest(sums, r, c + 3)
                    one = type(p)(1)
                    affine = (one, one, one, one), addends
                    four = finish_four((p, q, s, t), affine, index, b, rest, whole, epilogue & RELU)
                    store_four(y, index, four, rest, whole)
                    if keep_winner:
                        store_four(winner, index, (i, j, k, l), rest, whole)

    return product


_FORWARD = family("forward", _make_pooled_product, tiles.FORWARD)


@kernel("(int64, const T[::1], const T[::1], const T[::1], T[::1], uint8[::1], int64, "
        "UniTuple(int64, 3), int64, boolean)")
def _pool_parts(count, sums_of_parts, b, scale, y, winner, parts, filters, epilogue, keep_winner):
    """Computes y and winner, as `_make_pooled_product` does, from the partial sums of each window's
    four pixels, added in order.
    """
    sums = cuda.local.array((4, 1), y.dtype)
    item = global_index()
    if item < count:
        column = item - times(gather.divide(item, filters), filters[0])
        for e in range(4):
            sums[e, 0] = 0
        for part in range(parts):
            for e in range(4):
                sums[e, 0] += load(sums_of_parts, times(4 * part + e, count) + item)
        for e in range(4):
            sums[e, 0] = finish_sum(sums[e, 0], column, item, b, scale, b, epilogue & SCALE)
        best, index = largest(sums, 0, 0)
        store(y, item, finish_sum(best, column, item, b, scale, b, epilogue & ~SCALE))
        if keep_winner:
            store(winner, item, index)


_FIRST_WEIGHT_GRADIENT = family("first_weight_gradient", outer(True), tiles.FIRST_WEIGHT_GRADIENT)


def _unpooling(width: int) -> ItemKernel:
    """Creates a kernel: spread (N,H,W,F) = each pooled gradient at its window's winner, zero at all
    other pixels and where the ReLU's output was 0.

    Each thread handles `width` filters of one window. There are also threads for the incomplete
    windows at the bottom and right edges, whose pixels the pooling ignores. `sizes` = (H, W, F).
    The divisors are the number of windows along H, the number along W, and F / `width`.
    """
    read, write = reading(width)

    @kernel("(int64, const T[::1], const uint8[::1], const T[::1], T[::1], UniTuple(int64, 3),"
            " UniTuple(UniTuple(int64, 3), 3))", f"unpool_{width}")
    def run(count, y, winner, dy, spread, sizes, divisors):
        height, across, filters = sizes
        item = global_index()
        if item < count:
            window = gather.divide(item, divisors[2])
            n, p, q = gather.find_pixel(window, divisors)
            f = times(item - times(window, divisors[2][0]), width)
            whole = p < height // 2 and q < across // 2
            source = times(times(times(n, height // 2) + p, across // 2) + q, filters) + f
            values = read(y, winner, dy, source if whole else 0)
            for e in range(4):
                r, t = 2 * p + e // 2, 2 * q + e % 2
                if r < height and t < across:
                    write(spread, times(times(times(n, height) + r, across) + t, filters) + f, values, e, whole)

    return run


_UNPOOL = (_unpooling(1), _unpooling(4))


def _unpool(y, winner, dy, spread) -> None:
    n, high, wide, filters = spread.shape
    fours = y.size > 0 and filters % 4 == 0 and starts_fours(y, winner, dy, spread)
    high, wide, pieces = (high + 1) // 2, (wide + 1) // 2, filters // 4 if fours else filters
    _UNPOOL[fours](n * high * wide * pieces, *(a.reshape(-1) for a in (y, winner, dy, spread)),
                   spread.shape[1:], tuple(map(gather.divisor, (high, wide, pieces))))


def conv2d_relu_pool(x, w, b, y, winner, window: Window, scale=None) -> None:
    """y (N,OH//2,OW//2,F) = 2x2 max pooling of relu(conv2d(x, w, b)). `winner` (uint8, y's shape)
    receives the index of each window's maximum, unless it is empty. `scale` (F,) multiplies w.
    """
    filters, count = y.shape[3], math.prod(y.shape[:3])
    gathering = gather.forward(x.shape, y.shape[1:3], window, x.shape[3])
    kernel, tile = pick(_FORWARD, (4 * count, filters), 1, gathering.sizes[4], x.shape[3], filters,
                        (x, w, y, winner), tiles.LONG)
    grid = tiles.blocks(tile, 4 * count, filters)
    parts, stages = tiles.cut(tile, math.prod(grid), gathering.sizes[4], tiles.LONG)
    sums = arrays.empty(y.gpu, (parts, 4, y.size) if parts > 1 else (0,), y.dtype)
    b, scale, _, epilogue = make_epilogue(w, b, scale, relu=True)
    results = y.reshape(-1), winner.reshape(-1)
    kernel((*grid, parts), x.reshape(-1), w.reshape(-1), b, scale, *results, sums.reshape(-1),
           count, (filters,) * 4, *gathering, (parts, stages), epilogue, winner.size > 0)
    if parts > 1:
        _pool_parts(y.size, sums.reshape(-1), b, scale, *results, parts, gather.divisor(filters),
                    epilogue, winner.size > 0)


def _first_weight_gradient(x, y, winner, dy, dw, db, window: Window) -> None:
    """Computes dw and db without storing the gradient of the pooling's input. Pixels are numbered
    window by window, four per window.
    """
    gathering = gather.forward(x.shape, y.shape[1:3], window, x.shape[3])
    outer_product(_FIRST_WEIGHT_GRADIENT, x, (y, winner, dy), dw, db, gathering, 4 * math.prod(y.shape[:3]))


def conv2d_relu_pool_grad(x, w, y, winner, dy, dx, dw, db, window: Window, mask_dx: bool = False) -> None:
    """Computes dx (N,H,W,C), unless it is None, dw (KH,KW,C,F) and db (F,) from dy
    (N,OH//2,OW//2,F). With `mask_dx`, dx is 0 where x is not above 0: the gradient of the input of
    the ReLU that computed x.
    """
    # in a first layer, the gradient before the pooling is large and read only once: do not store it
    if dx is None and x.shape[3] % 4:
        _first_weight_gradient(x, y, winner, dy, dw, db, window)
        return
    size = window.output_size(x.shape[1], x.shape[2])
    shape = (x.shape[0], *size, y.shape[3])
    check_countable(shape)
    spread = arrays.empty(x.gpu, shape, x.dtype)
    _unpool(y, winner, dy, spread)
    conv2d_weight_grad(x, spread, dw, db, window)
    if mask_dx:
        conv2d_masked_input_grad(spread, w, x, dx, window)
    elif dx is not None:
        conv2d_input_grad(spread, w, dx, window)
