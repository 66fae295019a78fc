"""3x3 convolutions of stride 1 by Winograd's F(2x2,3x3), with 16 products instead of 36 for four
outputs, per channel and filter. For calls that need no gradient, larger layers use F(4x4,3x3), with
36 products instead of 144 for sixteen outputs.

The image is divided into tiles of 2x2 outputs, each computed from a patch of 4x4 pixels. Element i
of all patches (i = 0..15) is a matrix (tiles, C), element i of all kernels a matrix (C, F), and
their products are 16 ordinary matrix products:

    V = B' d B of each patch    U = G g G' of each kernel
    M[i] = V[i] @ U[i]          y = A' M A + b of each tile

Tiles of 4x4 outputs have patches of 6x6 pixels and 36 products. A register tile `tile`, with one
row per output of a tile (4 or 16), selects which of the two a function computes. The input gradient
is the forward pass of dy, with the kernel rotated by 180 degrees and its two channel axes
exchanged. winograd_grad.py computes the weight gradient.

A tile's results do not depend on other tiles. So results are bit-for-bit equal for any number of
threads, and for an image in any batch. A result that is not finite is computed again directly,
because an infinite pixel affects its whole tile, and sums of huge pixels overflow. transforms.py
contains the transforms.
"""

import os
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numba import prange

from ...arguments.shapes import Window
from ..buffers import scratch
from ..threads import get_num_threads
from . import simd, tile2x2, transforms
from .flat import flatten
from .jit import allocating, inline, kernel
from .products import NARROW_M, NARROW_N, M, N, ones
from .stencil import prefetch

# Conditions: minimum number of channels and of filters, a number that both must be a multiple of,
# minimum number of rows and columns of outputs, and maximum ratio of computed to needed outputs,
# keyed by a tile's side.
LEAST, MULTIPLE, SMALLEST, WASTE = 32, 16, 4, {2: 1.31, 4: 1.2}
# Tiles of 4x4 outputs are used if an image has at least MANY of them, or if channels times filters
# is at most LIGHT, because their kernels are transformed in every call.
MANY, LIGHT = 16, 64 * 64
# Number of tiles in a task, keyed by a tile's side: a multiple of both register tiles' rows.
TILES = {2: 54, 4: 18}
# number of channels of U that a task transforms at a time, so that U, V and M stay in the L2 cache
DEPTH = 32
LOW = 4  # number of rows of a third register tile, which is used for few tiles
# maximum number of tiles for which each task transforms U for its own columns; with more tiles, all
# of U is transformed first
FEW = 64
# minimum number of tiles that are divided among the threads, although each then transforms U, if
# there are too few columns for all threads
DIVIDED = 16
# padding, in elements, after each matrix of a task's own U; without it, the matrices would compete
# for cache sets
APART = 16


class Tiles(NamedTuple):
    """The positions of an image's tiles: the offset of each pixel, or -1 for a missing pixel."""

    size: int  # number of tiles per image
    patches: np.ndarray  # (size*16,) or (size*36,): offsets into x
    # (size*4,) or (size*16,): offsets into y, with each 2x2 window's pixels adjacent; with pooling,
    # a quarter as many
    targets: np.ndarray


