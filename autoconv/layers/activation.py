"""Activation functions as separate layers."""

import warnings
from typing import Any

from .. import functional as F
from .. import initializers
from ..engine.tensor import Tensor
from . import checks
from .layer import Layer, Shape
from .spec import InputSpec


class Activation(Layer):
    """Applies an activation function: a name in `autoconv.activations`, or your own function."""

    keeps_shape = True
    built_at_once = True
    supports_masking = True
    one_input = True
    activation = checks.activation()
    recordable = True

    def __init__(self, activation: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.activation = activation

    def call(self, x: Tensor) -> Tensor:
        return self.activation(x)


class ReLU(Layer):
    """x above `threshold`, else negative_slope (x - threshold); at most `max_value`. Default: max(x, 0)."""

    keeps_shape = True
    built_at_once = True
    supports_masking = True
    one_input = True
    recordable = True

    def __init__(
        self, max_value: float | None = None, negative_slope: float = 0.0, threshold: float = 0.0, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        for name, value in (("max_value", max_value), ("negative_slope", negative_slope), ("threshold", threshold)):
            if (value is None and name != "max_value") or (value is not None and not value >= 0):
                raise ValueError(f"{name} of a ReLU layer must be a number of at least 0. Received: {name}={value!r}.")
        self.max_value, self.negative_slope, self.threshold = max_value, negative_slope, threshold

    def call(self, x: Tensor) -> Tensor:
        return F.relu(x, self.negative_slope, self.max_value, self.threshold)


def _slope(value: Any, name: str) -> float:
    if value is None or checks.number(value, name) < 0:
        raise ValueError("The negative_slope value of a Leaky ReLU layer cannot be None or "
                         f"negative value. Expected a float. Received: negative_slope={value!r}")
    return float(value)


class LeakyReLU(Layer):
    """x if it is positive, else negative_slope x. Maas et al., 2013."""

    keeps_shape = True
    built_at_once = True
    supports_masking = True
    one_input = True
    recordable = True
    negative_slope = checks.Setting(_slope)

    def __init__(self, negative_slope: float = 0.3, **kwargs: Any) -> None:
        if "alpha" in kwargs:
            negative_slope = kwargs.pop("alpha")
            warnings.warn("Argument `alpha` is deprecated. Use `negative_slope` instead.", stacklevel=3)
        super().__init__(**kwargs)
        self.negative_slope = negative_slope

    def call(self, x: Tensor) -> Tensor:
        return F.leaky_relu(x, self.negative_slope)


class PReLU(Layer):
    """x if it is positive, else alpha x. Every element of a sample has its own learned alpha,
    except that elements along the axes `shared_axes` (counted from 1, the first after the batch)
    share one. He et al., "Delving deep into rectifiers", 2015.
    """

    keeps_shape = True
    supports_masking = True
    one_input = True
    recordable = True
    regularized_weights = ("alpha",)

    def __init__(self, alpha_initializer: Any = "Zeros", shared_axes: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.alpha_initializer = initializers.get(alpha_initializer)
        self.shared_axes = [shared_axes] if isinstance(shared_axes, int) else shared_axes and list(shared_axes)

    def build(self, input_shape: Shape) -> None:
        shared_axes = set(self.shared_axes or ())
        sizes = tuple(1 if i in shared_axes else n for i, n in enumerate(input_shape))[1:]
        if None in sizes or not shared_axes <= set(range(1, len(input_shape))):
            raise ValueError(f"Layer {self.name!r} needs an input of known size along all axes except shared_axes. "
                             f"shared_axes must be in 1..{len(input_shape) - 1}. Received: "
                             f"input_shape={input_shape}, shared_axes={self.shared_axes}.")
        self.alpha = self.add_weight(sizes, self.alpha_initializer, name="alpha")  # type: ignore[arg-type]
        axes = {axis: size for axis, size in enumerate(input_shape[1:], 1) if axis not in shared_axes}
        self.input_spec = InputSpec(ndim=len(input_shape), axes=axes)  # type: ignore[arg-type]

    def call(self, x: Tensor) -> Tensor:
        return F.relu(x) - self.alpha * F.relu(-x)


class ELU(Layer):
    """x if it is positive, else alpha (exp(x) - 1). Clevert et al., 2015."""

    keeps_shape = True
    built_at_once = True
    supports_masking = True
    one_input = True
    recordable = True
    alpha = checks.Setting(checks.number)

    def __init__(self, alpha: float = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.alpha = alpha

    def call(self, x: Tensor) -> Tensor:
        return F.elu(x, self.alpha)


class Softmax(Layer):
    """exp(x) / sum(exp(x)) along one or several axes. Elements that the call's `mask` excludes become 0."""

    keeps_shape = True
    built_at_once = True
    supports_masking = True
    one_input = True
    recordable = True
    axis = checks.Setting(checks.axes)

    def __init__(self, axis: Any = -1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.axis = axis

    def call(self, x: Tensor, mask: Any = None) -> Tensor:
        if mask is not None:
            x = F.where(mask, x, -3e38)
        return F.softmax(x, self.axis)
