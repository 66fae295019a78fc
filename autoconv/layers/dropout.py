"""Layers that drop elements or add noise in training, and otherwise return x unchanged."""

from collections.abc import Sequence
from math import sqrt
from typing import Any

import numpy as np

from .. import functional as F
from ..engine.tensor import Tensor, apply
from ..functional.activation_functions import SELU_ALPHA, SELU_SCALE
from ..operators import dropout as ops
from ..operators import noise
from . import checks
from .drawing import RandomLayer


def _fraction(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number)) or not 0 <= value <= 1:
        raise ValueError(f"Invalid value received for argument `{name}`. Expected a float value "
                         f"between 0 and 1. Received: {name}={value!r}.")
    return float(value)


def _rate(value: Any, name: str) -> float:
    if _fraction(value, name) == 1:
        raise ValueError(f"{name} must be at least 0 and less than 1. Received: {name}={value!r}.")
    return float(value)


def _mask_shape(value: Any, name: str) -> tuple[int | None, ...] | None:
    if value is None:
        return None
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise ValueError(f"Invalid value received for argument `{name}`. Expected an iterable of "
                         f"positive integers or None. Received: {value!r}.")
    for n in value:
        if n is not None and (isinstance(n, bool) or not hasattr(n, "__index__") or n < 1):
            raise ValueError(f"Invalid value received for argument `{name}`. Expected all "
                             f"dimensions to be positive integers or None. Received: {value!r}.")
    return tuple(None if n is None else int(n) for n in value)


def _has_rate(layer: Any) -> bool:
    return layer.rate > 0


class _TrainingLayer(RandomLayer):
    """Base of layers that change x only in training."""

    keeps_shape = True
    built_at_once = True
    supports_masking = True
    one_input = True
    recordable = True

    def call(self, x: Tensor, training: bool = False) -> Tensor:
        return self._transform(x) if training else x

    def _transform(self, x: Tensor) -> Tensor:
        raise NotImplementedError


class _MaskLayer(_TrainingLayer):
    """Base of layers that draw a dropout mask."""

    rate = checks.Setting(_fraction)
    _draws = _has_rate
    noise_shape = checks.Setting(_mask_shape)

    def _mask(self, x: Tensor) -> Tensor:
        """Draws a mask that is 1 / (1 - rate) for kept elements and 0 for dropped elements. The
        mask has the shape `noise_shape`, in which None means the size of x.
        """
        sizes = self.noise_shape or (None,) * x.ndim
        if len(sizes) != x.ndim or any(n not in (None, 1, size) for n, size in zip(sizes, x.shape)):
            raise ValueError("noise_shape must have one entry per input axis: 1, None or the size of the axis. "
                             f"Received: noise_shape={self.noise_shape}, input of shape {x.shape}.")
        shape = tuple(size if n is None else n for n, size in zip(sizes, x.shape))
        ones = Tensor(x.device.constant(np.ones(shape, x.dtype)), device=x.device)
        stream = self._draw(x)
        if shape[0] != len(x):
            del stream["first"]  # one mask for all samples
        return apply(ops.dropout, ones, rate=self.rate, **stream)


class Dropout(_MaskLayer):
    """In training, sets a fraction `rate` of the elements to 0 and scales the others by 1 / (1 - rate); else returns x.

    Elements along an axis of size 1 in `noise_shape` are kept or dropped together. With a `seed`,
    the layer's masks are the same in every run. Srivastava et al., JMLR 2014.
    """

    recordable = True

    def __init__(self, rate: float, noise_shape: Any = None, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(seed, **kwargs)
        self.rate, self.noise_shape = rate, noise_shape

    def _transform(self, x: Tensor) -> Tensor:
        if not self.rate:
            return x
        if self.noise_shape is not None:
            return x * self._mask(x)
        return apply(ops.dropout, x, rate=self.rate, **self._draw(x))


class SpatialDropout2D(_MaskLayer):
    """Drops whole channels of images (N, H, W, C). Tompson et al., "Efficient object localization", 2015."""

    recordable = True
    rank = 4
    data_format = checks.DataFormat()

    def __init__(self, rate: float, data_format: str | None = None, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(seed, **kwargs)
        self.data_format = data_format
        self.rate, self.noise_shape = rate, (None, 1, 1, None)

    def _transform(self, x: Tensor) -> Tensor:
        return x * self._mask(x) if self.rate else x


class AlphaDropout(_MaskLayer):
    """Dropout for networks with "selu". In training, sets a fraction `rate` of the elements to
    selu's lower limit, -1.758, then scales and shifts all elements to keep mean 0 and variance 1.
    Klambauer et al., "Self-normalizing neural networks", 2017.
    """

    recordable = True
    rate = checks.Setting(_rate)

    def __init__(self, rate: float, noise_shape: Any = None, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(seed, **kwargs)
        self.rate, self.noise_shape = rate, noise_shape

    def _transform(self, x: Tensor) -> Tensor:
        if not self.rate:
            return x
        lowest, rate = -SELU_ALPHA * SELU_SCALE, self.rate
        scale = ((1 - rate) * (1 + rate * lowest**2)) ** -0.5
        return scale * F.where(self._mask(x) > 0, x, lowest) - scale * lowest * rate


class GaussianNoise(_TrainingLayer):
    """In training, adds normal noise with standard deviation `stddev` to x."""

    recordable = True
    stddev = checks.Setting(_fraction)

    def _draws(self) -> bool:
        return self.stddev > 0

    def __init__(self, stddev: float, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(seed, **kwargs)
        self.stddev = stddev

    def _transform(self, x: Tensor) -> Tensor:
        return apply(noise.gaussian_noise, x, stddev=self.stddev, rel_stddev=0.0, **self._draw(x)) if self.stddev else x


class GaussianDropout(_TrainingLayer):
    """In training, multiplies x by normal noise with mean 1 and `Dropout`'s standard deviation,
    sqrt(rate / (1 - rate)).

    Srivastava et al., JMLR 2014, section 10.
    """

    recordable = True
    rate = checks.Setting(_rate)
    _draws = _has_rate

    def __init__(self, rate: float, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(seed, **kwargs)
        self.rate = rate

    def _transform(self, x: Tensor) -> Tensor:
        stddev = sqrt(self.rate / (1 - self.rate))
        return apply(noise.gaussian_noise, x, stddev=0.0, rel_stddev=stddev, **self._draw(x)) if stddev else x
