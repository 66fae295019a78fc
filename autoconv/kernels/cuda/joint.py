"""Kernels that each replace several launches of a step. One serves the end of a classifier's step,
one serves a batch's sums. joining.py decides which launches they replace.

They call the same functions as the kernels of loss.py, pointwise.py and step.py, in the same order.
So all results are bit-for-bit equal, and every array that those kernels would write is written. The
flags in `parts` select the operations. Arguments that no selected operation needs may have any
value.
"""

import math

from .kernels import block_kernel, cuda, inline
from .loss import entropy, hot, row_sum, slope, softmax_parts
from .ptx import global_index, load, store
from .step import TEAM, add_parts_up, largest, note_step, part_of_sum, thread

# Flags in `parts`, in the order in which the operations run.
ONE_HOT, CROSSENTROPY, SOFTMAX, GRADIENT, LABEL_HITS, CLASS_HITS, SUM, SECOND_SUM, CLOSE = (1 << i for i in range(9))


@inline
def _sample(i, classes, parts, labels, t, x, y, loss, dy, dx, scores, true_classes, targets, hits):
    """Runs all selected operations for sample i."""
    first, last = i * classes, (i + 1) * classes
    if parts & ONE_HOT:
        j, label = first, load(labels, i)
        while j < last:
            store(t, j, hot(label, j - first, classes, t))
            j += 1
    best, exponentials = softmax_parts(x, first, last)
    store(loss, i, entropy(t, x, first, last, best, exponentials))
    if parts & (SOFTMAX | GRADIENT):
        sum_t, weight, j = row_sum(t, first, last), load(dy, i), first
        while j < last:
            share = math.exp(load(x, j) - best) / exponentials
            if parts & SOFTMAX:
                store(y, j, share)
            if parts & GRADIENT:
                store(dx, j, slope(share, sum_t, load(t, j), weight))
            j += 1
    if parts & LABEL_HITS:
        store(hits, i, x.dtype.type(largest(scores, first, last) == load(true_classes, i)))
    if parts & CLASS_HITS:
        store(hits, i, x.dtype.type(largest(scores, first, last) == largest(targets, first, last)))


@inline
def _account(parts, values, weights, factor, slot, values2, weights2, factor2, slot2, totals):
    """Adds the batch's sums to `totals`, in one block. If this launch also writes `values` or
    `values2`, each thread reads only the elements that it wrote itself.
    """
    sums, me = cuda.shared.array((2, TEAM), "float64"), thread()
    sums[0, me] = part_of_sum(values, weights) if parts & SUM else 0.0
    sums[1, me] = part_of_sum(values2, weights2) if parts & SECOND_SUM else 0.0
    add_parts_up(sums)
    if me == 0:
        if parts & SUM:
            totals[slot] += factor * sums[0, 0]
        if parts & SECOND_SUM:
            totals[slot2] += factor2 * sums[1, 0]
        if parts & CLOSE:
            note_step(totals)


@block_kernel("(int64, int64, int64, const int64[::1], T[::1], const T[::1], T[::1], T[::1], "
              "const T[::1], T[::1], const T[::1], const int64[::1], const T[::1], T[::1], const "
              "T[::1], float64, int64, const T[::1], float64, int64, float64[::1])", TEAM)
def _classifier(count, classes, parts, labels, t, x, y, loss, dy, dx, scores, true_classes, targets,
                hits, weights, factor, slot, weights2, factor2, slot2, totals):
    """Uses one thread per sample. If sums are selected, one block must process all samples."""
    i = global_index()
    if i < count:
        _sample(i, classes, parts, labels, t, x, y, loss, dy, dx, scores, true_classes, targets, hits)
    if parts & (SUM | SECOND_SUM | CLOSE):
        _account(parts, loss, weights, factor, slot, hits, weights2, factor2, slot2, totals)


@block_kernel("(int64, const T[::1], const T[::1], float64, int64, const T[::1], const T[::1], "
              "float64, int64, float64[::1])", TEAM)
def _sums(parts, values, weights, factor, slot, values2, weights2, factor2, slot2, totals):
    _account(parts, values, weights, factor, slot, values2, weights2, factor2, slot2, totals)
