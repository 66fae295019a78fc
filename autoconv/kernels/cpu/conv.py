"""2-D convolution on the CPU: forward pass, input gradient and weight gradient.

A convolution is a matrix product whose left matrix is never stored. Row p of that matrix is the
window of output pixel p. The window's first element is at `pixels[p]` of the flat input, and its
element q is at `pixels[p] + taps[q]`:

    y[p, f]  = b[f] + sum over q of  x[pixels[p] + taps[q]] * w[q, f]
    dw[q, f] =        sum over p of  x[pixels[p] + taps[q]] * dy[p, f]
    dx[pixels[p] + taps[q]]     +=   sum over f of  dy[p, f] * w[q, f]

products.py contains the loops. Strides and dilation only change the tables `pixels` and `taps`.
With padding, a chunk of samples is processed in a scratch buffer with a border of zeros. The order
of each sum depends on shapes only, so results are bit-for-bit equal for any number of threads.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numba import prange

from ...arguments.shapes import Window
from ..buffers import scratch
from . import (
    few_filters,
    first_layer,
    matrix,
    norm,
    pointwise,
    simd,
    tasks,
    ways,
    winograd,
    winograd_grad,
    winograd_rows,
    winograd_rows_grad,
)
from .arith import copy
from .epilogue import CODES, complete, finish_columns, tile_activation
from .flat import flatten
from .jit import allocating, inline, kernel
from .matrix import transpose
from .pointwise import relu_grad  # noqa: F401 (re-exported: the gradient with relu)
from .products import (
    NARROW_M,
    M,
    N,
    add_parts,
    add_rows,
    bias,
    gathered_outer,
    gathered_product,
    scattered_product,
    zeros,
)
from .tasks import piece
from .ways import Way

CHUNK_PIXELS = 96  # minimum number of output pixels in a chunk, so that few tiles are incomplete


class Plan(NamedTuple):
    """The offset tables of a convolution over images of one size, computed once per size."""

    samples: int  # number of samples in a chunk
    pixels: np.ndarray  # offset of each output pixel's window in the chunk
    taps: np.ndarray  # offset of element q = (kh, kw, c) from a window's first element
    points: np.ndarray  # offset of kernel position (kh, kw) from the window's first element
    runs: np.ndarray  # offset of the first element of each run; a run is a series of adjacent taps
    run_length: int  # number of elements in a run
    # rows and columns of an image with its border; the image's first row and column within them
    border: tuple[int, int, int, int]


@lru_cache(maxsize=256)
def plan(n: int, h: int, w: int, channels: int, group_channels: int, window: Window) -> Plan:
    """Returns the plan for a batch of n images (h, w, channels)."""
    oh, ow = window.output_size(h, w)
    high, wide = h + window.top + window.bottom, w + window.left + window.right
    samples = max(1, min(n, -(-CHUNK_PIXELS // (oh * ow))))
    # raises MemoryError if a thread's scratch buffer would not fit into memory
    np.empty((samples, high, wide, channels))
    row = wide * channels
    items = _grid((window.kh, window.kw, group_channels), (window.dh * row, window.dw * channels, 1))
    run_length = window.kw * channels if window.dw == 1 and group_channels == channels else group_channels
    return Plan(
        samples=samples,
        pixels=_grid((samples, oh, ow), (high * row, window.sh * row, window.sw * channels)),
        taps=items,
        points=items[::group_channels].copy(),
        runs=items[::run_length].copy(),
        run_length=run_length,
        border=(high, wide, window.top, window.left),
    )


def _grid(counts: tuple[int, ...], steps: tuple[int, ...]) -> np.ndarray:
    """Returns the sum of index * step for every tuple of indices below `counts`, in C order."""
    return sum(np.ix_(*(np.arange(c, dtype=np.int64) * s for c, s in zip(counts, steps)))).ravel()


@inline
def has_border(x, border):
    return border[0] != x.shape[1] or border[1] != x.shape[2]


@allocating
def read_chunk(x, first, count, border):
    """Returns a flat array with `count` samples of x, and the index of their first element. The
    array is x itself or, if images have a border, a scratch copy that includes the border.
    """
    _, h, w, c = x.shape
    if not has_border(x, border):
        return flatten(x), first * h * w * c
    high, wide, top, left = border
    scratch, source = np.zeros(count * high * wide * c, x.dtype), flatten(x)
    for s in range(count):
        for i in range(h):
            simd.copy(scratch, ((s * high + top + i) * wide + left) * c, source, ((first + s) * h + i) * w * c, w * c)
    return scratch, 0


@allocating
def open_chunk(dx, first, count, border):
    """Returns a flat array in which to sum up `count` samples of dx, and the index of their first
    element. The array is dx itself or, if images have a border, an uninitialised scratch buffer
    that includes the border.
    """
    size = border[0] * border[1] * dx.shape[3]
    if has_border(dx, border):
        return np.empty(count * size, dx.dtype), 0
    return flatten(dx), first * size


@inline
def close_chunk(dx, first, count, border, target):
    """Copies `count` samples of dx from the scratch buffer `target` to dx, if a buffer was used."""
    _, h, w, c = dx.shape
    high, wide, top, left = border
    if has_border(dx, border):
        for s in range(count):
            for i in range(h):
                simd.copy(flatten(dx), ((first + s) * h + i) * w * c,
                          target, ((s * high + top + i) * wide + left) * c, w * c)


def count_pieces(n: int, samples: int, pixels: int, w: np.ndarray, filters: int, pool_size: int = 1) -> int:
    """Returns the number of pieces into which each chunk of `pixels` pixels is split. `pool_size`
    is the number of pixels per result: 4 with 2x2 pooling, otherwise 1.
    """
    lanes = simd.lanes(w.dtype)
    if n <= samples and pixels * (w.size // filters) * -(-filters // lanes) * lanes <= tasks.SMALL:
        return 1
    return tasks.pieces(-(-n // samples), -(-pixels // (pool_size * simd.TILE[0])))


@kernel("(T[:,:,:,::1], T[::1], T[::1], T[::1], T[::1], T[:,:,:,::1], int64[::1], int64, int64[::1], "
        "int64, int64, UniTuple(int64, 4), T[::1], int64, int64, int64, int64, int64)", parallel=True)
def _forward(
    x, w, panels, scale, b, y, pixels, samples, runs, run_length, groups, border, addend, activation,
    down, along, together, deep
):
    """Computes `_gather`. Complete panels of w (items,F) are read from `panels`, if it is not
    empty. A task computes one of `down` pieces of a chunk's pixels, and one of `along` pieces of
    the filters. All its sums receive `deep` elements of `together` runs before the next.
    """
    n, _, _, c = x.shape
    map_size, filters = y.shape[1] * y.shape[2], b.size
    group_f = filters // groups
    items = runs.size * run_length
    columns = simd.width(simd.zeros(x, M, N))
    packed = panels.size // items  # number of filters in complete panels
    early = tile_activation(addend, activation)
    for task in prange((n + samples - 1) // samples * down * along):
        first = task // (down * along) * samples
        count = min(samples, n - first)
        begin, end = piece(count * map_size, task // along % down, down, simd.TILE[0])
        low, high = piece(group_f, task % along, along, columns)
        source, start = read_chunk(x, first, count, border)
        y_start = (first * map_size + begin) * filters
        for t in range(0, runs.size, together):
            for k in range(0, run_length, deep):
                is_last = t + together >= runs.size and k + deep >= run_length
                for g in range(groups):
                    f = g * group_f + low
                    while f < g * group_f + high:
                        is_panel = f < packed
                        stop = f + columns if is_panel else g * group_f + high
                        step = columns if is_panel else filters
                        gathered_product(
                            source, start + g * (c // groups) + k, pixels[begin:end], end - begin,
                            runs[t:t + together], min(deep, run_length - k), panels if is_panel else w,
                            (f * items - f if is_panel else 0) + (t * run_length + k) * step, step, scale, b,
                            flatten(y), y_start, filters, f, stop, t + k == 0, is_last, early)
                        f = stop
        finish_columns(flatten(y), addend, y_start, end - begin, filters, low * groups, high * groups, activation)


@allocating
def _order_pixels(pixels, rows, columns, filters, column_major):
    """Returns the offset in dy of each output pixel of `rows` rows, and the offset of its window in
    dx. The pixels are in row-major order or, if `column_major`, in column-major order, so that
    consecutive pixels are in different rows.
    """
    sources, targets = np.empty(rows * columns, np.int64), pixels
    if column_major:
        targets = np.empty(rows * columns, np.int64)
        for j in range(columns):
            for i in range(rows):
                sources[j * rows + i], targets[j * rows + i] = (i * columns + j) * filters, pixels[i * columns + j]
    else:
        for p in range(rows * columns):
            sources[p] = p * filters
    return sources, targets


@kernel("(T[:,:,:,::1], T[::1], T[::1], T[::1], T[:,:,:,::1], int64[::1], int64, int64[::1], int64, int64,"
        " UniTuple(int64, 4))", parallel=True)
def _input_gradient(dy, wt, panels, b, dx, pixels, samples, points, run_length, groups, border):
    """dx = b plus the contribution of every output pixel. At each of the `points`, an output pixel
    contributes to a run of elements of dx, which are the channels of one pixel or of a row of taps.
    Rows of taps of adjacent output pixels overlap, so for such runs, tiles process output pixels in
    column-major order. wt has shape (points, F/groups, run). For a single point,
    its complete panels are read from `panels`, unless `panels` is empty.
    """
    n, _, _, c = dx.shape
    (_, oh, ow, filters), map_size = dy.shape, dy.shape[1] * dy.shape[2]
    group_c = run_length // groups
    group_f = filters // groups
    columns = simd.width(simd.zeros(dx, M, N))
    packed = panels.size // filters  # number of columns in complete panels
    for chunk in prange((n + samples - 1) // samples):
        first = chunk * samples
        count = min(samples, n - first)
        target, start = open_chunk(dx, first, count, border)
        for p in range(count * border[0] * border[1]):
            simd.copy(target, start + p * c, b, 0, c)
        total, column_major = count * map_size, run_length > c
        sources, targets = _order_pixels(pixels, count * oh, ow, filters, column_major)
        block = count * oh if column_major and count * oh < NARROW_M else total
        for g in range(groups):
            for t in range(points.size):
                k = g * group_c
                while k < (g + 1) * group_c:
                    is_panel = k < packed
                    stop = k + columns if is_panel else (g + 1) * group_c
                    scattered_product(
                        flatten(dy), first * map_size * filters, sources, targets, total, block,
                        panels if is_panel else wt,
                        k * filters - k if is_panel else t * group_f * run_length, target,
                        start + points[t], g * group_f, group_f,
                        columns if is_panel else run_length, k, stop)
                    k = stop
        close_chunk(dx, first, count, border, target)


@kernel("(T[:,:,:,::1], T[:,:,:,::1], T[:,::1], T[:,::1], int64[::1], int64, int64[::1], int64, "
        "UniTuple(int64, 4), int64)", parallel=True)
def _weight_gradient(x, dy, partial, partial_b, pixels, samples, taps, groups, border, pieces):
    """Writes partial sums of dw to `partial` (parts, items*F) and of db to `partial_b` (parts, F),
    each over a fraction of the samples. `pieces` tasks compute each partial sum of dw.
    """
    (n, _, _, c), parts = x.shape, partial.shape[0]
    map_size, filters = dy.shape[1] * dy.shape[2], dy.shape[3]
    group_f, items = filters // groups, taps.size
    flat_dy = flatten(dy)
    for task in prange(parts * pieces):
        part = task // pieces
        begin, end = n * part // parts, n * (part + 1) // parts
        low, high = piece(items, task % pieces, pieces, tasks.BLOCK)
        for first in range(begin, end, samples):
            count = min(samples, end - first)
            source, start = read_chunk(x, first, count, border)
            total, dy_start = count * map_size, first * map_size * filters
            for g in range(groups):
                gathered_outer(source, start + g * (c // groups), pixels, total, taps[low:high], high - low, flat_dy,
                               dy_start, flatten(partial), (part * items + low) * filters, filters,
                               g * group_f, (g + 1) * group_f, first == begin)
            if low == 0:
                add_rows(flat_dy, dy_start, total, filters, flatten(partial_b), part * filters, filters,
                         first == begin)


def conv2d(x, w, b, y, window: Window, groups: int = 1, activation: str = "linear", scale=None,
           addend=None) -> None:
    """y (N,OH,OW,F) = activation(the convolution of x (N,H,W,C) with w (KH,KW,C/groups,F) + b (F,) + addend).
    b and `addend`, of y's shape, may be None. `scale` (F,) multiplies w.
    """
    _conv2d(x, w, b, y, window, groups, activation, scale, addend, side=2)


def infer_conv2d(x, w, b, y, window: Window, groups: int = 1, activation: str = "linear", scale=None,
                 addend=None, before=None) -> None:
    """Computes `conv2d` if no gradient is needed, with larger Winograd tiles if that is faster. If
    `before` = (center, scale, shift, activation) is given, x is first normalized.
    """
    side = winograd.tile_side(x.shape[3], y.shape[3], y.shape[1:3])
    _conv2d(x, w, b, y, window, groups, activation, scale, addend, side, before)


def _conv2d(x, w, b, y, window: Window, groups: int, activation: str, scale, addend, side: int, before=None) -> None:
    """Computes `conv2d`. `side`, 2 or 4, is the side of Winograd's tiles, for Way.SQUARES only."""
    c, f = x.shape[3], y.shape[3]
    way = ways.forward(c, f, y.shape[1:3], window, groups, x.dtype, side)
    b = bias(b, x.dtype, f)
    if way is Way.PIXELS:
        matrix.multiply(x.reshape(-1, c), w.reshape(c, f), b, y.reshape(-1, f), activation, scale, addend, before)
        return
    if before is not None:
        normalized = scratch(x.shape, x.dtype)
        norm.normalize(x.reshape(-1, c), *before, normalized.reshape(-1, c))
        x = normalized
    if way is Way.WINDOWS:
        _gather(x, w, scale, b, y, window, w.shape[2], groups, addend, activation)
        return
    later = None if way is Way.ROWS else addend
    relu = later is None and activation == "relu"
    if way is Way.FIRST:
        first_layer.conv2d(x, w, b, y, window, relu, scale)
    elif way is Way.SQUARES:
        winograd.conv2d(x, w.reshape(9, c, f), b, y, window, relu, scale=scale, side=side)
    elif way is Way.ROWS:
        winograd_rows.conv2d(x, w, b, y, window, relu, scale=scale, addend=addend)
    else:
        few_filters.conv2d(x, w.reshape(-1), b, y, window, relu, zeros(x.dtype, 0) if scale is None else scale)
    if not relu:
        complete(y, later, activation)


