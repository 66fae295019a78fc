"""NumPy functions that layers use, with gradients and with the names of `keras.ops`. Arguments that
are not tensors are converted to tensors: numbers, lists and integer arrays become float32.
"""

from collections.abc import Callable, Sequence
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from ..arguments import names
from ..engine.array_functions import FUNCTIONS, broadcasting
from ..engine.errors import DeviceError
from ..engine.tensor import Tensor, apply, pair, record_nodes
from ..operators import arith, elementwise, select
from ..operators.registry import Op
from .layer_functions import TensorLike, _tensor, set_name

__all__ = ["abs", "arccos", "arcsin", "arctan", "arctan2", "argmax", "cast", "clip", "concatenate",
           "cos", "cosh", "equal", "erf", "exp", "expand_dims", "expm1", "greater", "greater_equal",
           "less", "less_equal", "log", "log1p", "maximum", "minimum", "not_equal", "pad", "sin",
           "sinh", "split", "sqrt", "squeeze", "stack", "tan", "where"]


def concatenate(xs: Sequence[TensorLike], axis: int = 0) -> Tensor:
    """Joins tensors along `axis`. Raises ValueError if their sizes along another axis differ."""
    tensors = _several("concatenate", xs)
    shapes = [t.shape for t in tensors]
    if not tensors[0].ndim:
        raise ValueError("concatenate needs tensors with at least one axis. Received: a tensor "
                         "without axes. To join single numbers, use stack().")
    (axis,) = arith.normalize_axes(axis, tensors[0].ndim)
    if len({(*s[:axis], *s[axis + 1 :]) for s in shapes}) > 1 or len({len(s) for s in shapes}) > 1:
        raise ValueError("concatenate needs tensors whose shapes agree on all axes except axis "
                         f"{axis}. Received shapes: {shapes}.")
    return apply(arith.concatenate, *tensors, axis=axis)


def stack(x: Sequence[TensorLike], axis: int = 0) -> Tensor:
    """Joins tensors of the same shape along a new axis. Raises ValueError if the shapes differ."""
    tensors = _several("stack", x)
    if len({t.shape for t in tensors}) > 1:
        raise ValueError(f"stack needs tensors of the same shape. Received shapes: {[t.shape for t in tensors]}.")
    return concatenate([expand_dims(t, axis) for t in tensors], axis)


