"""Comparisons, and choosing between items one by one. Arrays may lie anywhere; numbers without gaps go by fours."""

from builtins import abs as _abs_of  # this file has an `abs` of its own

from . import strided
from .arith import copy, log, multiply, one, power, run_one, run_two, subtract, sum, two  # noqa: F401 (part of this module)
from .array import Array
from .kernels import ItemKernel, inline, kernel
from .ptx import global_index
from .strided import at


@inline
def _larger(a, b):
    return a if a > b or a != a else b


@inline
def _smaller(a, b):
    return a if a < b or a != a else b


@inline
def _size(x):
    return _abs_of(x)


@inline
def _slope_of_abs(x, dy):
    one = type(x)(1)
    return (one if x > type(x)(0) else -one if x < type(x)(0) else x) * dy  # sign(0) is 0, sign(NaN) is NaN


@inline
def _equal_to(a, b):
    return a == b


@inline
def _other_than(a, b):
    return a != b


@inline
def _less_than(a, b):
    return a < b


@inline
def _at_most(a, b):
    return a <= b


def _compared(name, f) -> ItemKernel:
    """out = f(a, b), a truth value."""

    @kernel("(int64, const T[::1], const T[::1], boolean[::1], UniTuple(int64, 4), UniTuple(int64, 5),"
            " UniTuple(int64, 5), UniTuple(int64, 5))", name)
    def run(count, a, b, out, shape, a_place, b_place, out_place):
        i = global_index()
        if i < count:
            out[at(i, shape, out_place)] = f(a[at(i, shape, a_place)], b[at(i, shape, b_place)])

    return run


_maximum, _minimum = two("maximum", _larger), two("minimum", _smaller)
_abs, _abs_grad = one("abs", _size), two("abs_grad", _slope_of_abs)
_equal, _not_equal = _compared("equal", _equal_to), _compared("not_equal", _other_than)
_less, _less_equal = _compared("less", _less_than), _compared("less_equal", _at_most)


@kernel("(int64, const boolean[::1], const T[::1], const T[::1], T[::1], UniTuple(int64, 4), UniTuple(int64, 5),"
        " UniTuple(int64, 5), UniTuple(int64, 5), UniTuple(int64, 5))")
def _where(count, condition, a, b, out, shape, condition_place, a_place, b_place, out_place):
    i = global_index()
    if i < count:
        if condition[at(i, shape, condition_place)]:
            out[at(i, shape, out_place)] = a[at(i, shape, a_place)]
        else:
            out[at(i, shape, out_place)] = b[at(i, shape, b_place)]


@kernel("(int64, const boolean[::1], boolean, const T[::1], T[::1], UniTuple(int64, 4), UniTuple(int64, 5),"
        " UniTuple(int64, 5), UniTuple(int64, 5))")
def _masked(count, condition, kept, a, out, shape, condition_place, a_place, out_place):
    i = global_index()
    if i < count:
        holds = condition[at(i, shape, condition_place)] == kept
        out[at(i, shape, out_place)] = a[at(i, shape, a_place)] if holds else out.dtype.type(0)


@kernel("(int64, const T[::1], T, T, T[::1])")
def _clip(count, x, low, high, y):
    i = global_index()
    if i < count:
        item = low if x[i] < low else x[i]
        y[i] = high if item > high else item


@kernel("(int64, const T[::1], T, T, const T[::1], T[::1])")
def _clip_grad(count, x, low, high, dy, dx):
    i = global_index()
    if i < count:
        dx[i] = dy[i] if low <= x[i] <= high else dx.dtype.type(0)


def maximum(a, b, out):
    """The larger of two items; a NaN is passed on."""
    run_two(_maximum, a, b, out)


def minimum(a, b, out):
    """The smaller of two items; a NaN is passed on."""
    run_two(_minimum, a, b, out)


def where(condition, a, b, out):
    """out = a where the condition (of booleans) holds, else b."""
    _run(_where, out, condition, a, b)


def masked(condition, kept, a, out):
    """out = a where the condition is `kept` (True or False), else 0."""
    places = strided.layout(out.shape, *(x.lying(out.shape) for x in (condition, a, out)))
    _masked(out.size, condition.memory, bool(kept), a.memory, out.memory, *places)


def abs(x, y):
    run_one(_abs, x, y)


def abs_grad(x, dy, dx):
    """dx = sign(x) dy."""
    run_two(_abs_grad, x, dy, dx)


def clip(x, low, high, y):
    """y = min(max(x, low), high); a NaN is passed on."""
    _clip(y.size, x.reshape(-1), low, high, y.reshape(-1))


def clip_grad(x, low, high, dy, dx):
    """dx = dy where x lies in low..high, else 0, also where x is NaN."""
    _clip_grad(dx.size, x.reshape(-1), low, high, dy.reshape(-1), dx.reshape(-1))


def equal(a, b, out):
    _run(_equal, out, a, b)


def not_equal(a, b, out):
    _run(_not_equal, out, a, b)


def less(a, b, out):
    _run(_less, out, a, b)


def less_equal(a, b, out):
    _run(_less_equal, out, a, b)


def _run(run: ItemKernel, out: Array, *arrays: Array) -> None:
    """A thread an item of `out`, with the arrays broadcast to its shape."""
    places = strided.layout(out.shape, *(a.lying(out.shape) for a in (*arrays, out)))
    run(out.size, *(a.memory for a in arrays), out.memory, *places)
