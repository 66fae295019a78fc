"""The ops that implement a tensor's operators and methods: arithmetic with broadcasting,
reductions, indexing and reshaping.

Every result is C-contiguous, as the compiled kernels require.
"""

import math
from collections.abc import Sequence
from numbers import Real
from types import ModuleType
from typing import Any

import numpy as np

from ..kernels import trace
from .registry import gradient_buffer, op


@op(kernels="arith", forgets=True)
def add(k, a, b):
    """y = a + b."""
    y = _result(k, a, b, "+")
    k.add(a, b, y)
    # these have the arrays' shapes and dtypes, but not their memory
    forms = [np.broadcast_to(np.empty((), t.dtype), t.shape) for t in (a, b)]

    def backward(dy, needs):
        return tuple(_sum_to(k, dy, form, need) for form, need in zip(forms, needs))

    return y, backward


@op(kernels="arith")
def subtract(k, a, b):
    """y = a - b."""
    y = _result(k, a, b, "-")
    k.subtract(a, b, y)

    def backward(dy, needs):
        db = _sum_to(k, dy, b, needs[1])
        return _sum_to(k, dy, a, needs[0]), None if db is None else _map(k, k.negative, db)

    return y, backward


@op(kernels="arith")
def multiply(k, a, b):
    """y = a * b."""
    y = _result(k, a, b, "*")
    k.multiply(a, b, y)

    def backward(dy, needs):
        da = _sum_to(k, _map(k, k.multiply, dy, b), a, needs[0]) if needs[0] is not False else None
        db = _sum_to(k, _map(k, k.multiply, dy, a), b, needs[1]) if needs[1] is not False else None
        return da, db

    return y, backward


@op(kernels="arith")
def divide(k, a, b):
    """y = a / b; da = dy / b, db = -dy y / b. For integers the result is float32."""
    y = _result(k, a, b, "/", inexact=True)
    k.divide(a, b, y)

    def backward(dy, needs):
        da = _map(k, k.divide, dy, b)
        db = _map(k, k.negative, _map(k, k.multiply, da, y)) if needs[1] is not False else None
        return _sum_to(k, da, a, needs[0]), _sum_to(k, db, b, needs[1])

    return y, backward


@op(kernels="arith")
def power(k, x, exponent):
    """y = x ** exponent, for a number. 0.5 is computed as sqrt, which gives NaN for minus infinity.
    """
    if not isinstance(exponent, Real):
        raise TypeError(f"The exponent must be a number. Received: {exponent!r}.")
    x = x if isinstance(exponent, int) else to_floats(k, x)
    y = k.empty(x.shape, x.dtype)
    _raise(k, x, exponent, y)

    def backward(dy, needs):
        dx = k.zeros(x.shape, x.dtype)
        # for exponent 0 the formula would give 0 * x**-1, which is not 0 at x = 0
        if exponent != 0:
            _raise(k, x, exponent - 1, dx)
            k.multiply(dx, x.dtype.type(exponent), dx)
            k.multiply(dx, dy, dx)
        return (dx,)

    return y, backward


def _raise(k, x, exponent, y):
    """y = x ** exponent. Uses sqrt for 0.5, because NumPy versions disagree on (-inf) ** 0.5."""
    if exponent == 0.5:
        k.sqrt(x, y)
    else:
        k.power(x, exponent, y)


@op(kernels="arith")
def negative(k, x):
    """y = -x."""
    return _map(k, k.negative, x), lambda dy, needs: (_map(k, k.negative, dy),)


@op(kernels="arith")
def exp(k, x):
    """y = e ** x."""
    x = to_floats(k, x)
    y = _map(k, k.exp, x)
    return y, lambda dy, needs: (_map(k, k.multiply, dy, y),)


@op(kernels="arith")
def log(k, x):
    """y = ln x."""
    x = to_floats(k, x)
    y = _map(k, k.log, x)
    return y, lambda dy, needs: (_map(k, k.divide, dy, x),)


@op(kernels="arith")
def expm1(k, x):
    """y = e ** x - 1, accurate near 0; dx = dy (y + 1)."""
    y = _floating(k, x)
    k.expm1(y, y)

    def backward(dy, needs):
        dx = gradient_buffer(k, needs[0], x.shape, x.dtype)
        k.add(y, y.dtype.type(1), dx)
        k.multiply(dx, dy, dx)
        return (dx,)

    return y, backward


