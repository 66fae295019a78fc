"""Dropout."""

from typing import Any

import numpy as np

from .. import functional as F
from .. import random
from ..ops import dropout as ops
from ..tensor import Tensor, apply
from .base import Layer, Shape

_OWN_STREAMS = 2**62  # far from those that autoconv.random hands out and from the initializers'


class Dropout(Layer):
    """In training sets a share `rate` of the items to 0 and scales the others by 1 / (1 - rate); else x itself.

    With a `seed` the layer draws its own masks, the same in every run. Srivastava et al., JMLR 2014.
    """

    one_input = True
    recordable = True

    def __init__(self, rate: float, noise_shape: Any = None, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._keras_default("noise_shape", noise_shape, None)
        self.rate, self.seed = rate, seed

    @property
    def rate(self) -> float:
        """The share of items that are set to 0."""
        return self._rate

    @rate.setter
    def rate(self, rate: float) -> None:
        if isinstance(rate, bool) or not isinstance(rate, (int, float, np.number)) or not 0 <= rate <= 1:
            raise ValueError(f"rate must be a number between 0 and 1. Received: {rate!r}.")
        self._rate = float(rate)

    @property
    def seed(self) -> int | None:
        """The seed of the layer's own masks, which begin anew when it is set."""
        return self._seed

    @seed.setter
    def seed(self, seed: int | None) -> None:
        self._seed = None if seed is None else random.check_seed(seed)
        self._masks = None if self._seed is None else random.Generator(self._seed, _OWN_STREAMS)

    def call(self, x: Tensor, training: bool = False) -> Tensor:
        if self._masks is None or not training or self.rate == 0:
            return F.dropout(x, self.rate, training)
        key = x.device.dynamic(self._masks.stream, np.uint64, 2)
        first = x.device.dynamic(random.first_sample.get, np.uint64)
        return apply(ops.dropout, x, rate=self.rate, key=key, first=first)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape
