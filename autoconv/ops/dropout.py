"""Dropout, whose mask is never stored: it is drawn again from the same numbers on the way back."""

import numpy as np

from .registry import gradient_buffer, op


@op(kernels="random")
def dropout(k, x, rate, key):
    """y = x / (1 - rate) for the items that stay, 0 for a share `rate` of them, drawn from `key` = (seed, stream).

    Srivastava et al.: "Dropout: a simple way to prevent neural networks from overfitting", JMLR 2014.
    """
    threshold, scale = np.uint64(round(rate * 2**32)), 1 / (1 - rate) if rate < 1 else 0.0
    seed, stream = (np.uint64(part) if isinstance(part, int) else part for part in key)

    def masked(a, out):
        k.dropout(a.reshape(-1), scale, threshold, seed, stream, out.reshape(-1))
        return out

    def backward(dy, needs):
        return (masked(dy, gradient_buffer(k, needs[0], dy.shape, dy.dtype)),)

    return masked(x, k.empty(x.shape, x.dtype)), backward
