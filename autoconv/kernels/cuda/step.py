"""Kernels for a training step whose data and results stay on the GPU: batches, accuracies, running
sums.

On the CPU, NumPy does this work. Numbers that change from step to step are arrays of one element
(`array.number`).
"""

import math
import re

from .kernels import block_kernel, cuda, inline, kernel
from .ptx import global_index, load

TEAM = 256  # threads per block: a block copies a chunk of a row, or computes a sum
CHUNK = 4096  # elements per chunk of a row, which one block copies

_TAKE = "(const {}[:,::1], const int64[::1], const int64[::1], T[:,::1])"


@inline
def thread():
    """Returns the number of this thread in its block."""
    return cuda.threadIdx.x


@inline
def block():
    """Returns the numbers of this block on the grid's first two axes."""
    return cuda.blockIdx.x, cuda.blockIdx.y


def _take(source, order, first, out):
    """out[i] = source[order[first + i]], in out's dtype. Each block copies one chunk of a row."""
    i, chunk = block()
    row = order[first[0] + i]
    for j in range(chunk * CHUNK + thread(), min((chunk + 1) * CHUNK, out.shape[1]), TEAM):
        out[i, j] = source[row, j]


_take_bytes = block_kernel(_TAKE.format("uint8"), TEAM, "_take_bytes")(_take)
_take_rows = block_kernel(_TAKE.format("T"), TEAM, "_take_rows")(_take)
_take_labels = block_kernel(re.sub(r"\bT\b", "int64", _TAKE.format("T")), TEAM, "_take_labels")(_take)


@kernel("(int64, const T[:,::1], const int64[::1], T[:,::1])")
def _put_rows(count, rows, first, out):
    item = global_index()
    if item < count:
        i, j = item // rows.shape[1], item % rows.shape[1]
        out[first[0] + i, j] = rows[i, j]


@inline
def largest(x, first, last):
    """Returns the index, relative to `first`, of the largest element of a flat array from `first`
    to before `last`; on a tie, the first one. A NaN counts as the largest, as in NumPy.
    """
    best, j = first, first + 1
    while j < last:
        item, before = load(x, j), load(x, best)
        if item > before or (item != item and before == before):
            best = j
        j += 1
    return best - first


@inline
def _larger(x, i, label):
    """Returns how many elements of row i are larger than the label's element."""
    count = 0
    for c in range(x.shape[1]):
        if x[i, c] > x[i, label]:
            count += 1
    return count


@kernel("(int64, int64, const int64[::1], const T[::1], T[::1])")
def _label_hits(count, classes, labels, x, out):
    i = global_index()
    if i < count:
        out[i] = x.dtype.type(largest(x, i * classes, (i + 1) * classes) == labels[i])


@kernel("(int64, int64, const T[::1], const T[::1], T[::1])")
def _class_hits(count, classes, t, x, out):
    i = global_index()
    if i < count:
        first, last = i * classes, (i + 1) * classes
        out[i] = x.dtype.type(largest(x, first, last) == largest(t, first, last))


@kernel("(int64, const T[::1], const T[::1], T, T[::1])")
def _binary_hits(count, t, x, threshold, out):
    i = global_index()
    if i < count:
        side = x.dtype.type(x[i] > threshold)
        out[i] = x.dtype.type(t[i] == side)


@kernel("(int64, const int64[::1], const T[:,::1], int64, T[::1])")
def _label_in_top(count, labels, x, k, out):
    i = global_index()
    if i < count:
        out[i] = x.dtype.type(_larger(x, i, labels[i]) < k)


@kernel("(int64, const T[::1], const T[:,::1], int64, T[::1])")
def _class_in_top(count, t, x, k, out):
    i = global_index()
    if i < count:
        label = largest(t, i * x.shape[1], (i + 1) * x.shape[1])
        out[i] = x.dtype.type(_larger(x, i, label) < k)


@inline
def part_of_sum(values, weights):
    """Returns this thread's partial sum of values * weights. Each of the block's TEAM threads
    adds every TEAM-th product.
    """
    total, i = 0.0, thread()
    while i < values.size:
        total += float(values[i]) * float(weights[i])
        i += TEAM
    return total


