"""Where a window reads, for kernels that go over an image. They take the window as its ten integers."""

from .runtime import inline


@inline
def tap(o, k, stride, dilation, before):
    """The pixel that tap k of output o's window reads, on one axis; it may lie outside of the image."""
    return o * stride + k * dilation - before


@inline
def output(pixel, k, stride, dilation, before, count):
    """The output whose window reads `pixel` with its tap k, on one axis; -1 where none of `count` does."""
    distance = pixel + before - k * dilation
    if distance < 0 or distance % stride != 0 or distance // stride >= count:
        return -1
    return distance // stride


@inline
def real_taps(o, size, stride, dilation, before, n):
    """Which taps low <= k < high of output o's window fall inside an axis of n pixels."""
    start = o * stride - before
    low = 0 if start >= 0 else (-start + dilation - 1) // dilation
    return low, min(size, (n - 1 - start) // dilation + 1)
