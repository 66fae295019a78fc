"""Functions of one item, and the softmax: a thread an item, or a thread a row, which it goes along in order."""

import math

from .ptx import global_index
from .runtime import inline, kernel


@kernel("(int64, const T[::1], T[::1])")
def _relu(count, x, y):
    zero = y.dtype.type(0)
    i = global_index()
    if i < count:
        y[i] = zero if x[i] < zero else x[i]


@kernel("(int64, const T[::1], const T[::1], T[::1])")
def _relu_grad(count, y, dy, dx):
    zero = y.dtype.type(0)
    i = global_index()
    if i < count:
        dx[i] = zero if y[i] <= zero else dy[i]


@kernel("(int64, const T[::1], const T[::1], T[::1])")
def _add_relu(count, a, b, y):
    zero = y.dtype.type(0)
    i = global_index()
    if i < count:
        total = a[i] + b[i]
        y[i] = zero if total < zero else total


@kernel("(int64, const T[::1], const T[::1], const T[::1], T[::1])")
def _relu_grad_of_two(count, y, dy, more, dx):
    zero = y.dtype.type(0)
    i = global_index()
    if i < count:
        dx[i] = zero if y[i] <= zero else dy[i] + more[i]


@inline
def logistic(x):
    """1 / (1 + exp(-x)), where exp never overflows."""
    one = type(x)(1)
    if x < type(x)(0):
        e = math.exp(x)
        return e / (one + e)
    return one / (one + math.exp(-x))


@kernel("(int64, const T[::1], T[::1])")
def _sigmoid(count, x, y):
    i = global_index()
    if i < count:
        y[i] = logistic(x[i])


@kernel("(int64, const T[::1], const T[::1], T[::1])")
def _sigmoid_grad(count, y, dy, dx):
    one = y.dtype.type(1)
    i = global_index()
    if i < count:
        dx[i] = (one - y[i]) * y[i] * dy[i]


@kernel("(int64, const T[::1], T[::1])")
def _tanh(count, x, y):
    i = global_index()
    if i < count:
        y[i] = math.tanh(x[i])


@kernel("(int64, const T[::1], const T[::1], T[::1])")
def _tanh_grad(count, y, dy, dx):
    one = y.dtype.type(1)
    i = global_index()
    if i < count:
        dx[i] = (one - y[i] * y[i]) * dy[i]


@inline
def largest(x, i, k):
    """The largest item of x[i, :, k]."""
    best = x[i, 0, k]
    for j in range(1, x.shape[1]):
        best = x[i, j, k] if x[i, j, k] > best else best
    return best


@kernel("(int64, const T[:,:,::1], T[:,:,::1])")
def _softmax(count, x, y):
    row = global_index()
    if row < count:
        i, k = row // x.shape[2], row % x.shape[2]
        best, total = largest(x, i, k), y.dtype.type(0)
        for j in range(x.shape[1]):
            e = math.exp(x[i, j, k] - best)
            y[i, j, k] = e
            total += e
        for j in range(x.shape[1]):
            y[i, j, k] /= total


@kernel("(int64, const T[:,:,::1], const T[:,:,::1], T[:,:,::1])")
def _softmax_grad(count, y, dy, dx):
    row = global_index()
    if row < count:
        i, k = row // y.shape[2], row % y.shape[2]
        total = y.dtype.type(0)
        for j in range(y.shape[1]):
            total += y[i, j, k] * dy[i, j, k]
        for j in range(y.shape[1]):
            dx[i, j, k] = y[i, j, k] * (dy[i, j, k] - total)


@kernel("(int64, const T[:,:,::1], T[:,:,::1])")
def _log_softmax(count, x, y):
    row = global_index()
    if row < count:
        i, k = row // x.shape[2], row % x.shape[2]
        best, total = largest(x, i, k), y.dtype.type(0)
        for j in range(x.shape[1]):
            total += math.exp(x[i, j, k] - best)
        total = math.log(total)
        for j in range(x.shape[1]):
            y[i, j, k] = x[i, j, k] - best - total


@kernel("(int64, const T[:,:,::1], const T[:,:,::1], T[:,:,::1])")
def _log_softmax_grad(count, y, dy, dx):
    row = global_index()
    if row < count:
        i, k = row // y.shape[2], row % y.shape[2]
        total = y.dtype.type(0)
        for j in range(y.shape[1]):
            total += dy[i, j, k]
        for j in range(y.shape[1]):
            dx[i, j, k] = dy[i, j, k] - math.exp(y[i, j, k]) * total


def relu(x, y):
    """y = max(x, 0); NaN stays NaN."""
    _relu(y.size, x, y)


def relu_grad(y, dy, dx):
    """dx = dy where y > 0."""
    _relu_grad(y.size, y, dy, dx)


def add_relu(a, b, y):
    """y = max(a + b, 0); NaN stays NaN."""
    _add_relu(y.size, a, b, y)


def relu_grad_of_two(y, dy, more, dx):
    """dx = dy + more where y > 0."""
    _relu_grad_of_two(y.size, y, dy, more, dx)


def sigmoid(x, y):
    """y = 1 / (1 + exp(-x))."""
    _sigmoid(y.size, x.reshape(-1), y.reshape(-1))


def sigmoid_grad(y, dy, dx):
    """dx = dy y (1 - y)."""
    _sigmoid_grad(y.size, y.reshape(-1), dy.reshape(-1), dx.reshape(-1))


def tanh(x, y):
    _tanh(y.size, x.reshape(-1), y.reshape(-1))


def tanh_grad(y, dy, dx):
    """dx = dy (1 - y^2)."""
    _tanh_grad(y.size, y.reshape(-1), dy.reshape(-1), dx.reshape(-1))


def softmax(x, axis, y):
    """y = exp(x) / sum(exp(x)) along the axis."""
    _along(_softmax, axis, x, y)


def softmax_grad(y, dy, axis, dx):
    """dx = y (dy - sum(y dy))."""
    _along(_softmax_grad, axis, y, dy, dx)


def log_softmax(x, axis, y):
    """y = x - max - log(sum(exp(x - max))) along the axis."""
    _along(_log_softmax, axis, x, y)


def log_softmax_grad(y, dy, axis, dx):
    """dx = dy - exp(y) sum(dy)."""
    _along(_log_softmax_grad, axis, y, dy, dx)


def _along(run, axis, *arrays):
    """Runs a kernel on arrays (before the axis, along it, behind it): a thread a row along the axis."""
    shape = arrays[0].shape
    axis %= len(shape)
    rows, inner = math.prod(shape[:axis]), math.prod(shape[axis + 1 :])
    run(rows * inner, *(a.reshape(rows, shape[axis], inner) for a in arrays))
