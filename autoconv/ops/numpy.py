"""NumPy's functions on tensors, as in `keras.ops.numpy`. Inside a layer, NumPy's functions call these."""

import operator
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from ..engine import array_functions
from ..engine.array_functions import broadcasting
from ..engine.symbolic import SymbolicTensor
from ..engine.tensor import Tensor, refuse_gradient, tensor
from ..functional import arrays, tanh  # noqa: F401 (tanh is in __all__)
from ..functional.arrays import *  # noqa: F403
from ..functional.arrays import argmax, concatenate, equal, less, not_equal, sqrt, where
from ..functional.layer_functions import TensorLike, set_name
from ..kernels import trace
from ..operators.arith import normalize_axes
from . import arranging, core, products
from .arranging import *  # noqa: F403
from .arranging import Axes, moveaxis
from .core import cast, convert_to_tensor, ndim, operand, size
from .products import *  # noqa: F403

_ON_TENSORS = [*(name for name in arrays.__all__ if name not in ("cast", "erf")), "tanh", "add",
               "all", "allclose", "any", "argmin", "argsort", "average", "bitwise_and",
               "bitwise_not", "bitwise_or", "bitwise_xor", "ceil", "count_nonzero", "cumsum",
               "divide", "empty_like", "floor", "floor_divide", "full_like", "isclose", "isfinite",
               "isinf", "isnan", "logical_and", "logical_not", "logical_or", "logical_xor",
               "matmul", "max", "mean", "min", "mod", "multiply", "negative", "ones_like", "power",
               "prod", "reciprocal", "round", "rsqrt", "sign", "sort", "square", "std", "subtract",
               "sum", "trunc", "var", "zeros_like"]
_ALIASES = {"absolute": "abs", "amax": "max", "amin": "min", "bitwise_invert": "bitwise_not",
            "empty": "zeros", "remainder": "mod", "true_divide": "divide"}

__all__ = [
    "arange", "array", "eye", "full", "identity", "linspace", "ndim", "ones", "size", "zeros",
    *_ON_TENSORS, *_ALIASES, *arranging.__all__, *products.__all__,
]

FLOATX = "float32"


def _convert_first(x1: TensorLike, x2: TensorLike) -> TensorLike:
    """Returns the first operand, converted to a tensor unless the second is a tensor."""
    return x1 if isinstance(x2, Tensor | SymbolicTensor) else operand(x1)


def _make_binary(name: str, operation: Callable[[Any, Any], Tensor],
                 doc: str) -> Callable[[TensorLike, TensorLike], Tensor]:
    """Creates the two-operand function for a Python operator. The operands' shapes broadcast."""

    def function(x1: TensorLike, x2: TensorLike) -> Tensor:
        return operation(_convert_first(x1, x2), x2)

    return broadcasting(set_name(function, name, doc))


add = _make_binary("add", operator.add, "x1 + x2, element by element; shapes broadcast.")
subtract = _make_binary("subtract", operator.sub, "x1 - x2, element by element; shapes broadcast.")
multiply = _make_binary("multiply", operator.mul, "x1 x2, element by element; shapes broadcast.")
divide = _make_binary("divide", operator.truediv, "x1 / x2, element by element; shapes broadcast.")
power = _make_binary("power", operator.pow, "x1 to the power of x2, element by element; shapes broadcast.")
mod = _make_binary("mod", operator.mod, "The remainder of x1 / x2, with the sign of x2; shapes broadcast.")
floor_divide = _make_binary("floor_divide", operator.floordiv,
                            "x1 / x2, rounded down to an integer; it has no gradient.")
bitwise_and = _make_binary(
    "bitwise_and", operator.and_, "The bits set in both integers; for booleans, whether both are True.")
bitwise_or = _make_binary(
    "bitwise_or", operator.or_, "The bits set in x1 or x2; for booleans, whether at least one is True.")
bitwise_xor = _make_binary(
    "bitwise_xor", operator.xor, "The bits set in exactly one of x1 and x2; for booleans, whether exactly one is True.")
logical_and = _make_binary("logical_and", lambda x1, x2: _truth(x1) & _truth(x2),
                           "Whether both x1 and x2 are nonzero, element by element.")
logical_or = _make_binary("logical_or", lambda x1, x2: _truth(x1) | _truth(x2),
                          "Whether x1 or x2 is nonzero, element by element.")
logical_xor = _make_binary("logical_xor", lambda x1, x2: _truth(x1) ^ _truth(x2),
                           "Whether exactly one of x1 and x2 is nonzero, element by element.")


