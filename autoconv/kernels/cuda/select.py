"""Computes comparisons and element-wise selection for arrays with any strides (strided.py)."""

from . import arith, strided
from .arith import abs, copy, equal, less, less_equal, log, maximum, minimum, multiply, not_equal, power, subtract, sum  # noqa: F401 (re-exported)
from .kernels import inline, kernel
from .ptx import global_index
from .strided import locate


@inline
def _slope_of_abs(x, dy):
    one = type(x)(1)
    return (one if x > type(x)(0) else -one if x < type(x)(0) else x) * dy  # sign(0) is 0, sign(NaN) is NaN


_abs_grad = arith.make_binary("abs_grad", _slope_of_abs)


@kernel("(int64, const boolean[::1], const T[::1], const T[::1], T[::1], UniTuple(int64, 4), "
        "UniTuple(int64, 5), UniTuple(int64, 5), UniTuple(int64, 5), UniTuple(int64, 5))")
def _where(count, condition, a, b, out, shape, condition_place, a_place, b_place, out_place):
    i = global_index()
    if i < count:
        if condition[locate(i, shape, condition_place)]:
            out[locate(i, shape, out_place)] = a[locate(i, shape, a_place)]
        else:
            out[locate(i, shape, out_place)] = b[locate(i, shape, b_place)]


@kernel("(int64, const boolean[::1], boolean, const T[::1], T[::1], UniTuple(int64, 4), "
        "UniTuple(int64, 5), UniTuple(int64, 5), UniTuple(int64, 5))")
def _mask(count, condition, keep, a, out, shape, condition_place, a_place, out_place):
    i = global_index()
    if i < count:
        holds = condition[locate(i, shape, condition_place)] == keep
        out[locate(i, shape, out_place)] = a[locate(i, shape, a_place)] if holds else out.dtype.type(0)


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


def where(condition, a, b, out):
    """out = a where the boolean `condition` is True, else b."""
    arith.run_elementwise(_where, condition, a, b, out)


def mask(condition, keep, a, out):
    """out = a where `condition` equals `keep` (True or False), else 0."""
    places = strided.layout(out.shape, *(x.layout(out.shape) for x in (condition, a, out)))
    _mask(out.size, condition.memory, bool(keep), a.memory, out.memory, *places)


def abs_grad(x, dy, dx):
    """dx = sign(x) dy."""
    arith.run_binary(_abs_grad, x, dy, dx)


def clip(x, low, high, y):
    """y = min(max(x, low), high); NaN stays NaN."""
    _clip(y.size, x.reshape(-1), low, high, y.reshape(-1))


def clip_grad(x, low, high, dy, dx):
    """dx = dy if low <= x <= high, else 0. If x is NaN, dx is 0."""
    _clip_grad(dx.size, x.reshape(-1), low, high, dy.reshape(-1), dx.reshape(-1))
