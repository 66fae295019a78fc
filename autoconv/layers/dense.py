"""The fully connected layer."""

from math import prod
from typing import Any

from .. import functional as F
from .. import initializers
from ..engine.tensor import Tensor
from ..engine.variable import Variable
from . import checks
from .layer import Layer, Shape


class Dense(Layer):
    """`activation(x kernel + bias)`: (N, C) -> (N, units), kernel (C, units), bias (units,).

    An input with more axes is processed along its last axis, as in Keras: (N, H, W, C) -> (N, H, W, units).
    """

    supports_masking = True
    one_input = True
    activation = checks.activation()
    recordable = True
    least_rank = 2
    regularized_weights = ("kernel", "bias")
    lora_rank = checks.KerasDefault(None)
    lora_alpha = checks.KerasDefault(None)
    quantization_config = checks.KerasDefault(None)

    def __init__(
        self, units: int, activation: Any = None, use_bias: bool = True, kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros", **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.units, self.use_bias = checks.positive(units, "units"), bool(use_bias)
        self.activation = activation
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.bias_initializer = initializers.get(bias_initializer)

    def build(self, input_shape: Shape) -> None:
        channels = checks.known_channels(self, input_shape)
        self.kernel = self.add_weight((channels, self.units), self.kernel_initializer, name="kernel")
        self.bias: Variable | None = None
        if self.use_bias:
            self.bias = self.add_weight((self.units,), self.bias_initializer, name="bias")
        self.channels = channels

    def call(self, x: Tensor) -> Tensor:
        if x.ndim == 2:
            return self.activation(F.dense(x, self.kernel, self.bias))
        *rest, channels = x.shape
        y = F.dense(x.reshape(prod(rest), channels), self.kernel, self.bias)  # (N*..., C) -> (N*..., units)
        return self.activation(y.reshape(*rest, self.units))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (*input_shape[:-1], self.units)