def matmul(x1: TensorLike, x2: TensorLike) -> Tensor:
    """Multiplies matrices: (..., N, K) and (..., K, M) -> (..., N, M)."""
    return _convert_first(x1, x2) @ x2  # type: ignore[operator, return-value]


def bitwise_not(x: TensorLike) -> Tensor:
    """Inverts the bits of integers, and negates booleans."""
    return ~operand(x)


def negative(x: TensorLike) -> Tensor:
    """-x."""
    return -operand(x)


def square(x: TensorLike) -> Tensor:
    """x^2, element by element."""
    return operand(x) * operand(x)


def reciprocal(x: TensorLike) -> Tensor:
    """1 / x."""
    return 1.0 / operand(x)


def rsqrt(x: TensorLike) -> Tensor:
    """1 / sqrt(x)."""
    return 1.0 / sqrt(x)


def sign(x: TensorLike) -> Tensor:
    """Returns the sign of x: -1, 0 or 1. The result has no gradient."""
    x = operand(x).detach()
    if _is_whole(x):
        return _call_numpy(np.sign, x)
    return where(x > 0, 1.0, where(x < 0, -1.0, x * 0.0))


def sum(x: TensorLike, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """Sums x over one or several axes, or over all elements."""
    return operand(x).sum(axis, keepdims)


def mean(x: TensorLike, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """Averages x over one or several axes, or over all elements."""
    return operand(x).mean(axis, keepdims)


def max(x: TensorLike, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """Returns the maximum over one or several axes, or over all elements."""
    return operand(x).max(axis, keepdims)


def min(x: TensorLike, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """Returns the minimum over one or several axes, or over all elements."""
    x = operand(x)
    if _is_whole(x):  # unsigned integers have no negatives
        return _call_numpy(lambda a: np.min(a, tuple(axis) if isinstance(axis, list) else axis, keepdims=keepdims), x)
    return -((-x).max(axis, keepdims))


def var(x: TensorLike, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """Returns the variance, the mean of (x - mean)^2, over one or several axes, or over all elements."""
    x = operand(x)
    return square(x - x.mean(axis, True)).mean(axis, keepdims)


def std(x: TensorLike, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """Returns the standard deviation, the square root of `var`."""
    return sqrt(var(x, axis, keepdims))


def argmin(x: TensorLike, axis: int | None = None, keepdims: bool = False) -> Tensor:
    """Returns the index of the first minimum along `axis`. The result has no gradient."""
    x = operand(x)
    if _is_whole(x):
        return _call_numpy(lambda a: np.argmin(a, axis, keepdims=keepdims), x)
    return argmax(-x, axis, keepdims)


def any(x: TensorLike, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """Returns whether any element along `axis` is nonzero, as booleans."""
    return _count(_truth(x), axis, keepdims) > 0


def all(x: TensorLike, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """Returns whether all elements along `axis` are nonzero, as booleans."""
    return _count(~_truth(x), axis, keepdims) < 1


def logical_not(x: TensorLike) -> Tensor:
    """Returns whether x is 0, element by element."""
    return ~_truth(x)


def isnan(x: TensorLike) -> Tensor:
    """Returns whether x is NaN, element by element."""
    x = operand(x)
    return not_equal(x, x)


def _truth(x: TensorLike) -> Tensor:
    """Returns whether x is nonzero, element by element."""
    return cast(operand(x), "bool")


def _count(true: Tensor, axis: Axes, keepdims: bool = False) -> Tensor:
    return cast(cast(true, "int32").sum(axis, keepdims), "int32")


def average(x: TensorLike, axis: Axes = None, weights: TensorLike | None = None) -> Tensor:
    """Averages x along `axis`, or over all elements. weights: one per element, or one per index of `axis`."""
    x = operand(x)
    if weights is None:
        return x.mean(axis, False)
    weights = operand(weights)
    if len(weights.shape) < len(x.shape):
        (place,) = normalize_axes(0 if axis is None else axis, len(x.shape))
        weights = weights.reshape(tuple(-1 if i == place else 1 for i in range(len(x.shape))))
    return (x * weights).sum(axis, False) / (zeros_like(x) + weights).sum(axis, False)


def prod(x: TensorLike, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """Multiplies the elements of x along `axis`, by default all elements. Products of integers are int64."""
    x = _summable(operand(x))
    axes = normalize_axes(axis, len(x.shape))
    rest = [n for i, n in enumerate(x.shape) if i not in axes]
    shape = [1 if i in axes else n for i, n in enumerate(x.shape)] if keepdims else rest
    x = moveaxis(x, axes, tuple(range(len(axes)))).reshape((_size(x.shape[i] for i in axes), *rest))
    if not x.shape[0]:
        return ones(shape, x.dtype)
    while (count := x.shape[0]) > 1:
        pairs = x[: count // 2] * x[count // 2 : count // 2 * 2]
        x = pairs if count % 2 == 0 else concatenate([pairs, x[count - 1 :]], 0)
    return x.reshape(tuple(shape))


def cumsum(x: TensorLike, axis: int | None = None) -> Tensor:
    """Returns cumulative sums along `axis`, or over the flattened x. Sums of integers are int64."""
    x = _summable(operand(x))
    if axis is None:
        return cumsum(x.reshape((-1,)), 0)
    (axis,) = normalize_axes(axis, len(x.shape))
    before = (slice(None),) * axis
    far = 1
    while far < x.shape[axis]:  # each pass doubles the number of summed elements
        x = concatenate([x[(*before, slice(far))], x[(*before, slice(far, None))] + x[(*before, slice(-far))]], axis)
        far *= 2
    return x


def _summable(x: Tensor) -> Tensor:
    """Converts integers and booleans to int64, the dtype of their sums."""
    return x if np.dtype(x.dtype).kind == "f" else cast(x, "int64")


def _size(sizes: Iterable[int]) -> int:
    return int(np.prod(list(sizes), dtype=int))


def isfinite(x: TensorLike) -> Tensor:
    """Returns whether x is neither NaN nor infinite, element by element."""
    return less(abs(operand(x)), np.inf)


def isinf(x: TensorLike) -> Tensor:
    """Returns whether x is infinite, element by element."""
    return equal(abs(operand(x)), np.inf)


@broadcasting
def isclose(x1: TensorLike, x2: TensorLike, rtol: float = 1e-5, atol: float = 1e-8,
            equal_nan: bool = False) -> Tensor:
    """Returns whether |x1 - x2| <= atol + rtol |x2|. An infinity is close only to an equal infinity."""
    return _call_numpy(np.isclose, x1, x2, rtol, atol, equal_nan)


def allclose(x1: TensorLike, x2: TensorLike, rtol: float = 1e-5, atol: float = 1e-8,
             equal_nan: bool = False) -> Tensor:
    """Returns a tensor of one boolean: whether `isclose` is true for all elements."""
    return _call_numpy(np.allclose, x1, x2, rtol, atol, equal_nan)


def count_nonzero(x: TensorLike, axis: Axes = None) -> Tensor:
    """Counts the nonzero elements along `axis`."""
    return _count(_truth(x), axis)


def floor(x: TensorLike) -> Tensor:
    """Rounds x down to an integer. The result has no gradient."""
    return _call_numpy(np.floor, floats(x))


def ceil(x: TensorLike) -> Tensor:
    """Rounds x up to an integer. The result has no gradient."""
    return _call_numpy(np.ceil, floats(x))


def trunc(x: TensorLike) -> Tensor:
    """Rounds x towards 0. The result has no gradient."""
    return _call_numpy(np.trunc, x)


def round(x: TensorLike, decimals: int = 0) -> Tensor:
    """Rounds x to `decimals` decimal places, with halves to even. The result has no gradient."""
    return _call_numpy(np.round, x, decimals)


def argsort(x: TensorLike, axis: int | None = -1) -> Tensor:
    """Returns the indices that sort x along `axis`. Equal elements keep their order."""
    return _call_numpy(lambda a: np.argsort(a, axis, kind="stable").astype(np.int32), x)


def sort(x: TensorLike, axis: int = -1) -> Tensor:
    """Sorts x in ascending order along `axis`, or the flattened x if axis is None."""
    x = operand(x) if axis is not None else operand(x).reshape((-1,))
    return apply_order(x, argsort(x, axis or 0), axis or 0)


def apply_order(x: Tensor, order: Tensor, axis: int) -> Tensor:
    """Selects the elements of x along `axis` by indices from `argsort`."""
    index: list[Any] = list(np.ogrid[tuple(map(slice, order.shape))])
    index[axis] = order.numpy()
    return x[tuple(index)]


def abs(x: TensorLike) -> Tensor:  # type: ignore[no-redef]
    """|x|, element by element."""
    x = operand(x)
    return _call_numpy(np.abs, x) if _is_whole(x) else arrays.abs(x)


def _is_whole(x: TensorLike) -> bool:
    """Returns whether x contains integers or booleans, for which there are no kernels."""
    return isinstance(x, Tensor) and x.dtype.kind != "f"


def floats(x: TensorLike) -> Tensor:
    """Converts integers and booleans to float32. Floating-point tensors are unchanged."""
    x = operand(x)
    return cast(x, "float32") if _is_whole(x) else x


def _call_numpy(function: Callable, *arguments: Any) -> Tensor:
    """Calls a NumPy function with arrays. The result has no gradient and is on the first argument's device."""
    trace.stop("a function of ops that NumPy computes")
    first = operand(arguments[0])
    values = [a.detach().numpy() if hasattr(a, "detach") else a for a in (first, *arguments[1:])]
    return tensor(function(*values), device=first.device.name)


def identity(n: int, dtype: DTypeLike | None = None) -> Tensor:
    """Returns the n x n identity matrix."""
    return eye(n, dtype=dtype)


def empty_like(x: TensorLike, dtype: DTypeLike | None = None) -> Tensor:
    """Returns a tensor of x's shape with unspecified values (in autoconv, zeros)."""
    return zeros_like(x, dtype)


def array(x: TensorLike, dtype: DTypeLike | None = None) -> Tensor:
    """Converts an array, a number or a list to a tensor."""
    return convert_to_tensor(x, dtype)


def zeros(shape: Sequence[int], dtype: DTypeLike | None = None) -> Tensor:
    """Returns a tensor of zeros."""
    return tensor(np.zeros(shape, dtype or FLOATX))


def ones(shape: Sequence[int], dtype: DTypeLike | None = None) -> Tensor:
    """Returns a tensor of ones."""
    return tensor(np.ones(shape, dtype or FLOATX))


def full(shape: Sequence[int], fill_value: float, dtype: DTypeLike | None = None) -> Tensor:
    """Returns a tensor filled with `fill_value`."""
    refuse_gradient("full", fill_value=fill_value)
    return tensor(np.full(shape, fill_value, dtype or FLOATX))


def zeros_like(x: TensorLike, dtype: DTypeLike | None = None) -> Tensor:
    """Returns zeros in the shape of x, on its device."""
    return full_like(x, 0, dtype)


def ones_like(x: TensorLike, dtype: DTypeLike | None = None) -> Tensor:
    """Returns ones in the shape of x, on its device."""
    return full_like(x, 1, dtype)


def full_like(x: TensorLike, fill_value: float, dtype: DTypeLike | None = None) -> Tensor:
    """Returns a tensor of x's shape, on its device, filled with `fill_value`."""
    refuse_gradient("full_like", fill_value=fill_value)
    x = operand(x)
    if isinstance(x, SymbolicTensor):
        return cast(where(equal(x, x), float(fill_value), float(fill_value)), dtype or x.dtype)
    return Tensor(x.device.constant(np.full(x.shape, fill_value, dtype or x.dtype)), device=x.device)


def eye(N: int, M: int | None = None, k: int = 0, dtype: DTypeLike | None = None) -> Tensor:
    """Returns an N x M matrix with 1 on diagonal k and 0 elsewhere."""
    return tensor(np.eye(N, M, k, dtype or FLOATX))


def arange(start: float, stop: float | None = None, step: float = 1,
           dtype: DTypeLike | None = None) -> Tensor:
    """Returns start, start + step, ... up to but excluding stop. A single argument is the stop, and start is 0."""
    refuse_gradient("arange", start=start, stop=stop, step=step)
    values = np.arange(start, step=step) if stop is None else np.arange(start, stop, step)
    return tensor(values.astype(dtype or ("float32" if values.dtype.kind == "f" else "int32")))


def linspace(start: float, stop: float, num: int = 50, endpoint: bool = True,
             dtype: DTypeLike | None = None) -> Tensor:
    """Returns `num` evenly spaced numbers from start to stop. Includes stop if `endpoint`."""
    refuse_gradient("linspace", start=start, stop=stop)
    return tensor(np.linspace(start, stop, num, endpoint, dtype=dtype or FLOATX))


core.accept_any_tensor(globals(), _ON_TENSORS)
globals().update((alias, globals()[name]) for alias, name in _ALIASES.items())

for _name in (*_ON_TENSORS, *_ALIASES, *arranging.__all__, *products.__all__):
    _theirs = getattr(np, _name, None)
    if _theirs is not None and _theirs not in array_functions.FLAT:
        array_functions.implements(_theirs)(globals()[_name])
