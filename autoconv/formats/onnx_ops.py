"""Implements ONNX's ops as functions of tensors, in the table `OPS`.

A function accepts the node's `Attributes` and the node's inputs, with None for omitted inputs. It
returns a tensor or a list of tensors.
"""

import operator
from collections.abc import Callable
from functools import reduce
from typing import Any, NamedTuple

import numpy as np

from .. import functional as F
from .. import ops
from ..engine.tensor import Tensor
from . import onnx_images as images
from . import onnx_shapes as shape_ops
from .onnx_values import TERMS, Attributes, cast, compute_by_numpy, constant, ints, is_float

Function = Callable[..., Any]


class OnnxOp(NamedTuple):
    """The function of an ONNX op, and its requirements.

    host: indices of inputs that must be known NumPy arrays, such as shapes; constants: indices of
    inputs that are never trained; images: whether the op needs channels last; alike: whether it is
    elementwise, so that any layout works; long: whether it is too slow to compute in advance.
    """

    function: Function
    host: tuple[int, ...] = ()
    constants: tuple[int, ...] = ()
    images: bool = False
    alike: bool = False
    long: bool = False


# Elementwise ops.


def _binary(function: Callable[[Tensor, Tensor], Tensor]) -> OnnxOp:
    return OnnxOp(lambda node, a, b: function(a, b), alike=True)


def _unary(function: Any) -> OnnxOp:
    return OnnxOp(lambda node, x: function(x), alike=True)


def _rounding(function: Callable[[Tensor], Tensor]) -> OnnxOp:
    return OnnxOp(lambda node, x: compute_by_numpy(lambda: function(x), x, x.shape), alike=True)


def _several(function: Callable[[Any, Any], Any]) -> OnnxOp:
    return OnnxOp(lambda node, *xs: reduce(function, xs), alike=True)


def _divide(node: Attributes, a: Tensor, b: Tensor) -> Tensor:
    """Divides a by b. Integer quotients are rounded towards zero, by NumPy."""
    if is_float(a) or is_float(b):
        return a / b

    def towards_zero() -> Tensor:
        quotient, rest = np.divmod(a.numpy(), b.numpy())
        return constant(a, (quotient + ((rest != 0) & (quotient < 0))).astype(a.dtype))

    return compute_by_numpy(towards_zero, a, np.broadcast_shapes(a.shape, b.shape))


def _power(node: Attributes, a: Tensor, b: Any) -> Tensor:
    """Raises a to known exponents, at most 64 different ones. Integers stay integers."""
    exponents = np.asarray(b)
    values = np.unique(exponents)
    if not 0 < len(values) <= 64:
        raise ValueError(f"Pow supports 1 to 64 different exponents. Received: {len(values)}.")
    y = _compute_power(a, values[0])
    if exponents.shape:
        y = y + constant(a, np.zeros(exponents.shape, y.dtype))
    for exponent in values[1:]:
        y = F.where(constant(a, exponents == exponent), _compute_power(a, exponent), y)
    return cast(y, a.dtype)


def _compute_power(a: Tensor, exponent: Any) -> Tensor:
    return a ** (int(exponent) if float(exponent).is_integer() else float(exponent))


def _clip(node: Attributes, x: Tensor, low: Any = None, high: Any = None) -> Tensor:
    low = node.get("min", low)
    high = node.get("max", high)
    for bound, choose in ((low, F.maximum), (high, F.minimum)):
        if bound is not None:
            x = choose(x, bound if isinstance(bound, Tensor) else constant(x, np.asarray(bound, x.dtype)))
    return x


def _shrink(node: Attributes, x: Tensor) -> Tensor:
    limit = node.get("lambd", 0.5)
    bias = node.get("bias", 0.0)
    return F.where(x < -limit, x + bias, F.where(x > limit, x - bias, x * 0))


def _lrn(node: Attributes, x: Tensor) -> Tensor:
    size = node.get("size", 1)
    if not 0 < size <= min(2 * x.shape[-1] + 1, TERMS):
        raise ValueError(f"The size of LRN must be in 1..{min(2 * x.shape[-1] + 1, TERMS)} (2 * "
                         f"channels + 1, at most {TERMS:,}). Received: {size}.")
    wide = F.pad(x * x, ((0, 0), (0, 0), (0, 0), ((size - 1) // 2, size // 2)))
    neighbour_sum = reduce(operator.add, [wide[..., i : i + x.shape[-1]] for i in range(size)])
    scale = node.get("bias", 1.0) + node.get("alpha", 1e-4) / size * neighbour_sum
    return x / scale ** node.get("beta", 0.75)


def _softmax(function: Function) -> OnnxOp:
    """Returns a softmax op. Before opset 13, the op merges all axes from `axis` on."""

    def run(node: Attributes, x: Tensor) -> Tensor:
        axis = node.get("axis", -1 if node.opset >= 13 else 1)
        if node.opset >= 13:
            return function(x, shape_ops.normalize_axis(axis, x.ndim))
        axis = shape_ops.normalize_axis(axis, x.ndim + 1)
        flat = x.reshape(int(np.prod(x.shape[:axis])), int(np.prod(x.shape[axis:])))
        return function(flat, -1).reshape(x.shape)

    return OnnxOp(run)


# Sums.


def _make_reduction(function: Callable[[Tensor, Any, bool], Tensor]) -> OnnxOp:
    """Returns a reduction op. Its axes are an attribute or an input; by default all axes."""

    def run(node: Attributes, x: Tensor, axes_array: np.ndarray | None = None) -> Tensor:
        axes = node.get("axes") if axes_array is None else ints(axes_array)
        if not axes and node.get("noop_with_empty_axes", 0):
            return function(x.reshape(*x.shape, 1), (-1,), False)
        axes = tuple(range(x.ndim)) if not axes else tuple(shape_ops.normalize_axis(axis, x.ndim) for axis in axes)
        return cast(function(x, axes, bool(node.get("keepdims", 1))), x.dtype)

    return OnnxOp(run, host=(1,))


def _arg(sign: int) -> OnnxOp:
    def run(node: Attributes, x: Tensor) -> Tensor:
        axis = shape_ops.normalize_axis(node.get("axis", 0), x.ndim)
        keepdims = bool(node.get("keepdims", 1))
        x = x if sign > 0 else -x
        if not node.get("select_last_index", 0):
            return F.argmax(x, axis, keepdims)
        reverse = x[(*(slice(None),) * axis, slice(None, None, -1))]
        return x.shape[axis] - 1 - F.argmax(reverse, axis, keepdims)

    return OnnxOp(run)


def _gemm(node: Attributes, a: Tensor, b: Tensor, c: Tensor | None = None) -> Tensor:
    a, b = (t.transpose() if node.get(name, 0) else t for t, name in ((a, "transA"), (b, "transB")))
    alpha = node.get("alpha", 1.0)
    beta = node.get("beta", 1.0)
    if c is not None and c.shape == b.shape[1:] and alpha == beta == 1 and a.ndim == b.ndim == 2:
        return F.dense(a, b, c)
    y = a @ b if alpha == 1 else (a @ b) * alpha
    return y if c is None else y + (c if beta == 1 else c * beta)


OPS: dict[str, OnnxOp] = {
    "Add": _binary(operator.add), "Sub": _binary(operator.sub), "Mul": _binary(operator.mul),
    "Div": OnnxOp(_divide, alike=True), "Pow": OnnxOp(_power, host=(1,)), "MatMul": OnnxOp(lambda node, a, b: a @ b,
                                                                                           long=True),
    "Gemm": OnnxOp(_gemm, long=True), "Max": _several(F.maximum), "Min": _several(F.minimum),
    "Sum": _several(operator.add), "Mean": OnnxOp(lambda node, *xs: reduce(operator.add, xs) / len(xs), alike=True),
    **{name: _unary(function) for name, function in {
        "Relu": F.relu, "Sigmoid": F.sigmoid, "Tanh": F.tanh, "Exp": F.exp, "Log": F.log, "Sqrt": F.sqrt,
        "Abs": F.abs, "Neg": operator.neg, "Erf": F.erf, "Softplus": F.softplus, "Softsign": F.softsign,
        "HardSwish": F.hard_silu, "Mish": F.mish, "Reciprocal": lambda x: 1.0 / x,
        "Identity": lambda x: x}.items()},
    "Floor": _rounding(ops.numpy.floor), "Ceil": _rounding(ops.numpy.ceil),
    **{name: OnnxOp(function, alike=True) for name, function in {
        "Celu": lambda node, x: F.celu(x, node.get("alpha", 1.0)),
        "Elu": lambda node, x: F.elu(x, node.get("alpha", 1.0)),
        "Gelu": lambda node, x: F.gelu(x, node.get("approximate", "none") == "tanh"),
        "HardSigmoid": lambda node, x: F.clip(node.get("alpha", 0.2) * x + node.get("beta", 0.5), 0.0, 1.0),
        "LeakyRelu": lambda node, x: F.where(x < 0, node.get("alpha", 0.01) * x, x),
        "Selu": lambda node, x: node.get("gamma", 1.0507009873554805) * F.elu(x, node.get("alpha", 1.6732632423543772)),
        "Shrink": _shrink, "Swish": lambda node, x: x * F.sigmoid(x * node.get("alpha", 1.0)),
        "ThresholdedRelu": lambda node, x: F.where(x > node.get("alpha", 1.0), x, 0.0)}.items()},
    "PRelu": OnnxOp(lambda node, x, slope: F.where(x < 0, slope * x, x)),
    "Clip": OnnxOp(_clip, constants=(1, 2)), "Softmax": _softmax(F.softmax), "LogSoftmax": _softmax(F.log_softmax),
    "LRN": OnnxOp(_lrn, images=True), "Where": OnnxOp(lambda node, condition, x, y: F.where(condition, x, y)),
    "Equal": _binary(F.equal), "Greater": _binary(F.greater), "Less": _binary(F.less),
    "GreaterOrEqual": _binary(F.greater_equal), "LessOrEqual": _binary(F.less_equal),
    "Not": _unary(lambda x: x == constant(x, np.False_)), "And": _binary(operator.mul),
    "Or": _binary(operator.add),
    "ReduceMean": _make_reduction(lambda x, axes, keep: x.mean(axes, keep)),
    "ReduceSum": _make_reduction(lambda x, axes, keep: x.sum(axes, keep)),
    "ReduceMax": _make_reduction(lambda x, axes, keep: x.max(axes, keep)),
    "ReduceMin": _make_reduction(lambda x, axes, keep: -(-x).max(axes, keep)),
    "ReduceSumSquare": _make_reduction(lambda x, axes, keep: (x * x).sum(axes, keep)),
    "ReduceL1": _make_reduction(lambda x, axes, keep: F.abs(x).sum(axes, keep)),
    "ReduceL2": _make_reduction(lambda x, axes, keep: F.sqrt((x * x).sum(axes, keep))),
    "ReduceLogSum": _make_reduction(lambda x, axes, keep: F.log(x.sum(axes, keep))),
    "ReduceLogSumExp": _make_reduction(ops.logsumexp), "ArgMax": _arg(1), "ArgMin": _arg(-1),
    "Conv": OnnxOp(images.conv, images=True), "ConvTranspose": OnnxOp(images.conv_transpose, images=True),
    "MaxPool": OnnxOp(images.max_pool, images=True), "AveragePool": OnnxOp(images.average_pool, images=True),
    "GlobalAveragePool": OnnxOp(lambda node, x: F.global_avg_pool2d(x, True), images=True),
    "GlobalMaxPool": OnnxOp(lambda node, x: F.global_max_pool2d(x, True), images=True),
    "BatchNormalization": OnnxOp(images.batch_normalization, constants=(3, 4), images=True),
    "InstanceNormalization": OnnxOp(images.instance_normalization, images=True),
    "LayerNormalization": OnnxOp(images.layer_normalization),
    "GroupNormalization": OnnxOp(images.group_normalization, images=True),
    "Resize": OnnxOp(images.resize, host=(1, 2, 3), images=True),
    "Upsample": OnnxOp(images.upsample, host=(1,), images=True),
    "DepthToSpace": OnnxOp(images.depth_to_space), "SpaceToDepth": OnnxOp(images.space_to_depth),
    **{name: OnnxOp(function, host=host) for name, (function, host) in shape_ops.FUNCTIONS.items()},
}