@op(kernels="arith")
def log1p(k, x):
    """y = ln(1 + x), accurate near 0; dx = dy / (1 + x)."""
    y = _floating(k, x)
    k.log1p(y, y)

    def backward(dy, needs):
        dx = gradient_buffer(k, needs[0], x.shape, x.dtype)
        k.add(x, x.dtype.type(1), dx)
        k.divide(dy, dx, dx)
        return (dx,)

    return y, backward


@op(kernels="arith")
def erf(k, x):
    """y = erf(x) = 2 / sqrt(pi) times the integral of exp(-t^2) from 0 to x; dx = dy 2 / sqrt(pi)
    exp(-x^2).
    """
    y = _floating(k, x)
    k.erf(y, y)

    def backward(dy, needs):
        dx = gradient_buffer(k, needs[0], x.shape, x.dtype)
        k.multiply(x, x, dx)
        k.negative(dx, dx)
        k.exp(dx, dx)
        k.multiply(dx, x.dtype.type(2 / math.sqrt(math.pi)), dx)
        k.multiply(dx, dy, dx)
        return (dx,)

    return y, backward


@op(kernels="arith")
def sqrt(k, x):
    """y = sqrt(x); dx = dy / (2 y), which is infinite at 0. For integers the result is float32."""
    x = to_floats(k, x)
    y = _map(k, k.sqrt, x)

    def backward(dy, needs):
        dx = gradient_buffer(k, needs[0], x.shape, x.dtype)
        k.divide(dy, y, dx)
        k.multiply(dx, x.dtype.type(0.5), dx)
        return (dx,)

    return y, backward


@op(kernels="matmul")
def matmul(k, a, b):
    """y = a @ b as in NumPy, for vectors, matrices (n, m) @ (m, p) and batches of matrices."""
    if a.ndim == 0 or b.ndim == 0 or a.shape[-1] != b.shape[-2 if b.ndim > 1 else 0]:
        raise ValueError("@ needs operands of shapes (..., n, m) and (..., m, p). Received "
                         f"shapes: {a.shape} and {b.shape}.")
    rows = a if a.ndim > 1 else a.reshape(1, -1)  # (..., n, m)
    columns = b if b.ndim > 1 else b.reshape(-1, 1)  # (..., m, p)
    batch = _broadcast(rows.shape[:-2], columns.shape[:-2], "@")
    full = (*batch, rows.shape[-2], columns.shape[-1])
    y = k.empty(full, _result_dtype(a, b))
    k.matmul(rows, columns, y)

    def backward(dy, needs):
        dy = dy.reshape(full)
        da = db = None
        if needs[0] is not False:  # dy @ b.T
            da = k.empty((*batch, *rows.shape[-2:]), dy.dtype)
            k.matmul(dy, columns.swapaxes(-1, -2), da)
            da = _sum_to(k, da, rows, True).reshape(a.shape)
        if needs[1] is not False:  # a.T @ dy
            db = k.empty((*batch, *columns.shape[-2:]), dy.dtype)
            k.matmul(rows.swapaxes(-1, -2), dy, db)
            db = _sum_to(k, db, columns, True).reshape(b.shape)
        return da, db

    return y.reshape((*batch, *full[-2:][: a.ndim > 1], *full[-1:][: b.ndim > 1])), backward


@op(kernels="arith")
def getitem(k, x, index):
    """y = x[index], as a copy. The index may contain integers, slices, None, `...`, integer arrays
    and boolean masks, as in NumPy.
    """
    if _is_basic(index) and not any(part is Ellipsis for part in index):
        index = (*index, ...)  # the added `...` makes a single element an array view, not a number
    if isinstance(trace.current(), trace.DryRun):  # a dry run computes no index values
        index = tuple(np.zeros(p.shape, p.dtype) if getattr(p, "shape", ()) and p.dtype.kind != "b" else p
                      for p in index)
    picked = x[index]
    y = k.empty(picked.shape, x.dtype)
    if _is_basic(index):
        k.copy(picked, y)  # here `picked` is a view of x
    else:
        k.index_get(x, index, y)

    def backward(dy, needs):
        dx = gradient_buffer(k, needs[0], x.shape, x.dtype)
        (k.index_put if _is_basic(index) else k.index_add)(dy, index, dx)
        return (dx,)

    return y, backward


@op(kernels="arith", view=True)
def reshape(k, x, shape):
    """y = x with the same elements in another shape; one size may be -1."""
    try:
        y = x.reshape(shape)
    except ValueError:
        raise ValueError(f"A tensor of {x.size} elements cannot be reshaped to {shape}. Received "
                         f"shape: {x.shape}.") from None
    return y, lambda dy, needs: (dy.reshape(x.shape),)


