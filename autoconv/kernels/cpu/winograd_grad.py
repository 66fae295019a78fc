"""The weight gradient of 3x3 convolutions by Winograd's F(2x2,3x3) (see winograd.py).

    V = B' d B of each patch    dM = A dy A' of each tile    dU[i] = sum over tiles of V[i]' dM[i]    dw = G' dU G

Sums over tiles have a fixed order, so results are bit-for-bit equal for any number of threads.
Results that are not finite, or whose inputs have too wide a range, are computed again directly
(winograd_ranges.py).
"""

import numpy as np
from numba import prange

from ...arguments.shapes import Window
from ..buffers import scratch
from . import rowwise, simd, tasks, transforms, winograd_ranges
from .flat import flatten
from .jit import allocating, inline, kernel
from .products import NARROW_M, NARROW_N, M, N, add_rows
from .winograd import prefetch_tiles, tiles, transform_patches

STRETCH = 64  # number of channels in a task, which also covers one panel of filters
# number of tiles per partial sum; partial sums have smaller rounding errors than one long sum
CHAIN = 54
# maximum number of tasks, unless dU has more blocks, and minimum number of tiles in each task
PARTS, LEAST_TILES = 16, 4 * CHAIN


@allocating
def _gradients(dy, f, size, first, count, map_tiles, targets, columns, dm):
    """dm (16, count, columns) = dM of `count` tiles from tile `first` on and of the filters from f
    on. An image in dy has `size` elements.
    """
    vec = simd.zeros(dy, 1, 1)
    zero = np.zeros(simd.width(vec), dy.dtype)
    for t in range(count):
        start, index = (first + t) // map_tiles * size + f, (first + t) % map_tiles * 4
        for j in range(0, columns, simd.width(vec)):
            transforms.gradient(vec, dy, start + j, targets, index, zero, dm, t * columns + j, count * columns)


@inline
def _add_outer(tile, height, v, k, count, items, dm, j, columns, du, dst, fresh):
    """du (items, columns) (+)= V (count, items)' @ dM (count, columns), for one tile's columns. The
    product is summed up first and then added to du.
    """
    for q in range(0, items, height):
        acc, rows, out, t, row = tile, simd.steps(1, q, items, tile), simd.steps(columns, q, items, tile), k, j
        for _ in range(count):
            acc = simd.fma(acc, v, rows, t, dm, row)
            t += items
            row += columns
        if not fresh:
            acc = rowwise.add(acc, simd.load(tile, du, out, dst, simd.width(tile)))
        simd.store(acc, du, out, dst, simd.width(tile))


@inline
def _measure(x, k, c, columns, first, stop, total, part, ranges, fresh):
    """Runs `winograd_ranges.measure` for a fraction of the pixels, which corresponds to tiles
    `first` to `stop` of all `total` tiles.
    """
    pixels = x.size // c
    begin, end = pixels * first // total, pixels * stop // total
    dst = winograd_ranges.LINES * part * c + k
    winograd_ranges.measure(x, begin * c + k, c, end - begin, columns, ranges, dst, fresh)


