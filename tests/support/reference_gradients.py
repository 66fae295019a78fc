"""The gradients (dx, dw, db) of convolutions and poolings, as plain loops: each product of a forward pass once more,
with dy, and no product that is not in one, so no 0 * inf. The functions have the names and arguments of reference.py.
"""

from itertools import product

import numpy as np
from reference import largest, windows


def conv2d(dy, x, w, b=None, strides=1, padding="valid", dilation_rate=1, groups=1):
    dx, dw, depth, per_group = np.zeros_like(x), np.zeros_like(w), w.shape[2], w.shape[3] // groups
    for i, j, taps in windows(x, w.shape[:2], strides, padding, dilation_rate):
        for (u, v, r, c), g in product(taps, range(groups)):
            seen, made = slice(g * depth, (g + 1) * depth), slice(g * per_group, (g + 1) * per_group)
            dx[:, r, c, seen] += dy[:, i, j, made] @ w[u, v, :, made].T
            dw[u, v, :, made] += x[:, r, c, seen].T @ dy[:, i, j, made]
    return dx, dw, dy.sum((0, 1, 2))


def conv2d_transpose(dy, x, w, b=None, strides=1, padding="valid", dilation_rate=1):
    dx, dw = np.zeros_like(x), np.zeros_like(w)
    for i, j, taps in windows(dy, w.shape[:2], strides, padding, dilation_rate):
        for u, v, r, c in taps:
            dx[:, i, j] += dy[:, r, c] @ w[u, v]
            dw[u, v] += dy[:, r, c].T @ x[:, i, j]
    return dx, dw, dy.sum((0, 1, 2))


def depthwise_conv2d(dy, x, w, b=None, strides=1, padding="valid", dilation_rate=1):
    dx, dw, parted = np.zeros_like(x), np.zeros_like(w), dy.reshape(*dy.shape[:3], *w.shape[2:])
    for i, j, taps in windows(x, w.shape[:2], strides, padding, dilation_rate):
        for u, v, r, c in taps:
            dx[:, r, c] += (parted[:, i, j] * w[u, v]).sum(-1)
            dw[u, v] += (x[:, r, c, :, None] * parted[:, i, j]).sum(0)
    return dx, dw, dy.sum((0, 1, 2))


def max_pool2d(dy, x, pool_size=2, strides=None, padding="valid"):
    dx = np.zeros_like(x)
    for i, j, taps in windows(x, pool_size, pool_size if strides is None else strides, padding):
        for n, k in np.ndindex(x.shape[0], x.shape[3]):
            items = [x[n, r, c, k] for _, _, r, c in taps]
            _, _, r, c = taps[next(t for t, item in enumerate(items) if item is largest(items))]
            dx[n, r, c, k] += dy[n, i, j, k]
    return (dx,)


def avg_pool2d(dy, x, pool_size=2, strides=None, padding="valid"):
    dx = np.zeros_like(x)
    for i, j, taps in windows(x, pool_size, pool_size if strides is None else strides, padding):
        for _, _, r, c in taps:
            dx[:, r, c] += dy[:, i, j] / len(taps)
    return (dx,)
