"""Functions of one item, and the softmax. They are compiled: they run in every pass, and a chain of NumPy calls is one
pass over memory for each, on one thread. log_softmax is by NumPy, whose vectorised exp is five times as fast as
`math.exp` in a loop."""

import math

import numpy as np
from numba import prange

from . import exponential
from .jit import kernel, recorded
from .tasks import loops, piece

FEW, FEW_CALLS = 1 << 13, 1 << 10  # items, or calls of exp, that one thread has done before a second one has begun


@kernel("(T[::1], T[::1])", parallel=True, few=FEW)
def relu(x, y):
    """y = max(x, 0); NaN stays NaN."""
    for i in prange(x.size):
        y[i] = 0 if x[i] < 0 else x[i]


@kernel("(T[::1], T[::1], T[::1])", parallel=True, few=FEW)
def relu_grad(y, dy, dx):
    """dx = dy where y > 0."""
    for i in prange(y.size):
        dx[i] = 0 if y[i] <= 0 else dy[i]


@kernel("(T[::1], T[::1], T[::1])", parallel=True, few=FEW)
def add_relu(a, b, y):
    """y = max(a + b, 0); NaN stays NaN."""
    for i in prange(y.size):
        total = a[i] + b[i]
        y[i] = 0 if total < 0 else total


@kernel("(T[::1], T[::1], T[::1], T[::1])", parallel=True, few=FEW)
def relu_grad_of_two(y, dy, more, dx):
    """dx = dy + more where y > 0."""
    for i in prange(y.size):
        dx[i] = 0 if y[i] <= 0 else dy[i] + more[i]


@kernel("(T[::1], T[::1])", parallel=True, few=FEW)
def _sigmoid(x, y):
    for i in prange(x.size):
        y[i] = exponential.sigmoid(x[i])


def sigmoid(x, y):
    """y = 1 / (1 + exp(-x))."""
    _sigmoid(x.reshape(-1), y.reshape(-1))


@kernel("(T[::1], T[::1], T[::1])", parallel=True, few=FEW)
def _sigmoid_grad(y, dy, dx):
    one = y.dtype.type(1)
    for i in prange(y.size):
        dx[i] = dy[i] * (y[i] * (one - y[i]))


def sigmoid_grad(y, dy, dx):
    """dx = dy y (1 - y)."""
    _sigmoid_grad(y.reshape(-1), dy.reshape(-1), dx.reshape(-1))


@kernel("(T[::1], T[::1])", parallel=True, few=FEW)
def _tanh(x, y):
    for i in prange(x.size):
        y[i] = exponential.tanh(x[i])


def tanh(x, y):
    """y = tanh(x)."""
    _tanh(x.reshape(-1), y.reshape(-1))


@kernel("(T[::1], T[::1], T[::1])", parallel=True, few=FEW)
def _tanh_grad(y, dy, dx):
    one = y.dtype.type(1)
    for i in prange(y.size):
        dx[i] = dy[i] * (one - y[i] * y[i])


def tanh_grad(y, dy, dx):
    """dx = dy (1 - y^2)."""
    _tanh_grad(y.reshape(-1), dy.reshape(-1), dx.reshape(-1))


@kernel("(T[:,:,::1], T[:,:,::1])", parallel=True)
def _softmax(x, y):
    """Along the middle axis. The largest item is subtracted first, so no exp can overflow; inf - inf is NaN."""
    rows, n, inner = x.shape
    count = loops(rows * inner, x.size, FEW_CALLS)
    for task in prange(count):
        first, end = piece(rows * inner, task, count, 1)
        for row in range(first, end):
            i, k = row // inner, row % inner
            largest = x[i, 0, k]
            for j in range(n):
                largest = x[i, j, k] if x[i, j, k] > largest else largest
            total = y.dtype.type(0)
            for j in range(n):
                y[i, j, k] = math.exp(x[i, j, k] - largest)
                total += y[i, j, k]
            for j in range(n):
                y[i, j, k] /= total


def softmax(x, axis, y):
    """y = exp(x) / sum(exp(x)) along the axis."""
    shape = _around(x.shape, axis)
    _softmax(x.reshape(shape), y.reshape(shape))


@kernel("(T[:,:,::1], T[:,:,::1], T[:,:,::1])", parallel=True)
def _softmax_grad(y, dy, dx):
    rows, n, inner = y.shape
    count = loops(rows * inner, y.size, FEW)
    for task in prange(count):
        first, end = piece(rows * inner, task, count, 1)
        for row in range(first, end):
            i, k = row // inner, row % inner
            total = y.dtype.type(0)
            for j in range(n):
                total += y[i, j, k] * dy[i, j, k]
            for j in range(n):
                dx[i, j, k] = y[i, j, k] * (dy[i, j, k] - total)


def softmax_grad(y, dy, axis, dx):
    """dx = y (dy - sum(y dy))."""
    shape = _around(y.shape, axis)
    _softmax_grad(y.reshape(shape), dy.reshape(shape), dx.reshape(shape))


def _around(shape, axis):
    """The axes before one, that axis, and those behind it, as three."""
    axis %= len(shape)
    return math.prod(shape[:axis]), shape[axis], math.prod(shape[axis + 1 :])


@recorded
def log_softmax(x, axis, y):
    """y = x - max - log(sum(exp(x - max))) along the axis."""
    with np.errstate(invalid="ignore"):
        np.subtract(x, x.max(axis, keepdims=True), out=y)
    np.subtract(y, np.log(np.exp(y).sum(axis, keepdims=True)), out=y)


@recorded
def log_softmax_grad(y, dy, axis, dx):
    """dx = dy - exp(y) sum(dy)."""
    np.exp(y, out=dx)
    np.multiply(dx, dy.sum(axis, keepdims=True), out=dx)
    np.subtract(dy, dx, out=dx)
