"""Losses with Keras's names and formulas: a class computes one number a batch, its function one number a sample."""

from collections.abc import Callable
from typing import Any

import numpy as np

from . import functional as F
from .arguments import names
from .functional import (
    binary_crossentropy,
    categorical_crossentropy,
    mean_absolute_error,
    mean_squared_error,
    sparse_categorical_crossentropy,
)
from .functional.nn import whole_labels
from .tensor import Tensor
from .versions import Versioned

__all__ = [
    "BinaryCrossentropy", "CategoricalCrossentropy", "Loss", "MeanAbsoluteError", "MeanSquaredError",
    "SparseCategoricalCrossentropy", "binary_crossentropy", "categorical_crossentropy", "get", "mean_absolute_error",
    "mean_squared_error", "sparse_categorical_crossentropy",
]


class Loss(Versioned):
    """The base of a loss of your own: override `call(y_true, y_pred)`, which returns one number a sample as a tensor.

    `loss(y_true, y_pred, sample_weight=None)` is then their sum, each times its weight, over the number of samples
    (reduction "sum_over_batch_size"), the sum itself ("sum"), or all of them ("none", not for training).
    """

    recordable = False  # whether `call` is functions of `functional` on tensors, and nothing that differs between calls

    def __init__(self, name: str | None = None, reduction: str = "sum_over_batch_size") -> None:
        names.lookup("reduction", reduction, dict.fromkeys(("sum_over_batch_size", "sum", "none")))
        self.name, self.reduction = name or names.snake_case(type(self).__name__), reduction

    def call(self, y_true: Any, y_pred: Tensor) -> Tensor:
        """The losses of the samples."""
        raise NotImplementedError(f"{type(self).__name__} must override call(self, y_true, y_pred).")

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Tensor:
        values = self.call(y_true, y_pred)
        if self.reduction == "none":
            return values if sample_weight is None else values * _spread(sample_weight, values)
        weights = values.device.asarray(self.normalized_weights(values, sample_weight))
        return (values * Tensor(weights, device=values.device)).sum()

    def normalized_weights(self, values: Tensor, sample_weight: Any = None, shards: float = 1) -> np.ndarray:
        """How much each sample's value counts in the batch's loss: 1/N of its weight. That is its gradient, too.

        `shards`: how many times as many samples the whole batch has, where these are a part of it.
        """
        count = max(values.size, 1) * shards if self.reduction == "sum_over_batch_size" else 1
        if sample_weight is None:
            return np.full(values.shape, 1 / count, values.dtype)
        return _spread(sample_weight, values) / values.dtype.type(count)

    def target_dtype(self, dtype: Any) -> Any:
        """What targets are converted to for a model that computes in `dtype`."""
        return np.dtype(dtype)

    def check_targets(self, y_true: np.ndarray, output_shape: tuple[int | None, ...]) -> None:
        """Raises ValueError where targets (N, ...) cannot go with a model's outputs (None, ...)."""


class LossFunction(Loss):
    """Makes a function `(y_true, y_pred) -> tensor` a loss, which is recorded where the function says recordable."""

    recordable = True

    def __init__(self, function: Callable, name: str | None = None, reduction: str = "sum_over_batch_size") -> None:
        super().__init__(name or getattr(function, "__name__", "loss"), reduction)
        self._function, self.recordable = function, getattr(function, "recordable", False)

    def call(self, y_true: Any, y_pred: Tensor) -> Tensor:
        y_true = y_true if isinstance(y_true, Tensor) else Tensor(y_pred.device.asarray(y_true), device=y_pred.device)
        return self._function(y_true, y_pred)


class _SameShape(Loss):
    """A loss whose targets have the shape of the outputs."""

    _remedy = ""

    def check_targets(self, y_true: np.ndarray, output_shape: tuple[int | None, ...]) -> None:
        wanted = tuple(output_shape[1:])
        if not _fits(y_true.shape[1:], wanted) and not (wanted[-1:] == (1,) and _fits(y_true.shape[1:], wanted[:-1])):
            raise ValueError(f"{type(self).__name__} needs targets of the model's output shape {('N', *wanted)}. "
                             f"Received y of shape {y_true.shape}.{self._remedy}".replace("'N'", "N"))


class CategoricalCrossentropy(_SameShape):
    """-sum(t log p) over the classes, for one-hot targets t (N, C) and probabilities p (N, C), or logits.

    `label_smoothing` s makes the targets softer: `t*(1 - s) + s/C` (Szegedy et al., 2015).
    """

    recordable = True
    _remedy = " For integer labels use SparseCategoricalCrossentropy, or utils.to_categorical."

    def __init__(self, from_logits: bool = False, label_smoothing: float = 0.0,
                 reduction: str = "sum_over_batch_size", name: str | None = None) -> None:
        super().__init__(name, reduction)
        self.from_logits, self.label_smoothing = from_logits, _smoothing(label_smoothing)

    def call(self, y_true: Any, y_pred: Any) -> Tensor:
        if self.label_smoothing:
            y_true = y_true if isinstance(y_true, Tensor) else np.asarray(y_true)
            y_true = y_true * (1 - self.label_smoothing) + self.label_smoothing / y_true.shape[-1]
        return F.categorical_crossentropy(y_true, y_pred, self.from_logits)


