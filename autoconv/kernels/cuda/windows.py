"""Computes indices for convolution windows: a thread's position in an image, and the pixels that
its window reads. Kernels receive the window as its ten integers.

All arithmetic is in 32 bits. Divisors are passed as a factor and a shift (gather.divisor).
"""

from ...arguments.shapes import Window
from .gather import divide, divisor
from .kernels import inline
from .ptx import times

DIVISORS = "UniTuple(UniTuple(int64, 3), 7)"  # type of the divisors in a kernel's signature


def make_divisors(rows: int, columns: int, pieces: int, window: Window) -> tuple[tuple[int, int, int], ...]:
    """Returns the divisors for `place`, `output` and `real_taps`, for images of (rows, columns)
    pixels with `pieces` threads, or channels, per pixel.
    """
    return tuple(map(divisor, (columns * pieces, pieces, rows, window.sh, window.sw, window.dh, window.dw)))


@inline
def place(item, divisors):
    """Returns (n, row, column, channel) of element number `item`, or of a group of channels that
    one thread handles.
    """
    line = divide(item, divisors[0])
    rest = item - times(line, divisors[0][0])
    n, column = divide(line, divisors[2]), divide(rest, divisors[1])
    return n, line - times(n, divisors[2][0]), column, rest - times(column, divisors[1][0])


@inline
def ravel(n, row, column, channel, height, across, pieces):
    """Returns the index of an element in images of shape (n, height, across, pieces)."""
    return times(times(times(n, height) + row, across) + column, pieces) + channel


@inline
def tap(o, k, stride, dilation, padding):
    """Returns the row (or column) that tap k of output o's window reads, on one axis. It may be
    outside the image.
    """
    return times(o, stride) + times(k, dilation) - padding


@inline
def output(pixel, k, stride_divisor, dilation, padding, count):
    """Returns the output whose window reads `pixel` with its tap k, on one axis. Returns -1 if none
    of the `count` outputs does. `stride_divisor` divides by the stride.
    """
    distance = pixel + padding - times(k, dilation)
    if distance < 0:
        return -1
    o = divide(distance, stride_divisor)
    return o if o < count and times(o, stride_divisor[0]) == distance else -1


@inline
def taps_to(pixel, size, stride_divisor, dilation, padding, count):
    """Returns (first, step, number, output), the taps through which windows read this pixel. The
    first tap belongs to `output`, and each next tap to the preceding output. With a dilation above
    1, returns all taps of a window; the caller must pass each one to `output` to check it.
    """
    if dilation != 1:
        return 0, 1, size, 0
    distance = pixel + padding
    o = min(divide(distance, stride_divisor), count - 1)
    first = distance - times(o, stride_divisor[0])
    return first, stride_divisor[0], min(o + 1, divide(max(size - first + stride_divisor[0] - 1, 0), stride_divisor)), o


@inline
def real_taps(o, size, stride, dilation_divisor, padding, n):
    """Returns (low, high): the taps low <= k < high of output o's window are inside an axis of n
    pixels. `dilation_divisor` divides by the dilation.
    """
    start = times(o, stride) - padding
    low = 0 if start >= 0 else divide(dilation_divisor[0] - 1 - start, dilation_divisor)
    return low, 0 if start >= n else min(size, divide(n - 1 - start, dilation_divisor) + 1)


@inline
def real_outputs(k, stride_divisor, dilation, padding, n, count):
    """Returns (low, high): of `count` outputs, tap k of the outputs low <= o < high is inside an
    axis of n pixels. `stride_divisor` divides by the stride.
    """
    start = times(k, dilation) - padding
    low = 0 if start >= 0 else divide(stride_divisor[0] - 1 - start, stride_divisor)
    return low, 0 if start >= n else min(count, divide(n - 1 - start, stride_divisor) + 1)
