"""NumPy's functions on tensors, as in `keras.ops.numpy`; within a layer NumPy's names call them."""

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
from ..functional.layer_functions import TensorLike, named
from ..kernels import trace
from ..operators.arith import normalize_axes
from . import arranging, core, products
from .arranging import *  # noqa: F403
from .arranging import Axes, moveaxis
from .core import cast, convert_to_tensor, ndim, operand, size
from .products import *  # noqa: F403

_OF_TENSORS = [*(name for name in arrays.__all__ if name not in ("cast", "erf")), "tanh", "add",
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
    *_OF_TENSORS, *_ALIASES, *arranging.__all__, *products.__all__,
]

FLOATX = "float32"


def _first(x1: TensorLike, x2: TensorLike) -> TensorLike:
    """Returns the first operand, as a tensor unless the second is one."""
    return x1 if isinstance(x2, Tensor | SymbolicTensor) else operand(x1)


def _of_two(name: str, operation: Callable[[Any, Any], Tensor],
            doc: str) -> Callable[[TensorLike, TensorLike], Tensor]:
    """The function of an operator of Python's. Shapes broadcast."""

    def function(x1: TensorLike, x2: TensorLike) -> Tensor:
        return operation(_first(x1, x2), x2)

    return broadcasting(named(function, name, doc))


add = _of_two("add", operator.add, "x1 + x2, element by element; shapes broadcast.")
subtract = _of_two("subtract", operator.sub, "x1 - x2, element by element; shapes broadcast.")
multiply = _of_two("multiply", operator.mul, "x1 x2, element by element; shapes broadcast.")
divide = _of_two("divide", operator.truediv, "x1 / x2, element by element; shapes broadcast.")
power = _of_two("power", operator.pow, "x1 to the power of x2, element by element; shapes broadcast.")
mod = _of_two("mod", operator.mod, "The remainder of x1 / x2, with x2's sign; shapes broadcast.")
floor_divide = _of_two("floor_divide", operator.floordiv,
                       "The largest integer that is not above x1 / x2; it has no gradient.")
bitwise_and = _of_two(
    "bitwise_and", operator.and_, "The bits that both integers have; of booleans, whether both hold.")
bitwise_or = _of_two(
    "bitwise_or", operator.or_, "The bits that one of two integers has; of booleans, whether one holds.")
bitwise_xor = _of_two(
    "bitwise_xor", operator.xor, "The bits that only one of two integers has; of booleans, whether only one holds.")
logical_and = _of_two("logical_and", lambda x1, x2: _truth(x1) & _truth(x2),
                      "Whether both are not 0, element by element.")
logical_or = _of_two("logical_or", lambda x1, x2: _truth(x1) | _truth(x2),
                     "Whether one of them is not 0, element by element.")
logical_xor = _of_two("logical_xor", lambda x1, x2: _truth(x1) ^ _truth(x2),
                      "Whether only one of them is not 0, element by element.")


def matmul(x1: TensorLike, x2: TensorLike) -> Tensor:
    """The product of matrices: (..., N, K) and (..., K, M) -> (..., N, M)."""
    return _first(x1, x2) @ x2  # type: ignore[operator, return-value]


def bitwise_not(x: TensorLike) -> Tensor:
    """The other bits of an integer; of booleans, whether they do not hold."""
    return ~operand(x)


def negative(x: TensorLike) -> Tensor:
    """-x."""
    return -operand(x)


def square(x: TensorLike) -> Tensor:
    """x x, item by item."""
    return operand(x) * operand(x)


def reciprocal(x: TensorLike) -> Tensor:
    """1 / x."""
    return 1.0 / operand(x)


def rsqrt(x: TensorLike) -> Tensor:
    """1 / sqrt(x)."""
    return 1.0 / sqrt(x)


def sign(x: TensorLike) -> Tensor:
    """-1, 0 or 1; it has no gradient."""
    x = operand(x).detach()
    if _is_whole(x):
        return _by_numpy(np.sign, x)
    return where(x > 0, 1.0, where(x < 0, -1.0, x * 0.0))


