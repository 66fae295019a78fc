"""Accuracy functions, which return one value per sample. The classes in means.py average these values."""

from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np

from ..engine.tensor import Tensor
from .metric import array


def _accept_tensors(function: Callable[..., np.ndarray]) -> Callable[..., Tensor]:
    """Makes a function of arrays accept tensors and lists. The function then returns a tensor of zeros and ones."""

    @wraps(function)
    def wrapper(y_true: Any, y_pred: Any, *args: Any, **options: Any) -> Tensor:
        return Tensor(np.asarray(function(array(y_true), array(y_pred), *args, **options), np.float32))

    return wrapper


@_accept_tensors
def accuracy(y_true: np.ndarray, y_pred: np.ndarray) -> np.ndarray:
    """1 if the prediction equals the target, else 0."""
    return y_true.reshape(y_pred.shape) == y_pred


@_accept_tensors
def categorical_accuracy(y_true: np.ndarray, y_pred: np.ndarray) -> np.ndarray:
    """1 if the class with the largest output (..., C) is the one-hot target's class, else 0."""
    return y_true.argmax(-1) == y_pred.argmax(-1)


@_accept_tensors
def sparse_categorical_accuracy(y_true: np.ndarray, y_pred: np.ndarray) -> np.ndarray:
    """1 if the class with the largest output (..., C) is the integer label, (...) or (..., 1), else 0."""
    return _labels(y_true, y_pred) == y_pred.argmax(-1)


@_accept_tensors
def binary_accuracy(y_true: np.ndarray, y_pred: np.ndarray, threshold: float = 0.5) -> np.ndarray:
    """1 if `y_pred > threshold` equals the target, 0 or 1, else 0. Targets may be (N,) for outputs (N, 1)."""
    return y_true.reshape(y_pred.shape) == (y_pred > threshold)


@_accept_tensors
def top_k_categorical_accuracy(y_true: np.ndarray, y_pred: np.ndarray, k: int = 5) -> np.ndarray:
    """1 if fewer than k outputs exceed the output of the one-hot target's class, else 0."""
    return _in_top_k(y_true.argmax(-1), y_pred, k)


@_accept_tensors
def sparse_top_k_categorical_accuracy(y_true: np.ndarray, y_pred: np.ndarray, k: int = 5) -> np.ndarray:
    """1 if fewer than k outputs exceed the output of the integer label's class, else 0."""
    return _in_top_k(_labels(y_true, y_pred), y_pred, k)


def _in_top_k(labels: np.ndarray, y_pred: np.ndarray, k: int) -> np.ndarray:
    labels = labels.astype(np.int64)[..., None]
    return (y_pred > np.take_along_axis(y_pred, labels, -1)).sum(-1) < k


def _labels(y_true: np.ndarray, y_pred: np.ndarray) -> Any:
    return y_true[..., 0] if y_true.ndim == y_pred.ndim else y_true
