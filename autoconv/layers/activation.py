"""Activation functions as layers of their own."""

from typing import Any

from .. import functional as F
from ..tensor import Tensor
from . import checks
from .base import Layer, Shape


class Activation(Layer):
    """An activation function: by its name in `autoconv.activations`, or a function of yours."""

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
    """max(x, 0); in general x from `threshold` up to `max_value`, which it never exceeds, and below
    negative_slope (x - threshold).
    """

    one_input = True
    recordable = True

    def __init__(
        self, max_value: float | None = None, negative_slope: float = 0.0, threshold: float = 0.0, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        for name, value in (("max_value", max_value), ("negative_slope", negative_slope), ("threshold", threshold)):
            if (value is None and name != "max_value") or (value is not None and not value >= 0):
                raise ValueError(f"{name} of a ReLU layer cannot be a negative value or None. Received: {value!r}.")
        self.max_value, self.negative_slope, self.threshold = max_value, negative_slope, threshold

    @property
    def is_plain(self) -> bool:
        """Whether it is max(x, 0)."""
        return self.max_value is None and not self.negative_slope and not self.threshold

    def call(self, x: Tensor) -> Tensor:
        return F.relu(x, self.negative_slope, self.max_value, self.threshold)

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
