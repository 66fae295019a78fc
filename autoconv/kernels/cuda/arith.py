"""Implements arithmetic, reductions and copies for arrays with any strides (strided.py)."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from ..formulas import elementwise
from . import array as arrays
from . import strided
from .array import Array, threads
from .kernels import ItemKernel, inline, kernel
from .ptx import global_index, load, load4, store4
from .strided import locate

# maximum number of partial sums per result; minimum elements of each if there are several
PARTS, LONG = 256, 1024


def make_unary(name, f) -> ItemKernel:
    """Creates a kernel for out = f(a). `array.threads` computes `fours`, the number of
    threads that handle four elements each.
    """

    @kernel("(int64, int64, const T[::1], T[::1], UniTuple(int64, 4), UniTuple(int64, 5), UniTuple(int64, 5))", name)
    def run(count, fours, a, out, shape, a_place, out_place):
        i = global_index()
        if i < fours:
            p, q, r, s = load4(a, a_place[0] + 4 * i)
            store4(out, out_place[0] + 4 * i, (f(p), f(q), f(r), f(s)))
        elif i < count:
            i += 3 * fours
            out[locate(i, shape, out_place)] = f(a[locate(i, shape, a_place)])

    return run


@inline
def _four(x, place, i):
    """Returns four elements of a contiguous array, or a one-element array's element four times."""
    if place[1] == 0:
        item = load(x, place[0])
        return item, item, item, item
    return load4(x, place[0] + 4 * i)


def make_binary(name, f) -> ItemKernel:
    """Creates a kernel for out = f(a, b)."""

    @kernel("(int64, int64, const T[::1], const T[::1], T[::1], UniTuple(int64, 4), "
            "UniTuple(int64, 5), UniTuple(int64, 5), UniTuple(int64, 5))", name)
    def run(count, fours, a, b, out, shape, a_place, b_place, out_place):
        i = global_index()
        if i < fours:
            p, q = _four(a, a_place, i), _four(b, b_place, i)
            store4(out, out_place[0] + 4 * i, (f(p[0], q[0]), f(p[1], q[1]), f(p[2], q[2]), f(p[3], q[3])))
        elif i < count:
            i += 3 * fours
            out[locate(i, shape, out_place)] = f(a[locate(i, shape, a_place)], b[locate(i, shape, b_place)])

    return run


def _make_elementwise(name, f, result="T") -> ItemKernel:
    """Creates a kernel for out = f(a, b). One thread handles one element; `result` is out's type.
    """

    @kernel(f"(int64, const T[::1], const T[::1], {result}[::1], UniTuple(int64, 4), "
            "UniTuple(int64, 5), UniTuple(int64, 5), UniTuple(int64, 5))", name)
    def run(count, a, b, out, shape, a_place, b_place, out_place):
        i = global_index()
        if i < count:
            out[locate(i, shape, out_place)] = f(a[locate(i, shape, a_place)], b[locate(i, shape, b_place)])

    return run


def _make_with_number(name, f) -> ItemKernel:
    """Creates a kernel for out = f(a, b) with a number b."""

    @kernel("(int64, int64, const T[::1], T, T[::1], UniTuple(int64, 4), UniTuple(int64, 5), UniTuple(int64, 5))",
            f"{name}_number")
    def run(count, fours, a, b, out, shape, a_place, out_place):
        i = global_index()
        if i < fours:
            p, q, r, s = load4(a, a_place[0] + 4 * i)
            store4(out, out_place[0] + 4 * i, (f(p, b), f(q, b), f(r, b), f(s, b)))
        elif i < count:
            i += 3 * fours
            out[locate(i, shape, out_place)] = f(a[locate(i, shape, a_place)], b)

    return run


