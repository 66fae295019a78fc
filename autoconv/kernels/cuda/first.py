"""Loads the stages of a first layer's weight gradient: windows with few elements, read one by one,
and many pixels.

Each thread handles one pixel of a stage and some elements of its window. So the pixel's position is
computed once per stage, and each of its elements is copied to a different row of shared memory.
Before a 2x2 max pooling, the gradients are copied as they are in memory, one row per window: dy,
the pooled y, and a byte with the index of the pixel that won. The gradient of each pixel is
computed from these when it is multiplied (`winners_of_b`).
"""

from collections.abc import Callable

from . import gather
from .fragments import Layout, layout
from .kernels import cuda, inline
from .product import copy_word
from .ptx import copy_async, load4, load_bytes, store, times, within
from .tiles import Tile
from .unpool import won


def layout_of(tile: Tile, pooled: bool) -> Layout:
    """Returns the layout for A with pixels along its rows. If `pooled`, each row of B is a
    window's: dy, y and the winners' bytes.
    """
    at = layout(tile, False, False)
    window = 2 * tile.columns + tile.columns // 4
    return at._replace(b_row=window, size=at.b + tile.depth // 4 * window) if pooled else at


def items_of(tile: Tile) -> tuple[int, Callable]:
    """Returns how many elements of a window a thread loads, and locate(taps, channel, sizes, steps,
    divisors), which returns the index of the thread's first element. locate also fills taps (3,
    items) with each element's distance from tap (0, 0): in rows, in columns and in memory.
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
    """Returns fill(shared, start, step, source), with the same arguments as in
    `gather.outer_filling`.
    """
    rows, depth, apart = tile.rows, tile.depth, tile.threads // tile.depth
    each, place, copy = rows // apart, at.place_a, copies[0]
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
        row = cuda.threadIdx.x // depth
        for e in range(each):
            # the element after the last is always 1 (the bias); elements beyond it are never read
            if k + e * apart < items:
                inside = m < end and within(r + taps[0, e], height) and within(t + taps[1, e], across)
                copy(shared, start + place(row, pixel, e * apart), x, item + taps[2, e] if inside else 0, inside)
        fill_b(shared, start, begin + step * depth, end, dy, first, columns, group, length)

    return fill


def _filling_windows(tile: Tile, at: Layout, copy: Callable) -> Callable:
    """Returns fill(shared, start, m, end, dy, first, columns, group, length), which loads the
    windows of one stage from pixel m on, like `gather.filling_gradients`. Here dy = (y, winner,
    dy).
    """
    chunks = tile.columns // 4
    pieces, width, b_start, window = tile.depth // 4 * chunks, tile.columns, at.b, at.b_row
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


def winners_of_b(at: Layout, tensor_cores: bool) -> Callable:
    """Returns a function that reads B from these windows, like `product.reading_b`: dy if this
    pixel won and y is above 0, otherwise 0.
    """
    window, columns = at.b_row, at.b_row // 9 * 4  # columns in a row of dy, y and one byte each

    @inline
    def four(shared, row, n, e):
        given, value, which = load4(shared, row + n), load4(shared, row + columns + n), load_bytes(
            shared, 4 * (row + 2 * columns) + n)
        return (won(given[0], value[0], which[0], e), won(given[1], value[1], which[1], e),
                won(given[2], value[2], which[2], e), won(given[3], value[3], which[3], e))

    @inline
    def operands(shared, b, lane, k, to):
        row = b + k // 4 * window
        to[0], to[2], to[4], to[6] = four(shared, row, lane // 4 * 4, lane % 4)
        to[1], to[3], to[5], to[7] = four(shared, row + window, lane // 4 * 4, lane % 4)

    @inline
    def lines(shared, b, lane, k, to):
        row = b + k // 4 * window
        for e in range(4):
            to[e, 0], to[e, 1], to[e, 2], to[e, 3] = four(shared, row, lane % 4 * 8, e)
            to[e, 4], to[e, 5], to[e, 6], to[e, 7] = four(shared, row, lane % 4 * 8 + 4, e)

    return operands if tensor_cores else lines


def ones(tile: Tile, at: Layout) -> Callable:
    """Returns fill(shared, k, items), which writes 1 to this thread's elements of A with numbers
    from `items` on, in every stage. k is the number of the thread's first element.
    """
    depth, stages, size, place, apart = tile.depth, tile.stages, at.size, at.place_a, tile.threads // tile.depth
    each = tile.rows // apart

    @inline
    def fill(shared, k, items):
        row, pixel = cuda.threadIdx.x // depth, cuda.threadIdx.x % depth
        for e in range(each):
            if k + e * apart >= items:
                for stage in range(stages):
                    store(shared, stage * size + place(row, pixel, e * apart), 1)

    return fill
