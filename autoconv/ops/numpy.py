"""NumPy's functions on tensors, as `keras.ops.numpy` has them."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..functional import abs as of_floats
from ..functional import (
    argmax,
    clip,
    concatenate,
    equal,
    exp,
    expand_dims,
    expm1,
    greater,
    greater_equal,
    less,
    less_equal,
    log,
    log1p,
    maximum,
    minimum,
    not_equal,
    pad,
    split,
    sqrt,
    squeeze,
    stack,
    tanh,
    where,
)
from ..operators.arith import normalize_axes
from ..symbolic import SymbolicTensor
from ..tensor import Tensor, refuse_gradient, tensor
from . import arranging
from .arranging import *  # noqa: F403
from .arranging import Axes, moveaxis
from .core import cast, convert_to_tensor, operand

__all__ = [
    "abs", "absolute", "add", "all", "allclose", "amax", "amin", "any", "arange", "argmax", "argmin", "argsort",
    "array", "average", "ceil", "clip", "concatenate", "count_nonzero", "cumsum", "divide", "dot", "empty",
    "empty_like", "equal", "exp", "expand_dims", "expm1", "eye", "floor", "full", "full_like", "greater",
    "greater_equal", "identity", "isclose", "isfinite", "isinf", "isnan", "less", "less_equal", "linspace", "log",
    "log1p", "logical_and", "logical_not", "logical_or", "logical_xor", "matmul", "max", "maximum", "mean", "min",
    "minimum", "multiply", "ndim", "negative", "not_equal", "ones", "ones_like", "pad", "power", "prod",
    "reciprocal", "round", "rsqrt", "sign", "size", "sort", "split", "sqrt", "square", "squeeze", "stack", "std",
    "subtract", "sum", "tanh", "true_divide", "trunc", "var", "where", "zeros", "zeros_like",
    *arranging.__all__,
]

FLOATX = "float32"


def _pair(x1: Any, x2: Any) -> tuple[Any, Any]:
    """Two operands, of which at least one is a tensor."""
    if isinstance(x2, SymbolicTensor):
        return x1.numpy() if isinstance(x1, Tensor) else x1 if hasattr(x1, "shape") else np.asarray(x1), x2
    return (operand(x1), x2) if not isinstance(x2, Tensor) else (x1, x2)


def add(x1: Any, x2: Any) -> Any:
    """x1 + x2, item by item; shapes broadcast."""
    x1, x2 = _pair(x1, x2)
    return x1 + x2


def subtract(x1: Any, x2: Any) -> Any:
    """x1 - x2, item by item; shapes broadcast."""
    x1, x2 = _pair(x1, x2)
    return x1 - x2


def multiply(x1: Any, x2: Any) -> Any:
    """x1 x2, item by item; shapes broadcast."""
    x1, x2 = _pair(x1, x2)
    return x1 * x2


def divide(x1: Any, x2: Any) -> Any:
    """x1 / x2, item by item; shapes broadcast."""
    x1, x2 = _pair(x1, x2)
    return x1 / x2


def matmul(x1: Any, x2: Any) -> Any:
    """The product of matrices: (..., N, K) and (..., K, M) -> (..., N, M)."""
    x1, x2 = _pair(x1, x2)
    return x1 @ x2


def power(x1: Any, x2: float) -> Any:
    """x1 to the power of a number."""
    return operand(x1) ** x2


def negative(x: Any) -> Any:
    """-x."""
    return -operand(x)


def square(x: Any) -> Any:
    """x x, item by item."""
    return operand(x) * operand(x)


def reciprocal(x: Any) -> Any:
    """1 / x."""
    return 1.0 / operand(x)


def rsqrt(x: Any) -> Any:
    """1 / sqrt(x)."""
    return 1.0 / sqrt(x)


def sign(x: Any) -> Any:
    """-1, 0 or 1; it has no gradient."""
    x = operand(x).detach()
    if _is_whole(x):
        return _by_numpy(np.sign, x)
    return where(x > 0, 1.0, where(x < 0, -1.0, x * 0.0))


def sum(x: Any, axis: Axes = None, keepdims: bool = False) -> Any:
    """The sum along `axis`, or along several, or of all items."""
    return operand(x).sum(axis, keepdims)


def mean(x: Any, axis: Axes = None, keepdims: bool = False) -> Any:
    """The mean along `axis`, or along several, or of all items."""
    return operand(x).mean(axis, keepdims)


def max(x: Any, axis: Axes = None, keepdims: bool = False) -> Any:
    """The maximum along `axis`, or along several, or of all items."""
    return operand(x).max(axis, keepdims)


def min(x: Any, axis: Axes = None, keepdims: bool = False) -> Any:
    """The minimum along `axis`, or along several, or of all items."""
    x = operand(x)
    if _is_whole(x):  # the negative of one without sign is none
        return _by_numpy(lambda a: np.min(a, tuple(axis) if isinstance(axis, list) else axis, keepdims=keepdims), x)
    return -((-x).max(axis, keepdims))


def var(x: Any, axis: Axes = None, keepdims: bool = False) -> Any:
    """The variance along `axis`, or along several, or of all items: the mean of (x - mean)^2."""
    x = operand(x)
    return square(x - x.mean(axis, True)).mean(axis, keepdims)


def std(x: Any, axis: Axes = None, keepdims: bool = False) -> Any:
    """The square root of `var`."""
    return sqrt(var(x, axis, keepdims))


def argmin(x: Any, axis: int | None = None, keepdims: bool = False) -> Any:
    """Where the minimum along `axis` is; of equal items the first. It has no gradient."""
    x = operand(x)
    if _is_whole(x):
        return _by_numpy(lambda a: np.argmin(a, axis, keepdims=keepdims), x)
    return argmax(-x, axis, keepdims)


def any(x: Any, axis: Axes = None, keepdims: bool = False) -> Any:
    """Whether an item along `axis` is not 0, as booleans."""
    return max(_truth(x), axis, keepdims) > 0


def all(x: Any, axis: Axes = None, keepdims: bool = False) -> Any:
    """Whether all items along `axis` are not 0, as booleans."""
    return min(_truth(x), axis, keepdims) > 0


def logical_and(x1: Any, x2: Any) -> Any:
    """Whether both are not 0, item by item."""
    return _truth(x1) * _truth(x2) > 0


def logical_or(x1: Any, x2: Any) -> Any:
    """Whether one of them is not 0, item by item."""
    return _truth(x1) + _truth(x2) > 0


def logical_not(x: Any) -> Any:
    """Whether x is 0, item by item."""
    return _truth(x) < 1


def isnan(x: Any) -> Any:
    """Whether x is not a number, item by item."""
    x = operand(x)
    return not_equal(x, x)


def _truth(x: Any) -> Any:
    """1 where x is not 0, else 0."""
    return where(operand(x), np.float32(1), np.float32(0))


def average(x: Any, axis: int | None = None, weights: Any = None) -> Any:
    """The mean along `axis`, or of all items, each times its weight: `weights` have x's shape, or the axis's size."""
    x = operand(x)
    if weights is None:
        return x.mean(axis, False)
    weights = operand(weights)
    if len(weights.shape) < len(x.shape):
        (place,) = normalize_axes(0 if axis is None else axis, len(x.shape))
        weights = weights.reshape(tuple(-1 if i == place else 1 for i in range(len(x.shape))))
    return (x * weights).sum(axis, False) / (zeros_like(x) + weights).sum(axis, False)


def prod(x: Any, axis: int | None = None, keepdims: bool = False) -> Any:
    """The product along `axis`, or of all items."""
    x = operand(x)
    if axis is None:
        all_in_one = prod(x.reshape((-1,)), 0)
        return all_in_one.reshape((1,) * len(x.shape)) if keepdims else all_in_one
    (axis,) = normalize_axes(axis, len(x.shape))
    x, found = moveaxis(x, axis, 0), 1.0
    for i in range(x.shape[0]):
        found = x[i] * found
    return expand_dims(found, axis) if keepdims else found


def cumsum(x: Any, axis: int | None = None) -> Any:
    """The sums of the items up to each one, along `axis`, or of all items in a row."""
    x = operand(x)
    if axis is None:
        return cumsum(x.reshape((-1,)), 0)
    (axis,) = normalize_axes(axis, len(x.shape))
    upto = np.triu(np.ones((x.shape[axis],) * 2, x.dtype))
    return moveaxis(moveaxis(x, axis, -1) @ upto, -1, axis)


def dot(x1: Any, x2: Any) -> Any:
    """The product of matrices; of rows the sum of their products, of numbers their product."""
    x1, x2 = _pair(x1, x2)
    return x1 @ x2 if len(x1.shape) and len(operand(x2).shape) else x1 * x2


def logical_xor(x1: Any, x2: Any) -> Any:
    """Whether one of them alone is not 0, item by item."""
    return not_equal(_truth(x1), _truth(x2))


def isfinite(x: Any) -> Any:
    """Whether x is a number and not infinite, item by item."""
    return less(abs(operand(x)), np.inf)


def isinf(x: Any) -> Any:
    """Whether x is infinite, item by item."""
    return equal(abs(operand(x)), np.inf)


def isclose(x1: Any, x2: Any, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> Any:
    """Whether |x1 - x2| <= atol + rtol |x2|, item by item; infinite ones are close to themselves alone."""
    return _by_numpy(np.isclose, x1, x2, rtol, atol, equal_nan)


def allclose(x1: Any, x2: Any, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> bool:
    """Whether all items are close, as `isclose` has it."""
    return bool(isclose(x1, x2, rtol, atol, equal_nan).numpy().all())


def count_nonzero(x: Any, axis: Axes = None) -> Any:
    """How many items along `axis` are not 0."""
    return cast(_truth(x).sum(axis, False), "int32")


def floor(x: Any) -> Any:
    """The largest integer that is not above x; it has no gradient."""
    return _by_numpy(np.floor, _floats(x))


def ceil(x: Any) -> Any:
    """The smallest integer that is not below x; it has no gradient."""
    return _by_numpy(np.ceil, _floats(x))


def trunc(x: Any) -> Any:
    """x without what is behind its point; it has no gradient."""
    return _by_numpy(np.trunc, x)


def round(x: Any, decimals: int = 0) -> Any:
    """The nearest number with so many decimals, halves to the even one; it has no gradient."""
    return _by_numpy(np.round, x, decimals)


def argsort(x: Any, axis: int | None = -1) -> Any:
    """Where the items lie that come in rising order along `axis`; of equal ones the first comes first."""
    return _by_numpy(lambda a: np.argsort(a, axis, kind="stable").astype(np.int32), x)


def sort(x: Any, axis: int = -1) -> Any:
    """The items in rising order along `axis`, or without an axis of all items in a row."""
    x = operand(x) if axis is not None else operand(x).reshape((-1,))
    return take_each(x, argsort(x, axis or 0), axis or 0)


def take_each(x: Any, places: Any, axis: int) -> Any:
    """The items of x at integer positions along `axis`, as `argsort` gives them: others for each row."""
    index: list[Any] = list(np.ogrid[tuple(map(slice, places.shape))])
    index[axis] = places.numpy()
    return x[tuple(index)]


def abs(x: Any) -> Any:
    """|x|, item by item."""
    x = operand(x)
    return _by_numpy(np.abs, x) if _is_whole(x) else of_floats(x)


def _is_whole(x: Any) -> bool:
    """Whether these are the values of integers or booleans, which no kernel takes."""
    return isinstance(x, Tensor) and x.dtype.kind != "f"


def _floats(x: Any) -> Any:
    """x, integers as float32."""
    x = operand(x)
    return cast(x, "float32") if _is_whole(x) else x


def _by_numpy(function: Any, *arguments: Any) -> Any:
    """What NumPy makes of values, as a tensor without a gradient, on the device of the first one."""
    first = operand(arguments[0])
    values = [a.detach().numpy() if hasattr(a, "detach") else a for a in (first, *arguments[1:])]
    return tensor(function(*values), device=first.device.name)


def identity(n: int, dtype: Any = None) -> Any:
    """1 on the diagonal of an n x n matrix, else 0."""
    return eye(n, dtype=dtype)


def empty(shape: Sequence[int], dtype: Any = None) -> Any:
    """A tensor whose values have no meaning: zeros."""
    return zeros(shape, dtype)


def empty_like(x: Any, dtype: Any = None) -> Any:
    """A tensor of x's shape whose values have no meaning: zeros."""
    return zeros_like(x, dtype)


def array(x: Any, dtype: Any = None) -> Any:
    """A tensor of an array, a number or a list."""
    return convert_to_tensor(x, dtype)


def zeros(shape: Sequence[int], dtype: Any = None) -> Any:
    """All 0."""
    return tensor(np.zeros(shape, dtype or FLOATX))


def ones(shape: Sequence[int], dtype: Any = None) -> Any:
    """All 1."""
    return tensor(np.ones(shape, dtype or FLOATX))


def full(shape: Sequence[int], fill_value: Any, dtype: Any = None) -> Any:
    """All `fill_value`."""
    refuse_gradient("full", fill_value=fill_value)
    return tensor(np.full(shape, fill_value, dtype or FLOATX))


def zeros_like(x: Any, dtype: Any = None) -> Any:
    """As many 0 as x has items, beside it."""
    x = operand(x).detach()
    if isinstance(x, Tensor) and x.dtype.kind != "f":  # integers stay integers
        return tensor(np.zeros(x.shape, dtype or x.dtype), device=x.device.name)
    return convert_to_tensor(x * 0.0, dtype)


def ones_like(x: Any, dtype: Any = None) -> Any:
    """As many 1 as x has items, beside it."""
    return full_like(x, 1.0, dtype)


def full_like(x: Any, fill_value: float, dtype: Any = None) -> Any:
    """As many `fill_value` as x has items, beside it."""
    zeros = zeros_like(x)
    if isinstance(zeros, Tensor) and zeros.dtype.kind != "f":
        return tensor(np.full(zeros.shape, fill_value, dtype or zeros.dtype), device=zeros.device.name)
    return convert_to_tensor(zeros + fill_value, dtype)


def eye(N: int, M: int | None = None, k: int = 0, dtype: Any = None) -> Any:
    """1 on a diagonal, else 0."""
    return tensor(np.eye(N, M, k, dtype or FLOATX))


def arange(start: float, stop: float | None = None, step: float = 1, dtype: Any = None) -> Any:
    """start, start + step, ... below stop; one number counts from 0."""
    refuse_gradient("arange", start=start, stop=stop, step=step)
    values = np.arange(start, step=step) if stop is None else np.arange(start, stop, step)
    return tensor(values.astype(dtype or ("float32" if values.dtype.kind == "f" else "int32")))


def linspace(start: float, stop: float, num: int = 50, endpoint: bool = True, dtype: Any = None) -> Any:
    """`num` numbers from start to stop, at equal distances; without `endpoint` stop is left out."""
    refuse_gradient("linspace", start=start, stop=stop)
    return tensor(np.linspace(start, stop, num, endpoint, dtype=dtype or FLOATX))


def size(x: Any) -> int:
    """How many items x has."""
    return int(np.prod(operand(x).shape))


def ndim(x: Any) -> int:
    """How many axes x has."""
    return len(operand(x).shape)


absolute, amax, amin, true_divide = abs, max, min, divide
