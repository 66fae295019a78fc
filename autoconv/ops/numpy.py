"""NumPy's functions on tensors, as `keras.ops.numpy` has them."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..functional import (
    abs,
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
from ..tensor import tensor
from .core import convert_to_tensor, operand

__all__ = [
    "abs",
    "absolute",
    "add",
    "all",
    "amax",
    "amin",
    "any",
    "arange",
    "argmax",
    "argmin",
    "array",
    "broadcast_to",
    "clip",
    "concatenate",
    "divide",
    "equal",
    "exp",
    "expand_dims",
    "expm1",
    "eye",
    "flip",
    "full",
    "full_like",
    "greater",
    "greater_equal",
    "isnan",
    "less",
    "less_equal",
    "linspace",
    "log",
    "log1p",
    "logical_and",
    "logical_not",
    "logical_or",
    "matmul",
    "max",
    "maximum",
    "mean",
    "min",
    "minimum",
    "moveaxis",
    "multiply",
    "ndim",
    "negative",
    "not_equal",
    "ones",
    "ones_like",
    "pad",
    "power",
    "ravel",
    "reciprocal",
    "reshape",
    "rsqrt",
    "sign",
    "size",
    "split",
    "sqrt",
    "square",
    "squeeze",
    "stack",
    "std",
    "subtract",
    "sum",
    "swapaxes",
    "tanh",
    "transpose",
    "true_divide",
    "var",
    "where",
    "zeros",
    "zeros_like",
]

Axes = int | Sequence[int] | None


def _pair(x1: Any, x2: Any) -> tuple[Any, Any]:
    """Two operands, of which at least one is a tensor."""
    return (operand(x1), x2) if not hasattr(x2, "detach") else (x1, x2)


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
    return -((-operand(x)).max(axis, keepdims))


def var(x: Any, axis: Axes = None, keepdims: bool = False) -> Any:
    """The variance along `axis`, or along several, or of all items: the mean of (x - mean)^2."""
    x = operand(x)
    return square(x - x.mean(axis, True)).mean(axis, keepdims)


def std(x: Any, axis: Axes = None, keepdims: bool = False) -> Any:
    """The square root of `var`."""
    return sqrt(var(x, axis, keepdims))


def argmin(x: Any, axis: int | None = None, keepdims: bool = False) -> Any:
    """Where the minimum along `axis` is; of equal items the first. It has no gradient."""
    return argmax(-operand(x), axis, keepdims)


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


def reshape(x: Any, newshape: Sequence[int]) -> Any:
    """The items in another shape, one size of which may be -1."""
    return operand(x).reshape(tuple(newshape) if isinstance(newshape, Sequence) else (newshape,))


def ravel(x: Any) -> Any:
    """All items in a row."""
    return operand(x).reshape((-1,))


def transpose(x: Any, axes: Sequence[int] | None = None) -> Any:
    """x with its axes in another order, by default the reverse one."""
    return operand(x).transpose() if axes is None else operand(x).transpose(tuple(axes))


def swapaxes(x: Any, axis1: int, axis2: int) -> Any:
    """x with two axes exchanged."""
    x = operand(x)
    order = list(range(len(x.shape)))
    order[axis1], order[axis2] = order[axis2], order[axis1]
    return x.transpose(tuple(order))


def moveaxis(x: Any, source: int | Sequence[int], destination: int | Sequence[int]) -> Any:
    """x with some axes in other places."""
    x = operand(x)
    count = len(x.shape)
    from_, to = normalize_axes(source, count), normalize_axes(destination, count)
    order = [axis for axis in range(count) if axis not in from_]
    for place, axis in sorted(zip(to, from_)):
        order.insert(place, axis)
    return x.transpose(tuple(order))


def flip(x: Any, axis: Axes = None) -> Any:
    """x with the items along `axis` in reverse order."""
    x = operand(x)
    count = len(x.shape)
    axes = range(count) if axis is None else normalize_axes(axis, count)
    return x[tuple(slice(None, None, -1) if i in axes else slice(None) for i in range(count))]


def broadcast_to(x: Any, shape: Sequence[int]) -> Any:
    """x in a larger shape, along whose axes it is repeated."""
    return operand(x) + np.zeros(tuple(shape), np.float32)


def array(x: Any, dtype: Any = None) -> Any:
    """A tensor of an array, a number or a list."""
    return convert_to_tensor(x, dtype)


def zeros(shape: Sequence[int], dtype: Any = "float32") -> Any:
    """All 0."""
    return tensor(np.zeros(shape, dtype))


def ones(shape: Sequence[int], dtype: Any = "float32") -> Any:
    """All 1."""
    return tensor(np.ones(shape, dtype))


def full(shape: Sequence[int], fill_value: Any, dtype: Any = "float32") -> Any:
    """All `fill_value`."""
    return tensor(np.full(shape, fill_value, dtype))


def zeros_like(x: Any) -> Any:
    """As many 0 as x has items, beside it."""
    return operand(x).detach() * 0.0


def ones_like(x: Any) -> Any:
    """As many 1 as x has items, beside it."""
    return zeros_like(x) + 1.0


def full_like(x: Any, fill_value: float) -> Any:
    """As many `fill_value` as x has items, beside it."""
    return zeros_like(x) + fill_value


def eye(N: int, M: int | None = None, k: int = 0, dtype: Any = "float32") -> Any:
    """1 on a diagonal, else 0."""
    return tensor(np.eye(N, M, k, dtype))


def arange(start: float, stop: float | None = None, step: float = 1, dtype: Any = None) -> Any:
    """start, start + step, ... below stop; one number counts from 0."""
    values = np.arange(start, step=step) if stop is None else np.arange(start, stop, step)
    return tensor(values.astype(dtype or ("float32" if values.dtype.kind == "f" else "int32")))


def linspace(start: float, stop: float, num: int = 50, dtype: Any = "float32") -> Any:
    """`num` numbers from start to stop, at equal distances."""
    return tensor(np.linspace(start, stop, num, dtype=dtype))


def size(x: Any) -> int:
    """How many items x has."""
    return int(np.prod(operand(x).shape))


def ndim(x: Any) -> int:
    """How many axes x has."""
    return len(operand(x).shape)


absolute, amax, amin, true_divide = abs, max, min, divide
