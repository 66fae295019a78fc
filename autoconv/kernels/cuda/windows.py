"""Index arithmetic for convolution windows: a thread's position in an image, and the pixels that
its window reads. Kernels receive the window as its ten integers.

All arithmetic is in 32 bits. Divisors are passed as a factor and a shift (gather.divisor).
"""

from ...arguments.shapes import Window
from .gather import divided, divisor
from .kernels import inline
from .ptx import times

DIVISORS = "UniTuple(UniTuple(int64, 3), 7)"  # type in a kernel's signature


def divisors(rows: int, columns: int, each: int, window: Window) -> tuple[tuple[int, int, int], ...]:
    """Returns the divisors for `place`, `output` and `real_taps`, for images of (rows, columns)
    pixels with `each` threads, or channels, per pixel.
    """
    return tuple(map(divisor, (columns * each, each, rows, window.sh, window.sw, window.dh, window.dw)))


@inline
def place(item, divisors):
    """Returns (n, row, column, channel) of an element, or of a group of channels that one thread
    handles.
    """
    line = divided(item, divisors[0])
    rest = item - times(line, divisors[0][0])
    n, column = divided(line, divisors[2]), divided(rest, divisors[1])
    return n, line - times(n, divisors[2][0]), column, rest - times(column, divisors[1][0])


@inline
def at(n, row, column, channel, height, across, each):
    """Returns the index of an element in images (n, height, across, each)."""
    return times(times(times(n, height) + row, across) + column, each) + channel


@inline
def tap(o, k, stride, dilation, before):
    """Returns the pixel that tap k of output o's window reads, on one axis; it may be outside the
    image.
    """
    return times(o, stride) + times(k, dilation) - before


@inline
def output(pixel, k, by, dilation, before, count):
    """Returns the output whose window reads `pixel` with its tap k, on one axis; -1 if none of the
    `count` outputs does. `by` divides by the stride.
    """
    distance = pixel + before - times(k, dilation)
    if distance < 0:
        return -1
    o = divided(distance, by)
    return o if o < count and times(o, by[0]) == distance else -1


@inline
def taps_to(pixel, size, by, dilation, before, count):
    """Returns (first, step, number, output) of the taps through which windows read this pixel. The
    first tap belongs to `output`, and each next tap to the preceding output. With a dilation above
    1 it returns all taps; pass each to `output` to test it.
    """
    if dilation != 1:
        return 0, 1, size, 0
    distance = pixel + before
    o = min(divided(distance, by), count - 1)
    first = distance - times(o, by[0])
    return first, by[0], min(o + 1, divided(max(size - first + by[0] - 1, 0), by)), o


@inline
def real_taps(o, size, stride, by, before, n):
    """Returns low and high: the taps low <= k < high of output o's window are inside an axis of n
    pixels. `by` divides by the dilation.
    """
    start = times(o, stride) - before
    low = 0 if start >= 0 else divided(by[0] - 1 - start, by)
    return low, 0 if start >= n else min(size, divided(n - 1 - start, by) + 1)


@inline
def real_outputs(k, by, dilation, before, n, count):
    """Returns low and high: the outputs low <= o < high, of `count`, read a pixel of an axis of n
    pixels with their tap k. `by` divides by the stride.
    """
    start = times(k, dilation) - before
    low = 0 if start >= 0 else divided(by[0] - 1 - start, by)
    return low, 0 if start >= n else min(count, divided(n - 1 - start, by) + 1)