# Float32 constants, so that results have the type of the other operand, float32 or float64. Pi is
# the sum of LARGEST, SECOND and THIRD. The first two have so few bits that their products with
# small integers are exact (Cody and Waite, 1980).
ONE, TWO, TWENTY, HALF, PER_PI = map(np.float32, (1, 2, 20, 0.5, 1 / np.pi))
LARGEST, SECOND, THIRD = map(np.float32, (3.140625, 9.67502593994140625e-4, 1.509957990978376432e-7))


@inline
def _near_zero(a):
    """Returns the integer k nearest to a / pi, and a - k pi."""
    k = (a * PER_PI + HALF) // ONE
    return k, a - k * LARGEST - k * SECOND - k * THIRD


@inline
def _series(r, n):
    """1 - r^2 / (n (n + 1)) (1 - r^2 / ((n + 2) (n + 3)) (...)), eleven terms, the innermost first.
    For n = 1 this is the Taylor series of cos(r), for n = 2 that of sin(r) / r.
    """
    square, total, place = r * r, r * r * (ONE - ONE) + ONE, n + TWENTY
    while place >= n:
        total = ONE - square / (place * (place + ONE)) * total
        place -= TWO
    return total


def _sine(a):
    k, r = _near_zero(a)
    return (ONE - TWO * (k % TWO)) * r * _series(r, TWO)


def _cosine(a):
    k, r = _near_zero(a)
    return (ONE - TWO * (k % TWO)) * _series(r, ONE)


def run_unary(kernel: ItemKernel, a: Array, out: Array) -> None:
    kernel(*threads(out, a), a.memory, out.memory,
           *strided.layout(out.shape, a.layout(out.shape), out.layout(out.shape)))


def run_binary(kernel: ItemKernel, a: Array, b: Array, out: Array) -> None:
    shape = out.shape
    kernel(*threads(out, *(x for x in (a, b) if x.size > 1)), a.memory, b.memory, out.memory,
           *strided.layout(shape, a.layout(shape), b.layout(shape), out.layout(shape)))


def run_elementwise(kernel: ItemKernel, *arrays: Array) -> None:
    """Runs one thread per element of the last array; the others are broadcast to its shape."""
    out = arrays[-1]
    kernel(out.size, *(a.memory for a in arrays), *strided.layout(out.shape, *(a.layout(out.shape) for a in arrays)))


def _run_with_number(kernels: tuple[ItemKernel, ItemKernel], a: Array, b: Any, out: Array) -> None:
    if isinstance(b, Array):
        run_binary(kernels[0], a, b, out)
        return
    kernels[1](*threads(out, a), a.memory, a.dtype.type(b), out.memory,
               *strided.layout(out.shape, a.layout(out.shape), out.layout(out.shape)))


_FORMULAS = {name: inline(f) for name, f in {**elementwise.ARITHMETIC, "sin": _sine, "cos": _cosine}.items()}
_ONE = {name: make_unary(name, _FORMULAS[name]) for name in elementwise.ONE}
_TWO = {name: make_binary(name, _FORMULAS[name]) for name in elementwise.TWO}
_EITHER = {name: (make_binary(name, _FORMULAS[name]), _make_with_number(name, _FORMULAS[name]))
           for name in elementwise.WITH_NUMBERS}
_BITS = {name: _make_elementwise(name, _FORMULAS[name]) for name in elementwise.BITS}
_COMPARISONS = {name: _make_elementwise(name, _FORMULAS[name], "boolean") for name in elementwise.COMPARISONS}
for bits in _BITS.values():
    bits.dtypes = ()  # not compiled for floating-point types

_LAUNCHERS: tuple[tuple[Callable, dict[str, Any]], ...] = (
    (run_unary, _ONE), (run_binary, _TWO), (_run_with_number, _EITHER),
    (run_elementwise, _BITS), (run_elementwise, _COMPARISONS))
globals().update({name: partial(launch, kernel) for launch, kernels in _LAUNCHERS for name, kernel in kernels.items()})


def fill(out, value):
    """out = value, for a number."""
    arrays.fill(out, value)


def copy(a, out):
    """out = a. `a` may be strided, of another dtype, or smaller and broadcast."""
    out[...] = a


