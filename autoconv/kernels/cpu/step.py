"""Assembles batches and computes accuracies and running sums: a step's work apart from layers,
losses and updates. Work that almost every step needs is compiled; NumPy does the rest.

`first` is the position of a batch in the epoch's order. `first` and all other numbers that change
from step to step are dynamic scalars.
"""

import math

import numpy as np
from numba import prange

from .jit import inline, kernel, record_calls
from .pool import larger


@kernel("(Array(uint8,2,'C',True), int64[::1], int64, T[:,::1])", parallel=True)
def _take_bytes(source, order, first, out):
    for i in prange(out.shape[0]):
        row = source[order[first + i]]
        for j in range(out.shape[1]):
            out[i, j] = row[j]


@record_calls
def _take_rows(source, order, first, out):
    rows = slice(first, first + len(out))
    if order is None:
        out[...] = source[rows]
    elif source.dtype == out.dtype and source.flags.c_contiguous:
        # mode "raise" would make NumPy buffer the result
        np.take(source, order[rows], axis=0, out=out, mode="clip")
    else:
        out[...] = source[order[rows]]


def take_rows(source, order, first, out):
    """out (n, ...) = the rows order[first], ..., order[first + n - 1] of source (N, ...), in out's
    dtype. If `order` is None, these are the rows first, ..., first + n - 1.
    """
    if order is None or source.dtype != np.uint8 or out.dtype.kind != "f" or not source.flags.c_contiguous:
        _take_rows(source, order, first, out)
        return
    pixels = source.reshape(len(source), -1).view()
    # a memory-mapped file is read-only, so the kernel is compiled for read-only arrays
    pixels.flags.writeable = False
    _take_bytes(pixels, order, first, out.reshape(len(out), -1))


@record_calls
def put_rows(rows, first, out):
    """out[first : first + n] = rows (n, ...)."""
    out[first : first + len(rows)] = rows


@record_calls
def sparse_categorical_accuracy(labels, x, out):
    """For each row: out (M,) = 1 if the largest element of x (M, C) is the label's, otherwise 0."""
    np.equal(x.argmax(-1), labels, out=out)


@inline
def largest(x, i):
    """Returns the index of the largest element in row i of x, or the index of the row's first NaN.
    On a tie, this is the first index.
    """
    best = 0
    for c in range(1, x.shape[1]):
        if larger(x[i, c], x[i, best]):
            best = c
    return best


@kernel("(T[:,::1], T[:,::1], T[::1])")
def categorical_accuracy(t, x, out):
    """For each row: out (M,) = 1 if the largest element of x (M, C) and the largest target in t (M,
    C) have the same index, otherwise 0.
    """
    for i in range(out.size):
        out[i] = 1 if largest(x, i) == largest(t, i) else 0


@record_calls
def binary_accuracy(t, x, threshold, out):
    """For each element: out (M*C,) = 1 if `x > threshold` equals the target (0 or 1), else 0."""
    np.equal(x.reshape(-1) > threshold, t.reshape(-1), out=out)


@record_calls
def sparse_top_k_categorical_accuracy(labels, x, k, out):
    """For each row: out (M,) = 1 if fewer than k elements of x (M, C) are larger than the label's
    element, otherwise 0.
    """
    label_scores = np.take_along_axis(x, labels.astype(np.int64)[:, None], -1)
    np.less((x > label_scores).sum(-1), k, out=out)


@record_calls
def top_k_categorical_accuracy(t, x, k, out):
    """For each row: out (M,) = 1 if fewer than k elements of x (M, C) are larger than the element
    with the index of the largest target in t (M, C), otherwise 0.
    """
    class_scores = np.take_along_axis(x, t.argmax(-1)[:, None], -1)
    np.less((x > class_scores).sum(-1), k, out=out)


@kernel("(T[::1], T[::1], float64, float64[::1], int64)")
def _accumulate(values, weights, factor, totals, slot):
    total = 0.0
    for i in range(values.size):
        total += values[i] * weights[i]
    totals[slot] += factor * total


def accumulate(values, weights, factor, totals, slot):
    """totals[slot] += factor times the sum of all values * weights."""
    _accumulate(values.reshape(-1), weights.reshape(-1), factor, totals, slot)


@record_calls
def close_step(totals):
    """Counts a step in totals[1]. When the loss totals[0] first is NaN or infinite, stores the
    step's number in totals[2].
    """
    totals[1] += 1
    if totals[2] == 0 and not math.isfinite(totals[0]):
        totals[2] = totals[1]


@record_calls
def clear(totals):
    """Resets the sums and the step count to zero."""
    totals[...] = 0
