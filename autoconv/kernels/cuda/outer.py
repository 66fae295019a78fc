"""Weight gradients: dw[k, f] = sum over the pixels m of x[pixel m at tap i,j, c] * dy[m, f], with k
= (i, j, c).

The pixels are split into parts; each block computes the partial sums of one part.
"""

from collections.abc import Callable

from . import first, gather
from .ending import put
from .fragments import COLUMNS, layout
from .kernels import BlockKernel, cuda, inline
from .product import below, copying, place_of, product_kernel, reading_b, summing
from .tiles import Tile


def outer(pooled: bool) -> Callable:
    """dw[part] (items, F) and db[part] (F,) = the sums over `length` of the `count` pixels. The
    element after a window's last, number `items`, is always 1, so its sums are db. `lengths`: the
    elements in a row of dw, in a group's part of it, and the number of parts.

    If `pooled`, `dy` is (y, winner, dy) of 2x2 max pooling, and the pixels are ordered window by
    window.
    """
    def make(name: str, tile: Tile, tensor_cores: bool) -> BlockKernel:
        return _outer(name, tile, tensor_cores, pooled)

    return make


def _outer(name: str, tile: Tile, tensor_cores: bool, pooled: bool) -> BlockKernel:
    of_first, where, copies = tile.name == "first", place_of(tile), copying(tensor_cores, tile)
    windows = first if of_first else gather
    at = first.layout_of(tile, pooled) if of_first else layout(tile, True, False)
    filling = first.filling if of_first else gather.outer_filling
    reading = first.winners_of_b if of_first and pooled else reading_b
    run = summing(tensor_cores, tile, at, filling(tile, at, copies, pooled), reading)
    (each, locate), fill_ones = windows.items_of(tile), windows.ones(tile, at)
    rows, columns, depth = tile.rows, tile.columns, tile.depth
    size, whole, height = at.size * tile.stages, tile.widths[1] == 4, tile.warp_rows // 8

    rest = f"T[::1], T[::1], int64, int64, UniTuple(int64, 3), {gather.SIGNATURE})"

    @inline
    def product(x, dy, dw, db, count, length, lengths, sizes, steps, divisors):
        shared, sums = cuda.shared.array(size, x.dtype, 128), cuda.local.array((height, COLUMNS), x.dtype)
        taps = cuda.local.array((3, each), "int32")
        group, part, items = cuda.blockIdx.z // lengths[2], cuda.blockIdx.z % lengths[2], sizes[4]
        first, begin = cuda.blockIdx.y * columns, part * length
        end = min(count, begin + length)
        k = locate(taps, group * sizes[3], sizes, steps, divisors)
        fill_ones(shared, k, items)
        source = (x, dy, taps, k, begin, end, first, lengths[1], group * lengths[1], lengths[0], sizes, steps, divisors)
        run(shared, (end - begin + depth - 1) // depth, source, sums)
        m, n, mine = where()
        m, n = m + cuda.blockIdx.x * rows, n + first
        for c in range(0, COLUMNS, 4):
            room = lengths[1] - n - c
            if mine and room > 0:
                column = group * lengths[1] + n + c
                for r in range(height):
                    row, four = m + below(r), (sums[r, c], sums[r, c + 1], sums[r, c + 2], sums[r, c + 3])
                    if row < items:
                        put(dw, (part * items + row) * lengths[0] + column, four, room, whole)
                    elif row == items:
                        put(db, part * lengths[0] + column, four, room, whole)

    @product_kernel(f"(const T[::1], const T[::1], {rest}", name, tile, tensor_cores)
    def plain(x, dy, dw, db, count, length, lengths, sizes, steps, divisors):
        product(x, dy, dw, db, count, length, lengths, sizes, steps, divisors)

    @product_kernel(f"(const T[::1], const T[::1], const uint8[::1], const T[::1], {rest}", name, tile,
                    tensor_cores)
    def before_pooling(x, y, winner, dy, dw, db, count, length, lengths, sizes, steps, divisors):
        product(x, (y, winner, dy), dw, db, count, length, lengths, sizes, steps, divisors)

    return before_pooling if pooled else plain
