"""Computes the losses of a batch, one number per sample, and their gradients. Losses with
logarithms are compiled; the others use NumPy.

All losses have the form forward(t, x, loss) and gradient(t, x, dy, dx). The targets t and the
predictions x have shape (..., C); loss and dy have shape (...).
"""

import math

import numpy as np
from numba import prange

from ..buffers import scratch
from ..formulas.elementary import log, log1p
from . import arith
from .exponential import exp
from .jit import inline, kernel, record_calls
from .pointwise import sigmoid, softmax

FEW = 64  # number of rows of about ten classes that one thread completes while a second starts
EPSILON = 1e-7  # as in Keras: probabilities are clipped to [EPSILON, 1 - EPSILON]


@kernel("(int64[::1], T[:,::1])")
def _one_hot(labels, out):
    for i in range(labels.size):
        inside = 0 <= labels[i] < out.shape[1]
        for c in range(out.shape[1]):
            out[i, c] = (1 if c == labels[i] else 0) if inside else np.nan


def one_hot(labels, out):
    """out (..., C) = 1 at each label (...), else 0; a label outside 0..C-1 gives a row of NaN."""
    _one_hot(labels.reshape(-1), out.reshape(labels.size, out.shape[-1]))


@inline
def _clip(p, x):
    """Returns p in x's dtype, clipped to [EPSILON, 1 - EPSILON]; NaN stays NaN."""
    least = x.dtype.type(EPSILON)
    most = x.dtype.type(1 - EPSILON)
    p = x.dtype.type(p)
    return least if p < least else most if p > most else p


@kernel("(T[:,::1], T[:,::1], T[::1])", parallel=True, grain=FEW)
def _categorical(t, x, loss):
    rows, classes = x.shape
    for i in prange(rows):
        total = 0.0
        value = 0.0
        for c in range(classes):
            total += x[i, c]
        for c in range(classes):
            value -= t[i, c] * log(_clip(x[i, c] / total, x))
        loss[i] = value


def categorical(t, x, loss):
    """loss = -sum(t log p), where p is x / sum(x), clipped to [EPSILON, 1 - EPSILON]."""
    _categorical(_rows(t), _rows(x), loss.reshape(-1))


@record_calls
def categorical_grad(t, x, dy, dx):
    """dx = dy (dp - sum(dp p)) / S. S = sum(x), p = x / S, dp = -t / p, or 0 where p is clipped."""
    p, total = _shares(x)
    dp = _zero_clipped(p, -t / np.clip(p, EPSILON, 1 - EPSILON))
    np.subtract(dp, _sum_last(dp * p), out=dx)
    with np.errstate(divide="ignore", invalid="ignore"):
        dx *= dy[..., None] / total


@kernel("(T[:,::1], T[:,::1], T[::1])", parallel=True, grain=FEW)
def _categorical_logits(t, x, loss):
    rows, classes = x.shape
    for i in prange(rows):
        largest = x[i, 0]
        for c in range(classes):
            largest = x[i, c] if x[i, c] > largest else largest
        total, value = x.dtype.type(0), x.dtype.type(0)
        for c in range(classes):
            total += exp(x[i, c] - largest)
        logarithm = x.dtype.type(log(total))
        for c in range(classes):
            if t[i, c] != 0:
                value -= t[i, c] * (x[i, c] - largest - logarithm)
        loss[i] = value


def categorical_logits(t, x, loss):
    """loss = -sum(t log_softmax(x)), where 0 * -inf counts as 0."""
    _categorical_logits(_rows(t), _rows(x), loss.reshape(-1))


@kernel("(T[:,::1], T[::1], T[:,::1])", parallel=True, grain=FEW)
def _minus_targets(t, dy, dx):
    """dx = (dx sum(t) - t) dy."""
    for i in prange(t.shape[0]):
        total = t.dtype.type(0)
        for c in range(t.shape[1]):
            total += t[i, c]
        for c in range(t.shape[1]):
            dx[i, c] = (dx[i, c] * total - t[i, c]) * dy[i]


