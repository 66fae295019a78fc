"""Penalties on weights that are added to the loss: `Dense(10, kernel_regularizer="l2")`."""

import math
from typing import Any

import numpy as np

from . import functional as F
from .arguments import names
from .arguments.serialization import Configurable, Registry
from .engine.tensor import Tensor
from .functional.layer_functions import TensorLike, _tensor

__all__ = ["L1", "L1L2", "L2", "OrthogonalRegularizer", "Regularizer", "deserialize", "get", "l1",
           "l1_l2", "l2", "orthogonal_regularizer", "serialize"]


class Regularizer(Configurable):
    """Base class of custom regularizers: override `__call__(x)` with functions of tensors."""

    recordable = True

    def __call__(self, x: TensorLike) -> Any:
        """Returns the penalty for x, which is added to the loss. The base class returns 0."""
        return 0.0


class L1L2(Regularizer):
    """l1 sum(|x|) + l2 sum(x^2)."""

    def __init__(self, l1: float | None = 0.0, l2: float | None = 0.0) -> None:
        self.l1 = _check_factor("l1", l1 or 0.0)
        self.l2 = _check_factor("l2", l2 or 0.0)

    def __call__(self, x: TensorLike) -> Tensor:
        x = _tensor(x)
        total = self.l1 * F.abs(x).sum() if self.l1 or not self.l2 else None
        if not self.l2:
            return total  # type: ignore[return-value]
        squares = self.l2 * (x * x).sum()
        return squares if total is None else total + squares


class L1(L1L2):
    """l1 sum(|x|): drives weights to 0 (Tibshirani: "Lasso", 1996)."""

    def __init__(self, l1: float | None = 0.01) -> None:
        super().__init__(0.01 if l1 is None else l1, 0.0)


class L2(L1L2):
    """l2 sum(x^2): keeps weights small (Hoerl and Kennard: "Ridge regression", 1970)."""

    def __init__(self, l2: float | None = 0.01) -> None:
        super().__init__(0.0, 0.01 if l2 is None else l2)


class OrthogonalRegularizer(Regularizer):
    """factor times the mean of |cosine| over all pairs of a matrix's rows, or of its columns."""

    def __init__(self, factor: float = 0.01, mode: str = "rows") -> None:
        self.factor = _check_factor("factor", factor)
        self.mode = names.lookup("mode", mode, {"rows": "rows", "columns": "columns"})

    def __call__(self, x: TensorLike) -> Tensor:
        x = _tensor(x)
        if x.ndim != 2:
            raise ValueError(f"Inputs to OrthogonalRegularizer must have rank 2. Received: inputs.shape={x.shape}.")
        rows = x if self.mode == "rows" else x.transpose()
        rows = F.loss_functions.unit_length(rows, 1)
        size = rows.shape[0]
        off_diagonal = Tensor(x.device.constant(1 - np.eye(size, dtype=x.dtype)), device=x.device)
        pairs = max(size * (size - 1) / 2, 1)
        return self.factor * 0.5 / pairs * F.abs((rows @ rows.transpose()) * off_diagonal).sum()


l1, l2, l1_l2, orthogonal_regularizer = L1, L2, L1L2, OrthogonalRegularizer

CLASSES = {kind.__name__: kind for kind in (L1, L2, L1L2, OrthogonalRegularizer)}
registry = Registry("regularizer", "keras.regularizers", Regularizer, CLASSES, {
    "l1": L1, "l2": L2, "l1_l2": L1L2, "l1l2": L1L2, "orthogonal_regularizer": OrthogonalRegularizer})
get, serialize, deserialize = registry.get, registry.serialize, registry.deserialize


def _check_factor(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        raise ValueError(f"Invalid value for argument {name}: expected a non-negative float. Received: {name}={value}")
    return float(value)
