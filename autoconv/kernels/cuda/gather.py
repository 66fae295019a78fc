"""Where a matrix product's left side comes from: items of images, read through windows that are never built.

Row m of that matrix is a pixel of the result, column k = (i, j, c) the channel c that it sees through tap (i, j) of its
window. A forward convolution reads pixel (p*sh + i*dh - top, ...). An input gradient reads the pixel whose window has
this one at tap (i, j): ((r + top - i*dh) / sh, ...), where that divides.
"""

from collections.abc import Callable
from typing import NamedTuple

from ...shapes import Window
from .primitives import scaled, store, times, within
from .product import Layout
from .runtime import cuda, inline
from .tiles import Tile

OUTSIDE = -(1 << 30)  # a row that no window reads

# The parameters of a kernel that gathers, for its signature: (H, W, C of the images, C of a group, taps * C of a group),
# `steps` (2, 3), and the divisors of a column of pixels, a pixel, a channel and a tap, and of the strides.
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
    """place(places, count, channel, sizes, steps, divisors): which pixels the rows of this block are that this thread
    loads. places (3, rows) then has what tap (0, 0) reads: the item of that channel, the pixel's row and its column.

    Rows are pixels in scan order, `count` of them. Pooled, they are windows of 2x2 pixels, and pixel e of window 8*i + w
    is row 32*i + 8*e + w: one thread holds the sums of all four.
    """
    columns = tile.depth // tile.width
    each, apart, height = tile.rows * columns // tile.threads, tile.threads // columns, tile.rows

    @inline
    def place(places, count, channel, sizes, steps, divisors):
        first = cuda.blockIdx.x * height
        for e in range(each):
            row = first + cuda.threadIdx.x // columns + e * apart
            inner = 0
            if pooled:
                inner = row % 32 // 8
                row = row // 32 * 8 + row % 8
            n, p, q = pixel_of(row, divisors)
            if pooled:
                p, q = 2 * p + inner // 2, 2 * q + inner % 2
            r, t = times(p, steps[0][1]) + steps[0][0], times(q, steps[1][1]) + steps[1][0]
            places[0, e] = times(times(times(n, sizes[0]) + r, sizes[1]) + t, sizes[2]) + channel
            places[1, e] = r if row < count else OUTSIDE
            places[2, e] = t

    return place