@op(kernels="arith")
def transpose(k, x, axes=None):
    """y = a copy of x with the axes in another order, reversed by default."""
    order = tuple(reversed(range(x.ndim))) if axes is None else normalize_axes(axes, x.ndim)
    if len(order) != x.ndim:
        raise ValueError(f"axes of transpose must contain each of the {x.ndim} axes once. Received: axes={axes}.")
    back = tuple(order.index(i) for i in range(x.ndim))

    return _map(k, k.copy, x.transpose(order)), lambda dy, needs: (_map(k, k.copy, dy.transpose(back)),)


@op(kernels="arith")
def pad(k, x, widths, value=0):
    """y = x surrounded by `value`; `widths` has (before, after) for each axis."""
    y = k.empty(tuple(n + before + after for n, (before, after) in zip(x.shape, widths)), x.dtype)
    k.fill(y, value)
    inner = tuple(slice(before, before + n) for n, (before, _) in zip(x.shape, widths))
    k.copy(x, y[inner])
    return y, lambda dy, needs: (_map(k, k.copy, dy[inner]),)


@op(kernels="arith", forgets=True, takes_two=True)
def concatenate(k, *arrays, axis):
    """y = the arrays joined along `axis`, which counts from 0."""
    forms = [(a.shape, a.dtype) for a in arrays]
    ends = np.cumsum([a.shape[axis] for a in arrays]).tolist()
    before = (slice(None),) * axis
    parts = [(*before, slice(end - a.shape[axis], end)) for a, end in zip(arrays, ends)]
    first = arrays[0].shape
    y = k.empty((*first[:axis], ends[-1], *first[axis + 1 :]), _result_dtype(*arrays))
    for a, part in zip(arrays, parts):
        k.copy(a, y[part])

    def backward(dy, needs):
        gradients = []
        for form, part, need in zip(forms, parts, needs):
            gradients.append(None if need is False else gradient_buffer(k, need, *form))
            if need is not False and isinstance(dy, tuple):
                k.add(dy[0][part], dy[1][part], gradients[-1])
            elif need is not False:
                k.copy(dy[part], gradients[-1])
        return tuple(gradients)

    return y, backward


@op(kernels="arith")
def sum(k, x, axis=None, keepdims=False):
    """y = the sum over `axis`: an integer, several integers, or None for all axes. Integers are
    summed as int64.
    """
    kept, shape, axes = _reduced_shapes(x.shape, axis, keepdims)
    y = k.empty(kept, x.dtype if x.dtype.kind == "f" else np.int64)
    k.sum(x, axes, y)

    def backward(dy, needs):
        dx = gradient_buffer(k, needs[0], x.shape, x.dtype)
        k.copy(dy.reshape(kept), dx)
        return (dx,)

    return y.reshape(shape), backward


