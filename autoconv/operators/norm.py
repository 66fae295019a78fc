"""Batch normalization."""

import numpy as np

from .conv import relu_gradient
from .registry import gradient_buffer, op

# maximum number of partial sums over the batch, and minimum number of elements in each; the actual
# number depends only on the shape
PARTS, PART = 32, 1 << 14


@op(kernels="norm")
def batch_norm(k, x, gamma, beta, mean, variance, training, epsilon, activation="linear", gather=None):
    """y = gamma (x - mean) / sqrt(variance + epsilon) + beta, per channel (the last axis); gamma
    and beta may be None.

    In training, the op writes the batch's mean and (biased) variance to `mean` and `variance` (C,),
    and the gradient flows through both. In inference they are constants. The activation is applied to
    y in the same pass; in training, the backward pass computes its argument again. In inference with
    gradients, the activation must be "linear" or "relu". If the
    batch is split over several ranks, `gather` collects an array from each rank; dgamma and dbeta
    cover only this rank's x. Ioffe and Szegedy: "Batch normalization", ICML 2015.
    """
    channels = x.shape[-1]
    rows = x.reshape(-1, channels)  # (M, C)
    parts = _parts(k, rows)
    share = np.ones(1)
    if training:
        k.moments(rows, parts, mean, variance)
        if gather is not None:
            k.combine_moments(gather, len(rows), mean, variance, share)
    center, inverse, scale, shift = coefficients(k, x, gamma, beta, mean, variance, epsilon)

    def normalize():
        y = k.empty(x.shape, x.dtype)
        k.normalize(rows, center, scale, shift, activation, y.reshape(-1, channels))
        return y

    y = normalize()
    kept = y if activation == "relu" and not training else None

    def backward(dy, needs):
        if kept is not None:
            dy = relu_gradient(k, kept, dy)
        dy = dy.reshape(-1, channels)  # (M, C)
        repeated = activation if training else "linear"
        dgamma, dbeta = (_gradient_array(k, need, mean) for need in needs[1:])
        if training or needs[1] is not False or needs[2] is not False:
            k.parameter_grads(rows, dy, center, inverse, scale, shift, repeated, parts, dgamma, dbeta)
        dx = None if needs[0] is False else gradient_buffer(k, needs[0], x.shape, x.dtype)
        if dx is not None and training:
            sums = dgamma, dbeta
            if gather is not None:
                sums = k.empty(mean.shape, mean.dtype), k.empty(mean.shape, mean.dtype)
                k.sum_gradients(gather, share, dgamma, dbeta, *sums)
            k.input_grad(rows, dy, center, inverse, scale, shift, repeated, *sums, dx.reshape(-1, channels))
        elif dx is not None:
            k.multiply(dy, scale, dx.reshape(-1, channels))
        return dx, dgamma if needs[1] is not False else None, dbeta if needs[2] is not False else None

    if kept is None:
        backward.restore = normalize  # type: ignore[attr-defined]
    return y, backward


@op(kernels="norm_pool")
def batch_norm_relu_pool(k, x, gamma, beta, mean, variance, epsilon):
    """2x2 max pooling of `batch_norm` in training with `relu`: x (N,H,W,C), y (N,H//2,W//2,C),
    without storing the full-size image. For the gradient, the op keeps the x of each window's
    maximum and the position of the maximum.
    """
    n, h, w, channels = x.shape
    rows = x.reshape(-1, channels)
    parts = _parts(k, rows)
    k.moments(rows, parts, mean, variance)
    center, inverse, scale, shift = coefficients(k, x, gamma, beta, mean, variance, epsilon)
    pooled = n, h // 2, w // 2, channels
    y = k.empty(pooled, x.dtype)
    peak = k.empty(pooled, x.dtype)
    winner = k.empty(pooled, np.dtype(np.uint8))
    k.normalize_pool(x, center, scale, shift, y, peak, winner)

    def backward(dy, needs):
        dgamma, dbeta = (_gradient_array(k, need, mean) for need in needs[1:])
        winners = peak.reshape(-1, channels)
        gradients = dy.reshape(-1, channels)
        k.parameter_grads(winners, gradients, center, inverse, scale, shift, "relu", parts, dgamma, dbeta)
        dx = None
        if needs[0] is not False:
            dx = gradient_buffer(k, needs[0], x.shape, x.dtype)
            k.input_grad_pool(x, peak, winner, dy, center, inverse, scale, shift, dgamma, dbeta, dx)
        return dx, dgamma if needs[1] is not False else None, dbeta if needs[2] is not False else None

    return y, backward