def filling(tile: Tile, at: Layout, copy: Callable, turned: bool) -> Callable:
    """fill(shared, start, step, source): the gathered rows' items of one stage, and what multiplies them.

    source = (x, w, places, n, columns, group, length, sizes, steps, divisors), where w has `columns` columns a group
    and rows of `length` items; this block begins at column n, and w's group at item `group`. Turned, that is the
    convolution's w in an input gradient: its rows are channels of the result, and the sum goes along them.
    """
    width, depth = tile.width, tile.depth
    chunks = depth // width
    each, apart = tile.rows * chunks // tile.threads, tile.threads // chunks
    wide = chunks if turned else tile.columns // width  # pieces of a row of w in this stage
    rows = tile.columns if turned else depth
    b_each, b_apart = rows * wide // tile.threads, tile.threads // wide
    a_m, b_start, b_row = at.a_m, at.b, at.b_n if turned else at.b_k

    @inline
    def fill(shared, start, step, source):
        x, w, places, first, columns, group, length, sizes, steps, divisors = source
        thread = cuda.threadIdx.x
        strided = turned and (divisors[4][0] > 1 or divisors[5][0] > 1)
        height, across, every, _, items = sizes
        part = thread % chunks * width
        k = step * depth + part
        i, j, c = tap_of(k, divisors)
        down, right = times(i, steps[0][2]), times(j, steps[1][2])
        tap = times(times(down, across) + right, every) + c
        for e in range(each):
            r, t, item = places[1, e] + down, places[2, e] + right, places[0, e] + tap
            inside = k < items
            if strided:  # the pixel, if the stride leads to one
                inside = inside and r >= 0 and t >= 0
                row, column = divided(r if inside else 0, divisors[4]), divided(t if inside else 0, divisors[5])
                inside = inside and times(row, divisors[4][0]) == r and times(column, divisors[5][0]) == t
                item -= times(times(r - row, across) + t - column, every) if inside else 0
                r, t = row, column
            inside = inside and within(r, height) and within(t, across)
            copy(shared, start + (thread // chunks + e * apart) * a_m + part, x, item if inside else 0, inside)
        if turned:
            tap = times(times(i, divisors[3][0]) + j, columns)  # w is (taps * columns, length)
            for e in range(b_each):
                n = thread // wide + e * b_apart
                inside = k < items and first + n < columns
                copy(shared, start + b_start + n * b_row + part, w,
                     times(tap + first + n, length) + group + c if inside else 0, inside)
        else:
            n = thread % wide * width
            for e in range(b_each):
                row = thread // wide + e * b_apart
                inside = step * depth + row < items and first + n < columns
                copy(shared, start + b_start + row * b_row + n, w,
                     times(step * depth + row, length) + group + first + n if inside else 0, inside)

    return fill


def outer_filling(tile: Tile, at: Layout, copy: Callable) -> Callable:
    """fill(shared, start, step, source): the windows of one stage's pixels, for this block's items of a window, and
    the gradients of these pixels.

    source = (x, dy, k, tap, begin, end, n, columns, group, length, sizes, steps, divisors): this thread loads item k of
    the windows, the one at `tap` = (i, j, c), of pixels from `begin` to `end`; dy is as w above.
    """
    width, depth = tile.width, tile.depth
    chunks, wide = tile.rows // width, tile.columns // width
    each, apart = depth * chunks // tile.threads, tile.threads // chunks
    b_each, b_apart = depth * wide // tile.threads, tile.threads // wide
    a_k, b_start, b_k = at.a_k, at.b, at.b_k

    @inline
    def fill(shared, start, step, source):
        x, dy, k, tap, begin, end, first, columns, group, length, sizes, steps, divisors = source
        thread = cuda.threadIdx.x
        height, across, every, _, items = sizes
        part, n = thread % chunks * width, thread % wide * width
        if k != items:  # that one is always 1
            down, right = steps[0][0] + times(tap[0], steps[0][2]), steps[1][0] + times(tap[1], steps[1][2])
            for e in range(each):
                row = thread // chunks + e * apart
                m = begin + step * depth + row
                image, p, q = pixel_of(m, divisors)
                r, t = times(p, steps[0][1]) + down, times(q, steps[1][1]) + right
                inside = k < items and m < end and within(r, height) and within(t, across)
                item = times(times(times(image, height) + r, across) + t, every) + tap[2] if inside else 0
                copy(shared, start + row * a_k + part, x, item, inside)
        for e in range(b_each):
            row = thread // wide + e * b_apart
            m = begin + step * depth + row
            inside = m < end and first + n < columns
            copy(shared, start + b_start + row * b_k + n, dy, times(m, length) + group + first + n if inside else 0, inside)

    return fill


def rows_of_a_thread(tile: Tile) -> int:
    """How many rows of a stage a thread loads items of."""
    return tile.rows * tile.depth // tile.width // tile.threads


def ones(tile: Tile, at: Layout) -> Callable:
    """set_ones(shared): writes 1 at all that this thread would load in `outer_filling`, in every stage."""
    width, stages, size, a_k = tile.width, tile.stages, at.size, at.a_k
    chunks = tile.rows // width
    each, apart = tile.depth * chunks // tile.threads, tile.threads // chunks

    @inline
    def set_ones(shared):
        for stage in range(stages):
            for e in range(each):
                row = cuda.threadIdx.x // chunks + e * apart
                store(shared, stage * size + row * a_k + cuda.threadIdx.x % chunks * width, 1)

    return set_ones
