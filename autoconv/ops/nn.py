"""Functions of `keras.ops.nn`: convolutions, pooling, losses. Images are (N, H, W, C)."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import DTypeLike

from .. import activations
from .. import functional as F
from ..activations import *  # noqa: F403
from ..arguments.shapes import Padding, Pair
from ..engine.tensor import Tensor, record_nodes
from ..functional import erf, moments
from ..functional.layer_functions import TensorLike
from ..functional.loss_functions import EPSILON
from ..operators.arith import normalize_axes
from .core import check_channels_last, operand

_ACTIVATIONS = [name for name in activations.__all__ if name not in ("deserialize", "get", "linear", "serialize")]

__all__ = ["average_pool", "batch_normalization", "binary_crossentropy", "categorical_crossentropy",
           "conv", "conv_transpose", "depthwise_conv", "erf", "layer_normalization", "max_pool",
           "moments", "normalize", "one_hot", "separable_conv", "sparse_categorical_crossentropy",
           *_ACTIVATIONS]


def conv(inputs: TensorLike, kernel: TensorLike, strides: Pair = 1, padding: Padding = "valid",
         data_format: str | None = None, dilation_rate: Pair = 1) -> Tensor:
    """Convolves images: (N, H, W, C), kernel (KH, KW, C, F) -> (N, OH, OW, F)."""
    check_channels_last(data_format)
    return F.conv2d(inputs, kernel, None, strides, padding, dilation_rate)


def depthwise_conv(inputs: TensorLike, kernel: TensorLike, strides: Pair = 1,
                   padding: Padding = "valid", data_format: str | None = None,
                   dilation_rate: Pair = 1) -> Tensor:
    """Convolves each channel separately: kernel (KH, KW, C, M) -> (N, OH, OW, C*M)."""
    check_channels_last(data_format)
    return F.depthwise_conv2d(inputs, kernel, None, strides, padding, dilation_rate)


def separable_conv(inputs: TensorLike, depthwise_kernel: TensorLike, pointwise_kernel: TensorLike,
                   strides: Pair = 1, padding: Padding = "valid", data_format: str | None = None,
                   dilation_rate: Pair = 1) -> Tensor:
    """Applies a depthwise convolution, then a 1x1 convolution."""
    y = depthwise_conv(inputs, depthwise_kernel, strides, padding, data_format, dilation_rate)
    return F.conv2d(y, pointwise_kernel)


def conv_transpose(inputs: TensorLike, kernel: TensorLike, strides: Pair = 1,
                   padding: str = "valid", output_padding: Pair | None = None,
                   data_format: str | None = None, dilation_rate: Pair = 1) -> Tensor:
    """Applies a transposed convolution: kernel (KH, KW, F, C), (N, H, W, C) -> (N, OH, OW, F)."""
    check_channels_last(data_format)
    return F.conv2d_transpose(inputs, kernel, None, strides, padding, dilation_rate, output_padding)


def max_pool(inputs: TensorLike, pool_size: Pair, strides: Pair | None = None,
             padding: Padding = "valid", data_format: str | None = None) -> Tensor:
    """Returns the maximum of each window: (N, H, W, C) -> (N, OH, OW, C)."""
    check_channels_last(data_format)
    return F.max_pool2d(inputs, pool_size, strides, padding)


def average_pool(inputs: TensorLike, pool_size: Pair, strides: Pair | None = None,
                 padding: Padding = "valid", data_format: str | None = None) -> Tensor:
    """Returns the mean of each window, without padding pixels: (N, H, W, C) -> (N, OH, OW, C)."""
    check_channels_last(data_format)
    return F.avg_pool2d(inputs, pool_size, strides, padding)


def gelu(x: TensorLike, approximate: bool = True) -> Tensor:  # type: ignore[no-redef]
    """x P(X <= x) for a standard normal X. If `approximate` is true, uses tanh instead of erf."""
    return activations.gelu(x, approximate)


def normalize(x: TensorLike, axis: int | Sequence[int] = -1, order: int = 2,
              epsilon: float | None = None) -> Tensor:
    """Divides x by its norm of order `order` along `axis`, or by epsilon (default 1e-7) if the norm is smaller."""
    return F.normalize(x, axis, order, EPSILON if epsilon is None else epsilon)


def layer_normalization(x: TensorLike, gamma: TensorLike | None = None,
                        beta: TensorLike | None = None, axis: int | Sequence[int] = -1,
                        epsilon: float | None = None, rms_scaling: bool = False) -> Tensor:
    """gamma (x - mean) / sqrt(variance + epsilon) + beta, with each sample's mean and variance along `axis`."""
    return F.layer_normalization(x, gamma, beta, axis, EPSILON if epsilon is None else epsilon, rms_scaling)


def binary_crossentropy(target: TensorLike, output: TensorLike,
                        from_logits: bool = False) -> Tensor:
    """-(t log p + (1 - t) log(1 - p)), element by element."""
    return F.binary_crossentropy(F.expand_dims(target, -1), F.expand_dims(output, -1), from_logits)


def categorical_crossentropy(target: TensorLike, output: TensorLike, from_logits: bool = False,
                             axis: int = -1) -> Tensor:
    """-sum(t log p) along `axis`."""
    return F.categorical_crossentropy(target, output, from_logits, axis=axis)


def sparse_categorical_crossentropy(target: TensorLike, output: TensorLike,
                                    from_logits: bool = False, axis: int = -1) -> Tensor:
    """-log p, where p is the predicted probability of the class whose index is `target`."""
    return F.sparse_categorical_crossentropy(target, output, from_logits, axis=axis)


def batch_normalization(x: TensorLike, mean: TensorLike, variance: TensorLike, axis: int,
                        offset: TensorLike | None = None, scale: TensorLike | None = None,
                        epsilon: float = 1e-3) -> Tensor:
    """scale (x - mean) / sqrt(variance + epsilon) + offset, with one value of each per index of `axis`."""
    x = operand(x)
    shape = tuple(-1 if i == axis % len(x.shape) else 1 for i in range(len(x.shape)))
    y = (x - operand(mean).reshape(shape)) / F.sqrt(operand(variance).reshape(shape) + epsilon)
    y = y if scale is None else y * operand(scale).reshape(shape)
    return y if offset is None else y + operand(offset).reshape(shape)


def one_hot(x: TensorLike, num_classes: int, axis: int = -1, dtype: DTypeLike | None = None,
            sparse: bool = False) -> Tensor:
    """Returns 1 at the index of each label and 0 elsewhere: (...) -> (..., num_classes). axis: the
    position of the classes' axis. A label outside 0..num_classes-1 gives only zeros.
    """
    if sparse:
        raise ValueError(f"one_hot returns only dense tensors. Received: sparse={sparse}. Leave "
                         "out the argument sparse.")
    labels = F.expand_dims(operand(x), axis)
    (axis,) = normalize_axes(axis, len(labels.shape))
    classes = np.arange(num_classes).reshape(-1, *(1,) * (len(labels.shape) - 1 - axis))
    return F.cast(F.equal(labels, classes), dtype or "float32")


record_nodes(globals(), ["one_hot"], "ops")
