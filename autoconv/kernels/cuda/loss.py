"""Computes losses, one number per sample, and their gradients. One thread adds up each sample's
row.

Loss functions have the signature (t, x, loss), gradient functions (t, x, dy, dx). The targets t,
the predictions x and dx have shape (..., C); loss and dy have shape (...).
"""

import math

from ..formulas import elementwise
from .kernels import ItemKernel, inline, kernel
from .ptx import global_index, load, store

EPSILON = 1e-7  # Keras's epsilon: probabilities are clipped to [EPSILON, 1 - EPSILON]

_logistic = inline(elementwise.sigmoid)

_FORWARD = "(int64, const T[:,::1], const T[:,::1], T[::1])"
_GRADIENT = "(int64, const T[:,::1], const T[:,::1], const T[::1], T[:,::1])"


@inline
def _clip(p):
    """Clips p to [EPSILON, 1 - EPSILON]; NaN stays NaN."""
    low, high = type(p)(EPSILON), type(p)(1 - EPSILON)
    return low if p < low else high if p > high else p


@inline
def _is_clipped(p):
    return p < type(p)(EPSILON) or p > type(p)(1 - EPSILON)


@inline
def _total(x, i):
    """Returns the sum of row i."""
    total = x.dtype.type(0)
    for c in range(x.shape[1]):
        total += x[i, c]
    return total


# Helpers for the cross-entropy from logits, which almost every classifier uses. A row consists of
# the elements first <= j < last of a flat array. The helpers use `while` loops, because Numba's
# `range` needs eight more instructions per iteration.


@inline
def row_sum(x, first, last):
    """Returns the sum of a row."""
    total, j = x.dtype.type(0), first
    while j < last:
        total += load(x, j)
        j += 1
    return total


@inline
def softmax_parts(x, first, last):
    """Returns a row's maximum, and the sum of exp(x - maximum) over the row."""
    best, j = load(x, first), first + 1
    while j < last:
        item = load(x, j)
        best = item if item > best else best
        j += 1
    total, j = x.dtype.type(0), first
    while j < last:
        total += math.exp(load(x, j) - best)
        j += 1
    return best, total


@inline
def entropy(t, x, first, last, best, exponentials):
    """Returns the cross-entropy of a row from its logits and their `softmax_parts`."""
    total, logarithm, j = x.dtype.type(0), math.log(exponentials), first
    while j < last:
        share = load(t, j)
        if share != 0:
            total += share * (load(x, j) - best - logarithm)
        j += 1
    return -total


@inline
def slope(share, sum_t, t, dy):
    """Returns a logit's gradient, from its softmax `share`, target t and row's sum of targets."""
    return (share * sum_t - t) * dy


@inline
def hot(label, c, classes, like):
    """Returns element c of a one-hot row, in the dtype of `like`; NaN if the label is invalid."""
    if 0 <= label < classes:
        return like.dtype.type(1) if label == c else like.dtype.type(0)
    return like.dtype.type(math.nan)


@kernel("(int64, const int64[::1], T[:,::1])")
def _one_hot(count, labels, out):
    item = global_index()
    if item < count:
        i, c = item // out.shape[1], item % out.shape[1]
        out[i, c] = hot(labels[i], c, out.shape[1], out)


@kernel(_FORWARD)
def _categorical(count, t, x, loss):
    i = global_index()
    if i < count:
        total, sum_x = x.dtype.type(0), _total(x, i)
        for c in range(x.shape[1]):
            total += t[i, c] * math.log(_clip(x[i, c] / sum_x))
        loss[i] = -total


@kernel(_GRADIENT)
def _categorical_grad(count, t, x, dy, dx):
    i = global_index()
    if i < count:
        zero, sum_x = x.dtype.type(0), _total(x, i)
        through = zero
        for c in range(x.shape[1]):
            p = x[i, c] / sum_x
            dp = zero if _is_clipped(p) else -t[i, c] / _clip(p)
            dx[i, c] = dp
            through += dp * p
        for c in range(x.shape[1]):
            dx[i, c] = (dx[i, c] - through) * (dy[i] / sum_x)


@kernel("(int64, int64, const T[::1], const T[::1], T[::1])")
def _categorical_logits(count, classes, t, x, loss):
    i = global_index()
    if i < count:
        first = i * classes
        best, exponentials = softmax_parts(x, first, first + classes)
        store(loss, i, entropy(t, x, first, first + classes, best, exponentials))


@kernel("(int64, int64, const T[::1], const T[::1], const T[::1], T[::1])")
def _categorical_logits_grad(count, classes, t, x, dy, dx):
    i = global_index()
    if i < count:
        j, last = i * classes, (i + 1) * classes
        best, exponentials = softmax_parts(x, j, last)
        sum_t, weight = row_sum(t, j, last), load(dy, i)
        while j < last:
            share = math.exp(load(x, j) - best) / exponentials
            store(dx, j, slope(share, sum_t, load(t, j), weight))
            j += 1


