"""Which neighbouring layers run as one kernel: a list of layers in, a list of steps out.

A step is called like a layer: `step(x, training)`. Layers that fit no pattern are their own step. Fused or not, results
agree up to rounding; AUTOCONV_FUSION=0 in the environment turns fusion off.
"""

import os
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from .. import functional
from ..arguments import shapes
from ..layers import Conv2D, Dense, Layer, MaxPooling2D
from ..ops import conv, dense, fused
from ..tensor import Tensor, apply

Step = Callable[[Tensor, bool], Tensor]


def plan(layers: Sequence[Layer]) -> list[Step]:
    """The steps that compute what the layers compute, in order."""
    if os.environ.get("AUTOCONV_FUSION", "1") == "0":
        return list(layers)
    steps: list[Step] = []
    waiting = list(layers)
    while waiting:
        layer = waiting.pop(0)
        if _has_relu(layer, Conv2D) and waiting and layer.groups == 1 and _halves(waiting[0]):
            steps.append(ConvReluPool(layer, waiting.pop(0)))
        elif _has_relu(layer, Conv2D):
            steps.append(ConvRelu(layer))
        elif _has_relu(layer, Dense):
            steps.append(DenseRelu(layer))
        else:
            steps.append(layer)
    return steps


def _has_relu(layer: Layer, kind: type[Layer]) -> bool:
    """Whether this is a layer of ours (not a class derived from it) that ends in a ReLU."""
    return type(layer) is kind and layer.activation is functional.relu


def _halves(layer: Layer) -> bool:
    """Whether this is the usual pooling: 2x2 windows side by side, no padding."""
    return type(layer) is MaxPooling2D and layer.pool_size == layer.strides == (2, 2) and layer.padding == "valid"


@lru_cache(maxsize=256)
def _window(size: tuple[int, int], kernel: Any, strides: Any, padding: Any, dilation_rate: Any) -> shapes.Window:
    return shapes.window(size, kernel, strides, padding, dilation_rate)


class _Fused:
    """Layers that run as one op. Until they are built, for inputs of another dtype, and when the first was given
    another activation function, they run one by one.
    """

    def __init__(self, *layers: Any) -> None:
        self.layers = layers

    def __call__(self, x: Tensor, training: bool) -> Tensor:
        first = self.layers[0]
        first.check_input(x.shape)
        fusable = x.dtype == first.kernel.dtype and first.activation is functional.relu
        if fusable and all(layer.built for layer in self.layers):
            return self.fused(x)
        for layer in self.layers:
            x = layer(x, training)
        return x

    def fused(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def window(self, x: Tensor) -> shapes.Window:
        """The convolution's window over x."""
        c = self.layers[0]
        return _window(x.shape[1:3], c.kernel_size, c.strides, c.padding, c.dilation_rate)


class ConvReluPool(_Fused):
    """Conv2D with a ReLU, then 2x2 max pooling."""

    def fused(self, x: Tensor) -> Tensor:
        layer, window = self.layers[0], self.window(x)
        if min(window.output_size(*x.shape[1:3])) < 2:
            return self.layers[1](layer(x))  # the pooling says that its window does not fit
        return apply(fused.conv2d_relu_pool, x, layer.kernel, layer.bias, window=window)


class ConvRelu(_Fused):
    """Conv2D with a ReLU."""

    def fused(self, x: Tensor) -> Tensor:
        layer = self.layers[0]
        return apply(conv.conv2d, x, layer.kernel, layer.bias, window=self.window(x), groups=layer.groups, relu=True)


class DenseRelu(_Fused):
    """Dense with a ReLU."""

    def fused(self, x: Tensor) -> Tensor:
        layer = self.layers[0]
        if x.ndim != 2:
            return layer(x)
        return apply(dense.dense, x, layer.kernel, layer.bias, relu=True)
