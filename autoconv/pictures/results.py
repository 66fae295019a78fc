"""Evaluates predictions for labelled images: confusion matrix, precision, recall, worst mistakes."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


def confusion_matrix(y_true: Any, y_pred: Any, classes: int | None = None) -> np.ndarray:
    """Counts samples by true class (row) and predicted class (column) in a square matrix. `y_true`
    and `y_pred` are labels (N,) or scores (N, classes). Raises ValueError if their numbers of
    samples differ or a label is out of range.
    """
    true = _labels(y_true)
    guessed = _labels(y_pred)
    if true.shape != guessed.shape or not true.size:
        raise ValueError("y_true and y_pred must have the same number of samples, and at least "
                         f"one. Received: {len(true)} samples in y_true, {len(guessed)} in y_pred.")
    widths = [np.shape(y)[1] for y in (y_true, y_pred) if np.ndim(y) == 2 and np.shape(y)[1] > 1]
    count = max([int(true.max()) + 1, int(guessed.max()) + 1, *widths]) if classes is None else classes
    if min(true.min(), guessed.min()) < 0 or max(true.max(), guessed.max()) >= count:
        raise ValueError(f"Labels must be from 0 to {count - 1}. Received: labels from "
                         f"{min(true.min(), guessed.min())} to {max(true.max(), guessed.max())}.")
    return np.bincount(true * count + guessed, minlength=count * count).reshape(count, count)


def describe_validation(history: Mapping[str, Sequence[float]]) -> str:
    """Returns a sentence about the course of val_loss, or "" if it is known for fewer than two epochs."""
    losses = np.asarray(history.get("val_loss", ()), float)
    if len(losses) < 2 or np.isnan(losses).all():
        return ""
    best = int(np.nanargmin(losses)) + 1
    lowest = "(val_loss, the loss on images held out of the training, was lowest then)"
    if best == len(losses):
        return f"The net got better on new images until the last epoch {lowest}. More epochs may help."
    return f"The net stopped getting better on new images after epoch {best} of {len(losses)} {lowest}."


def precision_recall(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the precision and the recall (classes,), with NaN for 0 / 0. Precision is the correct
    fraction of a class's predictions; recall is the fraction of its samples that were found.
    """
    right = np.diag(matrix).astype(float)
    taken = matrix.sum(0)
    there = matrix.sum(1)
    precision = np.where(taken, right / np.maximum(taken, 1), np.nan)
    return precision, np.where(there, right / np.maximum(there, 1), np.nan)


def worst_mistakes(y_true: Any, scores: np.ndarray, count: int = 24) -> np.ndarray:
    """Returns the indices of misclassified samples, those with the highest scores first. y_true:
    labels (N,) or one-hot rows (N, classes). scores: (N, classes). Raises ValueError if the numbers
    of samples differ.
    """
    scores = np.asarray(scores)
    order = "Pass the labels first, as in worst_mistakes(labels, model.predict(images))."
    try:
        true = _labels(y_true)
    except ValueError as error:
        raise ValueError(f"{error} {order}") from None
    if scores.dtype.kind in "biuf" and np.any(np.asarray(y_true) % 1) and not np.any(scores % 1):
        raise ValueError("y_true must be labels or one-hot rows, and scores are not. Received: fractions in y_true, "
                         f"and only integers in scores. {order}")
    if scores.ndim != 2 or scores.shape[1] < 2 or len(scores) != len(true):
        raise ValueError("scores must have the shape (N, classes), with one row for each of the "
                         f"{len(true)} labels and at least two columns. Received: y_true of shape "
                         f"{np.shape(y_true)}, scores of shape {scores.shape}. {order}")
    wrong = np.flatnonzero(true != scores.argmax(-1))
    return wrong[np.argsort(-scores[wrong].max(-1).astype(np.float64), kind="stable")][:count]


def _labels(y: Any) -> np.ndarray:
    values = np.asarray(y)
    if values.ndim == 2:
        return values.argmax(-1) if values.shape[1] > 1 else _labels(values[:, 0])
    if values.ndim != 1 or (values.dtype.kind not in "bui" and (values != values.astype(np.int64)).any()):
        raise ValueError("Classes must be given as integer labels of shape (N,) or as scores of shape (N, classes). "
                         f"Received: an array of dtype {values.dtype} with the shape {values.shape}.")
    return values.astype(np.int64)
