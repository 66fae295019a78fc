"""Normalizations of each sample separately, identical in training and inference."""

from math import prod
from typing import Any

from .. import functional as F
from .. import initializers
from ..engine.tensor import Tensor
from . import checks
from .layer import Layer, Shape


def _check_axes(layer: Layer, axis: Any, input_shape: Shape) -> list[int]:
    """Returns the axes, counted from 0. Raises ValueError if the input lacks one of them."""
    axes, rank = axis if isinstance(axis, list) else [axis], len(input_shape)
    if any(not -rank <= i < rank for i in axes):
        raise ValueError(f"Axis {axis} is out of bounds for input shape {input_shape}. Received: "
                         f"axis={axis} of layer {layer.name!r}.")
    return sorted(i % rank for i in axes)


def _find_sizes(layer: Layer, axes: list[int], input_shape: Shape) -> tuple[int, ...]:
    sizes = tuple(n for n in (input_shape[i] for i in axes) if n is not None)
    if len(sizes) < len(axes):
        raise ValueError(f"Layer {layer.name!r} needs inputs whose sizes along the axes {axes} are "
                         f"known. Received input shape: {input_shape}.")
    return sizes


class _SampleNorm(Layer):
    """Base of the normalization layers with gamma and beta."""

    keeps_shape = True
    supports_masking = True
    one_input = True
    regularized_weights = ("beta", "gamma")

    def _set_up(self, epsilon: float, center: bool, scale: bool, beta_initializer: Any, gamma_initializer: Any) -> None:
        self.epsilon, self.center, self.scale = float(epsilon), bool(center), bool(scale)
        self.beta_initializer = initializers.get(beta_initializer)
        self.gamma_initializer = initializers.get(gamma_initializer)

    def _add_weights(self, shape: tuple[int, ...]) -> None:
        self.gamma = self.add_weight(shape, self.gamma_initializer, name="gamma") if self.scale else None
        self.beta = self.add_weight(shape, self.beta_initializer, name="beta") if self.center else None


class LayerNormalization(_SampleNorm):
    """gamma (x - mean) / sqrt(variance + epsilon) + beta, with mean and variance over the axes
    `axis` of each sample. gamma and beta have the sizes of these axes. With `rms_scaling` the
    result is gamma x / sqrt(variance + epsilon). Ba et al., "Layer normalization", 2016.
    """

    recordable = True
    axis = checks.Setting(checks.axes)

    def __init__(
        self, axis: Any = -1, epsilon: float = 1e-3, center: bool = True, scale: bool = True, rms_scaling: bool = False,
        beta_initializer: Any = "zeros", gamma_initializer: Any = "ones", **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._set_up(epsilon, center and not rms_scaling, scale or rms_scaling, beta_initializer, gamma_initializer)
        self.axis, self.rms_scaling = axis, bool(rms_scaling)

    def build(self, input_shape: Shape) -> None:
        self.axis = _check_axes(self, self.axis, input_shape)
        sizes = _find_sizes(self, self.axis, input_shape)
        self._add_weights(sizes)

    def call(self, x: Tensor) -> Tensor:
        return F.layer_normalization(x, self.gamma, self.beta, self.axis, self.epsilon, self.rms_scaling)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        _check_axes(self, self.axis, input_shape)
        return input_shape


class GroupNormalization(_SampleNorm):
    """gamma (x - mean) / sqrt(variance + epsilon) + beta, with mean and variance per sample and per group of channels
    (the last axis); `groups=-1` uses one group per channel. Wu and He, "Group normalization", 2018.
    """

    recordable = True

    def __init__(
        self, groups: int = 32, axis: int = -1, epsilon: float = 1e-3, center: bool = True, scale: bool = True,
        beta_initializer: Any = "zeros", gamma_initializer: Any = "ones", **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if isinstance(groups, bool) or not isinstance(groups, int) or (groups < 1 and groups != -1):
            raise ValueError("Invalid value for argument `groups`. Expected a positive integer, "
                             f"or -1 for instance normalization. Received: groups={groups!r}.")
        self._set_up(epsilon, center, scale, beta_initializer, gamma_initializer)
        self.groups, self.axis = groups, checks.axis(axis)

    def build(self, input_shape: Shape) -> None:
        self.channel_axis = self.axis
        channels = checks.known_channels(self, input_shape)
        self.groups = channels if self.groups == -1 else self.groups
        if channels % self.groups:
            rule = "cannot be more than" if channels < self.groups else "must divide"
            raise ValueError(f"Number of groups ({self.groups}) {rule} the number of channels ({channels}).")
        self._add_weights((channels,))
        self.channels = channels
        self._order = checks.last(self.axis, len(input_shape))

    def call(self, x: Tensor) -> Tensor:
        if self._order is None:
            return self._normalize(x)
        return self._normalize(x.transpose(self._order[0])).transpose(self._order[1])

    def _normalize(self, x: Tensor) -> Tensor:
        """Normalizes x, whose last axis is the channel axis."""
        n, *middle, channels = x.shape
        groups = x.reshape(n, prod(middle), self.groups, channels // self.groups)
        mean, variance = F.moments(groups, (1, 3), keepdims=True)
        y = ((groups - mean) / F.sqrt(variance + self.epsilon)).reshape(n, *middle, channels)
        y = y if self.gamma is None else y * self.gamma
        return y if self.beta is None else y + self.beta


class RMSNormalization(Layer):
    """scale x / sqrt(mean(x^2) + epsilon), with the mean over `axis`. Zhang and Sennrich, "Root
    mean square layer normalization", 2019.
    """

    one_input = True
    recordable = True
    axis = checks.Setting(checks.axes)

    def __init__(self, axis: Any = -1, epsilon: float = 1e-6, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.axis, self.epsilon = axis, float(epsilon)

    def build(self, input_shape: Shape) -> None:
        self.axis = _check_axes(self, self.axis, input_shape)
        sizes = _find_sizes(self, self.axis, input_shape)
        self.scale = self.add_weight(sizes, "ones", name="scale")

    def call(self, x: Tensor) -> Tensor:
        mean = (x * x).mean(tuple(self.axis), True)
        open_ = (n if i in self.axis else 1 for i, n in enumerate(x.shape))
        return x / F.sqrt(mean + self.epsilon) * self.scale.reshape(*open_)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        _check_axes(self, self.axis, input_shape)
        return input_shape


class UnitNormalization(Layer):
    """Divides x by its L2 norm along `axis`."""

    built_at_once = True
    supports_masking = True
    one_input = True
    recordable = True
    axis = checks.Setting(checks.axes)

    def __init__(self, axis: Any = -1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.axis = axis

    def call(self, x: Tensor) -> Tensor:
        return F.normalize(x, self.axis, epsilon=1e-12)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        _check_axes(self, self.axis, input_shape)
        return input_shape
