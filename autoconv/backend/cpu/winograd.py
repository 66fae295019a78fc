"""3x3 convolutions of stride 1 by Winograd's F(2x2,3x3): 16 products for four outputs and a pair of channels, not 36.

The image is cut into tiles of 2x2 outputs, each computed from a patch of 4x4 pixels. Item i of all patches (i = 0..15)
is a matrix (tiles, C), item i of all kernels one of (C, F), and their products are 16 ordinary matrix products:

    V = B' d B of each patch    U = G g G' of each kernel    M[i] = V[i] @ U[i]    y = A' M A + b of each tile
    dU[i] = sum over tiles of V[i]' (A dy A')[i]             dw = G' dU G

The input gradient is the forward pass of dy with the kernel turned by 180 degrees and its two channels exchanged.
A tile's numbers do not depend on the other tiles, and sums over tiles have one order, so results are the same bits for
any number of threads and an image's the same in any batch. Where a result is not finite, it is computed again directly:
an infinity would spread over its tile, and sums of huge pixels overflow. transforms.py has the transforms.
"""

import os
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numba import get_num_threads, prange

from ...arguments.shapes import Window
from . import rowwise, simd, tile2x2, transforms
from .jit import inline, kernel
from .products import NARROW_M, NARROW_N, ONE_RUN, M, N, add_rows, gathered_product, ones, row_offsets, zeros
from .stencil import prefetch

# From where it pays: channels and filters, which must be whole vectors, and rows and columns of outputs; and how much of
# the tiles may lie outside the outputs.
LEAST, MULTIPLE, SMALLEST, WASTE = 32, 16, 8, 1.15
TILES = 54  # in a task: whole rows of both register tiles; V, M and a panel of U stay in the second-level cache
FEW = 64  # tiles: where there are no more, U is not made ahead, but by each task for its own columns ...
DEPTH = 128  # ... and so many channels at a time, which stay in the second-level cache until they are used
APART = 16  # items between the 16 parts of that U: whole cache lines at one distance would share a set of the cache
STRETCH = 64  # channels in a task of a weight gradient, with one panel of filters ...
CHAIN = 54  # ... and so many tiles at a time, which are a sum of their own: sums of sums round less than one long sum
PARTS, LEAST_TILES = 16, 4 * CHAIN  # a weight gradient has so many tasks by its shape, of so many tiles each or more


class Tiles(NamedTuple):
    """Where the tiles of one image lie: offsets of pixels, -1 for those that do not exist."""

    each: int  # how many tiles an image has
    patches: np.ndarray  # (each*16,) into x
    targets: np.ndarray  # (each*4,) into y


def pays(c: int, f: int, size: tuple[int, int], window: Window, groups: int = 1) -> bool:
    """Whether a convolution from c channels to f filters with outputs of this size is computed in this way: by its
    shape alone, whatever the batch. AUTOCONV_WINOGRAD=0 in the environment turns it off.
    """
    covered = (size[0] + size[0] % 2) * (size[1] + size[1] % 2)
    return (
        window[:6] == (3, 3, 1, 1, 1, 1) and max(window[6:]) <= 2 and groups == 1
        and min(c, f) >= LEAST and c % MULTIPLE == f % MULTIPLE == 0
        and min(size) >= SMALLEST and covered <= WASTE * size[0] * size[1]
        and os.environ.get("AUTOCONV_WINOGRAD", "1") != "0"
    )