def _mean(name, term) -> ItemKernel:
    """Creates a kernel for loss = the mean of term(t, x) over each sample's row."""

    @kernel(_FORWARD, name)
    def run(count, t, x, loss):
        i = global_index()
        if i < count:
            total = x.dtype.type(0)
            for c in range(x.shape[1]):
                total += term(t[i, c], x[i, c])
            loss[i] = total / x.dtype.type(x.shape[1])

    return run


def _mean_grad(name, gradient) -> ItemKernel:
    """Creates a kernel for dx = gradient(t, x, dy, elements per row). One thread handles one
    element.
    """

    @kernel(_GRADIENT, name)
    def run(count, t, x, dy, dx):
        item = global_index()
        if item < count:
            i, c = item // x.shape[1], item % x.shape[1]
            dx[i, c] = gradient(t[i, c], x[i, c], dy[i], x.dtype.type(x.shape[1]))

    return run


@inline
def _entropy(t, x):
    one, p = type(x)(1), _clip(x)
    return -t * math.log(p) - (one - t) * math.log(one - p)


@inline
def _entropy_slope(t, x, dy, count):
    one, p = type(x)(1), _clip(x)
    slope = type(x)(0) if _is_clipped(x) else (p - t) / (p * (one - p))
    return slope * (dy / count)


@inline
def _logit_entropy(t, x):
    return (type(x)(0) if x < type(x)(0) else x) - x * t + math.log1p(math.exp(-abs(x)))


@inline
def _sign(x):
    # sign(0) is 0, sign(NaN) is NaN
    return type(x)(1) if x > type(x)(0) else type(x)(-1) if x < type(x)(0) else x


_binary, _binary_logits = _mean("_binary", _entropy), _mean("_binary_logits", _logit_entropy)
_squared = _mean("_squared", inline(lambda t, x: (x - t) * (x - t)))
_absolute = _mean("_absolute", inline(lambda t, x: abs(x - t)))
_binary_grad = _mean_grad("_binary_grad", _entropy_slope)
_binary_logits_grad = _mean_grad("_binary_logits_grad", inline(lambda t, x, dy, n: (_logistic(x) - t) * (dy / n)))
_squared_grad = _mean_grad("_squared_grad", inline(lambda t, x, dy, n: (x - t) * (dy * (type(x)(2) / n))))
_absolute_grad = _mean_grad("_absolute_grad", inline(lambda t, x, dy, n: _sign(x - t) * (dy / n)))


def one_hot(labels, out):
    """out (..., C) = 1 at each label (...), else 0; a row of NaN if the label is not in 0..C-1."""
    _one_hot(out.size, labels.reshape(-1), out.reshape(labels.size, out.shape[-1]))


def categorical(t, x, loss):
    """loss = -sum(t log p), where p is x / sum(x), then clipped."""
    _score(_categorical, t, x, loss)


def categorical_grad(t, x, dy, dx):
    """dx = (dp - sum(dp p)) dy / S; S = sum(x), p = x / S, dp = -t / p, or 0 if p was clipped."""
    _slope(_categorical_grad, dy.size, t, x, dy, dx)


def categorical_logits(t, x, loss):
    """loss = -sum(t log_softmax(x))."""
    _categorical_logits(loss.size, x.shape[-1], t.reshape(-1), x.reshape(-1), loss.reshape(-1))


def categorical_logits_grad(t, x, dy, dx):
    """dx = (softmax(x) sum(t) - t) dy."""
    _categorical_logits_grad(dy.size, x.shape[-1], *(array.reshape(-1) for array in (t, x, dy, dx)))


def binary(t, x, loss):
    """loss = -mean(t log p + (1 - t) log(1 - p)), where p is x, clipped."""
    _score(_binary, t, x, loss)


def binary_grad(t, x, dy, dx):
    """dx = (p - t) / (p (1 - p)) dy / C, or 0 if x was clipped; p is x, clipped."""
    _slope(_binary_grad, dx.size, t, x, dy, dx)


def binary_logits(t, x, loss):
    """loss = mean(max(x, 0) - x t + log(1 + exp(-|x|))), the stable form for p = sigmoid(x)."""
    _score(_binary_logits, t, x, loss)


def binary_logits_grad(t, x, dy, dx):
    """dx = (sigmoid(x) - t) dy / C."""
    _slope(_binary_logits_grad, dx.size, t, x, dy, dx)


def squared_error(t, x, loss):
    """loss = mean((x - t)^2)."""
    _score(_squared, t, x, loss)


def squared_error_grad(t, x, dy, dx):
    """dx = 2 (x - t) dy / C."""
    _slope(_squared_grad, dx.size, t, x, dy, dx)


def absolute(t, x, loss):
    """loss = mean(|x - t|)."""
    _score(_absolute, t, x, loss)


def absolute_grad(t, x, dy, dx):
    """dx = sign(x - t) dy / C."""
    _slope(_absolute_grad, dx.size, t, x, dy, dx)


def _score(kernel, t, x, loss):
    shape = (loss.size, x.shape[-1])
    kernel(loss.size, t.reshape(shape), x.reshape(shape), loss.reshape(-1))


def _slope(kernel, count, t, x, dy, dx):
    shape = (dy.size, x.shape[-1])
    kernel(count, t.reshape(shape), x.reshape(shape), dy.reshape(-1), dx.reshape(shape))
