"""Computes weight gradients: dw[k, f] = sum over the pixels m of x[pixel m at tap i,j, c] * dy[m,
f], with k = (i, j, c).

The pixels are split into parts. Each block computes the partial sums of one part.
"""

from collections.abc import Callable

from . import first, gather
from .ending import store_four
from .fragments import COLUMNS, make_layout
from .kernels import BlockKernel, cuda, inline
from .product import copying, make_sum_locator, product_kernel, reading_b, row_offset, summing
from .tiles import Tile


def outer(is_pooled: bool) -> Callable:
    """Returns a function that creates a kernel: dw[part] (items, F) and db[part] (F,) = the sums
    over `length` of the `count` pixels. The element after a window's last, number `items`, is
    always 1, so its sums are db. `lengths`: the number of elements in a row of dw, the number in a
    group's section of that row, and the number of parts.

    If `is_pooled`, `dy` is (y, winner, dy) of a 2x2 max pooling, and pixels are ordered by windows.
    """
    def make(name: str, tile: Tile, tensor_cores: bool) -> BlockKernel:
        return _outer(name, tile, tensor_cores, is_pooled)

    return make


def _outer(name: str, tile: Tile, tensor_cores: bool, is_pooled: bool) -> BlockKernel:
    is_first = tile.name == "first"
    find_sum = make_sum_locator(tile)
    copies = copying(tensor_cores, tile)
    windows = first if is_first else gather
    layout = first.plan_layout(tile, is_pooled) if is_first else make_layout(tile, True, False)
    filling = first.filling if is_first else gather.outer_filling
    reading = first.winners_of_b if is_first and is_pooled else reading_b
    run = summing(tensor_cores, tile, layout, filling(tile, layout, copies, is_pooled), reading)
    (loads, locate), fill_ones = windows.make_item_locator(tile), windows.ones(tile, layout)
    rows, columns, depth = tile.rows, tile.columns, tile.depth
    size, whole, height = layout.size * tile.stages, tile.widths[1] == 4, tile.warp_rows // 8

    common = f"T[::1], T[::1], int64, int64, UniTuple(int64, 3), {gather.SIGNATURE})"

    @inline
    def product(x, dy, dw, db, count, length, lengths, sizes, steps, divisors):
        smem = cuda.shared.array(size, x.dtype, 128)
        sums = cuda.local.array((height, COLUMNS), x.dtype)
        taps = cuda.local.array((3, loads), "int32")
        group = cuda.blockIdx.z // lengths[2]
        part = cuda.blockIdx.z % lengths[2]
        items = sizes[4]
        first, begin = cuda.blockIdx.y * columns, part * length
        end = min(count, begin + length)
        k = locate(taps, group * sizes[3], sizes, steps, divisors)
        fill_ones(smem, k, items)
        source = (x, dy, taps, k, begin, end, first, lengths[1], group * lengths[1], lengths[0], sizes, steps, divisors)
        run(smem, (end - begin + depth - 1) // depth, source, sums)
        m, n, valid = find_sum()
        m, n = m + cuda.blockIdx.x * rows, n + first
        for c in range(0, COLUMNS, 4):
            rest = lengths[1] - n - c
            if valid and rest > 0:
                column = group * lengths[1] + n + c
                for r in range(height):
                    row = m + row_offset(r)
                    four = (sums[r, c], sums[r, c + 1], sums[r, c + 2], sums[r, c + 3])
                    if row < items:
                        store_four(dw, (part * items + row) * lengths[0] + column, four, rest, whole)
                    elif row == items:
                        store_four(db, part * lengths[0] + column, four, rest, whole)

    @product_kernel(f"(const T[::1], const T[::1], {common}", name, tile, tensor_cores)
    def multiply_pixels(x, dy, dw, db, count, length, lengths, sizes, steps, divisors):
        product(x, dy, dw, db, count, length, lengths, sizes, steps, divisors)

    @product_kernel(f"(const T[::1], const T[::1], const uint8[::1], const T[::1], {common}", name,
                    tile, tensor_cores)
    def multiply_windows(x, y, winner, dy, dw, db, count, length, lengths, sizes, steps, divisors):
        product(x, (y, winner, dy), dw, db, count, length, lengths, sizes, steps, divisors)

    return multiply_windows if is_pooled else multiply_pixels
