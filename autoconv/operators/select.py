"""Element-wise selection: maximum, minimum, where, clip, abs, and comparisons, whose results are
booleans.

Comparisons and argmax are flat: they have no gradient.
"""

import math
from numbers import Integral, Real
from types import ModuleType
from typing import Any

import numpy as np

from .arith import _broadcast, _float, _map, _reduced_shapes, _result, _result_dtype, _sum_to
from .registry import gradient_buffer, op


@op(kernels="select")
def maximum(k, a, b):
    """y = max(a, b). Where a = b, a receives the whole gradient, as in TensorFlow. NaN propagates."""
    y = _result(k, a, b, "maximum")
    k.maximum(a, b, y)
    return y, _split_backward(k, a, b, y.shape, lambda first: k.less_equal(b, a, first))


@op(kernels="select")
def minimum(k, a, b):
    """y = min(a, b). Where a = b, a receives the whole gradient, as in TensorFlow. NaN propagates."""
    y = _result(k, a, b, "minimum")
    k.minimum(a, b, y)
    return y, _split_backward(k, a, b, y.shape, lambda first: k.less_equal(a, b, first))


@op(kernels="select")
def where(k, a, b, condition):
    """y = a where the boolean array `condition` is True, b elsewhere."""
    shape = _broadcast(_broadcast(a.shape, b.shape, "where"), condition.shape, "where")
    y = k.empty(shape, _result_dtype(a, b))
    k.where(condition, a, b, y)
    return y, _split_by(k, a, b, condition)


@op(kernels="select")
def abs(k, x):
    """y = |x|; dx = sign(x) dy, 0 at 0."""

    def backward(dy, needs):
        dx = gradient_buffer(k, needs[0], x.shape, x.dtype)
        k.abs_grad(x, dy, dx)
        return (dx,)

    return _map(k, k.abs, x), backward


@op(kernels="select")
def clip(k, x, x_min=None, x_max=None):
    """y = min(max(x, x_min), x_max). The bounds are numbers, or None for no bound. Only elements
    with x_min <= x <= x_max receive a gradient.
    """
    for bound in (x_min, x_max):
        if bound is not None and not isinstance(bound, Real):
            raise TypeError(f"The bounds of clip must be numbers or None. Received: {bound!r}.")
    whole = all(bound is None or isinstance(bound, Integral) for bound in (x_min, x_max))
    y = k.empty(x.shape, x.dtype if whole and x.dtype.kind != "b" else _float(x.dtype))
    least, most = (-np.inf, np.inf) if y.dtype.kind == "f" else (np.iinfo(y.dtype).min, np.iinfo(y.dtype).max)
    low = y.dtype.type(least if x_min is None else x_min)
    high = y.dtype.type(most if x_max is None else x_max)
    if y.dtype != x.dtype:
        k.copy(x, y)
    k.clip(x if y.dtype == x.dtype else y, low, high, y)

    def backward(dy, needs):
        dx = gradient_buffer(k, needs[0], x.shape, x.dtype)
        k.clip_grad(x, low, high, dy, dx)
        return (dx,)

    return y, backward


@op(kernels="select", flat=True)
def equal(k, a, b):
    """y = a == b, element-wise."""
    return _compare(k, k.equal, a, b, "==")


@op(kernels="select", flat=True)
def not_equal(k, a, b):
    """y = a != b, element-wise."""
    return _compare(k, k.not_equal, a, b, "!=")


@op(kernels="select", flat=True)
def less(k, a, b):
    """y = a < b, element-wise."""
    return _compare(k, k.less, a, b, "<")


@op(kernels="select", flat=True)
def less_equal(k, a, b):
    """y = a <= b, element-wise."""
    return _compare(k, k.less_equal, a, b, "<=")


@op(kernels="arith", flat=True)
def argmax(k, x, axis=None, keepdims=False):
    """y = the index of the maximum along `axis`, by default among all elements in C order. If
    several elements are equal to the maximum, y is the first of them. A NaN counts as the maximum.
    """
    kept, shape, axes = _reduced_shapes(x.shape, axis, keepdims)
    moved = _map(k, k.copy, x.transpose((*(i for i in range(x.ndim) if i not in axes), *axes)))
    rows = math.prod(kept)
    columns = math.prod(x.shape[i] for i in axes)
    if rows and not columns:
        raise ValueError(f"The maximum of zero elements is undefined. Received: x of shape {x.shape}, axis={axis}.")
    index = k.empty((rows,), np.intp)
    k.row_max(moved.reshape(rows, max(columns, 1)), index, k.empty((rows,), x.dtype))
    return index.reshape(shape), None


def _split_backward(k: ModuleType, a: Any, b: Any, shape: tuple[int, ...], choose: Any) -> Any:
    """Returns the backward function of an op whose elements come from a or from b. `choose(first)`
    writes to `first` whether each element comes from a.
    """

    def backward(dy, needs):
        first = k.empty(shape, np.bool_)
        choose(first)
        return _split_by(k, a, b, first)(dy, needs)

    return backward


def _split_by(k: ModuleType, a: Any, b: Any, condition: Any) -> Any:
    """Returns the backward function of `where`. It passes the gradients of the chosen elements to
    the array, a or b, that provided them.
    """

    def backward(dy, needs):
        return tuple(_sum_to(k, _mask(k, condition, kept, dy), side, need) if need is not False else None
                     for side, kept, need in ((a, True, needs[0]), (b, False, needs[1])))

    return backward


def _mask(k: ModuleType, condition: Any, kept: bool, dy: Any) -> Any:
    out = k.empty(dy.shape, dy.dtype)
    k.mask(condition, kept, dy, out)
    return out


def _compare(k: ModuleType, kernel: Any, a: Any, b: Any, sign: str) -> tuple[Any, None]:
    y = k.empty(_broadcast(a.shape, b.shape, sign), np.bool_)
    kernel(a, b, y)
    return y, None
