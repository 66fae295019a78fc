"""Loads the left factor of a convolution's matrix product: elements of images, read through windows
that are never stored as a matrix.

Row m of this factor belongs to a pixel of the result. Column k = (i, j, c) is channel c of the
image pixel at tap (i, j) of the result pixel's window. A forward convolution reads image pixel
(p*sh + i*dh - top, ...) for result pixel (p, q). An input gradient reads the pixel whose window has
this pixel at tap (i, j): ((r + top - i*dh) / sh, ...), if the division is exact.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ...arguments.shapes import Window
from .fragments import Layout
from .kernels import cuda, inline
from .ptx import in_range, load4, multiply_shift, store, store4, times
from .tiles import Tile
from .unpool import reading

OUTSIDE = -(1 << 30)  # a row number outside every image

# Types of a gathering kernel's parameters sizes, steps and divisors. `sizes`: H, W, C of the
# images, a group's channels, taps * a group's channels. `divisors`: rows and columns of the result,
# a group's channels, columns of the window, and the two strides that an input gradient divides by.
SIGNATURE = "UniTuple(int64, 5), UniTuple(UniTuple(int64, 3), 2), UniTuple(UniTuple(int64, 3), 6)"


class Gathering(NamedTuple):
    sizes: tuple[int, ...]
    # (first, stride, step) for rows and columns: tap i of pixel m reads first + m*stride + i*step
    steps: tuple[tuple[int, int, int], ...]
    divisors: tuple[tuple[int, int, int], ...]


def divisor(n: int) -> tuple[int, int, int]:
    """Returns (n, factor, shift) with a // n = a * factor >> shift for 0 <= a < 2**31. GPUs have no
    integer division instruction.

    Source: Granlund and Montgomery, "Division by invariant integers using multiplication" (1994),
    theorem 4.2.
    """
    shift = 31 + max(n - 1, 0).bit_length()
    return n, -(-(1 << shift) // max(n, 1)), shift


@inline
def divide(a, divisor):
    """Returns a // n. The argument `divisor` is a result of the function `divisor(n)`."""
    return multiply_shift(a, divisor[1], divisor[2])


def forward(images: tuple[int, ...], pixels: tuple[int, int], window: Window, channels: int) -> Gathering:
    """Returns the `Gathering` of a forward convolution from images of shape `images` (N, H, W, C)
    to a result of `pixels` (OH, OW), with `channels` channels per group.
    """
    steps = ((-window.top, window.sh, window.dh), (-window.left, window.sw, window.dw))
    return _gathering(images, pixels, window, channels, steps, (1, 1))


def backward(images: tuple[int, ...], pixels: tuple[int, int], window: Window, channels: int) -> Gathering:
    """Returns the `Gathering` of an input gradient from gradients of shape `images` (N, OH, OW, F)
    to a result of `pixels` (H, W), with `channels` channels per group.
    """
    steps = ((window.top, 1, -window.dh), (window.left, 1, -window.dw))
    return _gathering(images, pixels, window, channels, steps, (window.sh, window.sw))


def _gathering(images, pixels, window, channels, steps, strides) -> Gathering:
    _, height, width, every = images
    sizes = (height, width, every, channels, window.kh * window.kw * channels)
    numbers = (pixels[0], pixels[1], channels, window.kw, *strides)
    return Gathering(sizes, steps, tuple(map(divisor, numbers)))


@inline
def find_pixel(m, divisors):
    """Returns (n, p, q), the sample, row and column of pixel number m."""
    row = divide(m, divisors[1])
    n = divide(row, divisors[0])
    return n, row - times(n, divisors[0][0]), m - times(row, divisors[1][0])


@inline
def find_tap(k, divisors):
    """Returns (i, j, c), the tap and the channel of column k."""
    tap = divide(k, divisors[2])
    i = divide(tap, divisors[3])
    return i, tap - times(i, divisors[3][0]), k - times(tap, divisors[2][0])


