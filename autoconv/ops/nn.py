"""What nets are made of, as `keras.ops.nn` has it. Images are (N, H, W, C)."""

from typing import Any

import numpy as np

from .. import activations
from .. import functional as F
from ..activations import *  # noqa: F403
from ..functional import (
    binary_crossentropy,
    categorical_crossentropy,
    erf,
    layer_normalization,
    moments,
    normalize,
    sparse_categorical_crossentropy,
)
from .core import operand

_ACTIVATIONS = [name for name in activations.__all__ if name not in ("deserialize", "get", "linear", "serialize")]

__all__ = [
    "average_pool", "batch_normalization", "binary_crossentropy", "categorical_crossentropy", "conv", "conv_transpose",
    "depthwise_conv", "erf", "layer_normalization", "max_pool", "moments", "normalize", "one_hot", "separable_conv",
    "sparse_categorical_crossentropy", *_ACTIVATIONS,
]


def _channels_last(data_format: str | None) -> None:
    if data_format not in (None, "channels_last"):
        raise ValueError("autoconv's images are (N, H, W, C): data_format must be 'channels_last'. "
                         f"Received: {data_format!r}.")


def conv(inputs: Any, kernel: Any, strides: Any = 1, padding: Any = "valid", data_format: str | None = None,
         dilation_rate: Any = 1) -> Any:
    """A convolution: (N, H, W, C), kernel (KH, KW, C, F) -> (N, OH, OW, F)."""
    _channels_last(data_format)
    return F.conv2d(inputs, kernel, None, strides, padding, dilation_rate)


def depthwise_conv(inputs: Any, kernel: Any, strides: Any = 1, padding: Any = "valid", data_format: str | None = None,
                   dilation_rate: Any = 1) -> Any:
    """A convolution of each channel by itself: kernel (KH, KW, C, M) -> (N, OH, OW, C*M)."""
    _channels_last(data_format)
    return F.depthwise_conv2d(inputs, kernel, None, strides, padding, dilation_rate)


def separable_conv(inputs: Any, depthwise_kernel: Any, pointwise_kernel: Any, strides: Any = 1, padding: Any = "valid",
                   data_format: str | None = None, dilation_rate: Any = 1) -> Any:
    """A depthwise convolution and one of 1x1 after it."""
    y = depthwise_conv(inputs, depthwise_kernel, strides, padding, data_format, dilation_rate)
    return F.conv2d(y, pointwise_kernel)


def conv_transpose(inputs: Any, kernel: Any, strides: Any, padding: str = "valid", output_padding: Any = None,
                   data_format: str | None = None, dilation_rate: Any = 1) -> Any:
    """The transpose of a convolution: kernel (KH, KW, F, C), (N, H, W, C) -> (N, OH, OW, F)."""
    _channels_last(data_format)
    return F.conv2d_transpose(inputs, kernel, None, strides, padding, dilation_rate, output_padding)


def max_pool(inputs: Any, pool_size: Any, strides: Any = None, padding: Any = "valid",
             data_format: str | None = None) -> Any:
    """The maximum of each window: (N, H, W, C) -> (N, OH, OW, C)."""
    _channels_last(data_format)
    return F.max_pool2d(inputs, pool_size, strides, padding)


def average_pool(inputs: Any, pool_size: Any, strides: Any = None, padding: Any = "valid",
                 data_format: str | None = None) -> Any:
    """The mean of each window, padding left out: (N, H, W, C) -> (N, OH, OW, C)."""
    _channels_last(data_format)
    return F.avg_pool2d(inputs, pool_size, strides, padding)


def batch_normalization(x: Any, mean: Any, variance: Any, axis: int, offset: Any = None, scale: Any = None,
                        epsilon: float = 1e-3) -> Any:
    """scale (x - mean) / sqrt(variance + epsilon) + offset, all of them of the size of `axis`."""
    x = operand(x)
    shape = [1] * len(x.shape)
    shape[axis] = -1
    mean, variance, offset, scale = (None if each is None else operand(each).reshape(tuple(shape))
                                     for each in (mean, variance, offset, scale))
    y = (x - mean) / F.sqrt(variance + epsilon)
    y = y if scale is None else y * scale
    return y if offset is None else y + offset


def one_hot(x: Any, num_classes: int, axis: int = -1, dtype: Any = None, sparse: bool = False) -> Any:
    """1 at the place of each label, else 0: (N,) -> (N, num_classes). A label outside gives zeros."""
    if axis != -1 or sparse:
        raise ValueError(f"one_hot puts the classes last, in dense rows. Received: axis={axis}, sparse={sparse}.")
    labels = operand(x)
    places = np.arange(num_classes, dtype=labels.dtype)
    rows = F.equal(labels.reshape((*labels.shape, 1)), places)
    return F.where(rows, np.ones((), dtype or "float32"), np.zeros((), dtype or "float32"))
