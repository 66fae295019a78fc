"""The two matrix products behind every layer, as loops around the register tile (simd.py).

The left matrix of each is gathered: item q of row p is x[pixels[p] + taps[q]] of a flat array. All arrays are flat, all
positions count items. Columns go in whole wide tiles as long as they fit, what is left in narrow ones.
"""

from functools import lru_cache
from typing import Any

import numpy as np

from . import simd
from .jit import inline

M, N = simd.TILE
NARROW_M, NARROW_N = simd.NARROW
@lru_cache(maxsize=64)
def zeros(dtype: Any, count: int) -> np.ndarray:
    """A bias of zeros; shared, so never written."""
    return np.zeros(count, dtype)


def bias(b: np.ndarray | None, dtype: Any, count: int) -> np.ndarray:
    """b, or zeros where a layer has none."""
    return zeros(dtype, count) if b is None else b


@inline
def gathered_product(x, start, pixels, count, runs, run_length, w, w_start, b, y, y_start, filters, f, end, fresh):
    """y[p, f:end] (+)= sum over q of x[start + pixels[p] + taps[q]] * w[q, f:end], for p below `count`.

    The taps are `runs`, each followed by the `run_length - 1` items behind it. `fresh` starts from b[f:end], else y is
    added to. w and y have rows of `filters` items.
    """
    wide, narrow = simd.zeros(x, M, N), simd.zeros(x, NARROW_M, NARROW_N)
    while f < end:
        if end - f >= simd.width(wide):
            for p in range(0, count, M):
                tile = y_start + p * filters + f
                if fresh:
                    acc = simd.add_row(wide, b, f, simd.width(wide))
                else:
                    acc = simd.load(wide, y, tile, filters, count - p, simd.width(wide))
                at = simd.rows(pixels, p, count, wide)
                j = w_start + f
                for t in range(runs.size):
                    k = start + runs[t]
                    for _ in range(run_length):
                        acc = simd.fma(acc, x, at, k, w, j)
                        k += 1
                        j += filters
                simd.store(acc, y, tile, filters, count - p, simd.width(wide))
            f += simd.width(wide)
        else:
            part = min(simd.width(narrow), end - f)
            for p in range(0, count, NARROW_M):
                tile = y_start + p * filters + f
                if fresh:
                    acc = simd.add_row(narrow, b, f, part)
                else:
                    acc = simd.load(narrow, y, tile, filters, count - p, part)
                at = simd.rows(pixels, p, count, narrow)
                j = w_start + f
                for t in range(runs.size):
                    k = start + runs[t]
                    for _ in range(run_length):
                        acc = simd.fma_part(acc, x, at, k, w, j, part)
                        k += 1
                        j += filters
                simd.store(acc, y, tile, filters, count - p, part)
            f += part


@inline
def gathered_outer(x, start, pixels, count, taps, items, dy, dy_start, dw, dw_start, filters, f, end, fresh):
    """dw[q, f:end] (+)= sum over p below `count` of x[start + pixels[p] + taps[q]] * dy[p, f:end], for q below `items`.

    `fresh` starts from zero, else dw is added to. dy and dw have rows of `filters` items.
    """
    wide, narrow = simd.zeros(x, M, N), simd.zeros(x, NARROW_M, NARROW_N)
    while f < end:
        if end - f >= simd.width(wide):
            for q in range(0, items, M):
                tile = dw_start + q * filters + f
                acc = wide if fresh else simd.load(wide, dw, tile, filters, items - q, simd.width(wide))
                at = simd.rows(taps, q, items, wide)
                j = dy_start + f
                for p in range(count):
                    acc = simd.fma(acc, x, at, start + pixels[p], dy, j)
                    j += filters
                simd.store(acc, dw, tile, filters, items - q, simd.width(wide))
            f += simd.width(wide)
        else:
            part = min(simd.width(narrow), end - f)
            for q in range(0, items, NARROW_M):
                tile = dw_start + q * filters + f
                acc = narrow if fresh else simd.load(narrow, dw, tile, filters, items - q, part)
                at = simd.rows(taps, q, items, narrow)
                j = dy_start + f
                for p in range(count):
                    acc = simd.fma_part(acc, x, at, start + pixels[p], dy, j, part)
                    j += filters
                simd.store(acc, dw, tile, filters, items - q, part)
            f += part


@inline
def sum_rows(dy, start, count, total, total_start, filters, fresh):
    """total[f] (+)= sum over `count` rows of dy."""
    row = simd.zeros(dy, 1, N)
    for f in range(0, filters, simd.width(row)):
        part = min(simd.width(row), filters - f)
        acc = row if fresh else simd.add_row(row, total, total_start + f, part)
        for p in range(count):
            acc = simd.add_row(acc, dy, start + p * filters + f, part)
        simd.store(acc, total, total_start + f, filters, 1, part)
