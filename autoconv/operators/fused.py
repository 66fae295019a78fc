"""Ops that compute several layers in one pass. `fusion.py` replaces consecutive layers by these ops."""

import numpy as np

from ..arguments.shapes import Window
from .conv import weight_gradients
from .registry import MASKED, Masked, gradient_buffer, op


@op(kernels="fused", masks=True)
def conv2d_relu_pool(k, x, w, b, window: Window):
    """2x2 max pooling of relu(conv2d(x, w, b)), without storing the full-size image.

    x (N,H,W,C), w (KH,KW,C,F), b (F,) or None; y (N,OH//2,OW//2,F). For the gradient, the op
    keeps y and one byte per window, the position of its maximum.
    """
    y = _empty_pooled(k, x, w, b, window)
    winner = k.empty(y.shape, np.dtype(np.uint8))
    k.conv2d_relu_pool(x, w, b, y, winner, window)

    def backward(dy, needs):
        dx = None if needs[0] is False else gradient_buffer(k, needs[0], x.shape, x.dtype)
        dw, db = weight_gradients(k, needs, w.shape, w.shape[3], x.dtype, always=True)
        k.conv2d_relu_pool_grad(x, w, y, winner, dy, dx, dw, db, window, needs[0] is MASKED)
        dx = Masked(dx) if needs[0] is MASKED else dx
        return dx, dw if needs[1] is not False else None, db if needs[2] is not False else None

    return y, backward


@conv2d_relu_pool.without_gradients
def _infer(k, x, w, b, window: Window, scale=None):
    """Computes `conv2d_relu_pool` without gradients; `scale` (F,) multiplies w."""
    y = _empty_pooled(k, x, w, b, window)
    k.conv2d_relu_pool(x, w, b, y, k.empty((0,), np.dtype(np.uint8)), window, scale)
    return y


def _empty_pooled(k, x, w, b, window: Window):
    """Returns a new array for the pooled result."""
    n, oh, ow, filters = window.convolved_shape(x.shape, w.shape, None if b is None else b.shape, w.shape[3])
    return k.empty((n, oh // 2, ow // 2, filters), x.dtype)