def _covers(size: tuple[int, int], side: int) -> bool:
    return -(-size[0] // side) * -(-size[1] // side) * side * side <= WASTE[side] * size[0] * size[1]


def pays(c: int, f: int, size: tuple[int, int], window: Window, groups: int = 1) -> bool:
    """Returns whether to use this method for a convolution from c channels to f filters with
    outputs of this size. This depends only on the shape, not on the batch size.
    """
    return (
        transforms.serve(window, groups) and min(c, f) >= LEAST and c % MULTIPLE == f % MULTIPLE == 0
        and min(size) >= SMALLEST and _covers(size, 2)
    )


def own_way() -> bool:
    """Returns whether calls without a gradient may use another method than calls with a gradient,
    so that their last bits may differ. AUTOCONV_WINOGRAD=2 in the environment disables this.
    """
    return os.environ.get("AUTOCONV_WINOGRAD") != "2"


def tile_side(c: int, f: int, size: tuple[int, int]) -> int:
    """Returns the side of a tile for calls without a gradient: 4 if that is faster for the layer's
    shape, otherwise 2.
    """
    is_faster = size[0] * size[1] >= 16 * MANY or c * f <= LIGHT
    return 4 if is_faster and _covers(size, 4) and own_way() else 2


@lru_cache(maxsize=256)
def tiles(h: int, w: int, c: int, oh: int, ow: int, f: int, top: int, left: int, pool: bool, side: int = 2) -> Tiles:
    """Returns the tiles of images (h, w, c) and results (oh, ow, f). If `pool`, the tiles cover
    only outputs that a 2x2 pooling reads.
    """
    oh, ow = (oh // 2 * 2, ow // 2 * 2) if pool else (oh, ow)
    rows, columns = side * np.arange(-(-oh // side)), side * np.arange(-(-ow // side))
    patches = _offsets(rows - top, columns - left, side + 2, h, w, c)
    if pool:
        targets = _offsets(rows // 2, columns // 2, side // 2, oh // 2, ow // 2, f)
    else:
        half = side // 2  # the four pixels of each 2x2 window are adjacent
        targets = _offsets(rows, columns, side, oh, ow, f).reshape(-1, half, 2, half, 2).transpose(0, 1, 3, 2, 4)
    return Tiles(rows.size * columns.size, patches, np.ascontiguousarray(targets.ravel()))


def _offsets(rows: np.ndarray, columns: np.ndarray, side: int, h: int, w: int, channels: int) -> np.ndarray:
    """Returns the pixel offsets of squares that begin at these rows and columns; -1 if outside."""
    i, j = rows[:, None] + np.arange(side), columns[:, None] + np.arange(side)
    i, j = i[:, None, :, None], j[None, :, None, :]
    inside = (i >= 0) & (i < h) & (j >= 0) & (j < w)
    return np.where(inside, (i * w + j) * channels, -1).astype(np.int64).ravel()


@inline
def _transform(tile, w, c, f, rotate, scale, k, count, panel, part, u, u_start, step):
    """u = U of `count` channels from channel k on and of `part` columns from column `panel` on.
    Element i of U begins at u[u_start + i*step].
    """
    first, tap = 8 * c * f if rotate else 0, -c * f if rotate else c * f
    for row in range(count):
        for j in range(0, part, simd.width(tile)):
            transforms.kernel(tile, w, first + (k + row) * f + panel + j, tap, scale, panel + j,
                              u, u_start + row * part + j, step)


@inline
def _transform_row(tile, w, scale, u, rotate, k):
    """u (panel, items, C, columns) = U of one channel. Each panel is as wide as the wide register
    tile.
    """
    _, c, f = w.shape
    width, items = simd.width(simd.zeros(w, 1, N)), transforms.side(tile) ** 2
    for panel in range(0, f, width):
        part = min(width, f - panel)
        _transform(tile, flatten(w), c, f, rotate, scale, k, 1, panel, part, u,
                   items * c * panel + k * part, c * part)


@kernel("(T[:,:,::1], T[::1], T[::1], boolean)", parallel=True)
def _transform_kernels(w, scale, u, rotate):
    """u = U of w (9,C,F) times scale (F,), for tiles of 2x2 outputs."""
    for k in prange(w.shape[1]):
        _transform_row(simd.zeros(w, 4, 1), w, scale, u, rotate, k)


@kernel("(T[:,:,::1], T[::1], T[::1], boolean)", parallel=True)
def _transform_kernels_4x4(w, scale, u, rotate):
    """u = U of w (9,C,F) times scale (F,), for tiles of 4x4 outputs."""
    for k in prange(w.shape[1]):
        _transform_row(simd.zeros(w, 16, 1), w, scale, u, rotate, k)


@allocating
def transform_patches(tile, x, k, size, first, count, map_tiles, patches, c, v):
    """v (items, count, c) = V of `count` tiles from tile `first` on and of c channels from channel
    k on. An image in x has `size` elements.
    """
    zero, items = np.zeros(simd.width(tile), x.dtype), transforms.side(tile) ** 2
    for t in range(count):
        start, index = (first + t) // map_tiles * size + k, (first + t) % map_tiles * items
        for j in range(0, c, simd.width(tile)):
            transforms.patch(tile, x, start + j, patches, index, zero, v, t * c + j, count * c)


@inline
def prefetch_tiles(x, k, size, first, stop, map_tiles, table, side, edge, count):
    """Prefetches `count` channels, from channel k on, of the pixels of tiles `first` to `stop`. A
    tile's square has `side` pixels per side. Its outer pixels, `edge` on each side, are left to
    other tiles.
    """
    for t in range(first, stop):
        start, index = t // map_tiles * size + k, t % map_tiles * side * side
        for i in range(edge, side - edge):
            for j in range(edge, side - edge):
                prefetch(x, start + table[index + i * side + j], count)


@inline
def _product(v, start, step, count, deep, u, src, m, dst, part, fresh):
    """m[dst + p*part : + part] (+)= the sum over k < deep of v[start + p*step + k] * u[src +
    k*part : + part] for p below `count`, in whole vectors. If `fresh`, the sum starts from zeros.
    """
    wide, low = simd.zeros(v, M, N), simd.zeros(v, LOW, N)
    narrow, single = simd.zeros(v, NARROW_M, NARROW_N), simd.zeros(v, NARROW_M, 1)
    wide_rows = _up_to(count, M)
    low_rows = _up_to(count, LOW)
    narrow_rows = _up_to(count, NARROW_M)
    least, j = min(wide_rows, low_rows, narrow_rows), 0
    while j < part:
        if part - j >= simd.width(wide) and wide_rows == least:
            _columns(wide, M, v, start, step, count, deep, u, src + j, m, dst + j, part, fresh)
            j += simd.width(wide)
        elif part - j >= simd.width(low) and low_rows == least:
            _columns(low, LOW, v, start, step, count, deep, u, src + j, m, dst + j, part, fresh)
            j += simd.width(low)
        elif part - j >= simd.width(narrow):
            _columns(narrow, NARROW_M, v, start, step, count, deep, u, src + j, m, dst + j, part, fresh)
            j += simd.width(narrow)
        else:
            _columns(single, NARROW_M, v, start, step, count, deep, u, src + j, m, dst + j, part, fresh)
            j += simd.width(single)


@inline
def _up_to(count, height):
    """Returns `count` rounded up to a multiple of `height`, the rows of a register tile."""
    return (count + height - 1) // height * height


@inline
def _columns(tile, height, v, start, step, count, deep, u, src, m, dst, part, fresh):
    """Computes one register tile's columns of `_product`. The tile has `height` rows."""
    for p in range(0, count, height):
        rows, places = simd.steps(part, p, count, tile), simd.steps(step, p, count, tile)
        acc = tile if fresh else simd.load(tile, m, rows, dst, simd.width(tile))
        k = start
        j = src
        for _ in range(deep):
            acc = simd.fma(acc, v, places, k, u, j)
            k += 1
            j += part
        simd.store(acc, m, rows, dst, simd.width(tile))


@inline
def _prefetch_weights(w, c, f, k, count, panel, part, first, stop):
    """Prefetches rows `first` to `stop` of the 9*count rows of weights for `count` channels from
    channel k on and for `part` columns from column `panel` on.
    """
    for row in range(first, stop):
        prefetch(w, (row // count * c + k + row % count) * f + panel, part)


@inline
def _multiply(tile, v, u, scratch, w, rotate, scale, m, count, c, f, panel, end, part, x, patches, ahead):
    """m (items, count, part) = V @ U for the `part` columns from column `panel` on. If u is empty,
    U is transformed here, `DEPTH` channels at a time.

    Meanwhile, the elements that are needed next are prefetched. These are the weights of the
    following channels or, up to column `end`, of the following columns, or the pixels of the
    following tiles. For these tiles, `ahead` contains (size of an image, tiles per image, first
    tile, number of tiles).
    """
    size, map_tiles, first, next_count = ahead
    has_u, square = u.size > 0, transforms.side(tile)
    items = square * square
    depth = c if has_u else min(DEPTH, c)
    source = u if has_u else scratch
    for k in range(0, c, depth):
        deep = min(depth, c - k)
        start, step = (items * panel * c, part * c) if has_u else (0, deep * part + APART)
        next_k, next_panel = (k + depth, panel) if k + depth < c else (0, panel + part)
        rows = 0 if has_u or next_panel >= end else 9 * min(depth, c - next_k)
        if not has_u:
            _transform(tile, w, c, f, rotate, scale, k, deep, panel, part, scratch, start, step)
        for i in range(items):
            if next_count > 0:
                prefetch_tiles(x, 0, size, first + next_count * i // items, first + next_count * (i + 1) // items,
                               map_tiles, patches, square, 1, c)
            if rows > 0:
                _prefetch_weights(w, c, f, next_k, rows // 9, next_panel, part, rows * i // items,
                                  rows * (i + 1) // items)
            _product(v, i * count * c + k, c, count, deep, source, start + i * step, m, i * count * part, part, k == 0)


@allocating
def _recompute(acc, outputs, x, start, patches, index, c, w, rotate, border, scale, b, f, filters):
    """Returns the outputs of a tile for one vector of filters, computed directly. If `border`, the
    zeros of the border are multiplied, as in conv.py; this makes a difference if a weight is
    infinite.
    """
    lanes, square = simd.width(acc), transforms.side(acc)
    exact = np.empty(outputs * lanes, x.dtype)
    for r in range(outputs):
        row, column = 2 * (r // 8) + r % 4 // 2, 2 * (r // 4 % 2) + r % 2
        sums = exact[r * lanes : (r + 1) * lanes]
        # assigning a slice would add Numba's error text for mismatching sizes to the kernel
        for j in range(lanes):
            sums[j] = b[f + j]
        for tap in range(9):
            offset = patches[index + (row + tap // 3) * square + column + tap % 3]
            weights = (8 - tap if rotate else tap) * c * filters + f
            for k in range(c if border or offset >= 0 else 0):
                value = x[start + offset + k] if offset >= 0 else x.dtype.type(0)
                for j in range(lanes):
                    sums[j] += value * (w[weights + k * filters + j] * scale[f + j])
    return simd.load(acc, exact, simd.steps(lanes, 0, outputs, acc), 0, lanes)


@allocating
def _task(tile, task, x, u, w, scale, b, y, winner, map_tiles, patches, targets, options, shares):
    """Computes task number `task`, which covers some of the tiles and some of the columns.
    `options` = (rotate, border, relu, pool); see `_recompute` for border. With pool, the result is
    y (N,OH//2,OW//2,F), and `winner`, unless it is empty, receives the index of each maximum among
    the four outputs.
    """
    rotate, border, relu, pool = options
    task_tiles, columns, width = shares
    n, c, f, lanes, outputs = x.shape[0], x.shape[3], b.size, simd.width(tile), (transforms.side(tile) - 2) ** 2
    flat, items, size, y_size = flatten(x), transforms.side(tile) ** 2, x.size // n, y.size // n
    pieces = (f + columns - 1) // columns
    first, panel = task // pieces * task_tiles, task % pieces * columns
    count, end = min(task_tiles, n * map_tiles - first), min(panel + columns, f)
    v, m = np.empty(items * count * c, x.dtype), np.empty(items * count * width, x.dtype)
    scratch = np.empty(0 if u.size > 0 else items * (min(DEPTH, c) * width + APART), x.dtype)
    spare = np.empty(lanes, x.dtype)
    transform_patches(tile, flat, 0, size, first, count, map_tiles, patches, c, v)
    for q in range(panel, end, width):
        part = min(width, end - q)
        ahead = (size, map_tiles, first + count, count if q == panel and u.size > 0 else 0)
        _multiply(tile, v, u, scratch, w, rotate, scale, m, count, c, f, q, end, part, flat, patches, ahead)
        for t in range(count):
            image, pos = (first + t) // map_tiles, (first + t) % map_tiles
            for j in range(0, part, lanes):
                acc = simd.add_row(transforms.output(tile, m, t * part + j, count * part), b, q + j, lanes)
                if not transforms.finite(acc):
                    acc = _recompute(acc, outputs, flat, image * size, patches, items * pos, c, w, rotate, border,
                                     scale, b, q + j, f)
                dst = image * y_size + q + j
                if pool:
                    best = tile2x2.window_max(acc)
                    transforms.store_pixels(simd.clip(best, simd.RELU), y, dst, targets, outputs // 4 * pos, spare)
                    if winner.size > 0:  # only for tiles of 2x2 outputs
                        tile2x2.store_winners(acc, best, winner, simd.steps(0, 0, 1, best), dst + targets[pos], lanes)
                else:
                    acc = simd.clip(acc, simd.RELU if relu else simd.LINEAR)
                    transforms.store_pixels(acc, y, dst, targets, outputs * pos, spare)


@inline
def _tasks(total, f, shares):
    return (total + shares[0] - 1) // shares[0] * ((f + shares[1] - 1) // shares[1])


_ARGUMENTS = ("(T[:,:,:,::1], T[::1], T[::1], T[::1], T[::1], T[::1], uint8[::1], int64, "
              "int64[::1], int64[::1], UniTuple(boolean, 4), UniTuple(int64, 3))")


@kernel(_ARGUMENTS, parallel=True)
def _forward(x, u, w, scale, b, y, winner, map_tiles, patches, targets, options, shares):
    """Computes the convolution with tiles of 2x2 outputs."""
    for task in prange(_tasks(x.shape[0] * map_tiles, b.size, shares)):
        _task(simd.zeros(x, 4, 1), np.int64(task), x, u, w, scale, b, y, winner, map_tiles, patches, targets,
              options, shares)


@kernel(_ARGUMENTS, parallel=True)
def _forward_4x4(x, u, w, scale, b, y, winner, map_tiles, patches, targets, options, shares):
    """Computes the convolution with tiles of 4x4 outputs."""
    for task in prange(_tasks(x.shape[0] * map_tiles, b.size, shares)):
        _task(simd.zeros(x, 16, 1), np.int64(task), x, u, w, scale, b, y, winner, map_tiles, patches, targets,
              options, shares)


def _shares(tiles: int, filters: int, dtype: np.dtype, side: int) -> tuple[int, int, int]:
    """Returns the number of tiles in a task, the number of its columns, and how many columns are
    processed at a time. These may depend on the number of threads, because a result does not depend
    on the rest of its task.
    """
    threads, lanes = get_num_threads(), simd.lanes(dtype)
    panels = -(-filters // (N * lanes))
    if tiles <= FEW:
        width = (N if panels >= threads else simd.NARROW[1]) * lanes
        columns = -(-filters // (width * threads)) * width
        pieces = -(-filters // columns) if tiles >= DIVIDED else threads
        return max(1, -(-tiles * pieces // threads)), columns, width
    groups = -(-tiles // TILES[side])
    pieces = min(panels, -(-threads // groups))
    if groups * pieces < 4 * threads:  # if there are few tasks, each thread gets the same number
        groups = max(groups, -(-groups * pieces // threads) * threads // pieces)
    return max(M, -(-tiles // groups)), -(-panels // pieces) * N * lanes, N * lanes


def _compute(x, w, b, y, winner, t: Tiles, side: int, scale, options) -> None:
    """Computes the convolution. `options` is described in `_task`."""
    n, f = x.shape[0], w.shape[2]
    scale, count = ones(x.dtype, f) if scale is None else scale, n * t.size
    u = scratch(((side + 2) ** 2 * w[0].size if count > FEW else 0,), w.dtype)
    forward, transform = (_forward_4x4, _transform_kernels_4x4) if side == 4 else (_forward, _transform_kernels)
    if u.size:  # if u is empty, each task transforms U itself
        transform(w, scale, u, options[0])
    forward(x, u, w.reshape(-1), scale, b, y.reshape(-1), winner, t.size, t.patches, t.targets, options,
            _shares(count, f, x.dtype, side))


def conv2d(x, w, b, y, window: Window, relu: bool = False, rotate: bool = False, border: bool = True,
           scale=None, side: int = 2) -> None:
    """Computes y (N,OH,OW,F) from x (N,H,W,C), w (9,C,F) times scale (F,) and b (F,), with tiles of
    `side` x `side` outputs. See conv.py.
    """
    t = tiles(*x.shape[1:], *y.shape[1:], window.top, window.left, False, side)
    _compute(x, w, b, y, np.empty(0, np.uint8), t, side, scale, (rotate, border, relu, False))


def conv2d_pooled(x, w, b, y, winner, window: Window, scale=None, side: int = 2) -> None:
    """y (N,OH//2,OW//2,F) = 2x2 max pooling of relu(conv2d(x, w scale, b)); see fused.py."""
    t = tiles(*x.shape[1:], *window.output_size(*x.shape[1:3]), y.shape[3], window.top, window.left, True, side)
    _compute(x, w, b, y, winner, t, side, scale, (False, True, True, True))


def conv2d_input_grad(dy, wt, b, dx, window: Window, border: bool) -> None:
    """dx (N,H,W,C) = b + the input gradient from dy (N,OH,OW,F), with wt (9,F,C). See `_recompute`
    for `border`.
    """
    conv2d(dy, wt, b, dx, window.gradient_window, rotate=True, border=border)
