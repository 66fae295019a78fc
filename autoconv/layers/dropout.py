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
    rooms = ("random",)

    def __init__(self, rate: float, noise_shape: Any = None, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._keras_default("noise_shape", noise_shape, None)
        if isinstance(rate, bool) or not isinstance(rate, (int, float, np.number)) or not 0 <= rate <= 1:
            raise ValueError(f"rate must be a number between 0 and 1. Received: {rate!r}.")
        self.rate, self.seed = float(rate), None if seed is None else random.check_seed(seed)
        self._masks_drawn = 0

    def call(self, x: Tensor, training: bool = False) -> Tensor:
        if self.seed is None or not training or self.rate == 0:
            return F.dropout(x, self.rate, training)
        return apply(ops.dropout, x, rate=self.rate, key=x.device.varying(self._next_key, np.uint64))

    def _next_key(self) -> random.Key:
        self._masks_drawn += 1
        return self.seed, _OWN_STREAMS + self._masks_drawn  # type: ignore[return-value]

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape
