"""Loads the operands of a first layer's weight gradient. The layer's windows have few elements,
which are read one by one, and its images have many pixels.

Each thread handles one pixel of a stage and some elements of the pixel's window. So the pixel's
position is computed once per stage, and each element is copied to a different row of shared memory.
Before a 2x2 max pooling, the gradients are copied as they are in memory, one row per window: dy,
the pooled y, and a byte with the index of the pixel that won. The gradient of a pixel is computed
from these values when it is multiplied (`winners_of_b`).
"""

from collections.abc import Callable

from . import gather
from .fragments import Layout, make_layout
from .kernels import cuda, inline
from .product import copy_word
from .ptx import copy_async, in_range, load4, load_bytes, store, times
from .tiles import Tile
from .unpool import unpool_pixel


def plan_layout(tile: Tile, is_pooled: bool) -> Layout:
    """Returns the layout in which the rows of A run along the pixels. If `is_pooled`, each row of B
    holds one window: its dy, its y and the bytes with its winners.
    """
    base = make_layout(tile, False, False)
    row = 2 * tile.columns + tile.columns // 4
    return base._replace(b_row=row, size=base.b + tile.depth // 4 * row) if is_pooled else base


def make_item_locator(tile: Tile) -> tuple[int, Callable]:
    """Returns (loads, locate). A thread loads `loads` elements of a window. locate(taps, channel,
    sizes, steps, divisors) returns the index of the first of these in the window. It also writes
    to taps (3, loads) each element's distance from tap (0, 0) in rows, in columns and in memory.
    """
    rows, depth, apart = tile.rows, tile.depth, tile.threads // tile.depth
    loads = rows // apart

    @inline
    def locate(taps, channel, sizes, steps, divisors):
        k = cuda.blockIdx.x * rows + cuda.threadIdx.x // depth
        for e in range(loads):
            i, j, c = gather.find_tap(k + e * apart, divisors)
            down, right = times(i, steps[0][2]), times(j, steps[1][2])
            taps[0, e], taps[1, e] = down, right
            taps[2, e] = times(times(down, sizes[1]) + right, sizes[2]) + c + channel
        return k

    return loads, locate


def filling(tile: Tile, layout: Layout, copies: tuple[Callable, Callable], is_pooled: bool) -> Callable:
    """Returns fill(smem, start, step, source), which loads one stage. It has the same
    arguments as the function that `gather.outer_filling` returns.
    """
    rows, depth, apart = tile.rows, tile.depth, tile.threads // tile.depth
    loads, place, copy = rows // apart, layout.place_a, copies[0]
    fill_b = (_filling_windows if is_pooled else gather.filling_gradients)(tile, layout, copies[1])

    @inline
    def fill(smem, start, step, source):
        x, dy, taps, k, begin, end, first, columns, group, length, sizes, steps, divisors = source
        height, across, every, _, items = sizes
        pixel = cuda.threadIdx.x % depth
        m = begin + step * depth + pixel
        if is_pooled:
            n, p, q = gather.find_pixel(m // 4, divisors)
            p, q = 2 * p + m % 4 // 2, 2 * q + m % 2
        else:
            n, p, q = gather.find_pixel(m, divisors)
        r, t = times(p, steps[0][1]) + steps[0][0], times(q, steps[1][1]) + steps[1][0]
        item = times(times(times(n, height) + r, across) + t, every)
        row = cuda.threadIdx.x // depth
        for e in range(loads):
            # element number `items` is always 1, for the bias gradient; no later element is read
            if k + e * apart < items:
                inside = m < end and in_range(r + taps[0, e], height) and in_range(t + taps[1, e], across)
                copy(smem, start + place(row, pixel, e * apart), x, item + taps[2, e] if inside else 0, inside)
        fill_b(smem, start, begin + step * depth, end, dy, first, columns, group, length)

    return fill


def _filling_windows(tile: Tile, layout: Layout, copy: Callable) -> Callable:
    """Returns fill(smem, start, m, end, dy, first, columns, group, length), which loads the windows
    of one stage's pixels, from pixel m on. This function is used instead of
    `gather.filling_gradients`. `fill` expects a tuple (y, winner, gradient) as its argument `dy`.
    """
    chunks = tile.columns // 4
    pieces, width, b_start, window = tile.depth // 4 * chunks, tile.columns, layout.b, layout.b_row
    turns = -(-2 * pieces // tile.threads)
    copy_winners = copy_async if tile.stages > 2 else copy_word

    @inline
    def fill(smem, start, m, end, dy, first, columns, group, length):
        for turn in range(turns):
            number = cuda.threadIdx.x + turn * tile_threads
            piece, here = number % pieces % chunks * 4, number % pieces // chunks
            inside = first + piece < columns and m + 4 * here < end
            item = times(m // 4 + here, length) + group + first + piece if inside else 0
            target = start + b_start + here * window
            if number < pieces:
                copy(smem, target + piece, dy[2], item, inside)
                copy_winners(smem, target + 2 * width + piece // 4, dy[1], item, inside)
            elif number < 2 * pieces:
                copy(smem, target + width + piece, dy[0], item, inside)

    tile_threads = tile.threads
    return fill


def winners_of_b(layout: Layout, tensor_cores: bool) -> Callable:
    """Returns a function that computes a thread's elements of B from windows in shared memory: dy
    if the pixel won in its window and y is above 0, otherwise 0. Replaces `reading_b`.
    """
    # a row has nine elements per four columns: four of dy, four of y, and four bytes of winners
    window, columns = layout.b_row, layout.b_row // 9 * 4

    @inline
    def four(smem, row, n, e):
        dy, y, winner = load4(smem, row + n), load4(smem, row + columns + n), load_bytes(
            smem, 4 * (row + 2 * columns) + n)
        return (unpool_pixel(dy[0], y[0], winner[0], e), unpool_pixel(dy[1], y[1], winner[1], e),
                unpool_pixel(dy[2], y[2], winner[2], e), unpool_pixel(dy[3], y[3], winner[3], e))

    @inline
    def operands(smem, b, lane, k, out):
        row = b + k // 4 * window
        out[0], out[2], out[4], out[6] = four(smem, row, lane // 4 * 4, lane % 4)
        out[1], out[3], out[5], out[7] = four(smem, row + window, lane // 4 * 4, lane % 4)

    @inline
    def lines(smem, b, lane, k, out):
        row = b + k // 4 * window
        for e in range(4):
            out[e, 0], out[e, 1], out[e, 2], out[e, 3] = four(smem, row, lane % 4 * 8, e)
            out[e, 4], out[e, 5], out[e, 6], out[e, 7] = four(smem, row, lane % 4 * 8 + 4, e)

    return operands if tensor_cores else lines


def ones(tile: Tile, layout: Layout) -> Callable:
    """Returns fill(smem, k, items), which writes 1 to those elements of A that this thread loads
    and whose number is at least `items`, in every stage. k is the number of the thread's first
    element.
    """
    depth, stages, size, place, apart = tile.depth, tile.stages, layout.size, layout.place_a, tile.threads // tile.depth
    loads = tile.rows // apart

    @inline
    def fill(smem, k, items):
        row, pixel = cuda.threadIdx.x // depth, cuda.threadIdx.x % depth
        for e in range(loads):
            if k + e * apart >= items:
                for stage in range(stages):
                    store(smem, stage * size + place(row, pixel, e * apart), 1)

    return fill
