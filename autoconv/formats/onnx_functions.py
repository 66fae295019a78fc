"""Exports activations, tensor methods and the functions in `functional` to ONNX.

An emitter adds the ONNX nodes of one function. An emitter accepts the builder and the
function's arguments, with a `Value` in place of each tensor.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from ..arguments import shapes
from ..arguments.shapes import Padding, Pair
from ..functional.activation_functions import SELU_ALPHA, SELU_SCALE
from ..functional.image_functions import resize_weights
from ..operators.image import INTERPOLATIONS
from .onnx_builder import BATCH, Builder, Value, first, last

Emitter = Callable[..., Any]
Operand = Value | np.ndarray | float


def _make_unary(op: str, **attributes: Any) -> Emitter:
    """Returns an emitter for an elementwise op on one tensor."""
    return lambda b, x: x.like(b.node(op, x.name, **attributes))


def relu(b: Builder, x: Value, negative_slope: float = 0.0, max_value: float | None = None,
         threshold: float = 0.0) -> Value:
    if not threshold:
        y = b.node("LeakyRelu", x.name, alpha=float(negative_slope)) if negative_slope else b.node("Relu", x.name)
    else:
        limit = b.constant(threshold)
        negative = b.node("Mul", b.node("Sub", x.name, limit), b.constant(negative_slope))
        y = b.node("Where", b.node("Greater", x.name, limit), x.name, negative)
    return x.like(y if max_value is None else b.node("Min", y, b.constant(max_value)))


def leaky_relu(b: Builder, x: Value, negative_slope: float = 0.2) -> Value:
    return x.like(b.node("LeakyRelu", x.name, alpha=float(negative_slope)))


def elu(b: Builder, x: Value, alpha: float = 1.0) -> Value:
    return x.like(b.node("Elu", x.name, alpha=float(alpha)))


def softmax(b: Builder, x: Value, axis: int | Sequence[int] = -1, op: str = "Softmax") -> Value:
    if not isinstance(axis, Sequence):
        return x.like(b.node(op, x.name, axis=x.axis(axis)))
    axes = [x.axis(each) for each in axis]
    exponents = b.node("Sub", x.name, b.reduce("ReduceMax", x.name, axes, True))
    powers = b.node("Exp", exponents)
    total = b.reduce("ReduceSum", powers, axes, True)
    return x.like(b.node("Div", powers, total) if op == "Softmax" else b.node("Sub", exponents, b.node("Log", total)))


# Arithmetic.


def align_operands(b: Builder, values: Sequence[Operand]) -> tuple[list[str], Value]:
    """Returns the operands' names in a common layout, and a value that has this layout."""
    tensors = [value for value in values if isinstance(value, Value)]
    constants = [np.ndim(value) for value in values if not isinstance(value, Value)]
    if not all(value.first for value in tensors) or max(constants, default=0) > 4:
        names = [last(b, value) if isinstance(value, Value) else b.constant(value) for value in values]
        return names, Value(tensors[0].last, tensors[0].shape)
    return [first(b, value) if isinstance(value, Value) else b.constant(tensors[0].broadcast(value))
            for value in values], tensors[0]


def _make_nary(op: str) -> Emitter:
    """Returns an emitter for an elementwise op on two or more tensors."""

    def emit(b: Builder, *values: Operand) -> Value:
        names, like = align_operands(b, values)
        return like.like(b.node(op, *names))

    return emit


def power(b: Builder, x: Value, exponent: float) -> Value:
    return x.like(b.node("Sqrt", x.name) if exponent == 0.5 else b.node("Pow", x.name, b.constant(exponent)))


def clip(b: Builder, x: Value, x_min: Any = None, x_max: Any = None) -> Value:
    if any(np.ndim(bound) or isinstance(bound, Value) for bound in (x_min, x_max)):
        x = x if x_min is None else _make_nary("Max")(b, x, x_min)
        return x if x_max is None else _make_nary("Min")(b, x, x_max)
    bounds = [None if bound is None else b.constant(bound) for bound in (x_min, x_max)]
    return x.like(b.node("Clip", x.name, *bounds))


