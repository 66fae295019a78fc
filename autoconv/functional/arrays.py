"""What layers need of NumPy, as functions of tensors that carry gradients: joining, choosing, comparing, shapes.

The names and arguments are those of `keras.ops`. What is no tensor is made one: integers and lists as float32.
"""

from collections.abc import Sequence
from numbers import Real
from typing import Any

import numpy as np

from ..arguments import names
from ..engine.array_functions import FUNCTIONS, broadcasting
from ..engine.errors import DeviceError
from ..engine.tensor import Tensor, apply, on_symbols_too, pair
from ..operators import arith, elementwise, select
from .nn import _tensor

__all__ = [
    "abs", "arccos", "arcsin", "arctan", "arctan2", "argmax", "cast", "clip", "concatenate", "cos", "cosh", "equal",
    "erf", "exp", "expand_dims", "expm1", "greater", "greater_equal", "less", "less_equal", "log", "log1p", "maximum",
    "minimum", "not_equal", "pad", "sin", "sinh", "split", "sqrt", "squeeze", "stack", "tan", "where",
]


def concatenate(xs: Sequence[Any], axis: int = 0) -> Tensor:
    """Tensors one behind the other along `axis`. Their other sizes must agree.

    Each gets its part of the gradient. Raises ValueError for shapes that do not fit.
    """
    tensors = _several("concatenate", xs)
    shapes = [t.shape for t in tensors]
    if not tensors[0].ndim:
        raise ValueError("concatenate needs tensors with an axis. Received numbers: use stack().")
    (axis,) = arith.normalize_axes(axis, tensors[0].ndim)
    if len({(*s[:axis], *s[axis + 1 :]) for s in shapes}) > 1 or len({len(s) for s in shapes}) > 1:
        raise ValueError(f"concatenate needs shapes that agree on all axes but axis {axis}. Received: {shapes}.")
    return apply(arith.concatenate, *tensors, axis=axis)


def stack(x: Sequence[Any], axis: int = 0) -> Tensor:
    """Tensors of one shape, put together along a new axis. Raises ValueError where the shapes differ."""
    tensors = _several("stack", x)
    if len({t.shape for t in tensors}) > 1:
        raise ValueError(f"stack needs tensors of one shape. Received: {[t.shape for t in tensors]}.")
    return concatenate([expand_dims(t, axis) for t in tensors], axis)


