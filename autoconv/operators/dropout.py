"""Dropout. The mask is not stored: the backward pass draws it again from the same key."""

import numpy as np

from .registry import gradient_buffer, op


@op(kernels="random")
def dropout(k, x, rate, key, first=0):
    """y = 0 for a random fraction `rate` of the elements, x / (1 - rate) for all others, drawn from
    `key` = (seed, stream).

    `first` is the index of x's first sample (along the first axis) in the whole batch. The mask of
    a sample depends on this index, not on which other samples are computed with it. Srivastava et
    al.: "Dropout: a simple way to prevent neural networks from overfitting", JMLR 2014.
    """
    threshold = np.uint64(round(rate * 2**32))
    scale = 1 / (1 - rate) if rate < 1 else 0.0
    seed, stream, first = (np.uint64(part) if isinstance(part, int) else part for part in (*key, first))
    rows = (len(x), -1) if x.ndim > 1 and x.size else (1, x.size)

    def apply_mask(a, out):
        k.dropout(a.reshape(rows), scale, threshold, seed, stream, first, out.reshape(rows))
        return out

    def backward(dy, needs):
        return (apply_mask(dy, gradient_buffer(k, needs[0], dy.shape, dy.dtype)),)

    return apply_mask(x, k.empty(x.shape, x.dtype)), backward
