"""Functions of one item, a thread four items; and the softmax, a thread a row, which it goes along in order."""

import math

from .fours import threads
from .kernels import ItemKernel, inline, kernel
from .ptx import global_index, load, load4, store, store4


@inline
def _positive(x):
    return type(x)(0) if x < type(x)(0) else x


@inline
def _positive_sum(a, b):
    total = a + b
    return type(a)(0) if total < type(a)(0) else total


@inline
def _passed(y, dy):
    return type(y)(0) if y <= type(y)(0) else dy


@inline
def _passed_sum(y, dy, more):
    return type(y)(0) if y <= type(y)(0) else dy + more


@inline
def logistic(x):
    """1 / (1 + exp(-x)), where exp never overflows."""
    one = type(x)(1)
    e = math.exp(-math.fabs(x))
    return (e if x < type(x)(0) else one) / (one + e)


@inline
def _logistic_slope(y, dy):
    return (type(y)(1) - y) * y * dy


@inline
def _hyperbolic(x):
    return math.tanh(x)


@inline
def _hyperbolic_slope(y, dy):
    return (type(y)(1) - y * y) * dy


def _one(name, f) -> ItemKernel:
    """y = f(x). The first `fours` threads take four items each (fours.py), as in the kernels below."""
    @kernel("(int64, int64, const T[::1], T[::1])", name)
    def run(count, fours, x, y):
        i = global_index()
        if i < fours:
            a, b, c, d = load4(x, 4 * i)
            store4(y, 4 * i, (f(a), f(b), f(c), f(d)))
        elif i < count:
            i += 3 * fours
            store(y, i, f(load(x, i)))

    return run


def _two(name, f) -> ItemKernel:
    """out = f(a, b)."""
    @kernel("(int64, int64, const T[::1], const T[::1], T[::1])", name)
    def run(count, fours, a, b, out):
        i = global_index()
        if i < fours:
            p, q = load4(a, 4 * i), load4(b, 4 * i)
            store4(out, 4 * i, (f(p[0], q[0]), f(p[1], q[1]), f(p[2], q[2]), f(p[3], q[3])))
        elif i < count:
            i += 3 * fours
            store(out, i, f(load(a, i), load(b, i)))

    return run


_relu, _sigmoid, _tanh = _one("_relu", _positive), _one("_sigmoid", logistic), _one("_tanh", _hyperbolic)
_add_relu, _relu_grad = _two("_add_relu", _positive_sum), _two("_relu_grad", _passed)
_sigmoid_grad, _tanh_grad = _two("_sigmoid_grad", _logistic_slope), _two("_tanh_grad", _hyperbolic_slope)


@kernel("(int64, int64, const T[::1], const T[::1], const T[::1], T[::1])")
def _relu_grad_of_two(count, fours, y, dy, more, dx):
    i = global_index()
    if i < fours:
        a, b, c = load4(y, 4 * i), load4(dy, 4 * i), load4(more, 4 * i)
        store4(dx, 4 * i, (_passed_sum(a[0], b[0], c[0]), _passed_sum(a[1], b[1], c[1]),
                           _passed_sum(a[2], b[2], c[2]), _passed_sum(a[3], b[3], c[3])))
    elif i < count:
        i += 3 * fours
        store(dx, i, _passed_sum(load(y, i), load(dy, i), load(more, i)))


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
    _run(_relu, x, y)


def relu_grad(y, dy, dx):
    """dx = dy where y > 0."""
    _run(_relu_grad, y, dy, dx)


def add_relu(a, b, y):
    """y = max(a + b, 0); NaN stays NaN."""
    _run(_add_relu, a, b, y)


def relu_grad_of_two(y, dy, more, dx):
    """dx = dy + more where y > 0."""
    _run(_relu_grad_of_two, y, dy, more, dx)


def sigmoid(x, y):
    """y = 1 / (1 + exp(-x))."""
    _run(_sigmoid, x.reshape(-1), y.reshape(-1))


def sigmoid_grad(y, dy, dx):
    """dx = dy y (1 - y)."""
    _run(_sigmoid_grad, y.reshape(-1), dy.reshape(-1), dx.reshape(-1))


def tanh(x, y):
    _run(_tanh, x.reshape(-1), y.reshape(-1))


def tanh_grad(y, dy, dx):
    """dx = dy (1 - y^2)."""
    _run(_tanh_grad, y.reshape(-1), dy.reshape(-1), dx.reshape(-1))


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


def _run(run, *arrays):
    """Runs a kernel on flat arrays of one size."""
    run(*threads(arrays[0].size, *arrays), *arrays)


def _along(run, axis, *arrays):
    """Runs a kernel on arrays (before the axis, along it, behind it): a thread a row along the axis."""
    shape = arrays[0].shape
    axis %= len(shape)
    rows, inner = math.prod(shape[:axis]), math.prod(shape[axis + 1 :])
    run(rows * inner, *(a.reshape(rows, shape[axis], inner) for a in arrays))