def categorical_logits_grad(t, x, dy, dx):
    """dx = dy (softmax(x) sum(t) - t)."""
    softmax(x, -1, dx)
    _minus_targets(_rows(t), dy.reshape(-1), _rows(dx))


@kernel("(T[:,::1], T[:,::1], T[::1])", parallel=True, grain=FEW)
def _binary(t, x, loss):
    rows, outputs = x.shape
    for i in prange(rows):
        total = 0.0
        for c in range(outputs):
            p = _clip(x[i, c], x)
            total -= t[i, c] * log(p) + (1 - t[i, c]) * log(1 - p)
        loss[i] = total / outputs


def binary(t, x, loss):
    """loss = -mean(t log p + (1 - t) log(1 - p)); p is x, clipped to [EPSILON, 1 - EPSILON]."""
    _binary(_rows(t), _rows(x), loss.reshape(-1))


@record_calls
def binary_grad(t, x, dy, dx):
    """dx = dy (p - t) / (p (1 - p)) / C, where p is the clipped x. dx is 0 where x was clipped."""
    p = np.clip(x, EPSILON, 1 - EPSILON)
    dx[...] = _zero_clipped(x, (p - t) / (p * (1 - p)))
    dx *= dy[..., None] / x.dtype.type(x.shape[-1])


@kernel("(T[:,::1], T[:,::1], T[::1])", parallel=True, grain=FEW)
def _binary_logits(t, x, loss):
    rows, outputs = x.shape
    for i in prange(rows):
        total = 0.0
        for c in range(outputs):
            logit = x[i, c]
            total += (0.0 if logit < 0 else logit) - logit * t[i, c] + log1p(exp(-abs(logit)))
        loss[i] = total / outputs


def binary_logits(t, x, loss):
    """loss = mean(max(x, 0) - x t + log(1 + exp(-|x|))), a stable `binary` for logits x."""
    _binary_logits(_rows(t), _rows(x), loss.reshape(-1))


@record_calls
def binary_logits_grad(t, x, dy, dx):
    """dx = dy (sigmoid(x) - t) / C."""
    sigmoid(x.reshape(-1), dx.reshape(-1))
    dx -= t
    dx *= dy[..., None] / x.dtype.type(x.shape[-1])


def squared_error(t, x, loss):
    """loss = mean((x - t)^2)."""
    difference = _subtract(x, t)
    arith.multiply(difference, difference, difference)
    _average(difference, loss)


@record_calls
def squared_error_grad(t, x, dy, dx):
    """dx = 2 dy (x - t) / C."""
    np.subtract(x, t, out=dx)
    dx *= dy[..., None] * x.dtype.type(2 / x.shape[-1])


def absolute(t, x, loss):
    """loss = mean(|x - t|)."""
    difference = _subtract(x, t)
    arith.abs(difference, difference)
    _average(difference, loss)


@record_calls
def absolute_grad(t, x, dy, dx):
    """dx = dy sign(x - t) / C."""
    np.sign(x - t, out=dx)
    dx *= dy[..., None] / x.dtype.type(x.shape[-1])


def _subtract(x, t):
    difference = scratch(x.shape, x.dtype)
    arith.subtract(x, t, difference)
    return difference


def _average(values, loss):
    """loss = the means along the last axis, in the same order in all versions of NumPy."""
    arith.sum(values, (values.ndim - 1,), loss[..., None], values.shape[-1])


def _rows(x):
    """Reshapes (..., C) to (M, C)."""
    return x.reshape(math.prod(x.shape[:-1]), x.shape[-1])


def _sum_last(x):
    """Returns the sums along the last axis, in the same order in all versions of NumPy."""
    return np.cumsum(x, -1)[..., -1:]


def _shares(x):
    """Returns x / sum(x) along the last axis, and the sum."""
    total = _sum_last(x)
    with np.errstate(divide="ignore", invalid="ignore"):
        return x / total, total


def _zero_clipped(p, gradient):
    """Sets `gradient` to 0 where p is outside [EPSILON, 1 - EPSILON], but not where p is NaN."""
    gradient[(p < EPSILON) | (p > 1 - EPSILON)] = 0
    return gradient
