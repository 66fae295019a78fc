"""Matrix products with many rows, for 1x1 convolutions and their gradients. The weights are packed
into panels, which suit the caches.

Unpacked, the rows of a tile's columns of the weights are `filters` elements apart, so a pass over
them touches up to one memory page per row. Packing copies the columns of each tile to one stretch
of memory (a panel). The kernels also prefetch the next rows of x and y. The processor does not do
this itself, because a tile reads six rows at once.
"""

import numpy as np
from numba import prange

from ..buffers import scratch
from ..threads import get_num_threads
from . import rowwise, simd, tasks, vectors
from .arith import copy
from .epilogue import CODES, finish_columns, tile_activation
from .flat import flatten
from .jit import allocating, inline, kernel
from .norm import normalize_rows
from .products import (
    NARROW_M,
    NARROW_N,
    ONE_RUN,
    M,
    N,
    add_parts,
    first_sum,
    gathered_product,
    last_sum,
    row_offsets,
    zeros,
)
from .stencil import prefetch
from .tasks import piece

ROWS = 96  # maximum number of rows in a task
# minimum number of rows for packing the weights, which costs the time of many rows; and the number
# for weights of `LARGE` elements or more, which touch more pages than the processor keeps track of
PACKED, PACKED_LARGE, LARGE = 256, 192, 1 << 19
# for fewer rows, large weights are read once: all rows are multiplied by `PART` rows of weights,
# which touch few pages and stay in a core's cache, before the next
PART = 128
SQUARE = 16  # minimum number of rows and columns for transposing a matrix in registers
AHEAD = 2  # distance of the prefetched rows, in tiles
PANEL = 2048  # maximum number of rows of a panel that stay in a core's cache
WEIGHTS_AHEAD = 12  # distance of the prefetched rows of weights, which the first tile of a task reads
# rows that a weight gradient processes at a time, and number of rows between two prefetches
STRETCH, FEW = 96, 12


@kernel("(T[:,:,::1], T[:,:,::1], boolean)", parallel=True)
def transpose(a, out, reverse):
    """out[b, j, i] = a[b, i, j]; with `reverse`, in reverse order of b. Squares are transposed in
    registers, the rest element by element.
    """
    count, rows, columns = a.shape
    vec = simd.zeros(a, 1, 1)
    side = simd.width(vec)
    blocks, flat, flat_out = (columns + side - 1) // side, flatten(a), flatten(out)
    for task in prange(count * blocks):
        b, j = task // blocks, task % blocks * side
        target = count - 1 - b if reverse else b
        start, out_start = b * rows * columns, target * rows * columns
        whole = rows - rows % side if j + side <= columns else 0
        for i in range(0, whole, side):
            vectors.turn(vec, flat, start + i * columns + j, columns, flat_out, out_start + j * rows + i, rows)
        for k in range(j, min(j + side, columns)):
            for i in range(whole, rows):
                out[target, k, i] = a[b, i, k]


@kernel("(T[:,::1], T[::1])", parallel=True)
def _pack(w, panels):
    """panels (panel, C, columns) = the complete panels of w (C,F), one after the other."""
    c, filters = w.shape
    columns = simd.width(simd.zeros(w, 1, N))
    for task in prange(filters // columns * c):
        panel, k = task // c, task % c
        simd.copy(panels, task * columns, flatten(w), k * filters + panel * columns, columns)


@inline
def _panel(
    tile, high, columns, x, source, first, count, starts, c, part, w, j, step, ahead, scale, b, y,
    filters, f, activation
):
    """Adds the products of elements part[0] to part[1] of a row's c elements to `columns` columns
    of y, from column f on, for `count` rows, which begin at row `source` of x and at row `first` of
    y. The tile has `high` rows and at least as many columns. Rows of w are `step` elements apart;
    the first tile prefetches those that are `ahead` rows ahead.

    The rows of the tile after next are prefetched one by one. Prefetched all at once, they would
    fill the processor's miss queue, and the loads of this tile would wait for them.
    """
    for p in range(0, count, high):
        src, dst = simd.rows(starts, p, count, tile), simd.steps(filters, p, count, tile)
        acc = first_sum(tile, scale, b, y, dst, first * filters, f, columns, part[0] == 0)
        row, k, k_w = p + AHEAD * high, source * c + part[0], j + part[0] * step
        length = part[1] - part[0]
        for m in range(high):
            if f == 0 and part[0] == 0:
                prefetch(x, (source + row) * c, c)
            prefetch(y, (first + row) * filters + f, columns)
            row += 1
            for _ in range(length * (m + 1) // high - length * m // high):
                if p == 0:
                    prefetch(w, k_w + ahead * step, columns)
                if columns == simd.width(tile):
                    acc = simd.fma(acc, x, src, k, w, k_w)
                else:
                    acc = simd.fma_part(acc, x, src, k, w, k_w, columns)
                k, k_w = k + 1, k_w + step
        acc = last_sum(acc, scale, b, f, columns, part[1] == c, activation)
        simd.store(acc, y, dst, first * filters + f, columns)


@allocating
def _find_rows(x, first, end, c, norm, activation):
    """Returns an array with the rows `first` to `end` of x (N,C), and the index of the first of them
    in the array. If `norm` = (center, scale, shift) is not empty, these rows are normalized copies,
    with the activation applied.
    """
    if norm[0].size == 0:
        return x, first
    rows = np.empty((end - first) * c, x.dtype)
    normalize_rows(x, first * c, end * c, x, False, *norm, activation, rows, 0)
    return rows, 0


@kernel("(T[:,::1], T[:,::1], T[::1], T[::1], T[::1], T[:,::1], T[::1], int64[::1], int64[::1], int64, int64,"
        " int64, int64, UniTuple(T[::1], 3), int64)", parallel=True)
def _multiply(x, w, panels, scale, b, y, addend, starts, runs, tasks, pieces, deep, activation, norm, earlier):
    """y (N,F) = activation(x (N,C) @ w (C,F) scale + b + addend). The complete panels of w are read from
    `panels`, unless `panels` is empty. Each of `tasks` tasks has a stretch of rows, and one of `pieces` pieces of
    the columns. All rows of a task are multiplied by `deep` rows of w before the next. If `norm` =
    (center, scale, shift) is not empty, each task first normalizes its rows of x, with the
    activation `earlier`.
    """
    (n, c), filters = x.shape, b.size
    wide, narrow = simd.zeros(x, M, N), simd.zeros(x, NARROW_M, NARROW_N)
    columns = simd.width(wide)
    flat_x, flat_w, flat_y = flatten(x), flatten(w), flatten(y)
    early = tile_activation(addend, activation)
    is_packed = panels.size > 0
    weights = panels if is_packed else flat_w
    ahead = deep if deep == PART else WEIGHTS_AHEAD
    for task in prange(tasks):
        first, end = piece(n, task // pieces, tasks // pieces, M)
        rows, source = _find_rows(flat_x, first, end, c, norm, earlier)
        low, high = piece(filters, task % pieces, pieces, simd.width(narrow))
        whole = high - (high - low) % columns
        for k in range(0, c, deep):
            part = k, min(k + deep, c)
            for f in range(low, whole, columns):
                _panel(wide, M, simd.width(wide), rows, source, first, end - first, starts, c, part, weights,
                       f * c if is_packed else f, columns if is_packed else filters, ahead, scale, b,
                       flat_y, filters, f, early)
        f = whole
        if high - f >= simd.width(narrow):
            _panel(narrow, NARROW_M, simd.width(narrow), rows, source, first, end - first, starts, c,
                   (0, c), flat_w, f, filters, WEIGHTS_AHEAD, scale, b, flat_y, filters, f, early)
            f += simd.width(narrow)
        if high - f > simd.width(narrow) // NARROW_N:
            _panel(narrow, NARROW_M, high - f, rows, source, first, end - first, starts, c, (0, c),
                   flat_w, f, filters, WEIGHTS_AHEAD, scale, b, flat_y, filters, f, early)
        elif f < high:
            gathered_product(rows, source * c, starts, end - first, runs, c, flat_w, 0, filters, scale, b, flat_y,
                             first * filters, filters, f, high, True, True, early)
        finish_columns(flat_y, addend, first * filters, end - first, filters, low, high, activation)


@inline
def _copy_panel(row, dy, k, filters, count, panel, sums, f, fresh):
    """Copies `count` rows of dy, which begin at dy[k] and are `filters` elements apart, to `panel`
    contiguously. Also adds them to the row of sums that begins at sums[f], or at 0 if `fresh`.
    """
    columns, total = simd.width(row), row
    if not fresh:
        total = rowwise.row(row, sums, f, columns)
    for p in range(count):
        values = rowwise.row(row, dy, k + p * filters, columns)
        rowwise.put(values, panel, p * columns, columns)
        total = rowwise.add(total, values)
    rowwise.put(total, sums, f, columns)


@kernel("(T[:,::1], T[:,::1], T[:,::1], T[:,::1], int64)", parallel=True)
def _outer(x, dy, partial, partial_b, pieces):
    """Writes partial sums of dw to `partial` (parts, C*F) and of db to `partial_b` (parts, F), each
    over a fraction of the rows. `pieces` tasks compute the columns of each partial sum.

    For a stretch of rows, one tile's columns of dy are copied contiguously, and stay in the L1
    cache for all channels. Meanwhile, the kernel prefetches the next stretch of x and dy, a few
    cache lines at a time.
    """
    (n, c), filters, parts = x.shape, dy.shape[1], partial.shape[0]
    tile, row = simd.zeros(x, M, N), simd.zeros(x, 1, N)
    columns, flat_x, flat_dy = simd.width(tile), flatten(x), flatten(dy)
    dw, db = flatten(partial), flatten(partial_b)
    for task in prange(parts * pieces):
        part = task // pieces
        begin, end = n * part // parts, n * (part + 1) // parts
        low, high = piece(filters, task % pieces, pieces, columns)
        panel = np.empty(STRETCH * columns, x.dtype)
        tiles = (c + M - 1) // M * (high - low) // columns
        for first in range(begin, end, STRETCH):
            count = min(STRETCH, end - first)
            next_x = (first + STRETCH) * c
            next_dy = (first + STRETCH) * filters
            shares = tiles * ((count + FEW - 1) // FEW)
            share_x, share_dy = count * c // shares + 1, count * filters // shares + 1
            for f in range(low, high, columns):
                _copy_panel(row, flat_dy, first * filters + f, filters, count, panel, db, part * filters + f,
                            first == begin)
                for q in range(0, c, M):
                    dst, src = simd.steps(filters, q, c, tile), simd.steps(1, q, c, tile)
                    acc = tile if first == begin else simd.load(tile, dw, dst, part * c * filters + f, columns)
                    k, j = first * c, 0
                    for p in range(0, count, FEW):
                        prefetch(flat_x, next_x, share_x)
                        prefetch(flat_dy, next_dy, share_dy)
                        next_x, next_dy = next_x + share_x, next_dy + share_dy
                        for _ in range(min(FEW, count - p)):
                            acc = simd.fma(acc, flat_x, src, k, panel, j)
                            k, j = k + c, j + columns
                    simd.store(acc, dw, dst, part * c * filters + f, columns)


def turn(a, out) -> None:
    """out (M,N) = a (N,M).T."""
    if min(a.shape) < SQUARE:
        copy(a.T, out)
    else:
        transpose(a.reshape(1, *a.shape), out.reshape(1, *out.shape), False)


def width(dtype) -> int:
    """Returns the number of columns of a panel."""
    return int(N * simd.lanes(dtype))


def pays(filters: int, dtype) -> bool:
    """Returns whether these loops are faster, which they are for more columns than a vector has."""
    return bool(filters > simd.lanes(dtype))


def multiply(x, w, b, y, activation: str = "linear", scale=None, addend=None, before=None) -> None:
    """y (N,F) = activation(x (N,C) @ w (C,F) + b (F,) + addend). `scale` (F,) multiplies w. If
    `before` = (center, scale, shift, activation) is given, x is first normalized. The bits of a row
    do not depend on N or on the number of threads.
    """
    (n, c), filters = x.shape, y.shape[1]
    columns, threads = width(w.dtype), get_num_threads()
    panels = w.reshape(-1) if filters == columns else pack(w, n)
    tasks = max(1, -(-n // (ROWS * threads))) * threads
    # with more columns than rows, tasks that divide the columns read less memory
    pieces = tasks if tasks == threads and filters > max(n, 2 * columns) and not panels.size else 1
    scale = zeros(x.dtype, 0) if scale is None else scale
    addend = zeros(x.dtype, 0) if addend is None else addend.reshape(-1)
    _multiply(x, w, panels, scale, b, y, addend, row_offsets(-(-n // (tasks // pieces)) + M, c), ONE_RUN, tasks,
              pieces, PART if reads_parts(w, n) else PANEL, CODES[activation],
              before[:3] if before else (zeros(x.dtype, 0),) * 3, CODES[before[3]] if before else CODES["linear"])


def reads_parts(w, rows: int) -> bool:
    """Returns whether a product of w (C,F) with so many rows reads w in parts of `PART` rows."""
    return bool(w.size >= LARGE and rows < PACKED_LARGE and w.shape[1] > width(w.dtype))


def pack(w, rows: int) -> np.ndarray:
    """Returns the complete panels of w (C,F), one after the other, for a product with so many rows.
    Returns an empty array if packing would cost more time than it saves.
    """
    c, filters = w.shape
    columns = width(w.dtype)
    if rows < (PACKED_LARGE if w.size >= LARGE else PACKED) or filters <= columns:
        return zeros(w.dtype, 0)
    panels = scratch((filters // columns * columns * c,), w.dtype)
    _pack(w, panels)
    return panels


def outer_pays(filters: int, dtype) -> bool:
    """Returns whether to use `outer` for this number of columns, which must fill complete panels."""
    return filters % tasks.widest_tile(dtype) == 0


def outer(x, dy, dw, db, samples: int) -> None:
    """dw (C,F) = x (N,C).T @ dy (N,F), and db (F,) = the sum of dy's rows. The N rows belong to
    `samples` samples of the batch.
    """
    parts = tasks.parts(samples, len(x), dw.size)
    partial = scratch((parts, dw.size), x.dtype)
    partial_b = scratch((parts, db.size), x.dtype)
    _outer(x, dy, partial, partial_b, tasks.pieces(parts, db.size // width(x.dtype)))
    add_parts(partial, dw.reshape(-1))
    add_parts(partial_b, db)