@kernel("(T[:,:,:,::1], T[:,:,:,::1], T[:,::1], T[:,::1], T[:,::1], int64, int64[::1], int64[::1])", parallel=True)
def _kernel_sums(x, dy, parts, x_ranges, dy_ranges, map_tiles, patches, targets):
    """Writes partial sums of dU to `parts` (parts, panel, 16, C, columns), each over a fraction of
    the tiles. Each task transforms the channels and filters of one block of dU itself, and waits
    for no other task. It also prefetches the next elements of x and dy. The first task of a channel
    or filter also measures the range of its values.
    """
    n, c, f, shares, wide = x.shape[0], x.shape[3], dy.shape[3], parts.shape[0], simd.zeros(x, M, N)
    flat, flat_dy, du, total = flatten(x), flatten(dy), flatten(parts), n * map_tiles
    narrow = simd.zeros(x, NARROW_M, NARROW_N)
    single = simd.zeros(x, NARROW_M, 1)
    width = simd.width(wide)
    tile = simd.zeros(x, 4, 1)
    panels, stretches = (f + width - 1) // width, (c + STRETCH - 1) // STRETCH
    for task in prange(shares * panels * stretches):
        part = task // (panels * stretches)
        panel = task // stretches % panels * width
        k = task % stretches * STRETCH
        size, dy_size, items, columns = x.size // n, dy.size // n, min(STRETCH, c - k), min(width, f - panel)
        v, dm = np.empty(16 * CHAIN * items, x.dtype), np.empty(16 * CHAIN * columns, x.dtype)
        begin, end = total * part // shares, total * (part + 1) // shares
        chains = (end - begin + CHAIN - 1) // CHAIN
        for chain in range(chains):
            first = begin + (end - begin) * chain // chains
            stop = begin + (end - begin) * (chain + 1) // chains
            count, fresh = stop - first, chain == 0
            if panel == 0:
                _measure(flat, k, c, items, first, stop, total, part, flatten(x_ranges), fresh)
            if k == 0:
                _measure(flat_dy, panel, f, columns, first, stop, total, part, flatten(dy_ranges), fresh)
            transform_patches(tile, flat, k, size, first, count, map_tiles, patches, items, v)
            _gradients(flat_dy, panel, dy_size, first, count, map_tiles, targets, columns, dm)
            for i in range(16):
                low, high = stop + count * i // 16, stop + count * (i + 1) // 16
                prefetch_tiles(flat, k, size, low, high, map_tiles, patches, 4, 1, items)
                prefetch_tiles(flat_dy, panel, dy_size, low, high, map_tiles, targets, 2, 0, columns)
                dst = 16 * (part * c * f + panel * c) + (i * c + k) * columns
                j = 0
                row = i * count * columns
                while columns - j >= simd.width(wide):
                    _add_outer(wide, M, v, i * count * items, count, items, dm, row + j, columns, du, dst + j, fresh)
                    j += simd.width(wide)
                while columns - j >= simd.width(narrow):
                    _add_outer(narrow, NARROW_M, v, i * count * items, count, items, dm, row + j, columns, du, dst + j,
                               fresh)
                    j += simd.width(narrow)
                while columns > j:
                    _add_outer(single, NARROW_M, v, i * count * items, count, items, dm, row + j, columns, du, dst + j,
                               fresh)
                    j += simd.width(single)


@kernel("(T[:,::1], T[:,:,::1])", parallel=True)
def _kernel_gradient(parts, dw):
    """dw (9,C,F) = G' dU G, where dU is the sum of all `parts`. The first part is overwritten."""
    _, c, f = dw.shape
    vec, width = simd.zeros(dw, 1, 1), simd.width(simd.zeros(dw, 1, N))
    flat, du, shares = flatten(dw), flatten(parts), parts.shape[0]
    for k in prange(c):
        for panel in range(0, f if shares > 1 else 0, width):
            part = min(width, f - panel)
            for i in range(16):
                dst = 16 * panel * c + (i * c + k) * part
                add_rows(du, dst, shares, 16 * c * f, du, dst, part, True)
        for j in range(0, f, simd.width(vec)):
            panel = j // width * width
            part = min(width, f - panel)
            transforms.kernel_gradient(vec, du, 16 * c * panel + k * part + j - panel, c * part, flat, k * f + j, c * f)


def conv2d_weight_grad(x, dy, dw, window: Window) -> None:
    """Computes dw (9,C,F) from x (N,H,W,C) and dy (N,OH,OW,F)."""
    (n, h, width, c), (_, oh, ow, f) = x.shape, dy.shape
    t = tiles(h, width, c, oh, ow, f, window.top, window.left, False)
    blocks = -(-c // STRETCH) * -(-f // tasks.widest_tile(x.dtype))
    shares = max(1, min(PARTS // blocks, n * t.size // LEAST_TILES))
    parts = scratch((shares, 16 * c * f), x.dtype)
    ranges = winograd_ranges.empty(shares, c, x.dtype), winograd_ranges.empty(shares, f, x.dtype)
    _kernel_sums(x, dy, parts, *ranges, t.size, t.patches, t.targets)
    _kernel_gradient(parts, dw)
    winograd_ranges.replace(dw, x, dy, *ranges, window.top, window.left)
