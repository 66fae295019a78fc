"""Selects the loops that compute a convolution. The choice depends on the convolution's shape, not
on the thread count and, except for weight gradients, not on the batch size. So an image's results
are bit-for-bit equal in any batch.

    FIRST      3x3, one or three channels                first_layer.py
    SQUARES    3x3, 32 or more channels and filters      winograd.py, winograd_grad.py
    ROWS       3x3, one or two vectors of filters        winograd_rows.py, winograd_rows_grad.py
    PIXELS     1x1                                       matrix.py
    FEW        six or fewer filters                      few_filters.py
    WINDOWS    all others                                conv.py, fused.py
    SCATTERED  input gradients with strides, or without padding     conv.py

The `pays` function of each file decides for which shapes that file is faster. This file decides in
which order the files are preferred.
"""

from enum import Enum, auto

import numpy as np

from ...arguments.shapes import Window
from . import few_filters, first_layer, matrix, winograd, winograd_rows, winograd_rows_grad

# minimum value of channels * filters for which Winograd's algorithm is faster than sparse.py, which
# multiplies only the gradients of the pixels that won in 2x2 max pooling
SPARSE = 64 * 128
# minimum number of pixels times channels of one image for which that holds for fewer channels, too,
# probably because x and dx of the image do not fit into the L2 cache
LARGE_IMAGE = 128 * 128 * 32
# minimum value of channels * filters for which Winograd's algorithm saves much time in the forward
# pass of a pooled layer in training
LIGHT = 64 * 64
# minimum number of output columns for which the loops of first_layer.py save more time than it
# takes to compile their kernel at the first start
LARGE = 64
# minimum number of outputs of a batch for weight gradients by SQUARES and ROWS; with fewer, the
# ranges of the values would make winograd_ranges.py compute most elements again
FEWEST_PIXELS = 768

Size = tuple[int, int]


class Way(Enum):
    FIRST = auto()
    SQUARES = auto()
    ROWS = auto()
    PIXELS = auto()
    FEW = auto()
    WINDOWS = auto()
    SCATTERED = auto()


def forward(c: int, f: int, size: Size, window: Window, groups: int, dtype: np.dtype, side: int = 2) -> Way:
    """Selects the loops for the forward pass from c channels to f filters, with outputs of this
    size. `side`, 2 or 4, is the side of Winograd's tiles.
    """
    if first_layer.pays(c, f, size, window, groups, dtype):
        return Way.FIRST
    use_rows = winograd_rows.pays(c, f, size, window, groups, dtype)
    return _product(c, f, size, window, groups, dtype, side, use_rows) or _windows(f, size, window, groups, dtype)


def input_gradient(c: int, f: int, pixels: Size, results: Size, window: Window, groups: int, dtype: np.dtype) -> Way:
    """Selects the loops for the input gradient of a convolution from c channels to f filters.
    `pixels` is the size of its images, and `results` the size of its outputs.
    """
    is_gathered, backward = gathers(results, pixels, window), window.gradient_window
    use_rows = is_gathered and winograd_rows.pays(f, c, pixels, backward, groups, dtype)
    way = _product(f, c, results, window, groups, dtype, 2, use_rows)
    if way is None:
        return _windows(c, pixels, backward, groups, dtype) if is_gathered else Way.SCATTERED
    return way


def gathers(results: Size, pixels: Size, window: Window) -> bool:
    """Returns whether an input gradient is computed as a convolution of dy with the kernel rotated
    by 180 degrees. This requires padding and strides of 1, so that no additional zeros are
    multiplied. Each pixel is then written once.
    """
    return (window[2:4] == (1, 1) and results[0] * results[1] >= pixels[0] * pixels[1]
            and min(window.gradient_window[6:]) >= 0)


def weight_gradient(c: int, f: int, size: Size, window: Window, groups: int, dtype: np.dtype,
                    images: int) -> Way:
    """Selects the loops for the weight gradient of a convolution from c channels to f filters with
    outputs of this size. Only this choice may depend on the number of images, whose gradients are
    added up.
    """
    shape = c, f, size, window, groups
    if first_layer.pays(*shape, dtype):
        return Way.FIRST
    if images * size[0] * size[1] >= FEWEST_PIXELS:
        use_rows = winograd_rows_grad.pays(*shape, dtype)
        if winograd.pays(*shape) and not (use_rows and winograd_rows.pays(*shape, dtype)):
            return Way.SQUARES
        if use_rows:
            return Way.ROWS
    return Way.PIXELS if _single_pixels(window, groups) and matrix.outer_pays(f, dtype) else Way.WINDOWS


def forward_pool(c: int, f: int, size: Size, window: Window, dtype: np.dtype, trains: bool) -> Way:
    """Selects the loops for a forward pass that is followed by 2x2 pooling and has outputs of this
    size before the pooling. If `trains`, gradients will be computed; in small layers they are
    computed from the winners only.
    """
    if first_layer.pays(c, f, size, window, 1, dtype) and (size[1] >= LARGE or (c == 1 and not trains)):
        return Way.FIRST  # with one channel, results have the same bits as those of WINDOWS
    same_bits = trains or not winograd.own_way()
    return Way.SQUARES if winograd.pays(c, f, size, window) and not (same_bits and c * f < LIGHT) else Way.WINDOWS


def pooled_gradients(c: int, f: int, size: Size, window: Window, dtype: np.dtype, needs_dx: bool,
                     outputs: Size) -> Way:
    """Selects the loops for the gradients of a convolution that is followed by 2x2 pooling. If
    `needs_dx`, these include the input gradient. `outputs` is the size of the convolution's
    outputs, some of which the pooling may not read.
    """
    if not needs_dx and first_layer.pays(c, f, size, window, 1, dtype) and first_layer.winners_fit(c, dtype):
        return Way.FIRST
    pays = c * f >= SPARSE or size[0] * size[1] * c >= LARGE_IMAGE
    return Way.SQUARES if pays and winograd.pays(c, f, outputs, window) else Way.WINDOWS


def _product(c: int, f: int, size: Size, window: Window, groups: int, dtype: np.dtype, side: int,
             use_rows: bool) -> Way | None:
    """Selects SQUARES, ROWS or PIXELS, or returns None. If SQUARES and ROWS are both possible,
    selects ROWS for tiles of 2x2 outputs if c <= f, because its transforms are shorter.
    """
    if winograd.pays(c, f, size, window, groups) and not (use_rows and side == 2 and c <= f):
        return Way.SQUARES
    if use_rows:
        return Way.ROWS
    return Way.PIXELS if _single_pixels(window, groups) and matrix.pays(f, dtype) else None


def _single_pixels(window: Window, groups: int) -> bool:
    """Returns whether each output reads only one pixel, so that the pixels of a batch are the rows
    of an ordinary matrix.
    """
    return window[:4] == (1, 1, 1, 1) and not any(window[6:]) and groups == 1


def _windows(f: int, size: Size, window: Window, groups: int, dtype: np.dtype) -> Way:
    return Way.FEW if few_filters.pays(f, size, window, groups, dtype) else Way.WINDOWS
