"""Constraints on weights, with Keras's formulas: `Conv2D(8, 3, kernel_constraint="max_norm")`."""

from collections.abc import Sequence
from typing import Any

from . import functional as F
from .arguments import names
from .arguments.serialization import Configurable, Registry
from .engine.tensor import Tensor
from .functional.layer_functions import TensorLike, _tensor
from .functional.loss_functions import EPSILON

__all__ = ["Constraint", "MaxNorm", "MinMaxNorm", "NonNeg", "UnitNorm", "deserialize", "get",
           "max_norm", "min_max_norm", "non_neg", "serialize", "unit_norm"]

Axis = int | Sequence[int]


class Constraint(Configurable):
    """Base class of custom constraints: override `__call__(w)` with functions of tensors."""

    recordable = True

    def __call__(self, w: TensorLike) -> Any:
        """Returns the constrained weight. The base class returns w unchanged."""
        return w


def _norms(w: Tensor, axis: Axis) -> Tensor:
    return F.sqrt((w * w).sum(axis, keepdims=True))


class MaxNorm(Constraint):
    """Scales w down to an L2 norm of at most `max_value` along `axis`. Pass the input axes: 0 for a
    dense kernel, [0, 1, 2] for a convolution kernel (Srivastava et al., 2014).
    """

    def __init__(self, max_value: float = 2, axis: Axis = 0) -> None:
        self.max_value = max_value
        self.axis = axis

    def __call__(self, w: TensorLike) -> Tensor:
        w = _tensor(w)
        norms = _norms(w, self.axis)
        return w * (F.clip(norms, 0.0, float(self.max_value)) / (norms + EPSILON))


class NonNeg(Constraint):
    """Replaces negative weights by 0."""

    def __call__(self, w: TensorLike) -> Tensor:
        return F.maximum(_tensor(w), 0.0)


class UnitNorm(Constraint):
    """Divides w by its L2 norm along `axis`."""

    def __init__(self, axis: Axis = 0) -> None:
        self.axis = axis

    def __call__(self, w: TensorLike) -> Tensor:
        w = _tensor(w)
        return w / (_norms(w, self.axis) + EPSILON)


class MinMaxNorm(Constraint):
    """Moves the L2 norm of w along `axis` towards the range min_value..max_value, by a fraction `rate`."""

    def __init__(self, min_value: float = 0.0, max_value: float = 1.0, rate: float = 1.0,
                 axis: Axis = 0) -> None:
        self.min_value = min_value
        self.max_value = max_value
        self.rate = rate
        self.axis = axis

    def __call__(self, w: TensorLike) -> Tensor:
        w = _tensor(w)
        norms = _norms(w, self.axis)
        targets = self.rate * F.clip(norms, float(self.min_value), float(self.max_value)) + (1 - self.rate) * norms
        return w * (targets / (norms + EPSILON))


max_norm, non_neg, unit_norm, min_max_norm = MaxNorm, NonNeg, UnitNorm, MinMaxNorm

CLASSES = {kind.__name__: kind for kind in (MaxNorm, MinMaxNorm, NonNeg, UnitNorm)}
registry = Registry("constraint", "keras.constraints", Constraint, CLASSES,
                    {names.snake_case(name): kind for name, kind in CLASSES.items()})
get, serialize, deserialize = registry.get, registry.serialize, registry.deserialize