@op(kernels="arith")
def mean(k, x, axis=None, keepdims=False):
    """y = the mean over `axis`: an integer, several integers, or None for all axes. For integers
    the result is float32.
    """
    kept, shape, axes = _reduced_shapes(x.shape, axis, keepdims)
    y = k.empty(kept, _float(x.dtype))
    count = y.dtype.type(x.size // y.size if y.size else 1)
    k.sum(x, axes, y, count)

    def backward(dy, needs):
        dx = gradient_buffer(k, needs[0], x.shape, x.dtype)
        k.divide(dy.reshape(kept), count, share := k.empty(kept, y.dtype))
        k.copy(share, dx)
        return (dx,)

    return y.reshape(shape), backward


@op(kernels="arith")
def max(k, x, axis=None, keepdims=False):
    """y = the maximum over `axis`. The gradient goes to one element, the first maximum in C order.
    A NaN counts as the maximum.
    """
    kept, shape, axes = _reduced_shapes(x.shape, axis, keepdims)
    others = tuple(i for i in range(x.ndim) if i not in axes)
    order = others + axes
    moved = _map(k, k.copy, x.transpose(order))  # the kept axes first, then the reduced ones
    y = k.empty(kept, x.dtype)
    if y.size and not x.size:
        raise ValueError(f"The maximum of zero elements is undefined. Received: x of shape {x.shape}, axis={axis}.")
    rows = (y.size, math.prod(x.shape[i] for i in axes) or 1)
    index = k.empty((y.size,), np.intp)
    k.row_max(moved.reshape(rows), index, y.reshape(-1))
    back = tuple(order.index(i) for i in range(x.ndim))

    def backward(dy, needs):
        dx = k.empty(moved.shape, x.dtype)
        k.row_scatter(dy.reshape(-1), index, dx.reshape(rows))
        return (_map(k, k.copy, dx.transpose(back)),)

    return y.reshape(shape), backward


def normalize_axes(axis: Any, ndim: int) -> tuple[int, ...]:
    """Returns `axis` as a tuple of distinct integers in 0..ndim-1. `axis` is None for all axes, an
    integer, or several integers; negative integers count from the end.
    """
    if axis is None:
        return tuple(range(ndim))
    axes = tuple(axis) if isinstance(axis, Sequence) else (axis,)
    if not all(hasattr(i, "__index__") and -ndim <= i < ndim for i in axes):
        raise ValueError(f"Each axis must be an integer in {-ndim}..{ndim - 1} for a tensor with "
                         f"{ndim} axes. Received: {axis!r}.")
    axes = tuple(int(i) % ndim for i in axes)
    if len(set(axes)) != len(axes):
        raise ValueError(f"Each axis may be given only once. Received: {axis!r}.")
    return axes


def _reduced_shapes(shape: tuple, axis: Any, keepdims: bool) -> tuple[tuple, tuple, tuple]:
    """Returns a reduction's shape with 1 for reduced axes, its result's shape and its sorted axes.
    """
    axes = tuple(sorted(normalize_axes(axis, len(shape))))
    kept = tuple(1 if i in axes else n for i, n in enumerate(shape))
    return kept, kept if keepdims else tuple(n for i, n in enumerate(shape) if i not in axes), axes


def _float(dtype: np.dtype) -> np.dtype:
    """Returns `dtype` if it is floating-point, otherwise float32."""
    return dtype if dtype.kind == "f" else np.dtype(np.float32)


def to_floats(k: ModuleType, x: Any) -> Any:
    """Returns x itself if its dtype is floating-point, otherwise a float32 copy."""
    return x if x.dtype.kind == "f" else _floating(k, x)


def _floating(k: ModuleType, x: Any) -> Any:
    """Returns a floating-point copy of x, which a kernel may overwrite with its result."""
    y = k.empty(x.shape, _float(x.dtype))
    k.copy(x, y)
    return y


def _result_dtype(*arrays: Any) -> np.dtype:
    """Returns the dtype of a result: integers adopt the floating-point dtype of the other arrays,
    if any; otherwise NumPy's rule applies.
    """
    dtypes = [a.dtype for a in arrays]
    return np.result_type(*([dtype for dtype in dtypes if dtype.kind == "f"] or dtypes))


def _broadcast(a: tuple, b: tuple, sign: str) -> tuple:
    try:
        return np.broadcast_shapes(a, b)
    except ValueError:
        raise ValueError(f"{sign} needs operands whose shapes broadcast, so sizes must be equal or "
                         f"1. Received shapes: {a} and {b}.") from None


def _result(k: ModuleType, a: Any, b: Any, sign: str, inexact: bool = False) -> Any:
    """Returns a new array for the result of the operator `sign` on a and b."""
    dtype = _result_dtype(a, b)
    return k.empty(_broadcast(a.shape, b.shape, sign), _float(dtype) if inexact else dtype)


def _map(k: ModuleType, kernel: Any, a: Any, *b: Any) -> Any:
    """Returns a new array with the result of a kernel for `a` and arrays that broadcast to it."""
    out = k.empty(a.shape, a.dtype)
    kernel(a, *b, out)
    return out


def _sum_to(k: ModuleType, gradient: Any, like: Any, need: Any) -> Any:
    """Returns the gradient of `like`: the sum over the axes along which `like` was broadcast."""
    if need is False:
        return None
    if gradient.shape == like.shape and gradient.dtype == like.dtype:
        return gradient
    new = gradient.ndim - like.ndim
    axes = tuple(i for i, n in enumerate(gradient.shape) if i < new or (like.shape[i - new] == 1 and n != 1))
    out = k.empty(tuple(1 if i in axes else n for i, n in enumerate(gradient.shape)), like.dtype)
    k.sum(gradient, axes, out)
    return out.reshape(like.shape)


def _is_basic(index: Any) -> bool:
    """Whether an index has only integers, slices, None and `...`, which select no element twice."""
    parts = index if isinstance(index, tuple) else (index,)
    return all(p is None or p is Ellipsis or (isinstance(p, (int, np.integer, slice)) and not isinstance(p, bool))
               for p in parts)
