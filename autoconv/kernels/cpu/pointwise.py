"""Compiles element-wise functions and softmax. A chain of NumPy calls would pass over memory once
per call, on one thread.
"""

import inspect
import math
from collections.abc import Callable

from numba import prange

from ..formulas import elementary, elementwise
from ..formulas.elementary import log
from . import exponential
from .exponential import exp
from .jit import CpuKernel, inline, kernel
from .tasks import loops, piece

# numbers of elements and of exp calls that one thread completes while a second thread starts
FEW, FEW_CALLS = 1 << 13, 1 << 10


def _elementwise(name: str, f: Callable, arguments: int, grain: int) -> CpuKernel:
    """Returns a kernel that computes y = f(x), f(a, b) or f(a, b, c) for flat arrays."""

    def apply_unary(x, y):
        for i in prange(y.size):
            y[i] = f(x[i])

    def apply_binary(a, b, y):
        for i in prange(y.size):
            y[i] = f(a[i], b[i])

    def apply_ternary(a, b, c, y):
        for i in prange(y.size):
            y[i] = f(a[i], b[i], c[i])

    signature = f"({', '.join(['T[::1]'] * (arguments + 1))})"
    apply = (apply_unary, apply_binary, apply_ternary)[arguments - 1]
    return kernel(signature, parallel=True, grain=grain, name=name)(apply)


# The compiler vectorizes loops that call the polynomials of sigmoid and tanh.
_FORMULAS = {**elementwise.ACTIVATIONS, **elementwise.with_sigmoid(exponential.sigmoid), "tanh": exponential.tanh}

globals().update({
    name: _elementwise(name, f if f in (exponential.sigmoid, exponential.tanh) else inline(f),
                       len(inspect.signature(f).parameters), FEW)
    for name, f in _FORMULAS.items()})

# functions of arith.py, with the same bits on every processor, unlike NumPy's
ELEMENTARY = {name: _elementwise(name, getattr(elementary, name), 2 if name == "arctan2" else 1, FEW_CALLS)
              for name in ("exp", "log", "expm1", "log1p", "erf", "sin", "cos", "sinh", "cosh",
                           "arctan", "arctan2", "arcsin", "arccos")}


@kernel("(T[::1], T[::1], float64, T[::1])", parallel=True, grain=FEW)
def leaky_relu(x, a, negative_slope, y):
    """y = a if x > 0, else negative_slope a. In the forward pass a is x, in the backward pass a is
    dy.
    """
    slope = y.dtype.type(negative_slope)
    for i in prange(y.size):
        y[i] = a[i] if x[i] > 0 else slope * a[i]


@kernel("(T[:,:,::1], T[:,:,::1], boolean)", parallel=True)
def _softmax(x, y, is_log):
    """y = softmax(x) on the middle axis, or its logarithm. exp(x - max) never overflows; infinite
    maxima give NaN.
    """
    rows, n, inner = x.shape
    count = loops(rows * inner, x.size, FEW_CALLS) if n else 0
    for task in prange(count):
        first, end = piece(rows * inner, task, count, 1)
        for row in range(first, end):
            i, k = row // inner, row % inner
            largest = x[i, 0, k]
            for j in range(n):
                largest = x[i, j, k] if x[i, j, k] > largest else largest
            total = y.dtype.type(0)
            for j in range(n):
                shifted = x[i, j, k] - largest
                power = exp(shifted)
                y[i, j, k] = shifted if is_log else power
                total += power
            logarithm = y.dtype.type(log(total))
            for j in range(n):
                y[i, j, k] = y[i, j, k] - logarithm if is_log else y[i, j, k] / total


def softmax(x, axis, y):
    """y = exp(x) / sum(exp(x)) along `axis`."""
    shape = _merge_axes(x.shape, axis)
    _softmax(x.reshape(shape), y.reshape(shape), False)


def log_softmax(x, axis, y):
    """y = x - max - log(sum(exp(x - max))) along `axis`."""
    shape = _merge_axes(x.shape, axis)
    _softmax(x.reshape(shape), y.reshape(shape), True)


@kernel("(T[:,:,::1], T[:,:,::1], T[:,:,::1], boolean)", parallel=True)
def _softmax_grad(y, dy, dx, is_log):
    rows, n, inner = y.shape
    count = loops(rows * inner, y.size, FEW)
    for task in prange(count):
        first, end = piece(rows * inner, task, count, 1)
        for row in range(first, end):
            i, k = row // inner, row % inner
            total = y.dtype.type(0)
            for j in range(n):
                total += dy[i, j, k] if is_log else y[i, j, k] * dy[i, j, k]
            for j in range(n):
                if is_log:
                    dx[i, j, k] = dy[i, j, k] - exp(y[i, j, k]) * total
                else:
                    dx[i, j, k] = y[i, j, k] * (dy[i, j, k] - total)


def softmax_grad(y, dy, axis, dx):
    """dx = y (dy - sum(y dy)), with the sum along `axis`."""
    shape = _merge_axes(y.shape, axis)
    _softmax_grad(y.reshape(shape), dy.reshape(shape), dx.reshape(shape), False)


def _merge_axes(shape, axis):
    """Merges `shape` into three axes: the axes before `axis`, `axis` itself, the axes after it."""
    axis %= len(shape)
    return math.prod(shape[:axis]), shape[axis], math.prod(shape[axis + 1 :])


def log_softmax_grad(y, dy, axis, dx):
    """dx = dy - exp(y) sum(dy), with the sum along `axis`."""
    shape = _merge_axes(y.shape, axis)
    _softmax_grad(y.reshape(shape), dy.reshape(shape), dx.reshape(shape), True)
