"""Computes activations, up to four elements per thread, and softmax, one row per thread."""

import inspect
import math
from functools import partial

from ..formulas import elementwise
from .fours import threads
from .kernels import ItemKernel, inline, kernel
from .ptx import global_index, load, load4, store, store4


def _elementwise(name, f) -> ItemKernel:
    """Creates a kernel for y = f(x), f(a, b) or f(a, b, c). Its first `fours` threads handle four
    elements each.
    """

    def run_unary(count, fours, x, y):
        i = global_index()
        if i < fours:
            a, b, c, d = load4(x, 4 * i)
            store4(y, 4 * i, (f(a), f(b), f(c), f(d)))
        elif i < count:
            i += 3 * fours
            store(y, i, f(load(x, i)))

    def run_binary(count, fours, a, b, y):
        i = global_index()
        if i < fours:
            p, q = load4(a, 4 * i), load4(b, 4 * i)
            store4(y, 4 * i, (f(p[0], q[0]), f(p[1], q[1]), f(p[2], q[2]), f(p[3], q[3])))
        elif i < count:
            i += 3 * fours
            store(y, i, f(load(a, i), load(b, i)))

    def run_ternary(count, fours, a, b, c, y):
        i = global_index()
        if i < fours:
            p, q, r = load4(a, 4 * i), load4(b, 4 * i), load4(c, 4 * i)
            store4(y, 4 * i, (f(p[0], q[0], r[0]), f(p[1], q[1], r[1]), f(p[2], q[2], r[2]), f(p[3], q[3], r[3])))
        elif i < count:
            i += 3 * fours
            store(y, i, f(load(a, i), load(b, i), load(c, i)))

    count = len(inspect.signature(_FORMULAS[name]).parameters)
    signature = f"(int64, int64, {'const T[::1], ' * count}T[::1])"
    return kernel(signature, f"_{name}")((run_unary, run_binary, run_ternary)[count - 1])


def _run(kernel, *arrays):
    """Runs a kernel on flat arrays of equal size."""
    kernel(*threads(arrays[0].size, *arrays), *arrays)


_FORMULAS = {**elementwise.ACTIVATIONS, **elementwise.with_sigmoid(inline(elementwise.sigmoid))}
KERNELS = {name: _elementwise(name, f if name == "sigmoid" else inline(f)) for name, f in _FORMULAS.items()}
globals().update({name: partial(_run, run) for name, run in KERNELS.items()})


def activate(y, activation):
    """y = activation(y), unless the kernel that computed y has applied the activation."""
    if activation not in ("linear", "relu"):
        _run(KERNELS[activation], y.reshape(-1), y.reshape(-1))


def activate_grad(x, dy, dx, activation):
    """dx = the gradient of x from dy, the gradient of activation(x)."""
    _run(KERNELS[f"{activation}_grad"], x, dy, dx)


@kernel("(int64, const T[::1], const T[::1], T, T[::1])")
def _leaky_relu(count, x, a, negative_slope, y):
    i = global_index()
    if i < count:
        value = load(a, i)
        is_positive = load(x, i) > y.dtype.type(0)
        store(y, i, value if is_positive else negative_slope * value)


def leaky_relu(x, a, negative_slope, y):
    """y = a if x > 0, else negative_slope a. In the forward pass a is x, in the backward pass a is dy."""
    _leaky_relu(x.size, x, a, negative_slope, y)


@inline
def largest(x, i, k):
    """Returns the largest element of x[i, :, k]."""
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


def softmax(x, axis, y):
    """y = exp(x) / sum(exp(x)) along the axis."""
    _run_rows(_softmax, axis, x, y)


def softmax_grad(y, dy, axis, dx):
    """dx = y (dy - sum(y dy)), with the sum along the axis."""
    _run_rows(_softmax_grad, axis, y, dy, dx)


def log_softmax(x, axis, y):
    """y = x - max - log(sum(exp(x - max))) along the axis."""
    _run_rows(_log_softmax, axis, x, y)


def log_softmax_grad(y, dy, axis, dx):
    """dx = dy - exp(y) sum(dy), with the sum along the axis."""
    _run_rows(_log_softmax_grad, axis, y, dy, dx)


def _run_rows(kernel, axis, *arrays):
    """Reshapes the arrays to (before, axis, after), and runs one thread per row along the axis."""
    shape = arrays[0].shape
    axis %= len(shape)
    rows, inner = math.prod(shape[:axis]), math.prod(shape[axis + 1 :])
    kernel(rows * inner, *(a.reshape(rows, shape[axis], inner) for a in arrays))