def _gather(x, w, scale, b, y, window: Window, group_channels: int, groups: int, addend=None,
            activation: str = "linear") -> None:
    """Computes `conv2d` with `gathered_product` of products.py."""
    nothing = zeros(x.dtype, 0)
    p = plan(*x.shape, group_channels, window)
    filters = y.shape[3]
    rows = y.size // filters
    panels = matrix.pack(w.reshape(-1, filters), rows) if groups == 1 else nothing
    if groups == 1 and matrix.reads_parts(w.reshape(-1, filters), rows):
        pieces = 1, tasks.pieces(-(-x.shape[0] // p.samples), filters // tasks.widest_tile(w.dtype))
        depth = 1, matrix.PART
    else:
        pieces = count_pieces(x.shape[0], p.samples, p.pixels.size, w, filters), 1
        depth = p.runs.size, p.run_length
    _forward(x, w.reshape(-1), panels, nothing if scale is None else scale, b, y, p.pixels, p.samples, p.runs,
             p.run_length, groups, p.border, nothing if addend is None else addend.reshape(-1), CODES[activation],
             *pieces, *depth)


def conv2d_input_grad(dy, w, dx, window: Window, groups: int = 1, b=None) -> None:
    """Computes the input gradient dx (N,H,W,C) from dy (N,OH,OW,F). Transposed convolutions call
    this function too, with a bias b (C,).
    """
    c, f, results, pixels = dx.shape[3], dy.shape[3], dy.shape[1:3], dx.shape[1:3]
    way = ways.input_gradient(c, f, pixels, results, window, groups, dx.dtype)
    b = bias(b, dy.dtype, c)
    if way is Way.SCATTERED:
        _scatter(dy, w, b, dx, window, groups)
        return
    wt = swap_axes(w.reshape(-1, *w.shape[2:]), groups, reverse=way in (Way.FEW, Way.WINDOWS))
    if way is Way.SQUARES:
        winograd.conv2d_input_grad(dy, wt.reshape(9, f, c), b, dx, window, ways.gathers(results, pixels, window))
    elif way is Way.ROWS:
        winograd_rows.conv2d(dy, wt, b, dx, window.gradient_window, rotate=True)
    elif way is Way.PIXELS:
        matrix.multiply(dy.reshape(-1, f), wt.reshape(f, c), b, dx.reshape(-1, c))
    elif way is Way.FEW:
        few_filters.conv2d(dy, wt.reshape(-1), b, dx, window.gradient_window, False, zeros(dy.dtype, 0))
    else:
        _gather(dy, wt, None, b, dx, window.gradient_window, f // groups, groups)


def conv2d_masked_input_grad(dy, w, x, dx, window: Window, groups: int = 1) -> None:
    """dx = the result of `conv2d_input_grad` where x (N,H,W,C) is above 0, and 0 elsewhere. If a
    ReLU computed x, this is the gradient with respect to the ReLU's input.
    """
    conv2d_input_grad(dy, w, dx, window, groups)
    pointwise.relu_grad(x.reshape(-1), dx.reshape(-1), dx.reshape(-1))


def _scatter(dy, w, b, dx, window: Window, groups: int) -> None:
    """Computes `conv2d_input_grad` by adding each output pixel's contribution to dx."""
    c = dx.shape[3]
    run = 1
    if groups == window.dw == 1 and c < tasks.widest_tile(dx.dtype):
        run = window.kw  # a run is a row of taps, which fills more of a tile than a single tap
    wt = swap_axes(w.reshape(-1, run * w.shape[2], w.shape[3]), groups)
    p = plan(*dx.shape, w.shape[2], window)
    samples = tasks.choose_chunk_size(dx.shape[0], p.samples)
    is_matrix = groups == p.points.size == 1
    rows = dy.size // dy.shape[3]
    panels = matrix.pack(wt.reshape(-1, c), rows) if is_matrix else zeros(dx.dtype, 0)
    _input_gradient(dy, wt, panels, b, dx, p.pixels, samples, p.points[::run].copy(), run * c, groups,
                    p.border)


@kernel("(T[:,::1], T[:,::1])", parallel=True)
def _row_sums(rows, partial):
    """partial (parts, F) = partial sums of rows (M, F), each over a fraction of the rows."""
    (count, columns), parts = rows.shape, partial.shape[0]
    for part in prange(parts):
        first, stop = count * part // parts, count * (part + 1) // parts
        add_rows(flatten(rows), first * columns, stop - first, columns, flatten(partial),
                 part * columns, columns, True)


def channel_sums(dy, db) -> None:
    """db (F,) = the sum of dy (..., F) over all but its last axis."""
    rows = dy.reshape(-1, db.size)
    partial = scratch((tasks.parts(len(rows), len(rows), db.size), db.size), dy.dtype)
    _row_sums(rows, partial)
    add_parts(partial, db)


def swap_axes(w, groups: int = 1, reverse: bool = False) -> np.ndarray:
    """Transposes w (B, C/groups, F) to (B, F/groups, C), as a flat array. Its last axis has the
    channels of the first group, then those of the second. With `reverse`, B is in reverse order.
    """
    if groups > 1:
        taps, group_c, filters = w.shape
        out = scratch((taps, filters // groups, groups, group_c), w.dtype)
        w = w.reshape(taps, group_c, groups, filters // groups)
        copy((w[::-1] if reverse else w).transpose(0, 3, 2, 1), out)
    else:
        out = scratch((w.shape[0], w.shape[2], w.shape[1]), w.dtype)
        transpose(w, out, reverse)
    return out.reshape(-1)


def conv2d_weight_grad(x, dy, dw, db, window: Window, groups: int = 1) -> None:
    """Computes dw (KH,KW,C/groups,F) and db (F,) from x (N,H,W,C) and dy (N,OH,OW,F)."""
    c, f = x.shape[3], dy.shape[3]
    way = ways.weight_gradient(c, f, dy.shape[1:3], window, groups, x.dtype, len(x))
    if way is Way.FIRST:
        first_layer.weight_grad(x, dy, dw, db, window)
    elif way is Way.SQUARES:
        winograd_grad.conv2d_weight_grad(x, dy, dw.reshape(9, c, f), window)
        channel_sums(dy, db)
    elif way is Way.ROWS:
        winograd_rows_grad.conv2d_weight_grad(x, dy, dw, db, window)
    elif way is Way.PIXELS:
        matrix.outer(x.reshape(-1, c), dy.reshape(-1, f), dw.reshape(c, f), db, len(x))
    else:
        p = plan(*x.shape, dw.shape[2], window)
        parts = tasks.parts(len(x), dy.size // f, dw.size)
        partial = scratch((parts, dw.size), x.dtype)
        partial_b = scratch((parts, f), x.dtype)
        _weight_gradient(x, dy, partial, partial_b, p.pixels, p.samples, p.taps, groups, p.border,
                         tasks.pieces(parts, -(-p.taps.size // tasks.BLOCK)))
        add_parts(partial, dw.reshape(-1))
        add_parts(partial_b, db)
