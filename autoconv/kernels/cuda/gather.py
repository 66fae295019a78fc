"""Where a matrix product's left side comes from: items of images, read through windows that are never built.

Row m of that matrix is a pixel of the result, column k = (i, j, c) the channel c that it sees through tap (i, j) of its
window. A forward convolution reads pixel (p*sh + i*dh - top, ...). An input gradient reads the pixel whose window has
this one at tap (i, j): ((r + top - i*dh) / sh, ...), where that divides.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ...arguments.shapes import Window
from .fragments import Layout
from .kernels import cuda, inline
from .ptx import load4, scaled, store, store4, times, within
from .tiles import Tile
from .unpool import reading

OUTSIDE = -(1 << 30)  # a row that no window reads

# The parameters of a kernel that gathers, for its signature: `sizes` (H, W, C of the images, C of a group, taps * C of
# a group), `steps` (2, 3), and the divisors: rows and columns of the result, channels of a group, columns of the
# window, and the strides that an input gradient divides by.
SIGNATURE = "UniTuple(int64, 5), UniTuple(UniTuple(int64, 3), 2), UniTuple(UniTuple(int64, 3), 6)"


class Gathering(NamedTuple):
    sizes: tuple[int, ...]
    steps: tuple[tuple[int, int, int], ...]  # for rows and columns: pixel m and tap i read first + m*stride + i*step
    divisors: tuple[tuple[int, int, int], ...]


def divisor(n: int) -> tuple[int, int, int]:
    """(n, factor, shift) with a // n = a * factor >> shift for 0 <= a < 2**31: no GPU divides in one instruction.

    Source: Granlund and Montgomery, "Division by invariant integers using multiplication" (1994), theorem 4.2.
    """
    shift = 31 + max(n - 1, 0).bit_length()
    return n, -(-(1 << shift) // max(n, 1)), shift


@inline
def divided(a, by):
    """a // n for by = divisor(n)."""
    return scaled(a, by[1], by[2])


def forward(images: tuple[int, ...], pixels: tuple[int, int], window: Window, channels: int) -> Gathering:
    """For results of `pixels` (OH, OW) from `images` (N, H, W, C), of which a group has so many channels."""
    steps = ((-window.top, window.sh, window.dh), (-window.left, window.sw, window.dw))
    return _gathering(images, pixels, window, channels, steps, (1, 1))


def backward(images: tuple[int, ...], pixels: tuple[int, int], window: Window, channels: int) -> Gathering:
    """For input gradients of `pixels` (H, W) from gradients `images` (N, OH, OW, F)."""
    steps = ((window.top, 1, -window.dh), (window.left, 1, -window.dw))
    return _gathering(images, pixels, window, channels, steps, (window.sh, window.sw))


def _gathering(images, pixels, window, channels, steps, strides) -> Gathering:
    _, height, width, every = images
    sizes = (height, width, every, channels, window.kh * window.kw * channels)
    numbers = (pixels[0], pixels[1], channels, window.kw, *strides)
    return Gathering(sizes, steps, tuple(map(divisor, numbers)))


@inline
def pixel_of(m, divisors):
    """(n, p, q) of pixel number m."""
    row = divided(m, divisors[1])
    n = divided(row, divisors[0])
    return n, row - times(n, divisors[0][0]), m - times(row, divisors[1][0])


@inline
def tap_of(k, divisors):
    """(i, j, c) of column k."""
    tap = divided(k, divisors[2])
    i = divided(tap, divisors[3])
    return i, tap - times(i, divisors[3][0]), k - times(tap, divisors[2][0])


