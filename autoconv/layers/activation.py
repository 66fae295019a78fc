"""Activation functions as layers of their own."""

from typing import Any

from .. import functional as F
from ..tensor import Tensor
from . import checks
from .base import Layer, Shape


class Activation(Layer):
    """An activation function: "relu", "sigmoid", "tanh", "softmax", "log_softmax", "linear", or a function of yours."""

    one_input = True
    activation = checks.activation()
    recordable = True

    def __init__(self, activation: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.activation = activation

    def call(self, x: Tensor) -> Tensor:
        return self.activation(x)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape


class ReLU(Layer):
    """max(x, 0)."""

    one_input = True
    recordable = True

    def __init__(
        self, max_value: float | None = None, negative_slope: float = 0.0, threshold: float = 0.0, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self._keras_default("max_value", max_value, None)
        self._keras_default("negative_slope", negative_slope, 0.0)
        self._keras_default("threshold", threshold, 0.0)
        self.activation = F.relu

    def call(self, x: Tensor) -> Tensor:
        return F.relu(x)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape


class Softmax(Layer):
    """exp(x) / sum(exp(x)) along `axis`."""

    one_input = True
    recordable = True

    def __init__(self, axis: int = -1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if isinstance(axis, bool) or not hasattr(axis, "__index__"):
            raise ValueError(f"axis must be an integer. Received: {axis!r}.")
        self.axis = axis

    def call(self, x: Tensor) -> Tensor:
        return F.softmax(x, self.axis)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape
