"""What prepares images for a net."""

from typing import Any

import numpy as np

from ..tensor import Tensor
from .base import Layer, Shape


class Rescaling(Layer):
    """x * scale + offset, e.g. `Rescaling(1/255)` for pixels 0..255. Both may be lists with a number per channel."""

    one_input = True
    recordable = True

    def __init__(self, scale: Any, offset: Any = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        for name, value in (("scale", scale), ("offset", offset)):
            if np.asarray(value).dtype.kind not in "iuf":
                raise ValueError(f"{name} must be a number or a list of numbers. Received: {value!r}.")
        self.scale, self.offset = scale, offset

    def call(self, x: Tensor) -> Tensor:
        y = x * _factor(self.scale, x)
        return y + _factor(self.offset, x) if np.any(self.offset) else y

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape


def _factor(value: Any, x: Tensor) -> Any:
    """A number as it is, several as a tensor beside x, in its dtype."""
    if np.ndim(value) == 0:
        return value
    return Tensor(x.device.constant(np.asarray(value, x.dtype)), device=x.device)