def make_row_locator(tile: Tile, is_pooled: bool) -> Callable:
    """Returns locate(places, count, channel, sizes, steps, divisors), which computes the pixels of
    this block's rows. `places` has four elements in shared memory per row. The first three describe
    what tap (0, 0) reads: the index of the element in that channel, the pixel's row and its column.
    Shared memory holds `places`, because the sums need the registers.

    The rows are `count` pixels in scan order. If `is_pooled`, they are the pixels of `count` 2x2
    windows, ordered window by window, so that one thread has the sums of all four pixels. Each
    thread computes some of the rows, for the whole block.
    """
    height, threads, turns = tile.rows, tile.threads, -(-tile.rows // tile.threads)

    @inline
    def locate(places, count, channel, sizes, steps, divisors):
        for turn in range(turns):
            here = cuda.threadIdx.x + turn * threads
            if here < height:
                row, inner = cuda.blockIdx.x * height + here, 0
                if is_pooled:
                    row, inner = row // 4, row % 4
                n, p, q = find_pixel(row, divisors)
                if is_pooled:
                    p, q = 2 * p + inner // 2, 2 * q + inner % 2
                r, t = times(p, steps[0][1]) + steps[0][0], times(q, steps[1][1]) + steps[1][0]
                item = times(times(times(n, sizes[0]) + r, sizes[1]) + t, sizes[2]) + channel
                r = r if row < count else OUTSIDE
                store4(places, 4 * here, (np.int32(item), np.int32(r), np.int32(t), np.int32(0)))
        cuda.syncthreads()

    return locate


def _filling_rows(tile: Tile, layout: Layout, copy: Callable, is_strided: bool) -> Callable:
    """Returns fill(smem, start, tap, real, down, right, x, places, height, across), which loads the
    gathered rows' elements at one tap. That tap reads `down` rows and `right` columns from tap (0,
    0), `tap` elements later in memory. `real` is False beyond the end of the sum.
    """
    chunks, width, place = tile.depth // tile.widths[0], tile.widths[0], layout.place_a
    loads, apart = tile.rows * chunks // tile.threads, tile.threads // chunks

    @inline
    def fill(smem, start, tap, real, down, right, x, places, height, across):
        for e in range(loads):
            row, piece = cuda.threadIdx.x // chunks, cuda.threadIdx.x % chunks * width
            item, r, t, _ = load4(places, 4 * (row + e * apart))
            inside = real and in_range(r + down, height) and in_range(t + right, across)
            copy(smem, start + place(row, piece, e * apart), x, item + tap if inside else 0, inside)

    @inline
    def fill_strided(smem, start, tap, real, down, right, x, places, height, across, every, divisors):
        """Loads the rows' elements at a tap, for the input gradient of a strided convolution. The
        tap's position is divided by the strides. If it is not divisible, zeros are loaded.
        """
        for e in range(loads):
            mine, piece = cuda.threadIdx.x // chunks, cuda.threadIdx.x % chunks * width
            item, r, t, _ = load4(places, 4 * (mine + e * apart))
            r, t = r + down, t + right
            inside = real and r >= 0 and t >= 0
            row = divide(r if inside else 0, divisors[4])
            column = divide(t if inside else 0, divisors[5])
            inside = inside and times(row, divisors[4][0]) == r and times(column, divisors[5][0]) == t
            inside = inside and row < height and column < across
            nearer = times(times(r - row, across) + t - column, every) if inside else 0
            copy(smem, start + place(mine, piece, e * apart), x, item + tap - nearer if inside else 0, inside)

    return fill_strided if is_strided else fill


def filling(tile: Tile, layout: Layout, copies: tuple[Callable, Callable], transpose: bool) -> Callable:
    """Returns fill(smem, start, step, source), which loads one stage: the gathered rows' elements,
    and the elements of w that multiply them.

    source = (x, w, places, skipped, n, columns, group, length, sizes, steps, divisors). w has
    `columns` columns per group and rows of `length` elements. This block begins at column n and at
    stage number `skipped` of the sum, and w's group begins at element `group` of each row.

    If `transpose`, w belongs to the convolution whose input gradient is computed: its rows are
    channels of the result, and the sum runs along them.
    """
    (a_width, width), depth = tile.widths, tile.depth
    wide = (depth if transpose else tile.columns) // width  # pieces per row of w in a stage
    rows = tile.columns if transpose else depth
    loads, apart, chunks = rows * wide // tile.threads, tile.threads // wide, depth // a_width
    b_start, place, copy = layout.b, layout.place_b, copies[1]
    fill_rows, fill_strided = (_filling_rows(tile, layout, copies[0], is_strided) for is_strided in (False, True))

    @inline
    def fill(smem, start, step, source):
        x, w, places, skipped, first, columns, group, length, sizes, steps, divisors = source
        height, across, every, _, items = sizes
        step += skipped
        k = step * depth + cuda.threadIdx.x % chunks * a_width
        i, j, c = find_tap(k, divisors)
        down, right, real = times(i, steps[0][2]), times(j, steps[1][2]), k < items
        tap = times(times(down, across) + right, every) + c
        if transpose and (divisors[4][0] > 1 or divisors[5][0] > 1):
            fill_strided(smem, start, tap, real, down, right, x, places, height, across, every, divisors)
        else:
            fill_rows(smem, start, tap, real, down, right, x, places, height, across)
        row, piece = cuda.threadIdx.x // wide, cuda.threadIdx.x % wide * width
        if transpose:  # w has the shape (taps * columns, length)
            item = times(times(times(i, divisors[3][0]) + j, columns) + first + row, length) + group + c
            left = columns - first
        else:
            real = first + piece < columns
            item = times(step * depth + row, length) + group + first + piece
            left = items - step * depth
        for e in range(loads):
            inside = real and row + e * apart < left
            target = start + b_start + place(row, piece, e * apart)
            copy(smem, target, w, item + times(e * apart, length) if inside else 0, inside)

    return fill


def make_item_locator(tile: Tile) -> tuple[int, Callable]:
    """Returns (1, locate): a thread loads one element of the window, or several adjacent ones, for
    several pixels. locate(taps, channel, sizes, steps, divisors) returns the element's index in the
    window. It also writes the element's tap and channel (i, j, c) to taps (3, 1).
    """
    rows, width = tile.rows, tile.widths[0]

    @inline
    def locate(taps, channel, sizes, steps, divisors):
        k = cuda.blockIdx.x * rows + cuda.threadIdx.x % (rows // width) * width
        i, j, c = find_tap(k, divisors)
        taps[0, 0], taps[1, 0], taps[2, 0] = i, j, channel + c
        return k

    return 1, locate


def outer_filling(tile: Tile, layout: Layout, copies: tuple[Callable, Callable], is_pooled: bool) -> Callable:
    """Returns fill(smem, start, step, source), which loads one stage: this block's elements of the
    windows of the stage's pixels, and the gradients of these pixels.

    source = (x, dy, taps, k, begin, end, n, columns, group, length, sizes, steps, divisors). This
    thread loads element k, at `taps`, of the windows of pixels from `begin` to `end`; dy has the
    same parameters as w in `filling`.
    """
    depth, a_width = tile.depth, tile.widths[0]
    chunks = tile.rows // a_width
    loads, apart, place, copy = depth * chunks // tile.threads, tile.threads // chunks, layout.place_a, copies[0]
    fill_b = (_filling_pooled if is_pooled else filling_gradients)(tile, layout, copies[1])

    @inline
    def fill(smem, start, step, source):
        x, dy, taps, k, begin, end, first, columns, group, length, sizes, steps, divisors = source
        height, across, every, _, items = sizes
        # only `items` elements are loaded; the next one is the constant 1, for the bias gradient
        if k < items:
            down = steps[0][0] + times(taps[0, 0], steps[0][2])
            right = steps[1][0] + times(taps[1, 0], steps[1][2])
            row, piece = cuda.threadIdx.x // chunks, cuda.threadIdx.x % chunks * a_width
            m = begin + step * depth + row
            for e in range(loads):
                if is_pooled:
                    n, p, q = find_pixel((m + e * apart) // 4, divisors)
                    p, q = 2 * p + (m + e * apart) % 4 // 2, 2 * q + (m + e * apart) % 2
                else:
                    n, p, q = find_pixel(m + e * apart, divisors)
                r, t = times(p, steps[0][1]) + down, times(q, steps[1][1]) + right
                inside = m + e * apart < end and in_range(r, height) and in_range(t, across)
                item = times(times(times(n, height) + r, across) + t, every) + taps[2, 0]
                copy(smem, start + place(row, piece, e * apart), x, item if inside else 0, inside)
        fill_b(smem, start, begin + step * depth, end, dy, first, columns, group, length)

    return fill


def _rows_of_gradients(tile: Tile) -> tuple[int, int, int]:
    """Returns (pieces per row, rows per thread, distance between these rows), for a stage's
    gradients. A thread loads one piece from each of its rows.
    """
    wide = tile.columns // tile.widths[1]
    return wide, tile.depth * wide // tile.threads, tile.threads // wide


def filling_gradients(tile: Tile, layout: Layout, copy: Callable) -> Callable:
    """Returns fill(smem, start, m, end, dy, first, columns, group, length), which loads the
    gradients of one stage's pixels, from number m on and before `end`. This block begins at column
    `first`.
    """
    (wide, loads, apart), width, b_start, place = _rows_of_gradients(tile), tile.widths[1], layout.b, layout.place_b

    @inline
    def fill(smem, start, m, end, dy, first, columns, group, length):
        row, piece = cuda.threadIdx.x // wide, cuda.threadIdx.x % wide * width
        for e in range(loads):
            pixel = m + row + e * apart
            inside = first + piece < columns and pixel < end
            item = times(pixel, length) + group + first + piece if inside else 0
            copy(smem, start + b_start + place(row, piece, e * apart), dy, item, inside)

    return fill


def _filling_pooled(tile: Tile, layout: Layout, _: Callable) -> Callable:
    """Returns a function like the one from `filling_gradients`, for dy = (y, winner, dy) of a 2x2
    max pooling.
    """
    (wide, loads, apart), width, b_start, place = _rows_of_gradients(tile), tile.widths[1], layout.b, layout.place_b
    read, write = reading(width)

    @inline
    def fill(smem, start, m, end, dy, first, columns, group, length):
        row, piece = cuda.threadIdx.x // wide, cuda.threadIdx.x % wide * width
        for e in range(loads):
            pixel = m + row + e * apart
            inside = first + piece < columns and pixel < end
            item = times(pixel // 4, length) + group + first + piece if inside else 0
            window = read(dy[0], dy[1], dy[2], item)
            write(smem, start + b_start + place(row, piece, e * apart), window, pixel % 4, inside)

    return fill


def ones(tile: Tile, layout: Layout) -> Callable:
    """Returns fill(smem, k, items). If a thread's element k is not one of the `items`, fill
    writes 1 to all positions that the thread would load from windows, in every stage.
    """
    width, stages, size, place = tile.widths[0], tile.stages, layout.size, layout.place_a
    chunks = tile.rows // width
    loads, apart = tile.depth * chunks // tile.threads, tile.threads // chunks

    @inline
    def fill(smem, k, items):
        if k >= items:
            for stage in range(stages):
                for e in range(loads):
                    here = place(cuda.threadIdx.x // chunks, cuda.threadIdx.x % chunks * width, e * apart)
                    for i in range(width):
                        store(smem, stage * size + here + i, 1)

    return fill