def sum(x: TensorLike, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """The sum along `axis`, or along several, or of all items."""
    return operand(x).sum(axis, keepdims)


def mean(x: TensorLike, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """The mean along `axis`, or along several, or of all items."""
    return operand(x).mean(axis, keepdims)


def max(x: TensorLike, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """The maximum along `axis`, or along several, or of all items."""
    return operand(x).max(axis, keepdims)


def min(x: TensorLike, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """The minimum along `axis`, or along several, or of all items."""
    x = operand(x)
    if _is_whole(x):  # the negative of one without sign is none
        return _by_numpy(lambda a: np.min(a, tuple(axis) if isinstance(axis, list) else axis, keepdims=keepdims), x)
    return -((-x).max(axis, keepdims))


def var(x: TensorLike, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """The variance along `axis`, or along several, or of all items: the mean of (x - mean)^2."""
    x = operand(x)
    return square(x - x.mean(axis, True)).mean(axis, keepdims)


def std(x: TensorLike, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """The square root of `var`."""
    return sqrt(var(x, axis, keepdims))


def argmin(x: TensorLike, axis: int | None = None, keepdims: bool = False) -> Tensor:
    """Where the minimum along `axis` is; of equal items the first. It has no gradient."""
    x = operand(x)
    if _is_whole(x):
        return _by_numpy(lambda a: np.argmin(a, axis, keepdims=keepdims), x)
    return argmax(-x, axis, keepdims)


def any(x: TensorLike, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """Whether an element along `axis` is not 0, as booleans."""
    return _count(_truth(x), axis, keepdims) > 0


def all(x: TensorLike, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """Whether all elements along `axis` are not 0, as booleans."""
    return _count(~_truth(x), axis, keepdims) < 1


def logical_not(x: TensorLike) -> Tensor:
    """Whether x is 0, element by element."""
    return ~_truth(x)


def isnan(x: TensorLike) -> Tensor:
    """Whether x is not a number, item by item."""
    x = operand(x)
    return not_equal(x, x)


def _truth(x: TensorLike) -> Tensor:
    """Whether x is not 0."""
    return cast(operand(x), "bool")


def _count(true: Tensor, axis: Axes, keepdims: bool = False) -> Tensor:
    return cast(cast(true, "int32").sum(axis, keepdims), "int32")


def average(x: TensorLike, axis: Axes = None, weights: TensorLike | None = None) -> Tensor:
    """The mean along `axis`, or of all, with `weights` of x's shape or the axis's size."""
    x = operand(x)
    if weights is None:
        return x.mean(axis, False)
    weights = operand(weights)
    if len(weights.shape) < len(x.shape):
        (place,) = normalize_axes(0 if axis is None else axis, len(x.shape))
        weights = weights.reshape(tuple(-1 if i == place else 1 for i in range(len(x.shape))))
    return (x * weights).sum(axis, False) / (zeros_like(x) + weights).sum(axis, False)


def prod(x: TensorLike, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """The product along axes, or of all elements, in pairs. Integers give int64."""
    x = _summable(operand(x))
    axes = normalize_axes(axis, len(x.shape))
    kept = [n for i, n in enumerate(x.shape) if i not in axes]
    shape = [1 if i in axes else n for i, n in enumerate(x.shape)] if keepdims else kept
    x = moveaxis(x, axes, tuple(range(len(axes)))).reshape((_size(x.shape[i] for i in axes), *kept))
    if not x.shape[0]:
        return ones(shape, x.dtype)
    while (count := x.shape[0]) > 1:
        pairs = x[: count // 2] * x[count // 2 : count // 2 * 2]
        x = pairs if count % 2 == 0 else concatenate([pairs, x[count - 1 :]], 0)
    return x.reshape(tuple(shape))


def cumsum(x: TensorLike, axis: int | None = None) -> Tensor:
    """The sums up to each element along `axis`, or of all in a row. Integers give int64."""
    x = _summable(operand(x))
    if axis is None:
        return cumsum(x.reshape((-1,)), 0)
    (axis,) = normalize_axes(axis, len(x.shape))
    before = (slice(None),) * axis
    far = 1
    while far < x.shape[axis]:  # each element gets the sum of twice as many as before
        x = concatenate([x[(*before, slice(far))], x[(*before, slice(far, None))] + x[(*before, slice(-far))]], axis)
        far *= 2
    return x


def _summable(x: Tensor) -> Tensor:
    """x, integers and booleans as int64, in which sums of integers are made."""
    return x if np.dtype(x.dtype).kind == "f" else cast(x, "int64")


def _size(sizes: Iterable[int]) -> int:
    return int(np.prod(list(sizes), dtype=int))


def isfinite(x: TensorLike) -> Tensor:
    """Whether x is a number and not infinite, item by item."""
    return less(abs(operand(x)), np.inf)


def isinf(x: TensorLike) -> Tensor:
    """Whether x is infinite, item by item."""
    return equal(abs(operand(x)), np.inf)


@broadcasting
def isclose(x1: TensorLike, x2: TensorLike, rtol: float = 1e-5, atol: float = 1e-8,
            equal_nan: bool = False) -> Tensor:
    """Whether |x1 - x2| <= atol + rtol |x2|; infinite elements are close only to themselves."""
    return _by_numpy(np.isclose, x1, x2, rtol, atol, equal_nan)


def allclose(x1: TensorLike, x2: TensorLike, rtol: float = 1e-5, atol: float = 1e-8,
             equal_nan: bool = False) -> Tensor:
    """Whether all elements are close, as `isclose` has it: one boolean, in a tensor."""
    return _by_numpy(np.allclose, x1, x2, rtol, atol, equal_nan)


def count_nonzero(x: TensorLike, axis: Axes = None) -> Tensor:
    """How many elements along `axis` are not 0."""
    return _count(_truth(x), axis)


def floor(x: TensorLike) -> Tensor:
    """The largest integer that is not above x; it has no gradient."""
    return _by_numpy(np.floor, floats(x))


def ceil(x: TensorLike) -> Tensor:
    """The smallest integer that is not below x; it has no gradient."""
    return _by_numpy(np.ceil, floats(x))


def trunc(x: TensorLike) -> Tensor:
    """x without what is behind its point; it has no gradient."""
    return _by_numpy(np.trunc, x)


def round(x: TensorLike, decimals: int = 0) -> Tensor:
    """The nearest number with so many decimals, halves to the even one; it has no gradient."""
    return _by_numpy(np.round, x, decimals)


def argsort(x: TensorLike, axis: int | None = -1) -> Tensor:
    """The places of the elements in rising order along `axis`; equal ones keep their order."""
    return _by_numpy(lambda a: np.argsort(a, axis, kind="stable").astype(np.int32), x)


def sort(x: TensorLike, axis: int = -1) -> Tensor:
    """The items in rising order along `axis`, or without an axis of all items in a row."""
    x = operand(x) if axis is not None else operand(x).reshape((-1,))
    return take_each(x, argsort(x, axis or 0), axis or 0)


def take_each(x: Tensor, places: Tensor, axis: int) -> Tensor:
    """The elements of x at the places along `axis` that `argsort` gives."""
    index: list[Any] = list(np.ogrid[tuple(map(slice, places.shape))])
    index[axis] = places.numpy()
    return x[tuple(index)]


def abs(x: TensorLike) -> Tensor:  # type: ignore[no-redef]
    """|x|, item by item."""
    x = operand(x)
    return _by_numpy(np.abs, x) if _is_whole(x) else arrays.abs(x)


def _is_whole(x: TensorLike) -> bool:
    """Whether these are the values of integers or booleans, which no kernel takes."""
    return isinstance(x, Tensor) and x.dtype.kind != "f"


def floats(x: TensorLike) -> Tensor:
    """x, integers as float32."""
    x = operand(x)
    return cast(x, "float32") if _is_whole(x) else x


def _by_numpy(function: Callable, *arguments: Any) -> Tensor:
    """Returns NumPy's result of values as a tensor without a gradient, on the first's device."""
    trace.stop("a function of ops that NumPy computes")
    first = operand(arguments[0])
    values = [a.detach().numpy() if hasattr(a, "detach") else a for a in (first, *arguments[1:])]
    return tensor(function(*values), device=first.device.name)


def identity(n: int, dtype: DTypeLike | None = None) -> Tensor:
    """1 on the diagonal of an n x n matrix, else 0."""
    return eye(n, dtype=dtype)


def empty_like(x: TensorLike, dtype: DTypeLike | None = None) -> Tensor:
    """A tensor of x's shape whose values have no meaning: zeros."""
    return zeros_like(x, dtype)


def array(x: TensorLike, dtype: DTypeLike | None = None) -> Tensor:
    """A tensor of an array, a number or a list."""
    return convert_to_tensor(x, dtype)


def zeros(shape: Sequence[int], dtype: DTypeLike | None = None) -> Tensor:
    """All 0."""
    return tensor(np.zeros(shape, dtype or FLOATX))


def ones(shape: Sequence[int], dtype: DTypeLike | None = None) -> Tensor:
    """All 1."""
    return tensor(np.ones(shape, dtype or FLOATX))


def full(shape: Sequence[int], fill_value: float, dtype: DTypeLike | None = None) -> Tensor:
    """All `fill_value`."""
    refuse_gradient("full", fill_value=fill_value)
    return tensor(np.full(shape, fill_value, dtype or FLOATX))


def zeros_like(x: TensorLike, dtype: DTypeLike | None = None) -> Tensor:
    """As many 0 as x has elements, beside it."""
    return full_like(x, 0, dtype)


def ones_like(x: TensorLike, dtype: DTypeLike | None = None) -> Tensor:
    """As many 1 as x has elements, beside it."""
    return full_like(x, 1, dtype)


def full_like(x: TensorLike, fill_value: float, dtype: DTypeLike | None = None) -> Tensor:
    """As many `fill_value` as x has elements, beside it."""
    refuse_gradient("full_like", fill_value=fill_value)
    x = operand(x)
    if isinstance(x, SymbolicTensor):
        return cast(where(equal(x, x), float(fill_value), float(fill_value)), dtype or x.dtype)
    return Tensor(x.device.constant(np.full(x.shape, fill_value, dtype or x.dtype)), device=x.device)


def eye(N: int, M: int | None = None, k: int = 0, dtype: DTypeLike | None = None) -> Tensor:
    """1 on a diagonal, else 0."""
    return tensor(np.eye(N, M, k, dtype or FLOATX))


def arange(start: float, stop: float | None = None, step: float = 1,
           dtype: DTypeLike | None = None) -> Tensor:
    """start, start + step, ... below stop; one number counts from 0."""
    refuse_gradient("arange", start=start, stop=stop, step=step)
    values = np.arange(start, step=step) if stop is None else np.arange(start, stop, step)
    return tensor(values.astype(dtype or ("float32" if values.dtype.kind == "f" else "int32")))


def linspace(start: float, stop: float, num: int = 50, endpoint: bool = True,
             dtype: DTypeLike | None = None) -> Tensor:
    """`num` numbers from start to stop, at equal distances; without `endpoint` stop is left out."""
    refuse_gradient("linspace", start=start, stop=stop)
    return tensor(np.linspace(start, stop, num, endpoint, dtype=dtype or FLOATX))


core.on_any_tensor(globals(), _OF_TENSORS)
globals().update((name, globals()[of]) for name, of in _ALIASES.items())

for _name in (*_OF_TENSORS, *_ALIASES, *arranging.__all__, *products.__all__):
    _theirs = getattr(np, _name, None)
    if _theirs is not None and _theirs not in array_functions.FLAT:
        array_functions.stands_for(_theirs)(globals()[_name])