@op(kernels="norm_add", takes_two=True)
def batch_norm_add_relu(k, x, gamma, beta, other, mean, variance, epsilon):
    """max(batch_norm + other, 0) for `batch_norm` in training: x, other and y (..., C). The pass
    that sums the gradients of gamma and beta also writes the gradient of `other`.
    """
    channels = x.shape[-1]
    rows = x.reshape(-1, channels)
    parts = _parts(k, rows)
    k.moments(rows, parts, mean, variance)
    center, inverse, scale, shift = coefficients(k, x, gamma, beta, mean, variance, epsilon)
    y = k.empty(x.shape, x.dtype)
    k.normalize(rows, center, scale, shift, "relu", y.reshape(-1, channels), other.reshape(-1, channels))

    def backward(dy, needs):
        first, second = (a.reshape(-1, channels) for a in (dy if isinstance(dy, tuple) else (dy, dy)))
        dgamma, dbeta = (_gradient_array(k, need, mean) for need in needs[1:3])
        dother = _gradient_array(k, needs[3], x)
        passed = dother.reshape(-1, channels)
        k.parameter_grads_add(rows, y.reshape(-1, channels), first, second, isinstance(dy, tuple), center, inverse,
                              parts, passed, dgamma, dbeta)
        dx = None
        if needs[0] is not False:
            dx = gradient_buffer(k, needs[0], x.shape, x.dtype)
            k.input_grad(rows, passed, center, inverse, scale, shift, "linear", dgamma, dbeta, dx.reshape(-1, channels))
        return tuple(None if need is False else found for need, found in zip(needs, (dx, dgamma, dbeta, dother)))

    return y, backward


def _parts(k, rows):
    """Returns an array for the partial sums over rows (M, C)."""
    return k.empty((2, max(1, min(PARTS, rows.size // PART)), rows.shape[1]), np.float64)


def coefficients(k, x, gamma, beta, mean, variance, epsilon):
    """Returns center, inverse, scale and shift (C,), with y = (x - center) scale + shift. All four arrays
    are copies, because the moving averages and the parameters may change before the backward pass.
    """
    vectors = [k.empty(mean.shape, x.dtype) for _ in range(4)]
    k.coefficients(mean, variance, epsilon, gamma, beta, *vectors)
    return vectors


def fold(k, w, b, gamma, beta, mean, variance, epsilon):
    """Folds this normalization into a convolution or dense layer with kernel (..., C) and bias
    (C,), and returns the new kernel and bias. `mean` and `variance` are constants. The kernel is
    multiplied by f = gamma / sqrt(variance + epsilon), and the new bias is (b - mean) f + beta.
    """
    channels = mean.shape[0]
    folded = k.empty(w.shape, w.dtype)
    shift = k.empty(mean.shape, w.dtype)
    rows = w.reshape(-1, channels)
    target = folded.reshape(-1, channels)
    k.fold(rows, b, gamma, beta, mean, variance, epsilon, target, shift)
    return folded, shift


def _gradient_array(k, need, like):
    """Returns an array for the gradient of `like`, even if the caller does not request the gradient."""
    return gradient_buffer(k, True if need is False else need, like.shape, like.dtype)