def split(x: Any, indices_or_sections: int | Sequence[int], axis: int = 0) -> list[Tensor]:
    """The parts of x along `axis`: so many of equal size, or cut before each of the given indices.

    Raises ValueError where so many equal parts cannot be made.
    """
    x = _tensor(x)
    if not x.ndim:
        raise ValueError("split needs a tensor with an axis. Received a single number.")
    (axis,) = arith.normalize_axes(axis, x.ndim)
    size = x.shape[axis]
    if hasattr(indices_or_sections, "__index__"):
        sections = int(indices_or_sections)  # type: ignore[call-overload]
        if sections < 1 or size % sections:
            raise ValueError(f"split makes equal parts: axis {axis} of size {size} cannot be cut into {sections}. Pass "
                             "the indices at which to cut.")
        cuts = [size // sections * i for i in range(1, sections)]
    else:
        cuts = [int(i) for i in indices_or_sections]  # type: ignore[union-attr]
    before = (slice(None),) * axis
    return [x[(*before, slice(start, stop))] for start, stop in zip([0, *cuts], [*cuts, size])]


def pad(x: Any, pad_width: Any, mode: str = "constant", constant_values: float | None = None) -> Tensor:
    """Elements around x: a number, 0 by default, or with mode "reflect" (c b|a b c|b a) or
    "symmetric" (b a|a b c|c b) x's own.

    `pad_width`: n elements on every side, (before, after) for all axes, or one such pair for each
    axis. Raises ValueError for other modes.
    """
    x = _tensor(x)
    names.lookup("mode", mode, dict.fromkeys(("constant", "reflect", "symmetric"), mode))
    widths = np.asarray(pad_width)
    if widths.dtype.kind not in "iu" or (widths < 0).any() or widths.shape not in ((), (1,), (2,), (1, 2), (x.ndim, 2)):
        raise ValueError("pad_width must be n, (before, after) or one such pair for each axis, of integers of 0 or "
                         f"more. Received: {pad_width!r} for shape {x.shape}.")
    if constant_values is not None and not isinstance(constant_values, Real):
        raise ValueError(f"constant_values must be a number. Received: {constant_values!r}.")
    pairs = tuple((int(before), int(after)) for before, after in np.broadcast_to(widths, (x.ndim, 2)))
    if mode == "constant":
        return apply(arith.pad, x, widths=pairs, value=constant_values or 0)
    if constant_values is not None:
        raise ValueError(f"mode {mode!r} takes x's own elements: leave out constant_values. Received: "
                         f"{constant_values!r}.")
    for axis, (width, size) in enumerate(zip(pairs, x.shape)):
        if width != (0, 0):
            if not size:
                raise ValueError(f"mode {mode!r} needs elements to repeat. Received shape {x.shape}, whose axis {axis} "
                                 "has none.")
            x = x[(*(slice(None),) * axis, np.pad(np.arange(size), width, mode))]  # type: ignore[call-overload]
    return x


def squeeze(x: Any, axis: int | Sequence[int] | None = None) -> Tensor:
    """x without its axes of size 1: all, or those named. Raises ValueError where a named one has another size."""
    x = _tensor(x)
    ones = tuple(i for i, n in enumerate(x.shape) if n == 1)
    axes = ones if axis is None else arith.normalize_axes(axis, x.ndim)
    if not set(axes) <= set(ones):
        raise ValueError(f"squeeze takes away axes of size 1. Received axis {axis} for shape {x.shape}.")
    return x.reshape(tuple(n for i, n in enumerate(x.shape) if i not in axes))


def expand_dims(x: Any, axis: int | Sequence[int]) -> Tensor:
    """x with a new axis of size 1 at `axis`, counted in the result; or with several."""
    x = _tensor(x)
    count = len(axis) if isinstance(axis, Sequence) else 1
    axes = arith.normalize_axes(axis, x.ndim + count)
    sizes = iter(x.shape)
    return x.reshape(tuple(1 if i in axes else next(sizes) for i in range(x.ndim + count)))


@broadcasting
def maximum(x1: Any, x2: Any) -> Tensor:
    """The larger of two items; shapes broadcast, a NaN is passed on. Where both are equal the
    gradient goes to x1, as in TensorFlow (PyTorch gives half to each).
    """
    return apply(select.maximum, *_pair(x1, x2))


@broadcasting
def minimum(x1: Any, x2: Any) -> Tensor:
    """The smaller of two items; shapes broadcast, a NaN is passed on. If equal, x1 gets the gradient."""
    return apply(select.minimum, *_pair(x1, x2))


@broadcasting
def where(condition: Any, x1: Any, x2: Any) -> Tensor:
    """x1 where the condition holds (is not 0), else x2; all three broadcast. The condition gets no gradient."""
    if isinstance(condition, Tensor) and not isinstance(x1, Tensor):
        x1 = condition.operand(float(x1) if isinstance(x1, Real) else _tensor(x1).numpy())
    x1, x2 = _pair(x1, x2)
    if not isinstance(condition, Tensor):
        condition = Tensor(x1.device.asarray(condition, np.bool_), device=x1.device)
    elif condition.dtype != np.bool_:
        condition = not_equal(condition, 0)
    if condition.device is not x1.device:
        raise DeviceError(f"where needs all its tensors on one device. Received {condition.device} and {x1.device}: "
                          f"move one with .to({x1.device.name!r}).")
    return apply(select.where, x1, x2, condition=condition.data)


def clip(x: Any, x_min: Any, x_max: Any) -> Tensor:
    """x, but at least x_min and at most x_max: numbers, None for no bound, or tensors that broadcast.

    The gradient passes where x lies within the bounds, both included.
    """
    x = _tensor(x)
    for name, bound in (("x_min", x_min), ("x_max", x_max)):
        if bound is not None and not isinstance(bound, (Real, Tensor, np.ndarray)):
            raise ValueError(f"{name} must be a number, a tensor or None. Received: {bound!r}.")
    if isinstance(x_min, (Tensor, np.ndarray)) or isinstance(x_max, (Tensor, np.ndarray)):
        x = x if x_min is None else maximum(x, x_min)
        return x if x_max is None else minimum(x, x_max)
    return x.clip(x_min, x_max)


def abs(x: Any) -> Tensor:
    """|x|; its gradient at 0 is 0."""
    return apply(select.abs, _tensor(x))


def sqrt(x: Any) -> Tensor:
    """The square root; its gradient at 0 is infinite."""
    return apply(arith.sqrt, _tensor(x))


def exp(x: Any) -> Tensor:
    """e to the power of x."""
    return apply(arith.exp, _tensor(x))


def log(x: Any) -> Tensor:
    """The natural logarithm."""
    return apply(arith.log, _tensor(x))


def expm1(x: Any) -> Tensor:
    """e to the power of x, less 1: exact also near 0."""
    return apply(arith.expm1, _tensor(x))


def log1p(x: Any) -> Tensor:
    """The natural logarithm of 1 + x: exact also near 0."""
    return apply(arith.log1p, _tensor(x))


def erf(x: Any) -> Tensor:
    """The error function."""
    return apply(arith.erf, _tensor(x))


def sin(x: Any) -> Tensor:
    """The sine."""
    return apply(elementwise.sin, _tensor(x))


def cos(x: Any) -> Tensor:
    """The cosine."""
    return apply(elementwise.cos, _tensor(x))


def tan(x: Any) -> Tensor:
    """The tangent, sin x / cos x."""
    x = _tensor(x)
    return sin(x) / cos(x)


def arcsin(x: Any) -> Tensor:
    """The angle in -pi/2..pi/2 whose sine is x."""
    return apply(elementwise.arcsin, _tensor(x))


def arccos(x: Any) -> Tensor:
    """The angle in 0..pi whose cosine is x."""
    return apply(elementwise.arccos, _tensor(x))


def arctan(x: Any) -> Tensor:
    """The angle in -pi/2..pi/2 whose tangent is x."""
    return apply(elementwise.arctan, _tensor(x))


@broadcasting
def arctan2(x1: Any, x2: Any) -> Tensor:
    """The angle in -pi..pi of the point at height x1 and width x2; shapes broadcast."""
    return apply(elementwise.arctan2, *_pair(x1, x2))


def sinh(x: Any) -> Tensor:
    """The hyperbolic sine."""
    return apply(elementwise.sinh, _tensor(x))


def cosh(x: Any) -> Tensor:
    """The hyperbolic cosine."""
    return apply(elementwise.cosh, _tensor(x))


def cast(x: Any, dtype: Any) -> Tensor:
    """x in another dtype, with a gradient between floating ones; x itself if it has that dtype."""
    x = _tensor(x)
    wanted = np.dtype(dtype)
    if x.dtype == wanted:
        return x
    return apply(elementwise.cast, x if wanted.kind == "f" else x.detach(), dtype=wanted)


def argmax(x: Any, axis: int | None = None, keepdims: bool = False) -> Tensor:
    """Where the maximum along `axis` is, as integers; of equal items the first, and a NaN counts as the maximum.

    Without an axis among all items in scan order. It has no gradient.
    """
    return apply(select.argmax, _tensor(x), axis=axis, keepdims=keepdims)


@broadcasting
def equal(x1: Any, x2: Any) -> Tensor:
    """Whether x1 == x2, item by item, as booleans."""
    return FUNCTIONS["equal"](*_pair(x1, x2))


@broadcasting
def not_equal(x1: Any, x2: Any) -> Tensor:
    """Whether x1 != x2, item by item, as booleans."""
    return FUNCTIONS["not_equal"](*_pair(x1, x2))


@broadcasting
def less(x1: Any, x2: Any) -> Tensor:
    """Whether x1 < x2, item by item, as booleans."""
    return FUNCTIONS["less"](*_pair(x1, x2))


@broadcasting
def less_equal(x1: Any, x2: Any) -> Tensor:
    """Whether x1 <= x2, item by item, as booleans."""
    return FUNCTIONS["less_equal"](*_pair(x1, x2))


@broadcasting
def greater(x1: Any, x2: Any) -> Tensor:
    """Whether x1 > x2, item by item, as booleans."""
    return less(x2, x1)


@broadcasting
def greater_equal(x1: Any, x2: Any) -> Tensor:
    """Whether x1 >= x2, item by item, as booleans."""
    return less_equal(x2, x1)


def _pair(x1: Any, x2: Any) -> tuple[Tensor, Tensor]:
    """Two operands as tensors: a number takes the dtype and the device of the tensor beside it."""
    return pair(x1 if isinstance(x1, Tensor) or isinstance(x2, Tensor) else _tensor(x1), x2)


def _several(name: str, xs: Any) -> list[Tensor]:
    """One tensor or more, those that are none on the device of the first that is one."""
    if isinstance(xs, (Tensor, np.ndarray)) or not isinstance(xs, Sequence) or not xs:
        raise ValueError(f"{name} takes a list of one tensor or more. Received: {type(xs).__name__} {xs!r:.80}.")
    beside = next((x for x in xs if isinstance(x, Tensor)), None)
    return [_tensor(x) if beside is None else beside.operand(x) for x in xs]


on_symbols_too(globals(), __all__)