@inline
def add_parts_up(sums):
    """sums[k, 0] = the sum of row k of the threads' partial sums (K, TEAM), added in a fixed order.
    """
    me, half = thread(), TEAM // 2
    while half > 0:
        cuda.syncthreads()
        if me < half:
            for k in range(sums.shape[0]):
                sums[k, me] += sums[k, me + half]
        half //= 2


@inline
def note_step(totals):
    """Counts a step. totals[0] is the sum of the losses, totals[1] the number of steps, and
    totals[2] the number of the first step after which that sum was NaN or infinite, or 0.
    """
    totals[1] += 1
    if totals[2] == 0 and not math.isfinite(totals[0]):
        totals[2] = totals[1]


@block_kernel("(const T[::1], const T[::1], float64, float64[::1], int64)", TEAM)
def _accumulate(values, weights, factor, totals, slot):
    """totals[slot] += factor times the sum of values * weights; launched with one block."""
    sums = cuda.shared.array((1, TEAM), "float64")
    sums[0, thread()] = part_of_sum(values, weights)
    add_parts_up(sums)
    if thread() == 0:
        totals[slot] += factor * sums[0, 0]


@kernel("(int64, float64[::1])")
def _close_step(count, totals):
    if global_index() < count:
        note_step(totals)


@kernel("(int64, float64[::1])")
def _clear(count, totals):
    i = global_index()
    if i < count:
        totals[i] = 0.0


def take_rows(source, order, first, out):
    """out (n, ...) = the rows order[first], ..., order[first + n - 1] of source (N, ...), in out's dtype."""
    width = out.size // out.shape[0]
    flat, target = source.reshape(source.shape[0], width), out.reshape(out.shape[0], width)
    kernel = _take_bytes if source.dtype.itemsize == 1 else _take_labels if out.dtype.kind == "i" else _take_rows
    kernel((out.shape[0], -(-width // CHUNK)), flat, order, first, target)


def put_rows(rows, first, out):
    """out[first : first + n] = rows (n, ...)."""
    _put_rows(rows.size, rows.reshape(rows.shape[0], -1), first, out.reshape(out.shape[0], -1))


def sparse_categorical_accuracy(labels, x, out):
    """For each row: out (M,) = 1 if the largest element of x (M, C) has the label's index,
    otherwise 0.
    """
    _label_hits(out.size, x.shape[-1], labels, x.reshape(-1), out)


def categorical_accuracy(t, x, out):
    """For each row: out (M,) = 1 if the largest element of x (M, C) and the largest target in t (M,
    C) have the same index, otherwise 0.
    """
    _class_hits(out.size, x.shape[-1], t.reshape(-1), x.reshape(-1), out)


def binary_accuracy(t, x, threshold, out):
    """For each element: out (M*C,) = 1 if `x > threshold` equals the target (0 or 1), else 0."""
    _binary_hits(out.size, t.reshape(-1), x.reshape(-1), x.dtype.type(threshold), out)


def sparse_top_k_categorical_accuracy(labels, x, k, out):
    """For each row: out (M,) = 1 if fewer than k elements of x (M, C) are larger than the label's
    element, otherwise 0.
    """
    _label_in_top(out.size, labels, x, k, out)


def top_k_categorical_accuracy(t, x, k, out):
    """For each row: out (M,) = 1 if fewer than k elements of x (M, C) are larger than the element
    with the index of the largest target in t (M, C), otherwise 0.
    """
    _class_in_top(out.size, t.reshape(-1), x, k, out)


def accumulate(values, weights, factor, totals, slot):
    """totals[slot] += factor times the sum of values * weights."""
    _accumulate((1,), values.reshape(-1), weights.reshape(-1), float(factor), totals, slot)


def close_step(totals):
    """Counts a step, and records the first step after which the sum of losses is not finite."""
    _close_step(1, totals)


def clear(totals):
    """Resets all elements of `totals` to zero."""
    _clear(totals.size, totals)