def rows_of(tile: Tile, pooled: bool) -> Callable:
    """locate(places, count, channel, sizes, steps, divisors): which pixels the rows of this block are. Of
    `places`, four items in shared memory for each row, the first three are what tap (0, 0) reads: the item of that
    channel, the pixel's row and its column. In registers they would be in the way of the sums.

    Rows are pixels in scan order, `count` of them. Pooled, they are the four pixels of one window of 2x2 after the
    other: one thread holds the sums of all four. Every thread works out some rows, for all.
    """
    height, threads, turns = tile.rows, tile.threads, -(-tile.rows // tile.threads)

    @inline
    def locate(places, count, channel, sizes, steps, divisors):
        for turn in range(turns):
            here = cuda.threadIdx.x + turn * threads
            if here < height:
                row, inner = cuda.blockIdx.x * height + here, 0
                if pooled:
                    row, inner = row // 4, row % 4
                n, p, q = pixel_of(row, divisors)
                if pooled:
                    p, q = 2 * p + inner // 2, 2 * q + inner % 2
                r, t = times(p, steps[0][1]) + steps[0][0], times(q, steps[1][1]) + steps[1][0]
                item = times(times(times(n, sizes[0]) + r, sizes[1]) + t, sizes[2]) + channel
                r = r if row < count else OUTSIDE
                store4(places, 4 * here, (np.int32(item), np.int32(r), np.int32(t), np.int32(0)))
        cuda.syncthreads()

    return locate


def _filling_rows(tile: Tile, at: Layout, copy: Callable, strided: bool) -> Callable:
    """fill(shared, start, tap, real, down, right, x, places, height, across): the gathered rows' items at one tap,
    which reads so many pixels further down and right than tap (0, 0), `tap` items behind. `real`: the sum goes so far.
    """
    chunks, width, place = tile.depth // tile.widths[0], tile.widths[0], at.place_a
    each, apart = tile.rows * chunks // tile.threads, tile.threads // chunks

    @inline
    def fill(shared, start, tap, real, down, right, x, places, height, across):
        for e in range(each):
            row, piece = cuda.threadIdx.x // chunks, cuda.threadIdx.x % chunks * width
            item, r, t, _ = load4(places, 4 * (row + e * apart))
            inside = real and within(r + down, height) and within(t + right, across)
            copy(shared, start + place(row, piece, e * apart), x, item + tap if inside else 0, inside)

    @inline
    def fill_strided(shared, start, tap, real, down, right, x, places, height, across, every, divisors):
        """The same, where only some pixels are reached by the strides, and lie nearer than the distances say."""
        for e in range(each):
            mine, piece = cuda.threadIdx.x // chunks, cuda.threadIdx.x % chunks * width
            item, r, t, _ = load4(places, 4 * (mine + e * apart))
            r, t = r + down, t + right
            inside = real and r >= 0 and t >= 0
            row, column = divided(r if inside else 0, divisors[4]), divided(t if inside else 0, divisors[5])
            inside = inside and times(row, divisors[4][0]) == r and times(column, divisors[5][0]) == t
            inside = inside and row < height and column < across
            nearer = times(times(r - row, across) + t - column, every) if inside else 0
            copy(shared, start + place(mine, piece, e * apart), x, item + tap - nearer if inside else 0, inside)

    return fill_strided if strided else fill


def filling(tile: Tile, at: Layout, copies: tuple[Callable, Callable], turned: bool) -> Callable:
    """fill(shared, start, step, source): the gathered rows' items of one stage, and what multiplies them.

    source = (x, w, places, skipped, n, columns, group, length, sizes, steps, divisors), where w has `columns` columns a
    group and rows of `length` items; this block begins at column n and goes on from the stage number `skipped` of the
    sum, and w's group begins at item `group`. Turned, that is the
    convolution's w in an input gradient: its rows are channels of the result, and the sum goes along them.
    """
    (a_width, width), depth = tile.widths, tile.depth
    wide = (depth if turned else tile.columns) // width  # pieces of a row of w in this stage
    rows = tile.columns if turned else depth
    each, apart, chunks = rows * wide // tile.threads, tile.threads // wide, depth // a_width
    b_start, place, copy = at.b, at.place_b, copies[1]
    fill_rows, fill_strided = (_filling_rows(tile, at, copies[0], strided) for strided in (False, True))

    @inline
    def fill(shared, start, step, source):
        x, w, places, skipped, first, columns, group, length, sizes, steps, divisors = source
        height, across, every, _, items = sizes
        step += skipped
        k = step * depth + cuda.threadIdx.x % chunks * a_width
        i, j, c = tap_of(k, divisors)
        down, right, real = times(i, steps[0][2]), times(j, steps[1][2]), k < items
        tap = times(times(down, across) + right, every) + c
        if turned and (divisors[4][0] > 1 or divisors[5][0] > 1):
            fill_strided(shared, start, tap, real, down, right, x, places, height, across, every, divisors)
        else:
            fill_rows(shared, start, tap, real, down, right, x, places, height, across)
        row, piece = cuda.threadIdx.x // wide, cuda.threadIdx.x % wide * width
        if turned:  # w is (taps * columns, length)
            item = times(times(times(i, divisors[3][0]) + j, columns) + first + row, length) + group + c
            left = columns - first
        else:
            real, item = first + piece < columns, times(step * depth + row, length) + group + first + piece
            left = items - step * depth
        for e in range(each):
            inside = real and row + e * apart < left
            to = start + b_start + place(row, piece, e * apart)
            copy(shared, to, w, item + times(e * apart, length) if inside else 0, inside)

    return fill


def items_of(tile: Tile) -> tuple[int, Callable]:
    """How many items of a window a thread loads at the same place of rows, and locate(taps, channel, sizes, steps,
    divisors), which gives the number of the first. taps (3, 1) then has its tap and channel (i, j, c).
    """
    rows, width = tile.rows, tile.widths[0]

    @inline
    def locate(taps, channel, sizes, steps, divisors):
        k = cuda.blockIdx.x * rows + cuda.threadIdx.x % (rows // width) * width
        i, j, c = tap_of(k, divisors)
        taps[0, 0], taps[1, 0], taps[2, 0] = i, j, channel + c
        return k

    return 1, locate


def outer_filling(tile: Tile, at: Layout, copies: tuple[Callable, Callable], pooled: bool) -> Callable:
    """fill(shared, start, step, source): the windows of one stage's pixels, for this block's items of a window, and
    the gradients of these pixels.

    source = (x, dy, taps, k, begin, end, n, columns, group, length, sizes, steps, divisors): this thread loads item k
    of the windows, the one at `taps`, of pixels from `begin` to `end`; dy is as w above.
    """
    depth, a_width = tile.depth, tile.widths[0]
    chunks = tile.rows // a_width
    each, apart, place, copy = depth * chunks // tile.threads, tile.threads // chunks, at.place_a, copies[0]
    fill_b = (_filling_pooled if pooled else filling_gradients)(tile, at, copies[1])

    @inline
    def fill(shared, start, step, source):
        x, dy, taps, k, begin, end, first, columns, group, length, sizes, steps, divisors = source
        height, across, every, _, items = sizes
        if k < items:  # the one behind the last is always 1; the others are never read
            down, right = steps[0][0] + times(taps[0, 0], steps[0][2]), steps[1][0] + times(taps[1, 0], steps[1][2])
            row, piece = cuda.threadIdx.x // chunks, cuda.threadIdx.x % chunks * a_width
            m = begin + step * depth + row
            for e in range(each):
                if pooled:
                    n, p, q = pixel_of((m + e * apart) // 4, divisors)
                    p, q = 2 * p + (m + e * apart) % 4 // 2, 2 * q + (m + e * apart) % 2
                else:
                    n, p, q = pixel_of(m + e * apart, divisors)
                r, t = times(p, steps[0][1]) + down, times(q, steps[1][1]) + right
                inside = m + e * apart < end and within(r, height) and within(t, across)
                item = times(times(times(n, height) + r, across) + t, every) + taps[2, 0]
                copy(shared, start + place(row, piece, e * apart), x, item if inside else 0, inside)
        fill_b(shared, start, begin + step * depth, end, dy, first, columns, group, length)

    return fill


def _rows_of_gradients(tile: Tile) -> tuple[int, int, int]:
    """The pieces of a row of a stage's gradients, and of how many rows, how far apart, a thread loads one."""
    wide = tile.columns // tile.widths[1]
    return wide, tile.depth * wide // tile.threads, tile.threads // wide


def filling_gradients(tile: Tile, at: Layout, copy: Callable) -> Callable:
    """fill(shared, start, m, end, dy, first, columns, group, length): the gradients of one stage's
    pixels, from number m on and before `end`. This block begins at column `first`.
    """
    (wide, each, apart), width, b_start, place = _rows_of_gradients(tile), tile.widths[1], at.b, at.place_b

    @inline
    def fill(shared, start, m, end, dy, first, columns, group, length):
        row, piece = cuda.threadIdx.x // wide, cuda.threadIdx.x % wide * width
        for e in range(each):
            pixel = m + row + e * apart
            inside = first + piece < columns and pixel < end
            item = times(pixel, length) + group + first + piece if inside else 0
            copy(shared, start + b_start + place(row, piece, e * apart), dy, item, inside)

    return fill


def _filling_pooled(tile: Tile, at: Layout, _: Callable) -> Callable:
    """The same, where dy = (y, winner, dy) of 2x2 max pooling."""
    (wide, each, apart), width, b_start, place = _rows_of_gradients(tile), tile.widths[1], at.b, at.place_b
    read, write = reading(width)

    @inline
    def fill(shared, start, m, end, dy, first, columns, group, length):
        row, piece = cuda.threadIdx.x // wide, cuda.threadIdx.x % wide * width
        for e in range(each):
            pixel = m + row + e * apart
            inside = first + piece < columns and pixel < end
            item = times(pixel // 4, length) + group + first + piece if inside else 0
            window = read(dy[0], dy[1], dy[2], item)
            write(shared, start + b_start + place(row, piece, e * apart), window, pixel % 4, inside)

    return fill


def ones(tile: Tile, at: Layout) -> Callable:
    """fill(shared, k, items): writes 1 at all that this thread would load of windows, in every
    stage, where its item k is none of the `items`.
    """
    width, stages, size, place = tile.widths[0], tile.stages, at.size, at.place_a
    chunks = tile.rows // width
    each, apart = tile.depth * chunks // tile.threads, tile.threads // chunks

    @inline
    def fill(shared, k, items):
        if k >= items:
            for stage in range(stages):
                for e in range(each):
                    here = place(cuda.threadIdx.x // chunks, cuda.threadIdx.x % chunks * width, e * apart)
                    for i in range(width):
                        store(shared, stage * size + here + i, 1)

    return fill