def matmul(b: Builder, x: Operand, y: Operand) -> Value:
    return Value(b.node("MatMul", *(last(b, v) if isinstance(v, Value) else b.constant(v) for v in (x, y))), ())


def cast(b: Builder, x: Value, dtype: DTypeLike) -> Value:
    """Returns x unchanged. Raises ValueError unless the dtype is float32, the only dtype of exported files."""
    if np.dtype(dtype) != np.float32:
        raise ValueError(f"Only casts to float32 can be exported to ONNX. Received: dtype={np.dtype(dtype).name!r}.")
    return x


def _make_reduction(op: str) -> Emitter:
    """Returns an emitter for a reduction over axes."""

    def emit(b: Builder, x: Value, axis: int | Sequence[int] | None = None,
             keepdims: bool = False) -> Value:
        axes = None if axis is None else [axis] if not isinstance(axis, Sequence) else list(axis)
        if x.first and keepdims and axes is not None:
            return x.like(b.reduce(op, x.first, [x.axis(each) for each in axes], True))
        rank = len(x.shape)
        return Value(b.reduce(op, last(b, x), None if axes is None else [i % rank for i in axes], keepdims), ())

    return emit


# Shapes.


def _unpack_sizes(sizes: tuple[Any, ...]) -> list[int]:
    """Returns the sizes passed as `f(2, 3)` or as `f((2, 3))`."""
    return list(sizes[0]) if len(sizes) == 1 and isinstance(sizes[0], Sequence) else list(sizes)


def reshape(b: Builder, x: Value, *shape: Any) -> Value:
    sizes = _unpack_sizes(shape)
    if b.traces and sizes[0] % BATCH == 0:  # a multiple of the traced batch size
        return Value(b.node("Reshape", last(b, x), b.ints([0 if -1 in sizes else -1, *sizes[1:]], "shape")), ())
    return Value(b.node("Reshape", last(b, x), b.ints(sizes, "shape"), allowzero=1), ())


def transpose(b: Builder, x: Value, *axes: Any) -> Value:
    order = [i % len(x.shape) for i in _unpack_sizes(axes)] or list(reversed(range(len(x.shape))))
    return Value(b.node("Transpose", last(b, x), perm=order), ())


def flatten(b: Builder, x: Value) -> Value:
    return Value(b.node("Flatten", last(b, x), axis=1), ())


def squeeze(b: Builder, x: Value, axis: int | Sequence[int] | None = None) -> Value:
    axes = [axis] if isinstance(axis, int) else axis
    return Value(b.node("Squeeze", last(b, x), None if axes is None else b.ints(list(axes), "axes")), ())


def expand_dims(b: Builder, x: Value, axis: int | Sequence[int]) -> Value:
    axes = [axis] if isinstance(axis, int) else list(axis)
    return Value(b.node("Unsqueeze", last(b, x), b.ints(axes, "axes")), ())


def concatenate(b: Builder, xs: Sequence[Operand], axis: int = 0) -> Value:
    names, like = align_operands(b, xs)
    return like.like(b.node("Concat", *names, axis=like.axis(axis)))


def stack(b: Builder, x: Sequence[Value], axis: int = 0) -> Value:
    axis = axis % (len(x[0].shape) + 1)
    return Value(b.node("Concat", *(last(b, expand_dims(b, each, axis)) for each in x), axis=axis), ())


def split(b: Builder, x: Value, indices_or_sections: int | Sequence[int],
          axis: int = 0) -> list[Value]:
    size = x.shape[axis]
    if size is None:
        raise ValueError("split can be exported only along an axis of known size. Received: "
                         f"axis={axis}, shape={x.shape}.")
    if isinstance(indices_or_sections, Sequence):
        cuts = [0, *indices_or_sections, size]
    else:
        cuts = list(range(0, size + 1, size // indices_or_sections))
    return [emit_slice(b, x, [start], [stop], [axis]) for start, stop in pairwise(cuts)]


def emit_slice(b: Builder, x: Value, starts: list[int], ends: list[int], axes: list[int],
               steps: list[int] | None = None) -> Value:
    """Adds a Slice that computes x[start:end:step] along each axis in `axes`."""
    return x.like(b.node("Slice", x.name, b.ints(starts, "starts"), b.ints(ends, "ends"),
                         b.ints([x.axis(axis) for axis in axes], "axes"), b.ints(steps or [1] * len(starts), "steps")))


def get_item(b: Builder, x: Value, index: Any) -> Value:
    parts = list(index) if isinstance(index, tuple) else [index]
    if not all(part is Ellipsis or isinstance(part, (int, np.integer, slice)) for part in parts):
        raise ValueError(f"Only integers, slices and Ellipsis can be exported as indices. Received: {index!r}.")
    ellipsis_index = next((i for i, part in enumerate(parts) if part is Ellipsis), len(parts))
    free = len(x.shape) - sum(part is not Ellipsis for part in parts)
    parts = [*parts[:ellipsis_index], *[slice(None)] * free, *parts[ellipsis_index + 1 :]]
    slices = [(axis, _bounds(part)) for axis, part in enumerate(parts) if part != slice(None)]
    y = x
    if slices:
        starts, ends, steps = (list(column) for column in zip(*(bounds for _, bounds in slices)))
        y = emit_slice(b, x, starts, ends, [axis for axis, _ in slices], steps)
    drop_axes = [axis for axis, part in enumerate(parts) if not isinstance(part, slice)]
    return squeeze(b, y, drop_axes) if drop_axes else y


def _bounds(part: Any) -> tuple[int, int, int]:
    """Returns (start, end, step) of a slice or an integer index, in ONNX's form."""
    most = 2**31 - 1
    if not isinstance(part, slice):
        return int(part), int(part) + 1 if part != -1 else most, 1
    step = 1 if part.step is None else part.step
    start = (0 if step > 0 else most) if part.start is None else part.start
    return start, (most if step > 0 else -most) if part.stop is None else part.stop, step


def pad(b: Builder, x: Value, pad_width: Any, mode: str = "constant",
        constant_values: float | None = None) -> Value:
    """Adds a Pad with constant values. `mode` is always "constant", because graphs have no other mode."""
    pairs = np.broadcast_to(pad_width, (len(x.shape), 2)).tolist()
    if x.first:
        pairs = [pairs[0], pairs[3], pairs[1], pairs[2]]
    before, after = zip(*pairs)
    return x.like(b.node("Pad", x.name, b.ints([*before, *after], "pads"), b.constant(constant_values or 0.0)))


def zero_padding2d(b: Builder, x: Value, padding: Padding) -> Value:
    return pad(b, x, ((0, 0), *shapes.explicit_padding(padding), (0, 0)))


# Layers.


def dense(b: Builder, x: Value, w: np.ndarray, bias: np.ndarray | None = None) -> Value:
    return Value(b.node("Gemm", last(b, x), *_weights(b, w, bias)), ())


def conv2d(b: Builder, x: Value, w: np.ndarray, bias: np.ndarray | None = None, strides: Pair = 1,
           padding: Padding = "valid", dilation_rate: Pair = 1, groups: int = 1) -> Value:
    """Adds a Conv. ONNX's kernels have the shape (F, C / groups, KH, KW)."""
    weights = _weights(b, w.transpose(3, 2, 0, 1), bias)
    options = window(x, w.shape[:2], strides, padding, dilation_rate)
    return Value(None, (), b.node("Conv", first(b, x), *weights, group=groups, **options))


def depthwise_conv2d(b: Builder, x: Value, w: np.ndarray, bias: np.ndarray | None = None,
                     strides: Pair = 1, padding: Padding = "valid",
                     dilation_rate: Pair = 1) -> Value:
    """Adds a Conv with one group per channel."""
    kh, kw, channels, multiplier = w.shape
    kernel = w.reshape(kh, kw, 1, channels * multiplier)
    return conv2d(b, x, kernel, bias, strides, padding, dilation_rate, channels)


def conv2d_transpose(b: Builder, x: Value, w: np.ndarray, bias: np.ndarray | None = None,
                     strides: Pair = 1, padding: str = "valid", dilation_rate: Pair = 1,
                     output_padding: Pair | None = None) -> Value:
    window, size = shapes.transpose_window((1, 1), w.shape[:2], strides, padding, dilation_rate, output_padding)
    extra = [out + window[side] + window[side + 1] - span  # elements added at the end of an axis
             for out, side, span in zip(size, (6, 8), (window.span_h, window.span_w))]
    y = b.node("ConvTranspose", first(b, x), *_weights(b, w.transpose(3, 2, 0, 1), bias),
               kernel_shape=list(w.shape[:2]), strides=[window.sh, window.sw], dilations=[window.dh, window.dw],
               output_padding=extra, pads=[window.top, window.left, window.bottom, window.right])
    return Value(None, (), y)


def batch_norm(b: Builder, x: Value, gamma: np.ndarray | None, beta: np.ndarray | None,
               mean: np.ndarray, variance: np.ndarray, training: bool = False,
               momentum: float = 0.99, epsilon: float = 1e-3, ranks: Any = None) -> Value:
    gamma = np.ones_like(mean) if gamma is None else gamma
    beta = np.zeros_like(mean) if beta is None else beta
    if len(x.shape) == 3:  # ONNX requires channels as the second axis
        scale = gamma / np.sqrt(variance.astype(np.float64) + epsilon)
        y = b.node("Mul", last(b, x), b.constant(scale, "scale"))
        return Value(b.node("Add", y, b.constant(beta - mean * scale, "shift")), ())
    vectors = [b.constant(vector, name) for vector, name in
               ((gamma, "gamma"), (beta, "beta"), (mean, "moving_mean"), (variance, "moving_variance"))]
    is_image = len(x.shape) == 4
    y = b.node("BatchNormalization", first(b, x) if is_image else last(b, x), *vectors, epsilon=epsilon)
    return Value(None, (), y) if is_image else Value(y, ())


def _weights(b: Builder, kernel: np.ndarray, bias: np.ndarray | None) -> list[str]:
    return [b.constant(kernel, "kernel"), *([] if bias is None else [b.constant(bias, "bias")])]


# Images.


def window(x: Value, kernel: Pair, strides: Pair, padding: Padding,
           dilation_rate: Pair = 1) -> dict[str, Any]:
    """Returns a window's attributes over images x. For unknown sizes "same" becomes auto_pad."""
    kh, kw = shapes.pair(kernel, "kernel_size")
    (sh, sw) = shapes.pair(strides, "strides")
    (dh, dw) = shapes.pair(dilation_rate, "dilation_rate")
    options: dict[str, Any] = {"kernel_shape": [kh, kw], "strides": [sh, sw]}
    if (dh, dw) != (1, 1):
        options["dilations"] = [dh, dw]
    if padding == "same":
        sizes = [stride if n is None and stride == 1 else n for n, stride in zip(x.shape[1:3], (sh, sw))]
        if None in sizes:
            return {**options, "auto_pad": "SAME_UPPER"}
        sides = [shapes.same_padding(n, (k - 1) * d + 1, s)  # type: ignore[arg-type]
                 for n, k, d, s in zip(sizes, (kh, kw), (dh, dw), (sh, sw))]
    else:
        sides = list(shapes.explicit_padding(padding))
    return {**options, "pads": [side[0] for side in sides] + [side[1] for side in sides]}


def max_pool2d(b: Builder, x: Value, pool_size: Pair = 2, strides: Pair | None = None,
               padding: Padding = "valid") -> Value:
    options = window(x, pool_size, pool_size if strides is None else strides, padding)
    return Value(None, x.shape, b.node("MaxPool", first(b, x), **options))


def avg_pool2d(b: Builder, x: Value, pool_size: Pair, strides: Pair | None = None,
               padding: Padding = "valid") -> Value:
    options = window(x, pool_size, pool_size if strides is None else strides, padding)
    return Value(None, x.shape, b.node("AveragePool", first(b, x), count_include_pad=0, **options))


def _global(op: str) -> Emitter:
    def emit(b: Builder, x: Value, keepdims: bool = False) -> Value:
        y = b.node(op, first(b, x))
        return Value(None, x.shape, y) if keepdims else Value(b.node("Flatten", y, axis=1), ())

    return emit


def resize(b: Builder, x: Value, size: Sequence[int], interpolation: str = "bilinear") -> Value:
    """Adds a Resize, or matrix products if ONNX or ONNX Runtime lacks the interpolation."""
    if interpolation not in INTERPOLATIONS:
        if None in x.shape[1:3]:
            raise ValueError(f"Resizing with interpolation={interpolation!r} can be exported only "
                             f"for images of known size. Received shape: {x.shape}.")
        rows, columns = (resize_weights(interpolation, int(old or 0), int(new)) for old, new in zip(x.shape[1:3], size))
        y = b.node("MatMul", b.constant(rows, "rows"), first(b, x))
        return Value(None, x.shape, b.node("MatMul", y, b.constant(columns.T, "columns")))
    batch = b.node("Shape", first(b, x), start=0, end=2)
    sizes = b.node("Concat", batch, b.ints([int(n) for n in size]), axis=0)
    mode: dict[str, Any] = {"mode": "linear"} if interpolation == "bilinear" else {"mode": "nearest",
                                                                   "nearest_mode": "round_prefer_ceil"}
    return Value(None, x.shape, b.node("Resize", x.first, None, None, sizes, **mode,
                                       coordinate_transformation_mode="half_pixel"))


FUNCTIONS: dict[str, Emitter] = {
    **{name: _make_unary(op) for name, op in {
        "sigmoid": "Sigmoid", "tanh": "Tanh", "exp": "Exp", "exponential": "Exp", "log": "Log", "sqrt": "Sqrt",
        "abs": "Abs", "absolute": "Abs", "negative": "Neg", "erf": "Erf", "softplus": "Softplus",
        "softsign": "Softsign", "hard_silu": "HardSwish", "sin": "Sin", "cos": "Cos", "tan": "Tan",
        "arcsin": "Asin", "arccos": "Acos", "arctan": "Atan", "sinh": "Sinh", "cosh": "Cosh",
        "detach": "Identity"}.items()},
    **{name: _make_nary(op) for name, op in {
        "add": "Add", "subtract": "Sub", "multiply": "Mul", "true_divide": "Div", "maximum": "Max",
        "minimum": "Min", "where": "Where", "equal": "Equal", "less": "Less", "less_equal": "LessOrEqual",
        "greater": "Greater", "greater_equal": "GreaterOrEqual"}.items()},
    **{name: _make_reduction(op) for name, op in {
        "sum": "ReduceSum", "mean": "ReduceMean", "max": "ReduceMax"}.items()},
    "hard_sigmoid": _make_unary("HardSigmoid", alpha=1 / 6, beta=0.5),
    "relu6": lambda b, x: relu(b, x, max_value=6.0),
    "silu": lambda b, x: x.like(b.node("Mul", x.name, b.node("Sigmoid", x.name))),
    "selu": _make_unary("Selu", alpha=SELU_ALPHA, gamma=SELU_SCALE),
    "global_avg_pool2d": _global("GlobalAveragePool"), "global_max_pool2d": _global("GlobalMaxPool"),
    "celu": lambda b, x, alpha=1.0: x.like(b.node("Celu", x.name, alpha=float(alpha))),
    "expm1": lambda b, x: x.like(b.node("Sub", b.node("Exp", x.name), b.constant(1.0))),
    "log1p": lambda b, x: x.like(b.node("Log", b.node("Add", x.name, b.constant(1.0)))),
    "log_softmax": lambda b, x, axis=-1: softmax(b, x, axis, "LogSoftmax"),
    **{emit.__name__: emit for emit in (
        avg_pool2d, batch_norm, cast, clip, concatenate, conv2d, conv2d_transpose, dense, depthwise_conv2d, elu,
        expand_dims, flatten, get_item, leaky_relu, matmul, max_pool2d, pad, power, relu, reshape, resize, softmax,
        split, squeeze, stack, transpose, zero_padding2d)},
}