class SparseCategoricalCrossentropy(Loss):
    """-log p[label], for integer labels (N,) or (N, 1) in 0..C-1 and probabilities p (N, C), or logits."""

    recordable = True

    def __init__(self, from_logits: bool = False, reduction: str = "sum_over_batch_size",
                 name: str | None = None) -> None:
        super().__init__(name, reduction)
        self.from_logits = from_logits

    def call(self, y_true: Any, y_pred: Any) -> Tensor:
        return F.sparse_categorical_crossentropy(y_true, y_pred, self.from_logits)

    def target_dtype(self, dtype: Any) -> Any:
        return np.dtype(np.int64)

    def check_targets(self, y_true: np.ndarray, output_shape: tuple[int | None, ...]) -> None:
        wanted, classes = tuple(output_shape[1:-1]), output_shape[-1]
        if not _fits(y_true.shape[1:], wanted) and not _fits(y_true.shape[1:], (*wanted, 1)):
            remedy = "For one-hot targets use CategoricalCrossentropy." if y_true.ndim > len(wanted) + 1 else (
                "Is a Flatten or a global pooling missing before the last layer?")
            shape = str(("N", *wanted, classes)).replace("'N'", "N")
            raise ValueError("SparseCategoricalCrossentropy needs one integer label an output. Received y of shape "
                             f"{y_true.shape}, and a model with outputs of shape {shape}. {remedy}")
        whole_labels(y_true, None)
        if classes is not None and (y_true.min() < 0 or y_true.max() >= classes):
            low, top = y_true.min(), y_true.max()
            remedy = "" if top < classes else f" The last layer needs {int(top) + 1} units, one for each class."
            if classes == 1 and low == 0 and top == 1:
                remedy = " For two classes it needs 2 units; or 1 with a sigmoid, and loss='binary_crossentropy'."
            elif low == 1 and top == classes:
                remedy = " Count the labels from 0."
            raise ValueError(f"Labels must lie in 0..{classes - 1} for a model whose last layer has {classes} "
                             f"output{'s' * (classes > 1)}. Received labels from {low} to {top}.{remedy}")


class BinaryCrossentropy(_SameShape):
    """-mean(t log p + (1 - t) log(1 - p)) over the last axis, for targets in [0, 1] and probabilities, or logits.

    `label_smoothing` s moves the targets towards 0.5: `t*(1 - s) + s/2`.
    """

    recordable = True

    def __init__(self, from_logits: bool = False, label_smoothing: float = 0.0,
                 reduction: str = "sum_over_batch_size", name: str | None = None) -> None:
        super().__init__(name, reduction)
        self.from_logits, self.label_smoothing = from_logits, _smoothing(label_smoothing)

    def call(self, y_true: Any, y_pred: Any) -> Tensor:
        if self.label_smoothing:
            y_true = y_true if isinstance(y_true, Tensor) else np.asarray(y_true)
            y_true = y_true * (1 - self.label_smoothing) + 0.5 * self.label_smoothing
        return F.binary_crossentropy(y_true, y_pred, self.from_logits)


class MeanSquaredError(_SameShape):
    """mean((y_pred - y_true)^2) over the last axis."""

    recordable = True

    def __init__(self, reduction: str = "sum_over_batch_size", name: str | None = None) -> None:
        super().__init__(name, reduction)

    def call(self, y_true: Any, y_pred: Any) -> Tensor:
        return F.mean_squared_error(y_true, y_pred)


class MeanAbsoluteError(_SameShape):
    """mean(|y_pred - y_true|) over the last axis."""

    recordable = True

    def __init__(self, reduction: str = "sum_over_batch_size", name: str | None = None) -> None:
        super().__init__(name, reduction)

    def call(self, y_true: Any, y_pred: Any) -> Tensor:
        return F.mean_absolute_error(y_true, y_pred)


_CLASSES = (CategoricalCrossentropy, SparseCategoricalCrossentropy, BinaryCrossentropy, MeanSquaredError,
            MeanAbsoluteError)


_KNOWN: dict[str, type[Loss]] = {
    **{names.snake_case(c.__name__): c for c in _CLASSES}, "mse": MeanSquaredError, "mae": MeanAbsoluteError,
}
_OF_FUNCTION = {getattr(F, names.snake_case(c.__name__)): c for c in _CLASSES}


def get(identifier: str | Loss | Callable) -> Loss:
    """A loss by its name ("mse", "categorical_crossentropy", ...), of a function, or the one that was passed."""
    if isinstance(identifier, Loss):
        return identifier
    if isinstance(identifier, type) and issubclass(identifier, Loss):
        return identifier()
    if callable(identifier):
        return _OF_FUNCTION[identifier]() if identifier in _OF_FUNCTION else LossFunction(identifier)
    known = {**_KNOWN, **{c.__name__: c for c in _CLASSES}}
    return names.lookup("loss", identifier, known if identifier in known else _KNOWN)()


def _fits(shape: tuple[int, ...], wanted: tuple[int | None, ...]) -> bool:
    """Whether a shape is the one wanted, in which None goes with any size."""
    return len(shape) == len(wanted) and all(w is None or s == w for s, w in zip(shape, wanted))


def _spread(sample_weight: Any, values: Tensor) -> np.ndarray:
    """Weights (N,) in the shape of values (N, ...)."""
    weights = np.asarray(sample_weight, values.dtype)
    if values.ndim == 0 or weights.shape != values.shape[: weights.ndim]:
        raise ValueError("sample_weight must have one number a sample. Received shape "
                         f"{weights.shape} for losses of shape {values.shape}.")
    return np.broadcast_to(weights.reshape(weights.shape + (1,) * (values.ndim - weights.ndim)), values.shape)


def _smoothing(value: float) -> float:
    if not 0 <= value <= 1:
        raise ValueError(f"label_smoothing must lie in [0, 1]. Received: {value}.")
    return value