def split(x: TensorLike, indices_or_sections: int | Sequence[int], axis: int = 0) -> list[Tensor]:
    """Splits x along `axis` into equal parts if `indices_or_sections` is an integer, otherwise
    before each of the given indices. Raises ValueError if x cannot be split into that many equal
    parts.
    """
    x = _tensor(x)
    if not x.ndim:
        raise ValueError("split needs a tensor with at least one axis. Received: a tensor without axes.")
    (axis,) = arith.normalize_axes(axis, x.ndim)
    size = x.shape[axis]
    if hasattr(indices_or_sections, "__index__"):
        sections = int(indices_or_sections)  # type: ignore[call-overload]
        if sections < 1 or size % sections:
            raise ValueError(f"Axis {axis} of size {size} cannot be split into {sections} equal "
                             "parts. Pass the indices at which to cut.")
        cuts = [size // sections * i for i in range(1, sections)]
    else:
        cuts = [int(i) for i in indices_or_sections]  # type: ignore[union-attr]
    before = (slice(None),) * axis
    return [x[(*before, slice(start, stop))] for start, stop in zip([0, *cuts], [*cuts, size])]


def pad(x: TensorLike, pad_width: int | Sequence[Any], mode: str = "constant",
        constant_values: float | None = None) -> Tensor:
    """Pads x with the number `constant_values`, 0 by default. The modes "reflect" (c b|a b c|b a)
    and "symmetric" (b a|a b c|c b) repeat x's own elements instead.

    pad_width: the number of elements on every side, a pair (before, after) for all axes, or one
    pair per axis.
    """
    x = _tensor(x)
    names.lookup("mode", mode, dict.fromkeys(("constant", "reflect", "symmetric"), mode))
    widths = np.asarray(pad_width)
    if widths.dtype.kind not in "iu" or (widths < 0).any() or widths.shape not in ((), (1,), (2,), (1, 2), (x.ndim, 2)):
        raise ValueError("pad_width must be an integer, a pair (before, after) or one such pair per axis. Widths "
                         f"must not be negative. Received: pad_width={pad_width!r} for x of shape {x.shape}.")
    if constant_values is not None and not isinstance(constant_values, Real):
        raise ValueError(f"constant_values must be a number. Received: {constant_values!r}.")
    pairs = tuple((int(before), int(after)) for before, after in np.broadcast_to(widths, (x.ndim, 2)))
    if mode == "constant":
        return apply(arith.pad, x, widths=pairs, value=constant_values or 0)
    if constant_values is not None:
        raise ValueError(f"constant_values can be passed only with mode='constant'. Received: mode={mode!r}, "
                         f"constant_values={constant_values!r}. Leave out constant_values.")
    for axis, (width, size) in enumerate(zip(pairs, x.shape)):
        if width != (0, 0):
            if not size:
                raise ValueError(f"pad with mode={mode!r} needs elements to repeat. Received: x of "
                                 f"shape {x.shape}, whose axis {axis} has no elements.")
            x = x[(*(slice(None),) * axis, np.pad(np.arange(size), width, mode))]  # type: ignore[call-overload]
    return x


def squeeze(x: TensorLike, axis: int | Sequence[int] | None = None) -> Tensor:
    """Removes all axes of size 1, or only the axes in `axis`, which must have size 1."""
    x = _tensor(x)
    ones = tuple(i for i, n in enumerate(x.shape) if n == 1)
    axes = ones if axis is None else arith.normalize_axes(axis, x.ndim)
    if not set(axes) <= set(ones):
        raise ValueError(f"squeeze can remove only axes of size 1. Received: axis={axis} for x of shape {x.shape}.")
    return x.reshape(tuple(n for i, n in enumerate(x.shape) if i not in axes))


def expand_dims(x: TensorLike, axis: int | Sequence[int]) -> Tensor:
    """Inserts one or several axes of size 1. `axis` gives their positions in the result."""
    x = _tensor(x)
    count = len(axis) if isinstance(axis, Sequence) else 1
    axes = arith.normalize_axes(axis, x.ndim + count)
    sizes = iter(x.shape)
    return x.reshape(tuple(1 if i in axes else next(sizes) for i in range(x.ndim + count)))


@broadcasting
def maximum(x1: TensorLike, x2: TensorLike) -> Tensor:
    """Returns the larger of x1 and x2, element by element. Shapes broadcast, and NaN propagates.
    Where x1 = x2, x1 receives the whole gradient, as in TensorFlow (in PyTorch, each receives half).
    """
    return apply(select.maximum, *_pair(x1, x2))


@broadcasting
def minimum(x1: TensorLike, x2: TensorLike) -> Tensor:
    """Returns the smaller of x1 and x2, element by element. Shapes broadcast, and NaN propagates.
    Where x1 = x2, x1 receives the gradient.
    """
    return apply(select.minimum, *_pair(x1, x2))


@broadcasting
def where(condition: TensorLike, x1: TensorLike, x2: TensorLike) -> Tensor:
    """Returns x1 where `condition` is nonzero, x2 elsewhere. The shapes broadcast; `condition` has no gradient."""
    if isinstance(condition, Tensor) and not isinstance(x1, Tensor):
        x1 = condition.operand(float(x1) if isinstance(x1, Real) else _tensor(x1).numpy())
    x1, x2 = _pair(x1, x2)
    if not isinstance(condition, Tensor):
        condition = Tensor(x1.device.asarray(condition, np.bool_), device=x1.device)
    elif condition.dtype != np.bool_:
        condition = not_equal(condition, 0)
    if condition.device is not x1.device:
        raise DeviceError("where needs all its tensors on the same device. Received: condition on "
                          f"{condition.device.name!r}, x1 and x2 on {x1.device.name!r}. Move "
                          f"condition with condition.to({x1.device.name!r}).")
    return apply(select.where, x1, x2, condition=condition.data)


def clip(x: TensorLike, x_min: TensorLike | None, x_max: TensorLike | None) -> Tensor:
    """Limits x to x_min..x_max. Each bound is a number, a tensor that broadcasts with x, or None
    for no bound. Only elements with x_min <= x <= x_max receive a gradient.
    """
    x = _tensor(x)
    for name, bound in (("x_min", x_min), ("x_max", x_max)):
        if bound is not None and not isinstance(bound, (Real, Tensor, np.ndarray)):
            raise ValueError(f"{name} must be a number, a tensor or None. Received: {bound!r}.")
    if isinstance(x_min, (Tensor, np.ndarray)) or isinstance(x_max, (Tensor, np.ndarray)):
        x = x if x_min is None else maximum(x, x_min)
        return x if x_max is None else minimum(x, x_max)
    return x.clip(x_min, x_max)  # type: ignore[arg-type]


def _make_elementwise(name: str, op: Op, doc: str) -> Callable[[TensorLike], Tensor]:
    """Returns a function that converts x to a tensor and applies an element-wise op to it."""

    def function(x: TensorLike) -> Tensor:
        return apply(op, _tensor(x))

    return set_name(function, name, doc)


abs = _make_elementwise("abs", select.abs, "|x|; its gradient at 0 is 0.")
sqrt = _make_elementwise("sqrt", arith.sqrt, "Returns the square root of x; its gradient at 0 is infinite.")
exp = _make_elementwise("exp", arith.exp, "Returns e to the power of x.")
log = _make_elementwise("log", arith.log, "Returns the natural logarithm of x.")
expm1 = _make_elementwise("expm1", arith.expm1, "Returns e to the power of x, minus 1, accurate also near 0.")
log1p = _make_elementwise("log1p", arith.log1p, "Returns the natural logarithm of 1 + x, accurate also near 0.")
erf = _make_elementwise("erf", arith.erf, "Returns the error function of x.")
sin = _make_elementwise("sin", elementwise.sin, "Returns the sine of x.")
cos = _make_elementwise("cos", elementwise.cos, "Returns the cosine of x.")
arcsin = _make_elementwise("arcsin", elementwise.arcsin, "Returns the angle in -pi/2..pi/2 whose sine is x.")
arccos = _make_elementwise("arccos", elementwise.arccos, "Returns the angle in 0..pi whose cosine is x.")
arctan = _make_elementwise("arctan", elementwise.arctan, "Returns the angle in -pi/2..pi/2 whose tangent is x.")
sinh = _make_elementwise("sinh", elementwise.sinh, "Returns the hyperbolic sine of x.")
cosh = _make_elementwise("cosh", elementwise.cosh, "Returns the hyperbolic cosine of x.")


def tan(x: TensorLike) -> Tensor:
    """Returns the tangent of x, sin x / cos x."""
    x = _tensor(x)
    return sin(x) / cos(x)


@broadcasting
def arctan2(x1: TensorLike, x2: TensorLike) -> Tensor:
    """Returns the angle in -pi..pi of the point with coordinates (x2, x1); shapes broadcast."""
    return apply(elementwise.arctan2, *_pair(x1, x2))


def cast(x: TensorLike, dtype: DTypeLike) -> Tensor:
    """Converts x to `dtype`, unless x already has this dtype. Only floating-point dtypes pass gradients on."""
    x = _tensor(x)
    wanted = np.dtype(dtype)
    if x.dtype == wanted:
        return x
    return apply(elementwise.cast, x if wanted.kind == "f" else x.detach(), dtype=wanted)


def argmax(x: TensorLike, axis: int | None = None, keepdims: bool = False) -> Tensor:
    """Returns the index of the first maximum along `axis`, or among all elements. NaN counts as the maximum."""
    return apply(select.argmax, _tensor(x), axis=axis, keepdims=keepdims)


def _make_comparison(name: str, sign: str) -> Callable[[TensorLike, TensorLike], Tensor]:
    """Returns the public function for a comparison, such as `less`. Comparisons have no gradient."""

    def function(x1: TensorLike, x2: TensorLike) -> Tensor:
        return FUNCTIONS[name](*_pair(x1, x2))

    return broadcasting(set_name(function, name, f"Returns x1 {sign} x2, element by element, as booleans."))


equal = _make_comparison("equal", "==")
not_equal = _make_comparison("not_equal", "!=")
less = _make_comparison("less", "<")
less_equal = _make_comparison("less_equal", "<=")
greater = _make_comparison("greater", ">")
greater_equal = _make_comparison("greater_equal", ">=")


def _pair(x1: TensorLike, x2: TensorLike) -> tuple[Tensor, Tensor]:
    """Converts two operands to tensors. A number adopts the other operand's dtype and device."""
    return pair(x1 if isinstance(x1, Tensor) or isinstance(x2, Tensor) else _tensor(x1), x2)


def _several(name: str, xs: Sequence[TensorLike]) -> list[Tensor]:
    """Converts values to tensors on the device of the first tensor."""
    if isinstance(xs, (Tensor, np.ndarray)) or not isinstance(xs, Sequence) or not xs:
        raise ValueError(f"{name} needs a list of at least one tensor. Received: {xs!r:.80} of "
                         f"type {type(xs).__name__}.")
    beside = next((x for x in xs if isinstance(x, Tensor)), None)
    return [_tensor(x) if beside is None else beside.operand(x) for x in xs]


record_nodes(globals(), __all__)
