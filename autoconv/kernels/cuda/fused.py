"""Convolution + bias + ReLU + 2x2 max pooling as one kernel, and its gradients.

Forward computes only the pixels that the pooling reads, and keeps the pooled value and one byte that says which of the
four won. Backward spreads the pooled gradients to their winners, and goes on as the ordinary convolution does.
"""

from ...shapes import Window
from . import array as arrays
from .conv import bias, conv2d_input_grad, conv2d_weight_grad, window_sum
from .runtime import cuda, kernel


@kernel("(int64, T[:,:,:,::1], T[:,:,:,::1], T[::1], boolean, T[:,:,:,::1], uint8[::1], boolean,"
        " UniTuple(int64, 10))")
def _forward(count, x, w, b, has_bias, y, winner, keep_winner, window):
    _, oh, ow, filters = y.shape
    zero = y.dtype.type(0)
    for item in range(cuda.grid(1), count, cuda.gridsize(1)):
        f, q = item % filters, item // filters % ow
        p, n = item // (filters * ow) % oh, item // (filters * ow * oh)
        best, where = window_sum(x, w, n, 2 * p, 2 * q, f, 0, window), 0
        for k in range(1, 4):
            total = window_sum(x, w, n, 2 * p + k // 2, 2 * q + k % 2, f, 0, window)
            if total > best or (total != total and best == best):  # a NaN wins
                best, where = total, k
        if has_bias:
            best += b[f]
        y[n, p, q, f] = zero if best < zero else best
        if keep_winner:
            winner[item] = where


@kernel("(int64, T[:,:,:,::1], uint8[:,:,:,::1], T[:,:,:,::1], T[:,:,:,::1])")
def _unpool(count, y, winner, dy, spread):
    """Each pooled gradient at its winner, zero at the others and where the ReLU was at 0."""
    _, oh, ow, filters = spread.shape
    zero = y.dtype.type(0)
    for item in range(cuda.grid(1), count, cuda.gridsize(1)):
        f, q = item % filters, item // filters % ow
        p, n = item // (filters * ow) % oh, item // (filters * ow * oh)
        value = zero
        if p // 2 < y.shape[1] and q // 2 < y.shape[2] and winner[n, p // 2, q // 2, f] == p % 2 * 2 + q % 2:
            value = zero if y[n, p // 2, q // 2, f] <= zero else dy[n, p // 2, q // 2, f]
        spread[n, p, q, f] = value


def conv2d_relu_pool(x, w, b, y, winner, window: Window) -> None:
    """y (N,OH//2,OW//2,F) = 2x2 max pooling of relu(conv2d(x, w, b)); `winner` (uint8, y's shape) says which won,
    unless it is empty.
    """
    _forward(y.size, x, w, *bias(b, w), y, winner.reshape(-1), winner.size > 0, tuple(window))


def conv2d_relu_pool_grad(x, w, y, winner, dy, dx, dw, db, window: Window) -> None:
    """dx (N,H,W,C) or None, dw (KH,KW,C,F) and db (F,) from dy (N,OH//2,OW//2,F)."""
    size = window.output_size(x.shape[1], x.shape[2])
    spread = arrays.empty(x.gpu, (x.shape[0], *size, y.shape[3]), x.dtype)
    _unpool(spread.size, y, winner, dy, spread)
    conv2d_weight_grad(x, spread, dw, db, window)
    if dx is not None:
        conv2d_input_grad(spread, w, dx, window)