@lru_cache(maxsize=256)
def tiles(h: int, w: int, c: int, oh: int, ow: int, f: int, top: int, left: int, pooled: bool) -> Tiles:
    """The tiles of images (h, w, c) and results (oh, ow, f); `pooled`: those alone that 2x2 pooling reads whole."""
    rows, columns = (oh // 2, ow // 2) if pooled else (-(-oh // 2), -(-ow // 2))
    return Tiles(
        rows * columns,
        _offsets(2 * np.arange(rows) - top, 2 * np.arange(columns) - left, 4, h, w, c),
        _offsets(2 * np.arange(rows), 2 * np.arange(columns), 2, oh, ow, f),
    )


def _offsets(rows: np.ndarray, columns: np.ndarray, side: int, h: int, w: int, channels: int) -> np.ndarray:
    """The offsets of squares of pixels that begin at these rows and columns."""
    i, j = rows[:, None] + np.arange(side), columns[:, None] + np.arange(side)
    i, j = i[:, None, :, None], j[None, :, None, :]
    inside = (i >= 0) & (i < h) & (j >= 0) & (j < w)
    return np.where(inside, (i * w + j) * channels, -1).astype(np.int64).ravel()


@inline
def _transform(w, c, f, turned, scale, k, count, panel, part, u, at, step):
    """U of `count` channels from k on and the `part` columns from `panel` on. Item i of it begins at u[at + i*step]."""
    one, first, tap = simd.zeros(w, 1, 1), 8 * c * f if turned else 0, -c * f if turned else c * f
    for row in range(count):
        for j in range(0, part, simd.width(one)):
            transforms.kernel(one, w, first + (k + row) * f + panel + j, tap, scale, panel + j,
                              u, at + row * part + j, step)


@kernel("(T[:,:,::1], T[::1], T[::1], boolean)", parallel=True)
def _transform_kernels(w, scale, u, turned):
    """U of w (9,C,F) scale (F,), in panels of as many columns as the wide tile has: (panel, 16, C, columns)."""
    _, c, f = w.shape
    width = simd.width(simd.zeros(w, 1, N))
    for k in prange(c):
        for panel in range(0, f, width):
            part = min(width, f - panel)
            start, step = 16 * c * panel + k * part, c * part
            _transform(w.reshape(w.size), c, f, turned, scale, k, 1, panel, part, u, start, step)


@inline
def _patches(x, k, size, first, count, per_image, patches, c, v):
    """V (16, count, c) of `count` tiles and the c channels from k on, from x whose images have `size` items."""
    one = simd.zeros(x, 1, 1)
    zero = np.zeros(simd.width(one), x.dtype)
    for t in range(count):
        start, at = (first + t) // per_image * size + k, (first + t) % per_image * 16
        for j in range(0, c, simd.width(one)):
            transforms.patch(one, x, start + j, patches, at, zero, v, t * c + j, count * c)


@inline
def _gradients(dy, f, size, first, count, per_image, targets, columns, dm):
    """dM (16, count, columns) of `count` tiles and the filters from f on, from dy whose images have `size` items."""
    one = simd.zeros(dy, 1, 1)
    zero = np.zeros(simd.width(one), dy.dtype)
    for t in range(count):
        start, at = (first + t) // per_image * size + f, (first + t) % per_image * 4
        for j in range(0, columns, simd.width(one)):
            transforms.gradient(one, dy, start + j, targets, at, zero, dm, t * columns + j, count * columns)


@inline
def _ask(x, k, size, first, stop, per_image, table, side, count):
    """Asks for `count` items, from k on, of the four pixels in the middle of each tile: they are read soon."""
    for t in range(first, stop):
        start, at = t // per_image * size + k, t % per_image * side * side + (side // 2 - 1) * (side + 1)
        for i in (at, at + 1, at + side, at + side + 1):
            prefetch(x, start + table[i], count)


@inline
def _multiply(v, u, room, w, turned, scale, no_bias, m, rows, run, count, c, f, panel, part, x, patches, ahead):
    """M (16, count, part) = V @ U for the `part` columns from `panel` on. An empty u says that U is to be made here.
    Meanwhile x is asked for the tiles that come next: `ahead` is its images' size, their tiles, the first and how many.
    """
    size, per_image, first, soon = ahead
    made = u.size > 0
    depth, source = c if made else DEPTH, u if made else room
    for k in range(0, c, depth):
        deep = min(depth, c - k)
        start, step = (16 * panel * c, part * c) if made else (0, deep * part + APART)
        if not made:
            _transform(w, c, f, turned, scale, k, deep, panel, part, room, start, step)
        for i in range(16):
            _ask(x, 0, size, first + soon * i // 16, first + soon * (i + 1) // 16, per_image, patches, 4, c)
            gathered_product(v, i * count * c + k, rows, count, run, deep, source, start + i * step, no_bias[:0],
                             no_bias, m, i * count * part, part, 0, part, k == 0, False)


@inline
def _directly(acc, x, start, patches, at, c, w, turned, border, scale, b, f, filters):
    """The four outputs of a tile for one vector of filters, by the definition. `border`: its zeros are multiplied, as
    conv.py would do: that matters where a weight is infinite.
    """
    lanes = simd.width(simd.zeros(x, 1, 1))
    exact = np.empty(4 * lanes, x.dtype)
    for r in range(4):
        row = exact[r * lanes : (r + 1) * lanes]
        row[:] = b[f : f + lanes]
        for tap in range(9):
            offset = patches[at + (r // 2 + tap // 3) * 4 + r % 2 + tap % 3]
            weights = (8 - tap if turned else tap) * c * filters + f
            for k in range(c if border or offset >= 0 else 0):
                value = x[start + offset + k] if offset >= 0 else x.dtype.type(0)
                for j in range(lanes):
                    row[j] += value * (w[weights + k * filters + j] * scale[f + j])
    return simd.load(acc, exact, simd.steps(lanes, 0, 4, acc), 0, lanes)


@inline
def _share(task, total, each, f, columns):
    """The tiles and the columns of a task: first tile, how many, first column, end."""
    pieces = (f + columns - 1) // columns
    first, panel = task // pieces * each, task % pieces * columns
    return first, min(each, total - first), panel, min(panel + columns, f)


@kernel("(T[:,:,:,::1], T[::1], T[::1], T[::1], T[::1], T[::1], int64, int64[::1], int64[::1], int64[::1], int64[::1],"
        " T[::1], boolean, boolean, boolean, UniTuple(int64, 3))", parallel=True)
def _forward(x, u, w, scale, b, y, per_image, patches, targets, rows, run, no_bias, turned, border, relu, shares):
    n, c, f, flat, one = x.shape[0], x.shape[3], b.size, x.reshape(x.size), simd.zeros(x, 1, 1)
    total, size, y_size, lanes = n * per_image, x.size // n, y.size // n, simd.width(one)
    each, columns, width = shares
    for task in prange((total + each - 1) // each * ((f + columns - 1) // columns)):
        first, count, panel, end = _share(task, total, each, f, columns)
        v, m = np.empty(16 * count * c, x.dtype), np.empty(16 * count * width, x.dtype)
        room = np.empty(0 if u.size > 0 else 16 * (min(DEPTH, c) * width + APART), x.dtype)
        spare = np.empty(lanes, x.dtype)
        _patches(flat, 0, size, first, count, per_image, patches, c, v)
        for q in range(panel, end, width):
            part = min(width, end - q)
            ahead = (size, per_image, first + count, count if q == panel and u.size > 0 else 0)
            _multiply(v, u, room, w, turned, scale, no_bias, m, rows, run, count, c, f, q, part, flat, patches, ahead)
            for t in range(count):
                image, tile = (first + t) // per_image, (first + t) % per_image
                for j in range(0, part, lanes):
                    acc = simd.add_row(transforms.output(one, m, t * part + j, count * part), b, q + j, lanes)
                    if not transforms.finite(acc):
                        acc = _directly(acc, flat, image * size, patches, 16 * tile, c, w, turned, border, scale, b,
                                        q + j, f)
                    acc = simd.relu(acc) if relu else acc
                    transforms.store_pixels(acc, y, image * y_size + q + j, targets, 4 * tile, spare)


@kernel("(T[:,:,:,::1], T[::1], T[::1], T[::1], T[::1], T[::1], uint8[::1], int64, int64[::1], int64[::1], int64[::1],"
        " T[::1], UniTuple(int64, 3))", parallel=True)
def _forward_pooled(x, u, w, scale, b, y, winner, per_image, patches, rows, run, no_bias, shares):
    """y (N,OH//2,OW//2,F) = relu of the largest of each tile's four outputs; `winner` says which it was."""
    n, c, f, flat, one = x.shape[0], x.shape[3], b.size, x.reshape(x.size), simd.zeros(x, 1, 1)
    total, size, lanes = n * per_image, x.size // n, simd.width(one)
    each, columns, width = shares
    for task in prange((total + each - 1) // each * ((f + columns - 1) // columns)):
        first, count, panel, end = _share(task, total, each, f, columns)
        v, m = np.empty(16 * count * c, x.dtype), np.empty(16 * count * width, x.dtype)
        room = np.empty(0 if u.size > 0 else 16 * (min(DEPTH, c) * width + APART), x.dtype)
        _patches(flat, 0, size, first, count, per_image, patches, c, v)
        for q in range(panel, end, width):
            part = min(width, end - q)
            ahead = (size, per_image, first + count, count if q == panel and u.size > 0 else 0)
            _multiply(v, u, room, w, False, scale, no_bias, m, rows, run, count, c, f, q, part, flat, patches, ahead)
            for t in range(count):
                image, tile = (first + t) // per_image, (first + t) % per_image
                for j in range(0, part, lanes):
                    acc = simd.add_row(transforms.output(one, m, t * part + j, count * part), b, q + j, lanes)
                    if not transforms.finite(acc):
                        acc = _directly(acc, flat, image * size, patches, 16 * tile, c, w, False, True, scale, b, q + j,
                                        f)
                    best = tile2x2.window_max(acc)
                    to = simd.steps(0, 0, 1, best)
                    simd.store(simd.relu(best), y, to, (first + t) * f + q + j, lanes)
                    if winner.size > 0:
                        tile2x2.store_winners(acc, best, winner, to, (first + t) * f + q + j, lanes)


@inline
def _add_outer(tile, height, v, k, count, items, dm, j, columns, du, at, fresh):
    """As many columns of du (items, columns) as the tile has (+)= V (count, items)' @ dM (count, columns): a sum of its
    own, which is then added.
    """
    for q in range(0, items, height):
        acc, rows, to, t, row = tile, simd.steps(1, q, items, tile), simd.steps(columns, q, items, tile), k, j
        for _ in range(count):
            acc = simd.fma(acc, v, rows, t, dm, row)
            t += items
            row += columns
        if not fresh:
            acc = rowwise.add(acc, simd.load(tile, du, to, at, simd.width(tile)))
        simd.store(acc, du, to, at, simd.width(tile))


@kernel("(T[:,:,:,::1], T[:,:,:,::1], T[:,::1], int64, int64[::1], int64[::1])", parallel=True)
def _kernel_sums(x, dy, parts, per_image, patches, targets):
    """dU (parts, panel, 16, C, columns): sums over shares of the tiles. Each task transforms for itself the channels and
    filters of one block of dU, and waits for nobody. Meanwhile x and dy are asked for what comes next.
    """
    n, c, f, shares, wide = x.shape[0], x.shape[3], dy.shape[3], parts.shape[0], simd.zeros(x, M, N)
    flat, flat_dy, du, total = x.reshape(x.size), dy.reshape(dy.size), parts.reshape(parts.size), n * per_image
    narrow, single, width = simd.zeros(x, NARROW_M, NARROW_N), simd.zeros(x, NARROW_M, 1), simd.width(wide)
    panels, stretches = (f + width - 1) // width, (c + STRETCH - 1) // STRETCH
    for task in prange(shares * panels * stretches):
        part, panel, k = task // (panels * stretches), task // stretches % panels * width, task % stretches * STRETCH
        size, dy_size, items, columns = x.size // n, dy.size // n, min(STRETCH, c - k), min(width, f - panel)
        v, dm = np.empty(16 * CHAIN * items, x.dtype), np.empty(16 * CHAIN * columns, x.dtype)
        begin, end = total * part // shares, total * (part + 1) // shares
        chains = (end - begin + CHAIN - 1) // CHAIN
        for chain in range(chains):
            first, stop = begin + (end - begin) * chain // chains, begin + (end - begin) * (chain + 1) // chains
            count, fresh = stop - first, chain == 0
            _patches(flat, k, size, first, count, per_image, patches, items, v)
            _gradients(flat_dy, panel, dy_size, first, count, per_image, targets, columns, dm)
            for i in range(16):
                _ask(flat, k, size, stop + count * i // 16, stop + count * (i + 1) // 16, per_image, patches, 4, items)
                _ask(flat_dy, panel, dy_size, stop + count * i // 16, stop + count * (i + 1) // 16, per_image, targets,
                     2, columns)
                at, j, row = 16 * (part * c * f + panel * c) + (i * c + k) * columns, 0, i * count * columns
                while columns - j >= simd.width(wide):
                    _add_outer(wide, M, v, i * count * items, count, items, dm, row + j, columns, du, at + j, fresh)
                    j += simd.width(wide)
                while columns - j >= simd.width(narrow):
                    _add_outer(narrow, NARROW_M, v, i * count * items, count, items, dm, row + j, columns, du, at + j,
                               fresh)
                    j += simd.width(narrow)
                while columns > j:
                    _add_outer(single, NARROW_M, v, i * count * items, count, items, dm, row + j, columns, du, at + j,
                               fresh)
                    j += simd.width(single)


@kernel("(T[:,::1], T[:,:,::1], T[:,:,:,::1], T[:,:,:,::1], int64, int64[::1], int64[::1])", parallel=True)
def _kernel_gradient(parts, dw, x, dy, per_image, patches, targets):
    """dw (9,C,F) = G' dU G, where dU is the sum of its parts, which is made in the first of them."""
    _, c, f = dw.shape
    one, width, nine = simd.zeros(dw, 1, 1), simd.width(simd.zeros(dw, 1, N)), simd.zeros(dw, 9, 1)
    flat, flat_x, flat_dy, lanes = dw.reshape(dw.size), x.reshape(x.size), dy.reshape(dy.size), simd.width(one)
    du, shares = parts.reshape(parts.size), parts.shape[0]
    for k in prange(c):
        for panel in range(0, f if shares > 1 else 0, width):
            part = min(width, f - panel)
            for i in range(16):
                at = 16 * panel * c + (i * c + k) * part
                add_rows(du, at, shares, 16 * c * f, du, at, part, True)
        for j in range(0, f, lanes):
            panel = j // width * width
            part, at = min(width, f - panel), simd.steps(c * f, 0, 9, nine)
            transforms.kernel_gradient(one, du, 16 * c * panel + k * part + j - panel, c * part, flat, k * f + j, c * f)
            if not transforms.finite(simd.load(nine, flat, at, k * f + j, lanes)):
                exact = np.zeros((9, lanes), dw.dtype)
                for t in range(x.shape[0] * per_image):
                    image, tile = t // per_image, t % per_image
                    _outer_directly(flat_x, image * (x.size // x.shape[0]) + k, patches, 16 * tile, flat_dy,
                                    image * (dy.size // x.shape[0]) + j, targets, 4 * tile, exact)
                for tap in range(9):
                    for e in range(lanes):
                        flat[(tap * c + k) * f + j + e] = exact[tap, e]


@inline
def _outer_directly(x, start, patches, p, dy, dy_start, targets, q, exact):
    """exact (9, lanes) += what the tile adds to the gradient of one channel's weights for a vector of filters."""
    for r in range(4):
        if targets[q + r] >= 0:
            for tap in range(9):
                offset = patches[p + (r // 2 + tap // 3) * 4 + r % 2 + tap % 3]
                value = x[start + offset] if offset >= 0 else x.dtype.type(0)
                for e in range(exact.shape[1]):
                    exact[tap, e] += value * dy[dy_start + targets[q + r] + e]


def _shares(tiles: int, filters: int, dtype: np.dtype) -> tuple[int, int, int]:
    """How many tiles and how many columns a task has, and how many columns of these are worked on at a time. The number
    of threads may decide here: a result does not depend on what else is in its task.
    """
    threads, lanes = get_num_threads(), simd.lanes(dtype)
    panels = -(-filters // (N * lanes))
    if tiles <= FEW:
        width = (N if panels >= threads else simd.NARROW[1]) * lanes
        return max(1, tiles), -(-filters // (width * threads)) * width, width
    groups = -(-tiles // TILES)
    pieces = min(panels, -(-threads // groups))
    if groups * pieces < 4 * threads:  # few: as many for each thread
        groups = max(groups, -(-groups * pieces // threads) * threads // pieces)
    return max(simd.TILE[0], -(-tiles // groups)), -(-panels // pieces) * N * lanes, N * lanes


def _transformed(w, scale, turned: bool, tiles: int) -> np.ndarray:
    """U of w (9,C,F) times scale (F,), `turned` by 180 degrees; empty where the tasks make it themselves."""
    u = np.empty(16 * w[0].size if tiles > FEW else 0, w.dtype)
    if u.size:
        _transform_kernels(w, scale, u, turned)
    return u


def conv2d(x, w, b, y, window: Window, relu: bool = False, turned: bool = False, border: bool = True,
           scale=None) -> None:
    """y (N,OH,OW,F) from x (N,H,W,C), w (9,C,F) times scale (F,) and b (F,); see conv.py."""
    (_, h, width, c), (n, oh, ow, f) = x.shape, y.shape
    t = tiles(h, width, c, oh, ow, f, window.top, window.left, False)
    scale = ones(x.dtype, f) if scale is None else scale
    _forward(x, _transformed(w, scale, turned, n * t.each), w.reshape(-1), scale, b, y.reshape(-1), t.each, t.patches,
             t.targets, row_offsets(max(TILES, FEW), c), ONE_RUN, zeros(x.dtype, f), turned, border, relu,
             _shares(n * t.each, f, x.dtype))


def conv2d_pooled(x, w, b, y, winner, window: Window, scale=None) -> None:
    """y (N,OH//2,OW//2,F) = 2x2 max pooling of relu(conv2d(x, w scale, b)); see fused.py."""
    (n, h, width, c), f, (oh, ow) = x.shape, y.shape[3], window.output_size(*x.shape[1:3])
    t = tiles(h, width, c, oh, ow, f, window.top, window.left, True)
    scale = ones(x.dtype, f) if scale is None else scale
    _forward_pooled(x, _transformed(w, scale, False, n * t.each), w.reshape(-1), scale, b, y.reshape(-1), winner,
                    t.each, t.patches, row_offsets(max(TILES, FEW), c), ONE_RUN, zeros(x.dtype, f),
                    _shares(n * t.each, f, x.dtype))


def conv2d_input_grad(dy, wt, b, dx, window: Window, border: bool) -> None:
    """dx (N,H,W,C) = b + what dy (N,OH,OW,F) gives it; wt (9,F,C). `border`: see `_directly`."""
    conv2d(dy, wt, b, dx, window.around, turned=True, border=border)


def conv2d_weight_grad(x, dy, dw, window: Window) -> None:
    """dw (9,C,F) from x (N,H,W,C) and dy (N,OH,OW,F)."""
    (n, h, width, c), (_, oh, ow, f) = x.shape, dy.shape
    t = tiles(h, width, c, oh, ow, f, window.top, window.left, False)
    blocks = -(-c // STRETCH) * -(-f // (N * simd.lanes(x.dtype)))
    parts = np.empty((max(1, min(PARTS // blocks, n * t.each // LEAST_TILES)), 16 * c * f), x.dtype)
    _kernel_sums(x, dy, parts, t.each, t.patches, t.targets)
    _kernel_gradient(parts, dw, x, dy, t.each, t.patches, t.targets)
