"""How the weight gradient of a first layer brings its stages in: few items of a window, read one by one, many pixels.

A thread has one pixel of a stage and some items of its window, so it works out once a stage where that pixel lies, and
the pixel's items are copied in one row of shared memory for each. Before a 2x2 max pooling, the gradients come as they
lie in memory, a row for each window: dy, the pooled y and a byte that says which of the four pixels won. What a pixel
gets of that is worked out where it is multiplied (`winners_of_b`).
"""

from collections.abc import Callable

from . import gather
from .product import Layout, copy_word, layout
from .ptx import copy_async, load, load_byte, store, times, within
from .runtime import cuda, inline
from .tiles import Tile
from .unpool import won


def layout_of(tile: Tile, pooled: bool) -> Layout:
    """A with its pixels along the rows. Pooled, B has rows of a window: dy, y and the winners' bytes."""
    at = layout(tile, False, False)
    window = 2 * tile.columns + tile.columns // 4
    return at._replace(b_k=window // 4, size=at.b + tile.depth // 4 * window) if pooled else at


def items_of(tile: Tile) -> tuple[int, Callable]:
    """How many items of a window a thread loads, and locate(taps, channel, sizes, steps, divisors), which gives the
    first of them. taps (3, items) then has how far from tap (0, 0) they are: down, right, in memory.
    """
    rows, depth, apart = tile.rows, tile.depth, tile.threads // tile.depth
    each = rows // apart

    @inline
    def locate(taps, channel, sizes, steps, divisors):
        k = cuda.blockIdx.x * rows + cuda.threadIdx.x // depth
        for e in range(each):
            i, j, c = gather.tap_of(k + e * apart, divisors)
            down, right = times(i, steps[0][2]), times(j, steps[1][2])
            taps[0, e], taps[1, e] = down, right
            taps[2, e] = times(times(down, sizes[1]) + right, sizes[2]) + c + channel
        return k

    return each, locate


def filling(tile: Tile, at: Layout, copies: tuple[Callable, Callable], pooled: bool) -> Callable:
    """fill(shared, start, step, source), as `gather.outer_filling`."""
    rows, depth, apart = tile.rows, tile.depth, tile.threads // tile.depth
    each, a_m, copy = rows // apart, at.a_m, copies[0]
    fill_b = (_filling_windows if pooled else gather.filling_gradients)(tile, at, copies[1])

    @inline
    def fill(shared, start, step, source):
        x, dy, taps, k, begin, end, first, columns, group, length, sizes, steps, divisors = source
        height, across, every, _, items = sizes
        pixel = cuda.threadIdx.x % depth
        m = begin + step * depth + pixel
        if pooled:
            n, p, q = gather.pixel_of(m // 4, divisors)
            p, q = 2 * p + m % 4 // 2, 2 * q + m % 2
        else:
            n, p, q = gather.pixel_of(m, divisors)
        r, t = times(p, steps[0][1]) + steps[0][0], times(q, steps[1][1]) + steps[1][0]
        item = times(times(times(n, height) + r, across) + t, every)
        to = start + cuda.threadIdx.x // depth * a_m + pixel
        for e in range(each):
            if k + e * apart < items:  # the one behind the last is always 1; the others are never read
                inside = m < end and within(r + taps[0, e], height) and within(t + taps[1, e], across)
                copy(shared, to + e * apart * a_m, x, item + taps[2, e] if inside else 0, inside)
        fill_b(shared, start, begin + step * depth, end, dy, first, columns, group, length)

    return fill


def _filling_windows(tile: Tile, at: Layout, copy: Callable) -> Callable:
    """fill(shared, start, m, end, dy, first, columns, group, length): the windows of one stage, from pixel m on, as
    `gather.filling_gradients`. dy = (y, winner, dy).
    """
    chunks = tile.columns // 4
    pieces, width, b_start, window = tile.depth // 4 * chunks, tile.columns, at.b, 4 * at.b_k
    turns = -(-2 * pieces // tile.threads)
    copy_winners = copy_async if tile.stages > 2 else copy_word

    @inline
    def fill(shared, start, m, end, dy, first, columns, group, length):
        for turn in range(turns):
            number = cuda.threadIdx.x + turn * tile_threads
            piece, here = number % pieces % chunks * 4, number % pieces // chunks
            inside = first + piece < columns and m + 4 * here < end
            item = times(m // 4 + here, length) + group + first + piece if inside else 0
            to = start + b_start + here * window
            if number < pieces:
                copy(shared, to + piece, dy[2], item, inside)
                copy_winners(shared, to + 2 * width + piece // 4, dy[1], item, inside)
            elif number < 2 * pieces:
                copy(shared, to + width + piece, dy[0], item, inside)

    tile_threads = tile.threads
    return fill


def winners_of_b(columns: int) -> Callable:
    """What reads B of these windows, as `product.items_of_b` does: dy where this pixel won and y is above 0, else 0."""
    def reading(at: Layout, tensor_cores: bool) -> Callable:
        window = 4 * at.b_k

        @inline
        def read(shared, b, lane, k, n):
            row, e = b + k // 4 * window, k % 4
            if tensor_cores:
                n, e = n + lane // 4, lane % 4
            else:
                n += lane % 4 * 2
            return won(load(shared, row + n), load(shared, row + columns + n),
                       load_byte(shared, 4 * (row + 2 * columns) + n), e)

        return read

    return reading


def ones(tile: Tile, at: Layout) -> Callable:
    """fill(shared, k, items): writes 1 at this thread's items of A, of which k is the first, from number `items` on, in
    every stage.
    """
    depth, stages, size, a_m, apart = tile.depth, tile.stages, at.size, at.a_m, tile.threads // tile.depth
    each = tile.rows // apart

    @inline
    def fill(shared, k, items):
        to = cuda.threadIdx.x // depth * a_m + cuda.threadIdx.x % depth
        for e in range(each):
            if k + e * apart >= items:
                for stage in range(stages):
                    store(shared, stage * size + to + e * apart * a_m, 1)

    return fill
