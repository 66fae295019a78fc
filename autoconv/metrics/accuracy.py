"""The shares of right predictions: functions, one value a sample. Their means are metrics (means.py)."""

from typing import Any

import numpy as np


def accuracy(y_true: np.ndarray, y_pred: np.ndarray) -> np.ndarray:
    """Whether predictions equal targets."""
    return y_true.reshape(y_pred.shape) == y_pred


def categorical_accuracy(y_true: np.ndarray, y_pred: np.ndarray) -> np.ndarray:
    """Whether the largest output (..., C) is the one-hot target's class."""
    return y_true.argmax(-1) == y_pred.argmax(-1)


def sparse_categorical_accuracy(y_true: np.ndarray, y_pred: np.ndarray) -> np.ndarray:
    """Whether the largest output (..., C) is the integer label (...) or (..., 1)."""
    return _labels(y_true, y_pred) == y_pred.argmax(-1)


def binary_accuracy(y_true: np.ndarray, y_pred: np.ndarray, threshold: float = 0.5) -> np.ndarray:
    """Whether `y_pred > threshold` is the target 0 or 1; targets (N,) go with outputs (N, 1)."""
    return y_true.reshape(y_pred.shape) == (y_pred > threshold)


def top_k_categorical_accuracy(y_true: np.ndarray, y_pred: np.ndarray, k: int = 5) -> np.ndarray:
    """Whether fewer than k outputs are larger than that of the one-hot target's class."""
    return sparse_top_k_categorical_accuracy(y_true.argmax(-1), y_pred, k)


def sparse_top_k_categorical_accuracy(y_true: np.ndarray, y_pred: np.ndarray, k: int = 5) -> np.ndarray:
    """Whether fewer than k outputs are larger than that of the integer label."""
    labels = _labels(y_true, y_pred).astype(np.int64)[..., None]
    return (y_pred > np.take_along_axis(y_pred, labels, -1)).sum(-1) < k


def _labels(y_true: np.ndarray, y_pred: np.ndarray) -> Any:
    return y_true[..., 0] if y_true.ndim == y_pred.ndim else y_true
