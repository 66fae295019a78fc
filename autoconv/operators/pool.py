"""Pooling. A window over the whole image is global pooling."""

import numpy as np

from ..arguments.shapes import Window
from .registry import gradient_buffer, op


@op(kernels="pool", forgets=True)
def max_pool2d(k, x, window: Window):
    """y = the maximum of each window, channel by channel: x (N,H,W,C) to y (N,OH,OW,C).

    Padding counts as -inf. The gradient goes to one element, the first maximum in C order. A NaN
    counts as the maximum.
    """
    full = x.shape
    shape = (x.shape[0], *window.pooled_size(x.shape[1], x.shape[2]), x.shape[3])
    y = k.empty(shape, x.dtype)
    winner = k.empty(shape, np.dtype(np.int32))
    k.max_pool2d(x, y, winner, window)

    def backward(dy, needs):
        if needs[0] is False:
            return (None,)
        dx = gradient_buffer(k, needs[0], full, dy.dtype)
        k.max_pool2d_grad(dy, winner, dx, window)
        return (dx,)

    return y, backward


@op(kernels="pool", forgets=True)
def avg_pool2d(k, x, window: Window):
    """y = the mean of each window's pixels, without padding: x (N,H,W,C) to y (N,OH,OW,C)."""
    full = x.shape
    y = k.empty((x.shape[0], *window.pooled_size(x.shape[1], x.shape[2]), x.shape[3]), x.dtype)
    k.avg_pool2d(x, y, window)

    def backward(dy, needs):
        if needs[0] is False:
            return (None,)
        dx = gradient_buffer(k, needs[0], full, dy.dtype)
        k.avg_pool2d_grad(dy, dx, window)
        return (dx,)

    return y, backward
