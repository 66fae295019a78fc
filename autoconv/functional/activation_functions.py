"""Activation functions with the names, arguments and defaults of `keras.activations`."""

from collections.abc import Sequence
from math import pi, sqrt

import numpy as np

from ..engine.tensor import Tensor, apply, record_nodes, refuse_gradient
from ..operators import activations, arith, select
from ..operators.registry import Op
from . import arrays
from .layer_functions import TensorLike, _floats, _tensor

__all__ = ["celu", "elu", "exponential", "gelu", "glu", "hard_shrink", "hard_sigmoid", "hard_silu",
           "hard_tanh", "leaky_relu", "log_sigmoid", "log_softmax", "mish", "relu", "relu6", "selu",
           "sigmoid", "silu", "soft_shrink", "softmax", "softplus", "softsign", "sparse_plus",
           "sparse_sigmoid", "sparsemax", "squareplus", "tanh", "tanh_shrink", "threshold"]

SELU_ALPHA, SELU_SCALE = 1.6732632423543772, 1.0507009873554805  # Klambauer, 2017


def relu(x: TensorLike, negative_slope: float = 0.0, max_value: float | None = None,
         threshold: float = 0.0) -> Tensor:
    """x above `threshold`, else negative_slope (x - threshold); at most `max_value`. Default:
    max(x, 0).
    """
    x = _floats(x)
    refuse_gradient("relu", negative_slope=negative_slope, max_value=max_value, threshold=threshold)
    if not threshold and not negative_slope:
        if isinstance(max_value, int | float) and max_value == 6:
            return apply(activations.relu6, x)
        y = apply(activations.relu, x)
    else:
        below = negative_slope * (x - threshold)
        y = apply(select.where, x, below, condition=(x > threshold).data)
    return y if max_value is None else apply(select.minimum, y.operand(float(max_value)), y)


def sigmoid(x: TensorLike) -> Tensor:
    """1 / (1 + exp(-x))."""
    x = _floats(x)
    y = apply(activations.sigmoid, x)
    y.logits = x
    y.activation = "sigmoid"
    return y


def tanh(x: TensorLike) -> Tensor:
    """Returns the hyperbolic tangent of x."""
    return apply(activations.tanh, _floats(x))


def softmax(x: TensorLike, axis: int | Sequence[int] = -1) -> Tensor:
    """exp(x) / sum(exp(x)) along one or several axes, numerically stable for any x."""
    x = _floats(x)
    if isinstance(axis, Sequence):
        return _apply_to_axes(activations.softmax, x, axis)
    y = apply(activations.softmax, x, axis=axis)
    if axis in (-1, x.ndim - 1):
        y.logits = x
        y.activation = "softmax"
    return y


def log_softmax(x: TensorLike, axis: int | Sequence[int] = -1) -> Tensor:
    """log(softmax(x)) along one or several axes, numerically stable for any x."""
    x = _floats(x)
    if isinstance(axis, Sequence):
        return _apply_to_axes(activations.log_softmax, x, axis)
    return apply(activations.log_softmax, x, axis=axis)


def _apply_to_axes(op: Op, x: Tensor, axis: Sequence[int]) -> Tensor:
    """Applies a single-axis op to several axes of x, by moving these axes to the end and merging them into one."""
    axes = arith.normalize_axes(axis, x.ndim)
    order = (*(i for i in range(x.ndim) if i not in axes), *axes)
    moved = x.transpose(order)
    rows = x.ndim - len(axes)
    y = apply(op, moved.reshape(*moved.shape[:rows], int(np.prod(moved.shape[rows:]))), axis=-1)
    return y.reshape(moved.shape).transpose(tuple(order.index(i) for i in range(x.ndim)))


def exponential(x: TensorLike) -> Tensor:
    """Returns e to the power of x."""
    return arrays.exp(x)


def elu(x: TensorLike, alpha: float = 1.0) -> Tensor:
    """x if it is positive, else alpha (exp(x) - 1). Clevert et al., 2015."""
    x = _tensor(x)
    return arrays.where(x > 0, x, alpha * arrays.expm1(arrays.minimum(x, 0)))


def celu(x: TensorLike, alpha: float = 1.0) -> Tensor:
    """x if it is positive, else alpha (exp(x / alpha) - 1). Barron, 2017."""
    x = _tensor(x)
    return arrays.where(x > 0, x, alpha * arrays.expm1(arrays.minimum(x, 0) / alpha))


def selu(x: TensorLike) -> Tensor:
    """1.0507 elu(x, 1.6733). Klambauer et al., "Self-normalizing neural networks", 2017."""
    return SELU_SCALE * elu(x, SELU_ALPHA)


def leaky_relu(x: TensorLike, negative_slope: float = 0.2) -> Tensor:
    """x if it is positive, else negative_slope * x. Maas et al., 2013."""
    refuse_gradient("leaky_relu", negative_slope=negative_slope)
    return apply(activations.leaky_relu, _floats(x), negative_slope=float(negative_slope))