@kernel("(int64, const T[::1], float64[:,::1], UniTuple(int64, 4), UniTuple(int64, 5), int64,"
        " UniTuple(int64, 4), UniTuple(int64, 5))")
def _sum_parts(count, a, partial, outer_shape, outer_place, length, inner_shape, inner_place):
    """partial[part, i] = the sum of section `part` of the elements that are summed for result i."""
    parts, results = partial.shape
    task = global_index()
    if task < count:
        part, i = task // results, task % results
        start, total = locate(i, outer_shape, outer_place), partial.dtype.type(0)
        for j in range(length * part // parts, length * (part + 1) // parts):
            total += a[start + locate(j, inner_shape, inner_place)]
        partial[part, i] = total


@kernel("(int64, const float64[:,::1], T[::1])")
def add_parts(count, partial, out):
    """out = partial[0] + ... + partial[-1], in this order."""
    i = global_index()
    if i < count:
        total = partial.dtype.type(0)
        for part in range(partial.shape[0]):
            total += partial[part, i]
        out[i] = total


def sum(a, axes, out, divisor=1):
    """out = the sum of `a` over `axes`, divided by `divisor`; `out` keeps these axes with size 1.
    Adds in float64, or int64 for integers, and always in the same order.
    """
    outer_axes = tuple(i for i in range(a.ndim) if i not in axes)
    length = math.prod(a.shape[i] for i in axes)
    partial = arrays.empty(out.gpu, (min(PARTS, max(1, length // LONG)), out.size),
                           np.float64 if out.dtype.kind == "f" else np.int64)
    geometry = [strided.layout(tuple(a.shape[i] for i in group), (start, tuple(a.strides[i] for i in group)))
            for start, group in ((a.start, outer_axes), (0, axes))]
    _sum_parts(partial.size, a.memory, partial, *geometry[0], length, *geometry[1])
    add_parts(out.size, partial, out.reshape(-1))
    if divisor != 1:
        _run_with_number(_EITHER["divide"], out, divisor, out)


@kernel("(int64, const T[:,::1], int64[::1], T[::1])")
def _row_max(count, a, index, out):
    i = global_index()
    if i < count:
        best, column = a[i, 0], 0
        for j in range(1, a.shape[1]):
            item = a[i, j]
            if item > best or (item != item and best == best):
                best, column = item, j
        out[i], index[i] = best, column


def row_max(a, index, out):
    """For `a` (rows, m): out, index = each row's first maximum and its column. NaN is a maximum."""
    _row_max(out.size, a, index, out)


@kernel("(int64, const T[::1], const int64[::1], T[:,::1])")
def _row_scatter(count, dy, index, dx):
    item = global_index()
    if item < count:
        i, j = item // dx.shape[1], item % dx.shape[1]
        dx[i, j] = dy[i] if index[i] == j else dx.dtype.type(0)


def row_scatter(dy, index, dx):
    """dx (rows, m) = dy[i] at column index[i] of each row i, and 0 elsewhere."""
    _row_scatter(dx.size, dy, index, dx)


def index_get(x, index, out):
    """out = x[index]."""
    copy(x[index], out)


def index_add(dy, index, dx):
    """dx = 0, then dx[index] += dy in C order, added once per occurrence of a repeated position."""
    arrays.fill(dx, 0)
    positions = dx.positions(index if isinstance(index, tuple) else (index,)).reshape(-1)
    order = np.argsort(positions, kind="stable")
    targets, starts = np.unique(positions[order], return_index=True)
    starts = np.append(starts, positions.size)
    host = (order, starts, targets)
    strided.add_runs(targets.size, dy.reshape(-1),
                     *(arrays.put(dx.gpu, a.astype(np.int64)) for a in host), dx.reshape(-1))


def index_put(dy, index, dx):
    """dx = 0, then dx[index] = dy, for an index without repeated positions."""
    arrays.fill(dx, 0)
    arrays.copy(dy, dx[index])
