"""Where a thread is in an image, and where its window reads. Kernels take the window as its ten integers.

All of it in 32 bits, and what is divided by as factor and shift (gather.divisor).
"""

from ...arguments.shapes import Window
from .gather import divided, divisor
from .kernels import inline
from .ptx import times

DIVISORS = "UniTuple(UniTuple(int64, 3), 7)"  # in a kernel's signature


def divisors(rows: int, columns: int, each: int, window: Window) -> tuple[tuple[int, int, int], ...]:
    """What `place`, `output` and `real_taps` divide by, for images of (rows, columns) pixels that
    `each` threads share, or so many channels.
    """
    return tuple(map(divisor, (columns * each, each, rows, window.sh, window.sw, window.dh, window.dw)))


@inline
def place(item, divisors):
    """(n, row, column, channel) of an item, or of so many channels."""
    line = divided(item, divisors[0])
    rest = item - times(line, divisors[0][0])
    n, column = divided(line, divisors[2]), divided(rest, divisors[1])
    return n, line - times(n, divisors[2][0]), column, rest - times(column, divisors[1][0])


@inline
def at(n, row, column, channel, height, across, each):
    """Which item of images (n, height, across, each) is at this place."""
    return times(times(times(n, height) + row, across) + column, each) + channel


@inline
def tap(o, k, stride, dilation, before):
    """The pixel that tap k of output o's window reads, on one axis; it may lie outside of the image."""
    return times(o, stride) + times(k, dilation) - before


@inline
def output(pixel, k, by, dilation, before, count):
    """The output whose window reads `pixel` with its tap k, on one axis; -1 where none of `count`
    does. `by` divides by the stride.
    """
    distance = pixel + before - times(k, dilation)
    if distance < 0:
        return -1
    o = divided(distance, by)
    return o if o < count and times(o, by[0]) == distance else -1


@inline
def taps_to(pixel, size, by, dilation, before, count):
    """(first, step, number, output) of the taps through which windows read this pixel: the first one is of that output,
    each next one of the output before. With a dilation all taps, which `output` has to be asked for one by one.
    """
    if dilation != 1:
        return 0, 1, size, 0
    distance = pixel + before
    o = min(divided(distance, by), count - 1)
    first = distance - times(o, by[0])
    return first, by[0], min(o + 1, divided(max(size - first + by[0] - 1, 0), by)), o


@inline
def real_taps(o, size, stride, by, before, n):
    """Which taps low <= k < high of output o's window fall inside an axis of n pixels. `by` divides by the dilation."""
    start = times(o, stride) - before
    low = 0 if start >= 0 else divided(by[0] - 1 - start, by)
    return low, 0 if start >= n else min(size, divided(n - 1 - start, by) + 1)


@inline
def real_outputs(k, by, dilation, before, n, count):
    """Which of `count` outputs low <= o < high read a pixel of an axis of n with their tap k. `by`
    divides by the stride.
    """
    start = times(k, dilation) - before
    low = 0 if start >= 0 else divided(by[0] - 1 - start, by)
    return low, 0 if start >= n else min(count, divided(n - 1 - start, by) + 1)
