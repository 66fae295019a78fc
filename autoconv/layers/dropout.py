"""Dropout."""

from typing import Any

import numpy as np

from ..ops import dropout as ops
from ..tensor import Tensor, apply
from .base import Shape
from .drawing import RandomLayer


class Dropout(RandomLayer):
    """In training sets a share `rate` of the items to 0 and scales the others by 1 / (1 - rate); else x itself.

    With a `seed` the layer draws its own masks, the same in every run. Srivastava et al., JMLR 2014.
    """

    one_input = True
    recordable = True

    def __init__(self, rate: float, noise_shape: Any = None, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(seed, **kwargs)
        self._keras_default("noise_shape", noise_shape, None)
        self.rate = rate

    @property
    def rate(self) -> float:
        """The share of items that are set to 0."""
        return self._rate

    @rate.setter
    def rate(self, rate: float) -> None:
        if isinstance(rate, bool) or not isinstance(rate, (int, float, np.number)) or not 0 <= rate <= 1:
            raise ValueError(f"rate must be a number between 0 and 1. Received: {rate!r}.")
        self._rate = float(rate)

    def call(self, x: Tensor, training: bool = False) -> Tensor:
        return apply(ops.dropout, x, rate=self.rate, **self._draw(x)) if training and self.rate else x

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape
