"""Convolution + bias + ReLU + 2x2 max pooling as one kernel, forward and backward.

The forward pass computes only the pixels that the pooling reads. The four pixels of a window are
four rows of a tile, whose maximum is computed in registers. The pooled value is stored, with one
byte for the index of the maximum. The backward pass visits only the winner of each pooled
gradient (sparse.py). If the convolution's windows are too narrow for that, the backward pass visits
all four pixels, with gradients of 0 at the three that are not the winner.
"""

from functools import lru_cache

import numpy as np
from numba import prange

from ...arguments.shapes import Window
from ..buffers import scratch
from . import first_layer, pointwise, rowwise, simd, tasks, ways, winograd
from .conv import (
    close_chunk,
    conv2d_input_grad,
    conv2d_weight_grad,
    count_pieces,
    open_chunk,
    plan,
    read_chunk,
    swap_axes,
    transpose,
)
from .flat import flatten
from .jit import inline, kernel
from .products import NARROW_M, NARROW_N, add_parts, add_rows, bias, pooled_product, zeros
from .sparse import sparse_outer, sparse_scatter, winners_lists
from .tasks import piece
from .ways import Way


@lru_cache(maxsize=256)
def _windows(n: int, h: int, w: int, channels: int, window: Window) -> np.ndarray:
    """Returns `pixels` of the `Plan`, reordered so that a 2x2 window's four pixels are adjacent."""
    p, (oh, ow) = plan(n, h, w, channels, channels, window), window.output_size(h, w)
    pixels = p.pixels.reshape(p.samples, oh, ow)[:, : oh // 2 * 2, : ow // 2 * 2]
    return np.ascontiguousarray(
        pixels.reshape(p.samples, oh // 2, 2, ow // 2, 2).transpose(0, 1, 3, 2, 4).ravel()
    )


@kernel("(T[:,:,:,::1], T[::1], T[::1], T[::1], T[:,:,:,::1], uint8[::1], int64[::1], int64, "
        "int64[::1], int64, UniTuple(int64, 4), int64)", parallel=True)
def _forward(x, w, scale, b, y, winner, windows, samples, runs, run_length, border, pieces):
    n = x.shape[0]
    map_size, filters = y.shape[1] * y.shape[2], b.size
    chunks = (n + samples - 1) // samples
    for task in prange(chunks * pieces):
        first = task // pieces * samples
        count = min(samples, n - first)
        begin, end = piece(count * map_size, task % pieces, pieces, simd.TILE[0])
        source, start = read_chunk(x, first, count, border)
        pooled_product(source, start, windows[4 * begin : 4 * end], end - begin, runs, run_length, w, scale,
                       b, flatten(y), winner, (first * map_size + begin) * filters, filters)


@inline
def _mask(dy, y, start, count, filters, out):
    """out = the pooled gradients, or 0 where the ReLU's output was 0."""
    value, gradient = y[start : start + count * filters], dy[start : start + count * filters]
    for i in range(count * filters):
        out[i] = 0 if value[i] <= 0 else gradient[i]


@inline
def _add_winners(acc, total, x, src, start, windows, count, y, dy, winner, dy_start, filters, f, columns):
    """For each of `count` windows: acc[m, f] += gradient * x[src[m] + start + the winner's pixel],
    and total[f] += gradient.
    """
    zero = simd.zeros(x, 1, NARROW_N)
    for q in range(count):
        j = dy_start + q * filters + f
        gradient = rowwise.relu_grad(rowwise.row(zero, y, j, columns), rowwise.row(zero, dy, j, columns))
        place = rowwise.row_of_bytes(zero, winner, j, columns)
        total = rowwise.add(total, gradient)
        for r in range(4):
            pixel_dy = rowwise.select_equal(place, rowwise.full(zero, r), gradient)
            k = start + windows[4 * q + r]
            # This condition is always true. Without the branch, LLVM loads all four pixels first,
            # and the values do not fit in the registers
            if k >= 0:
                acc = simd.fma_row(acc, x, src, k, pixel_dy)
    return acc, total


@kernel("(T[:,:,:,::1], T[:,:,:,::1], uint8[::1], T[::1], T[:,::1], T[:,::1], int64[::1], int64, "
        "int64[::1], UniTuple(int64, 4))", parallel=True)
def _dense_weight_gradient(x, y, winner, dy, partial, partial_b, windows, samples, taps, border):
    """Writes partial sums of dw to `partial` (parts, items*F) and of db to `partial_b` (parts, F),
    by the product of an ordinary convolution. The gradients at a window's four pixels, of which
    three are 0, are formed in registers.
    """
    (n, items), parts = (x.shape[0], taps.size), partial.shape[0]
    map_size, filters = y.shape[1] * y.shape[2], y.shape[3]
    tile, zero = simd.zeros(x, NARROW_M, NARROW_N), simd.zeros(x, 1, NARROW_N)
    values, dw, db = flatten(y), flatten(partial), flatten(partial_b)
    for part in prange(parts):
        begin, end = n * part // parts, n * (part + 1) // parts
        partial[part] = 0
        partial_b[part] = 0
        for first in range(begin, end, samples):
            count = min(samples, end - first)
            outputs, start_y = count * map_size, first * map_size * filters
            source, start = read_chunk(x, first, count, border)
            for f in range(0, filters, simd.width(zero)):
                columns = min(simd.width(zero), filters - f)
                for q in range(0, items, NARROW_M):
                    src = simd.rows(taps, q, items, tile)
                    dst = simd.steps(filters, q, items, tile)
                    acc = simd.load(tile, dw, dst, part * items * filters + f, columns)
                    total = rowwise.row(zero, db, part * filters + f, columns)
                    acc, total = _add_winners(acc, total, source, src, start, windows, outputs, values, dy, winner,
                                              start_y, filters, f, columns)
                    simd.store(acc, dw, dst, part * items * filters + f, columns)
                    if q + NARROW_M >= items:
                        rowwise.put(total, db, part * filters + f, columns)


@kernel("(T[:,:,:,::1], T[::1], T[:,:,:,::1], uint8[::1], T[::1], T[:,:,:,::1], T[:,::1], T[:,::1],"
        " int64[::1], int64, int64[::1], int64, UniTuple(int64, 4), int64)", parallel=True)
def _sparse_gradients(x, wt, y, winner, dy, dx, partial, partial_b, windows, samples, runs, length, border, pieces):
    """Computes partial sums of dw (parts, F*items) and of db (parts, F) from the winners only, and
    also dx, unless dx has no samples. The work of each partial sum is split into pieces, by filters
    for dw and by chunks of samples for dx.
    """
    n, parts = x.shape[0], partial.shape[0]
    map_size, filters, items = y.shape[1] * y.shape[2], y.shape[3], runs.size * length
    for task in prange(parts * pieces):
        part, i = task // pieces, task % pieces
        begin, end = n * part // parts, n * (part + 1) // parts
        low, high = filters * i // pieces, filters * (i + 1) // pieces
        masked_dy = np.empty(samples * map_size * filters, dy.dtype)
        capacity = masked_dy.size + simd.width(simd.zeros(dy, 1, 1))
        places, values = np.empty((4, capacity), np.int32), np.empty((4, capacity), dy.dtype)
        lists = np.empty((4, samples * map_size + 1), np.int64)
        for first in range(begin, end, samples):
            count, fresh = min(samples, end - first), first == begin
            outputs, start_y = count * map_size, first * map_size * filters
            _mask(dy, flatten(y), start_y, outputs, filters, masked_dy)
            source, start = read_chunk(x, first, count, border)
            sparse_outer(source, start, windows, outputs, runs, length, masked_dy, winner, start_y, filters, low, high,
                         flatten(partial), part * items * filters, fresh)
            if i == 0:
                add_rows(masked_dy, 0, outputs, filters, flatten(partial_b), part * filters, filters, fresh)
            if dx.shape[0] > 0 and (first - begin) // samples % pieces == i:
                winners_lists(masked_dy, winner, start_y, outputs, filters, length, places, values, lists)
                target, start = open_chunk(dx, first, count, border)
                target[start : start + count * border[0] * border[1] * dx.shape[3]] = 0
                sparse_scatter(places, values, lists, windows, outputs, runs, length, wt, filters, target, start)
                close_chunk(dx, first, count, border, target)


@kernel("(T[:,:,:,::1], uint8[::1], T[:,:,:,::1], T[:,:,:,::1])", parallel=True)
def _spread(y, winner, dy, full):
    """full (N,OH,OW,F) = each pooled gradient at the pixel of its winner if the ReLU's output was
    above 0, and zero elsewhere.
    """
    n, rows, columns, filters = y.shape
    for task in prange(n * rows):
        s, p = task // rows, task % rows
        for q in range(columns):
            start = (task * columns + q) * filters
            for r in range(4):
                target = full[s, 2 * p + r // 2, 2 * q + r % 2]
                value = y[s, p, q]
                gradient = dy[s, p, q]
                for f in range(filters):
                    is_winner = (winner[start + f] == np.uint8(r)) & (not value[f] <= 0)
                    target[f] = gradient[f] if is_winner else 0
        full[s, 2 * p, 2 * columns :] = 0
        full[s, 2 * p + 1, 2 * columns :] = 0
        if p == rows - 1:
            full[s, 2 * rows :] = 0


def _shape(x, y, window: Window) -> tuple:
    """Returns the arguments of the functions in ways.py: channels, filters, the size of the
    pooling's input, the window and the dtype.
    """
    return x.shape[3], y.shape[3], (2 * y.shape[1], 2 * y.shape[2]), window, x.dtype


def conv2d_relu_pool(x, w, b, y, winner, window: Window, scale=None) -> None:
    """y (N,OH//2,OW//2,F) = 2x2 max pooling of relu(conv2d(x, w, b)). `winner` (uint8, y's shape)
    receives the index of each window's maximum, unless it is empty. `scale` (F,) multiplies w.
    """
    (c, f, size, *_), b = _shape(x, y, window), bias(b, x.dtype, y.shape[3])
    way = ways.forward_pool(*_shape(x, y, window), winner.size > 0)
    if way is Way.FIRST:
        first_layer.conv2d(x, w, b, y, window, True, scale, winner)
        return
    if way is Way.SQUARES:
        side = 2 if winner.size else winograd.tile_side(c, f, size)
        winograd.conv2d_pooled(x, w.reshape(9, c, f), b, y, winner.reshape(-1), window, scale, side)
        return
    p = plan(*x.shape, x.shape[3], window)
    scale = zeros(x.dtype, 0) if scale is None else scale
    windows = _windows(*x.shape, window)
    _forward(x, w.reshape(-1), scale, b, y, winner.reshape(-1), windows, p.samples, p.runs, p.run_length, p.border,
             count_pieces(x.shape[0], p.samples, windows.size, w, y.shape[3], pool_size=4))


def conv2d_relu_pool_grad(x, w, y, winner, dy, dx, dw, db, window: Window, mask_dx: bool = False) -> None:
    """Computes dw (KH,KW,C,F), db (F,) and, unless dx is None, dx (N,H,W,C) from dy
    (N,OH//2,OW//2,F). With `mask_dx`, dx is 0 where x is not above 0. If a ReLU computed x, this dx
    is the gradient with respect to the ReLU's input.
    """
    _gradients(x, w, y, winner, dy, dx, dw, db, window)
    if mask_dx:
        pointwise.relu_grad(x.reshape(-1), dx.reshape(-1), dx.reshape(-1))


def _gradients(x, w, y, winner, dy, dx, dw, db, window: Window) -> None:
    """Computes `conv2d_relu_pool_grad` without the mask."""
    outputs = window.output_size(*x.shape[1:3])
    way = ways.pooled_gradients(*_shape(x, y, window), dx is not None, outputs)
    if way is Way.FIRST:
        first_layer.weight_grad(x, dy, dw, db, window, y, winner)
        return
    if way is Way.SQUARES:
        full = scratch((x.shape[0], *outputs, y.shape[3]), x.dtype)
        _spread(y, winner.reshape(-1), dy, full)
        if dx is not None:
            conv2d_input_grad(full, w, dx, window)
        conv2d_weight_grad(x, full, dw, db, window)
        return
    p = plan(*x.shape, x.shape[3], window)
    items, filters, windows = p.taps.size, y.shape[3], _windows(*x.shape, window)
    parts = tasks.parts(len(x), y.size // filters, dw.size)
    partial = scratch((parts, dw.size), x.dtype)
    partial_b = scratch((parts, filters), x.dtype)
    if dx is None and p.run_length * x.itemsize < simd.VECTOR_BYTES:
        # A window's runs do not fill a vector, so empty lanes would cost more than skipping the
        # other pixels saves.
        _dense_weight_gradient(x, y, winner.reshape(-1), dy.reshape(-1), partial, partial_b, windows, p.samples, p.taps,
                               p.border)
        add_parts(partial, dw.reshape(-1))
    else:
        wt = swap_axes(w.reshape(p.runs.size, p.run_length, filters))
        dx = np.empty((0, *x.shape[1:]), x.dtype) if dx is None else dx
        _sparse_gradients(x, wt, y, winner.reshape(-1), dy.reshape(-1), dx, partial, partial_b, windows, p.samples,
                          p.runs, p.run_length, p.border, tasks.pieces(parts, filters))
        add_parts(partial, total := scratch((dw.size,), x.dtype))
        transpose(total.reshape(1, filters, items), dw.reshape(1, items, filters), False)
    add_parts(partial_b, db)
