"""Batch normalization."""

from typing import Any

import numpy as np

from .. import functional as F
from .. import initializers
from ..engine import ranks
from ..engine.ranks import ALONE, Ranks
from ..engine.tensor import Tensor, needs_gradients
from ..engine.variable import Variable
from ..operators import norm
from . import checks
from .layer import Layer, Shape


class BatchNormalization(Layer):
    """gamma (x - mean) / sqrt(variance + epsilon) + beta per channel (the last axis).

    In training the layer uses the batch's mean and variance and updates its moving averages: `moving * momentum + batch
    * (1 - momentum)`. In inference, and if it is frozen (trainable=False), it uses the moving averages. synchronized:
    whether processes that train together (`Model.distribute`) use the mean and variance of the whole batch instead of
    their own part's. Ioffe and Szegedy: "Batch normalization", ICML 2015.
    """

    keeps_shape = True
    supports_masking = True
    one_input = True
    recordable = True
    regularized_weights = ("beta", "gamma")
    renorm = checks.KerasDefault(False)
    renorm_clipping = checks.KerasDefault(None)
    renorm_momentum = checks.KerasDefault(0.99)

    def __init__(
        self, axis: int = -1, momentum: float = 0.99, epsilon: float = 1e-3, center: bool = True, scale: bool = True,
        beta_initializer: Any = "zeros", gamma_initializer: Any = "ones", moving_mean_initializer: Any = "zeros",
        moving_variance_initializer: Any = "ones", synchronized: bool = False, **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not 0 <= momentum <= 1:
            raise ValueError(f"momentum must be between 0 and 1. Received: {momentum!r}.")
        if not epsilon > 0:
            raise ValueError(f"epsilon must be positive. Received: {epsilon!r}.")
        self.axis, self.momentum, self.epsilon = checks.axis(axis), float(momentum), float(epsilon)
        self.center, self.scale, self.synchronized = bool(center), bool(scale), bool(synchronized)
        self.beta_initializer = initializers.get(beta_initializer)
        self.gamma_initializer = initializers.get(gamma_initializer)
        self.moving_mean_initializer = initializers.get(moving_mean_initializer)
        self.moving_variance_initializer = initializers.get(moving_variance_initializer)
        self.gamma: Variable | None = None
        self.beta: Variable | None = None

    def build(self, input_shape: Shape) -> None:
        self.channel_axis = self.axis
        size = (checks.known_channels(self, input_shape),)
        self._order = checks.last(self.axis, len(input_shape))
        self.gamma = self.add_weight(size, self.gamma_initializer, name="gamma") if self.scale else None
        self.beta = self.add_weight(size, self.beta_initializer, name="beta") if self.center else None
        self.moving_mean = self.add_weight(size, self.moving_mean_initializer, trainable=False, name="moving_mean")
        self.moving_variance = self.add_weight(
            size, self.moving_variance_initializer, trainable=False, name="moving_variance"
        )
        self.channels = size[0]

    def call(self, x: Tensor, training: bool = False, mask: Any = None) -> Tensor:
        if self._order is not None:
            x = x.transpose(self._order[0])
        if mask is not None and training and self.trainable:
            y = self._normalize_masked(x, mask)
        else:
            y = self._batch_norm(x, training and self.trainable)
        return y if self._order is None else y.transpose(self._order[1])

    def _batch_norm(self, x: Tensor, training: bool) -> Tensor:
        return F.batch_norm(x, self.gamma, self.beta, self.moving_mean, self.moving_variance, training, self.momentum,
                            self.epsilon, ranks=self._ranks())

    def _normalize_masked(self, x: Tensor, mask: Any) -> Tensor:
        """Normalizes all elements by the mean and variance of the elements that the mask (x's first axes) selects."""
        elements = x[np.asarray(mask, bool)].reshape(-1, x.shape[-1])
        if not len(elements):
            raise ValueError(f"Layer {self.name!r} cannot compute a mean, because its mask selects "
                             "no elements. Pass a mask with at least one True value.")
        self._batch_norm(elements, True)  # updates the moving averages
        mean, variance = F.moments(elements, 0)
        y = (x - mean) / F.sqrt(variance + self.epsilon)
        y = y if self.gamma is None else y * self.gamma
        return y if self.beta is None else y + self.beta

    def normalize(self, x: Tensor, training: bool, activation: str, pool: bool = False,
                  term: Tensor | None = None) -> Tensor | None:
        """Normalizes x and optionally, in the same pass, adds `term` (x's shape), applies an activation and 2x2 max
        pooling (`pool`). Returns None if no such pass exists: addition and pooling exist only in training without
        synchronized ranks, pooling only for images of at least 2 x 2 pixels.
        """
        training, group = training and self.trainable, self._ranks()
        if self._order is not None:
            return None
        has_gradients = not training and needs_gradients(x, self.gamma, self.beta)
        if has_gradients and activation != "relu":
            return None
        if (term is not None and not training) or (training and group.size > 1 and (pool or term is not None)):
            return None
        if pool and (not training or x.ndim != 4 or min(x.shape[1:3]) < 2):
            return None
        return F.batch_norm(x, self.gamma, self.beta, self.moving_mean, self.moving_variance, training, self.momentum,
                            self.epsilon, activation, pool, term, group)

    def before(self, x: Tensor, training: bool, activation: str) -> tuple | None:
        """Returns the center, scale, shift (C,) and activation with which the following convolution
        can normalize x, activation((x - center) scale + shift). Returns None if the batch's mean or
        gradients are needed.
        """
        vectors = (self.gamma, self.beta, self.moving_mean, self.moving_variance)
        if self._order is not None or (training and self.trainable) or needs_gradients(x, *vectors):
            return None
        gamma, beta, mean, variance = (None if t is None else t.data for t in vectors)
        center, _, scale, shift = norm.coefficients(
            x.device.kernels("norm"), x.data, gamma, beta, mean, variance, self.epsilon)
        return center, scale, shift, activation

    def _ranks(self) -> Ranks:
        """Returns the processes that share the normalized batch."""
        return ranks.current.get() if self.synchronized else ALONE

    def fold(self, kernel: Tensor, bias: Tensor | None, training: bool,
             split: bool = False) -> tuple[Tensor, Tensor, Any] | None:
        """Folds this layer into the preceding convolution or dense layer.

        Returns the new kernel, the new bias and None. With `split`, returns the old kernel, the new bias and an array
        that scales the kernel's filters. Every call computes these results again. Returns None if the batch's mean or
        gradients of the weights are needed, or if shapes, dtypes or devices differ.
        """
        if self._order is not None:
            return None
        vectors = (bias, self.gamma, self.beta, self.moving_mean, self.moving_variance)
        tensors, size = [kernel, *(t for t in vectors if t is not None)], (self.channels,)
        if (training and self.trainable) or any(v is None for v in vectors[-2:]) or needs_gradients(*tensors):
            return None
        is_uniform = all((t.dtype, t.device) == (kernel.dtype, kernel.device) for t in tensors)
        if not is_uniform or any(t.shape != size for t in tensors[1:]):
            return None
        b, gamma, beta, mean, variance = (None if t is None else t.data for t in vectors)
        k = kernel.device.kernels("norm")
        w = kernel.device.constant(np.ones(kernel.shape[-1:], kernel.dtype)) if split else kernel.data
        array, shift = norm.fold(k, w, b, gamma, beta, mean, variance, self.epsilon)
        result, scale = (kernel, array) if split else (Tensor(array, device=kernel.device), None)
        return result, Tensor(shift, device=kernel.device), scale