def relu6(x: TensorLike) -> Tensor:
    """min(max(x, 0), 6)."""
    return apply(activations.relu6, _floats(x))


def gelu(x: TensorLike, approximate: bool = False) -> Tensor:
    """x P(X <= x) for a standard normal X, computed by erf, or by tanh if `approximate`. Hendrycks and Gimpel, 2016."""
    x = _tensor(x)
    if approximate:
        return 0.5 * x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x * x * x)))
    return 0.5 * x * (1 + arrays.erf(x * sqrt(0.5)))


def silu(x: TensorLike) -> Tensor:
    """x sigmoid(x), also called swish. Ramachandran et al., 2017."""
    return apply(activations.silu, _floats(x))


def hard_sigmoid(x: TensorLike) -> Tensor:
    """relu6(x + 3) / 6."""
    return apply(activations.hard_sigmoid, _floats(x))


def hard_silu(x: TensorLike) -> Tensor:
    """x hard_sigmoid(x), also called hard_swish. Howard et al., "MobileNetV3", 2019."""
    return apply(activations.hard_silu, _floats(x))


def hard_tanh(x: TensorLike) -> Tensor:
    """Clips x to -1..1."""
    return arrays.clip(x, -1.0, 1.0)


def softplus(x: TensorLike) -> Tensor:
    """log(1 + exp(x)), without overflow for any x."""
    x = _tensor(x)
    size = arrays.abs(x)
    return 0.5 * (x + size) + arrays.log1p(arrays.exp(-size))


def log_sigmoid(x: TensorLike) -> Tensor:
    """log(1 / (1 + exp(-x))), numerically stable for any x."""
    return -softplus(-_tensor(x))


def mish(x: TensorLike) -> Tensor:
    """x tanh(softplus(x)). Misra, 2019."""
    x = _tensor(x)
    return x * tanh(softplus(x))


def softsign(x: TensorLike) -> Tensor:
    """x / (1 + |x|)."""
    x = _tensor(x)
    return x / (1 + arrays.abs(x))


def squareplus(x: TensorLike, b: float = 4) -> Tensor:
    """(x + sqrt(x^2 + b)) / 2. Barron, 2021."""
    x = _tensor(x)
    return (x + arrays.sqrt(x * x + b)) / 2


def sparse_plus(x: TensorLike) -> Tensor:
    """0 for x <= -1, x for x >= 1, and (x + 1)^2 / 4 in between."""
    x = _tensor(x)
    return arrays.where(x <= -1, 0.0, arrays.where(x < 1, 0.25 * (x + 1) ** 2, x))


def sparse_sigmoid(x: TensorLike) -> Tensor:
    """0 for x <= -1, 1 for x >= 1, and (x + 1) / 2 in between."""
    return arrays.clip(0.5 * (_tensor(x) + 1), 0.0, 1.0)


def soft_shrink(x: TensorLike, threshold: float = 0.5) -> Tensor:
    """Moves x towards 0 by `threshold`. The result is 0 if |x| is at most `threshold`."""
    x = _tensor(x)
    return relu(x - threshold) - relu(-x - threshold)


def hard_shrink(x: TensorLike, threshold: float = 0.5) -> Tensor:
    """x if |x| is larger than `threshold`, else 0."""
    x = _tensor(x)
    return arrays.where(arrays.abs(x) > threshold, x, 0.0)


def sparsemax(x: TensorLike, axis: int = -1) -> Tensor:
    """max(x - t, 0), with t chosen so that the results sum to 1 along `axis`. Many results are
    exactly 0. Martins and Astudillo, "From softmax to sparsemax", 2016.
    """
    x = _tensor(x)
    axis = axis % x.ndim
    own = arrays.expand_dims(x, axis + 1)
    other = arrays.expand_dims(x, axis)
    larger = arrays.where(other >= own, other, 0.0).sum(axis + 1)
    count = arrays.where(other >= own, other - other + 1, 0.0).sum(axis + 1)
    stays = 1 + count * x > larger
    total = arrays.where(stays, x, 0.0).sum(axis, keepdims=True)
    return relu(x - (total - 1) / arrays.where(stays, x - x + 1, 0.0).sum(axis, keepdims=True))


def tanh_shrink(x: TensorLike) -> Tensor:
    """x - tanh(x)."""
    x = _tensor(x)
    return x - tanh(x)


def threshold(x: TensorLike, threshold: float, default_value: float) -> Tensor:
    """x if it is larger than `threshold`, else `default_value`."""
    x = _tensor(x)
    return arrays.where(x > threshold, x, default_value)


def glu(x: TensorLike, axis: int = -1) -> Tensor:
    """Multiplies the first half of x along `axis` by the sigmoid of the second half. Dauphin et al., 2016."""
    first, second = arrays.split(x, 2, axis)
    return first * sigmoid(second)


record_nodes(globals(), __all__)
