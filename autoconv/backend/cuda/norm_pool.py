"""Batch normalization, ReLU and 2x2 max pooling, a thread an item of the result, and the gradient of that."""

from .norm import coefficients, moments, parameter_grads  # noqa: F401 (part of this module)
from .ptx import global_index
from .runtime import kernel


@kernel("(int64, const T[:,:,:,::1], const T[::1], const T[::1], const T[::1], T[:,:,:,::1], T[:,:,:,::1],"
        " uint8[:,:,:,::1])")
def _normalize_pool(count, x, mean, scale, shift, y, peak, winner):
    _, oh, ow, channels = y.shape
    zero, item = x.dtype.type(0), global_index()
    if item < count:
        c, j, i, n = item % channels, item // channels % ow, item // (channels * ow) % oh, item // (channels * ow * oh)
        top = x[n, 2 * i, 2 * j, c]
        best, place = (top - mean[c]) * scale[c] + shift[c], 0
        for k in range(1, 4):
            here = x[n, 2 * i + k // 2, 2 * j + k % 2, c]
            value = (here - mean[c]) * scale[c] + shift[c]
            if value > best or value != value:
                top, best, place = here, value, k
        y[n, i, j, c] = zero if best < 0 else best
        peak[n, i, j, c], winner[n, i, j, c] = top, place


@kernel("(int64, const T[:,:,:,::1], const T[:,:,:,::1], const uint8[:,:,:,::1], const T[:,:,:,::1], const T[::1],"
        " const T[::1], const T[::1], const T[::1], const T[::1], const T[::1], T[:,:,:,::1])")
def _input_grad_pool(count, x, peak, winner, dy, mean, inverse, scale, shift, dgamma, dbeta, dx):
    (number, h, w, channels), (_, oh, ow, _) = x.shape, dy.shape
    share, item = mean.dtype.type(1) / mean.dtype.type(number * h * w), global_index()
    if item < count:
        c, j, i, n = item % channels, item // channels % w, item // (channels * w) % h, item // (channels * w * h)
        gradient, p, q = x.dtype.type(0), i // 2, j // 2
        won = p < oh and q < ow and winner[n, p, q, c] == i % 2 * 2 + j % 2
        if won and not (peak[n, p, q, c] - mean[c]) * scale[c] + shift[c] <= 0:
            gradient = dy[n, p, q, c]
        centered = x[n, i, j, c] - mean[c]
        dx[n, i, j, c] = scale[c] * (gradient - share * (dbeta[c] + centered * inverse[c] * dgamma[c]))


def normalize_pool(x, mean, scale, shift, y, peak, winner):
    """y (N,H//2,W//2,C) = the largest of (x - mean) scale + shift in each window, or 0; `peak` its x, `winner` its
    place, 0 to 3: the first of equals.
    """
    _normalize_pool(y.size, x, mean, scale, shift, y, peak, winner)


def input_grad_pool(x, peak, winner, dy, mean, inverse, scale, shift, dgamma, dbeta, dx):
    """dx (N,H,W,C) from dy (N,H//2,W//2,C): `norm.input_grad` of gradients at those winners that are above 0."""
    _input_grad_pool(dx.size, x, peak, winner, dy, mean, inverse, scale, shift, dgamma, dbeta, dx)
