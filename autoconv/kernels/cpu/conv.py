"""2-D convolution on the CPU: forward, input gradient, weight gradient.

A convolution is a matrix product whose left matrix is never built. Row p of that matrix is the window of output pixel
p; its first item lies at `pixels[p]` of the flat input, and item q of every window lies `taps[q]` further on:

    y[p, f]  = b[f] + sum over q of  x[pixels[p] + taps[q]] * w[q, f]
    dw[q, f] =        sum over p of  x[pixels[p] + taps[q]] * dy[p, f]

So both are the same register tile (simd.py): forward keeps the rows' `pixels` in registers and runs over q, the weight
gradient keeps `taps` and runs over p. The input gradient is the forward convolution of dy, spread by the strides, with
the flipped, transposed kernel.

Images are worked on in chunks of a few samples, enough to fill the tile's rows. Where there is padding, a chunk is
copied into a scratch with its border first. A chunk belongs to one thread and every sum has a fixed order, so results
are the same bits for any number of threads.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numba import prange

from ...shapes import Window
from . import simd
from .jit import inline, kernel
from .products import bias, gathered_outer, gathered_product, sum_rows

PARTS = 8  # partial sums of a weight gradient, added in order: as many threads as can share the work
CHUNK_PIXELS = 96  # a chunk holds at least so many output pixels, so that few tiles have missing rows


class Plan(NamedTuple):
    """Where a convolution over images of one size reads: made once for each size."""

    samples: int  # in a chunk
    pixels: np.ndarray  # offset of each output pixel's window in a chunk
    taps: np.ndarray  # offset of each item of a window from its first
    runs: np.ndarray  # the taps as stretches of consecutive items: where each starts ...
    run_length: int  # ... and how long all are
    direct: bool  # no border needed: chunks are read in place
    high: int  # rows and columns of an image with its border
    wide: int


@lru_cache(maxsize=256)
def _plan(n: int, h: int, w: int, channels: int, group_channels: int, window: Window, spread: bool = False,
          size: tuple[int, int] | None = None) -> Plan:
    """The plan for n images (h, w, channels). `spread` images lie between zeros; `size` is the output's, if not implied."""
    high, wide = h + window.top + window.bottom, w + window.left + window.right
    oh, ow = size or window.output_size(h, w)
    if size:
        high, wide = oh + window.span_h - 1, ow + window.span_w - 1
    samples = max(1, min(n, -(-CHUNK_PIXELS // (oh * ow))))
    row = wide * channels
    steps = high * row, window.sh * row, window.sw * channels
    items = _grid((window.kh, window.kw, group_channels), (window.dh * row, window.dw * channels, 1))
    run_length = window.kw * channels if window.dw == 1 and group_channels == channels else group_channels
    return Plan(
        samples=samples,
        pixels=_grid((samples, oh, ow), steps),
        taps=items,
        runs=items[::run_length].copy(),
        run_length=run_length,
        direct=not spread and (high, wide) == (h, w),
        high=high,
        wide=wide,
    )


def _grid(counts: tuple[int, ...], steps: tuple[int, ...]) -> np.ndarray:
    """The offsets of all index tuples below `counts`, in scan order."""
    return sum(np.ix_(*(np.arange(c, dtype=np.int64) * s for c, s in zip(counts, steps)))).ravel()


def _full_padding(window: Window, dy_shape: tuple[int, ...], dx_shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """The padding (top, bottom, left, right) with which dy, spread by the strides, is convolved to dx."""
    top, left = window.span_h - 1 - window.top, window.span_w - 1 - window.left
    spread_h, spread_w = (dy_shape[1] - 1) * window.sh + 1, (dy_shape[2] - 1) * window.sw + 1
    return (top, dx_shape[1] + window.span_h - 1 - spread_h - top, left, dx_shape[2] + window.span_w - 1 - spread_w - left)


@inline
def _fill(x, first, count, scratch, top, left, sh, sw):
    """Samples first, first + 1, ... into a zeroed scratch, pixel (i, j) at (top + i*sh, left + j*sw)."""
    _, h, w, c = x.shape
    _, high, wide, _ = scratch.shape
    flat, source = scratch.reshape(scratch.size), x.reshape(x.size)
    near = max(0, -(left // sw))  # the first and the last column that fall inside
    far = min(w, (wide - 1 - left) // sw + 1)
    for s in range(count):
        for i in range(max(0, -(top // sh)), min(h, (high - 1 - top) // sh + 1)):
            to = ((s * high + top + i * sh) * wide + left) * c
            row = ((first + s) * h + i) * w * c
            if sw == 1:
                simd.copy(flat, to + near * c, source, row + near * c, (far - near) * c)
            else:
                for j in range(near, far):
                    simd.copy(flat, to + j * sw * c, source, row + j * c, c)


@inline
def _source(x, first, count, direct, high, wide, top, left, sh, sw):
    """The flat array a chunk is read from, and where it starts there: x itself, or a scratch with its border."""
    if direct:
        return x.reshape(x.size), first * high * wide * x.shape[3]
    scratch = np.zeros((count, high, wide, x.shape[3]), x.dtype)
    _fill(x, first, count, scratch, top, left, sh, sw)
    return scratch.reshape(scratch.size), 0


@kernel("(T[:,:,:,::1], T[::1], T[::1], T[:,:,:,::1], int64[::1], int64, int64[::1], int64, int64,"
        " boolean, int64, int64, int64, int64, int64, int64)", parallel=True)
def _convolve(x, w, b, y, pixels, samples, runs, run_length, groups,
              direct, high, wide, top, left, sh, sw):
    """Forward over all chunks of `samples` samples. Not `direct`: through a scratch of (high, wide) pixels."""
    n, _, _, c = x.shape
    per_sample, filters = y.shape[1] * y.shape[2], b.size
    for chunk in prange((n + samples - 1) // samples):
        first = chunk * samples
        count = min(samples, n - first)
        source, start = _source(x, first, count, direct, high, wide, top, left, sh, sw)
        for g in range(groups):
            gathered_product(source, start + g * (c // groups), pixels, count * per_sample, runs, run_length, w, 0, b,
                             y.reshape(y.size), first * per_sample * filters, filters,
                             g * (filters // groups), (g + 1) * (filters // groups), True)


@kernel("(T[:,:,:,::1], T[:,:,:,::1], T[:,:,::1], T[:,::1], T[::1], T[::1], int64[::1], int64, int64[::1], int64,"
        " boolean, int64, int64, int64, int64)", parallel=True)
def _weight_gradient(x, dy, partial, partial_b, dw, db, pixels, samples, taps, groups, direct, high, wide, top, left):
    """dw (items, F) and db (F,): PARTS partial sums, each over its share of the chunks, then their sum in order."""
    n, _, _, c = x.shape
    per_sample, filters = dy.shape[1] * dy.shape[2], dy.shape[3]
    chunks = (n + samples - 1) // samples
    flat_dy, items = dy.reshape(dy.size), partial.shape[1]
    for part in prange(PARTS):
        low, high_chunk = chunks * part // PARTS, chunks * (part + 1) // PARTS
        if low == high_chunk:
            partial[part] = 0
            partial_b[part] = 0
        for chunk in range(low, high_chunk):
            first = chunk * samples
            count = min(samples, n - first)
            source, start = _source(x, first, count, direct, high, wide, top, left, 1, 1)
            total, dy_start, fresh = count * per_sample, first * per_sample * filters, chunk == low
            for g in range(groups):
                gathered_outer(source, start + g * (c // groups), pixels, total, taps, items, flat_dy, dy_start,
                               partial.reshape(partial.size), part * items * filters, filters,
                               g * (filters // groups), (g + 1) * (filters // groups), fresh)
            sum_rows(flat_dy, dy_start, total, partial_b.reshape(partial_b.size), part * filters, filters, fresh)
    for q in prange(items):
        row = dw[q * filters : (q + 1) * filters]
        row[:] = partial[0, q]
        for part in range(1, PARTS):
            for f in range(filters):
                row[f] += partial[part, q, f]
    db[:] = partial_b[0]
    for part in range(1, PARTS):
        db += partial_b[part]


@kernel("(T[:,:,:,::1], T[:,:,:,::1], int64)")
def _flip_transpose(w, out, groups):
    """out[i, j, f, c] = w[KH-1-i, KW-1-j, c, f]: the kernel of the input gradient. With groups, within each."""
    kh, kw, each_c, filters = w.shape
    each_f = filters // groups
    for i in range(kh):
        for j in range(kw):
            for g in range(groups):
                for f in range(each_f):
                    for c in range(each_c):
                        out[i, j, f, g * each_c + c] = w[kh - 1 - i, kw - 1 - j, c, g * each_f + f]


def conv2d(x, w, b, y, window: Window, groups: int = 1) -> None:
    """y (N,OH,OW,F) = x (N,H,W,C) * w (KH,KW,C/groups,F) + b (F,) or None."""
    n, h, wide, c = x.shape
    plan = _plan(n, h, wide, c, w.shape[2], window)
    _convolve(x, w.reshape(-1), bias(b, x.dtype, y.shape[3]), y, plan.pixels, plan.samples,
              plan.runs, plan.run_length, groups, plan.direct, plan.high, plan.wide, window.top, window.left, 1, 1)


def conv2d_input_grad(dy, w, dx, window: Window, groups: int = 1, b=None) -> None:
    """dx (N,H,W,C) from dy (N,OH,OW,F): also the transposed convolution, which adds a bias b (C,)."""
    n, h, wide, c = dx.shape
    kh, kw, _, filters = w.shape
    flipped = np.empty((kh, kw, filters // groups, c), w.dtype)
    _flip_transpose(w, flipped, groups)
    back = Window(kh, kw, 1, 1, window.dh, window.dw, *_full_padding(window, dy.shape, dx.shape))
    plan = _plan(n, h, wide, filters, filters // groups, back, spread=window.sh * window.sw > 1, size=(h, wide))
    _convolve(dy, flipped.reshape(-1), bias(b, dy.dtype, c), dx, plan.pixels, plan.samples,
              plan.runs, plan.run_length, groups, plan.direct, plan.high, plan.wide, back.top, back.left,
              window.sh, window.sw)


def conv2d_weight_grad(x, dy, dw, db, window: Window, groups: int = 1) -> None:
    """dw (KH,KW,C/groups,F) and db (F,) from x (N,H,W,C) and dy (N,OH,OW,F)."""
    n, h, wide, c = x.shape
    plan = _plan(n, h, wide, c, dw.shape[2], window)
    items, filters = dw.size // dy.shape[3], dy.shape[3]
    partial, partial_b = np.empty((PARTS, items, filters), x.dtype), np.empty((PARTS, filters), x.dtype)
    _weight_gradient(x, dy, partial, partial_b, dw.reshape(-1), db, plan.pixels, plan.samples, plan.taps, groups,
                     plan.direct, plan.high, plan.wide, window.top, window.left)
