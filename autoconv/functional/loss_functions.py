"""Losses per sample, with Keras's names: targets and predictions (N, ..., C) -> (N, ...).

Five of the losses have their own kernels. Targets are cast to the predictions' dtype. Targets of
shape (N, ...) also match predictions of shape (N, ..., 1), and vice versa.
"""

import warnings
from collections.abc import Sequence
from math import log
from typing import Any

import numpy as np

from ..engine.tensor import Tensor, apply, record_nodes, refuse_gradient, stack_all
from ..operators import arith, loss
from . import activation_functions, arrays
from .layer_functions import TensorLike, _move_constant, _same_dtype, _tensor

__all__ = ["binary_crossentropy", "binary_focal_crossentropy", "categorical_crossentropy",
           "categorical_focal_crossentropy", "categorical_generalized_cross_entropy",
           "categorical_hinge", "cosine_similarity", "dice", "hinge", "huber", "kl_divergence",
           "log_cosh", "mean_absolute_error", "mean_absolute_percentage_error",
           "mean_squared_error", "mean_squared_logarithmic_error", "poisson",
           "sparse_categorical_crossentropy", "squared_hinge", "tversky"]

EPSILON = 1e-7  # Keras's constant that keeps logarithms and quotients finite


# Losses for predicted probabilities.


def categorical_crossentropy(y_true: TensorLike, y_pred: TensorLike, from_logits: bool = False,
                             label_smoothing: float = 0.0, axis: int = -1) -> Tensor:
    """-sum(y_true log y_pred) over `axis`: one-hot targets and predictions (N, C) -> (N,).

    Probabilities are scaled to sum to 1 and clipped to [1e-7, 1 - 1e-7]. `from_logits` means that
    y_pred contains the values before the softmax. If y_pred is the result of a softmax along the
    last axis, the logits of that softmax are used, as in Keras on TensorFlow. label_smoothing s
    replaces targets t by t (1 - s) + s / C (Szegedy et al., 2015).
    """
    y_pred, from_logits = _logits(y_true, y_pred, from_logits, "categorical_crossentropy", "softmax", axis)
    y_true, y_pred = _last(y_true, y_pred, axis)
    remedy = " For integer labels use sparse_categorical_crossentropy."
    targets = _targets(_smooth_targets(y_true, label_smoothing, True), y_pred, "categorical_crossentropy", remedy)
    _warn_of_one_class(y_pred, "categorical_crossentropy")
    if targets.requires_grad:
        logarithms = activation_functions.log_softmax(y_pred) if from_logits else arrays.log(_distribution(y_pred, -1))
        return -(targets * logarithms).sum(-1)
    return apply(loss.categorical_crossentropy, y_pred, y_true=targets.data, from_logits=from_logits)


def sparse_categorical_crossentropy(y_true: TensorLike, y_pred: TensorLike,
                                    from_logits: bool = False, ignore_class: int | None = None,
                                    axis: int = -1) -> Tensor:
    """`categorical_crossentropy` for integer labels in 0..C-1: labels (N,) or (N, 1), y_pred (N, C)
    -> (N,). The loss of a sample with the label `ignore_class` is 0.
    """
    y_pred, from_logits = _logits(y_true, y_pred, from_logits, "sparse_categorical_crossentropy", "softmax", axis)
    y_pred = _move_axis_last(y_pred, axis)
    if ignore_class is None:
        labels = _labels(y_true, y_pred)
        return apply(loss.sparse_categorical_crossentropy, y_pred, y_true=labels, from_logits=from_logits)
    labels, counted = mask_class(y_true, ignore_class)
    losses = sparse_categorical_crossentropy(labels, y_pred, from_logits)
    return arrays.where(counted.reshape(losses.shape), losses, 0.0)


def binary_crossentropy(y_true: TensorLike, y_pred: TensorLike, from_logits: bool = False,
                        label_smoothing: float = 0.0, axis: int = -1) -> Tensor:
    """-mean(t log p + (1 - t) log(1 - p)) over `axis`: (N, C) -> (N,). Probabilities p are clipped
    to [1e-7, 1 - 1e-7]. If y_pred is the result of a sigmoid, the logits of that sigmoid are used.
    label_smoothing s replaces targets t by t (1 - s) + s / 2.
    """
    y_pred, from_logits = _logits(y_true, y_pred, from_logits, "binary_crossentropy", "sigmoid")
    y_true, y_pred = _last(y_true, y_pred, axis)
    targets = _targets(_smooth_targets(y_true, label_smoothing), y_pred, "binary_crossentropy")
    if targets.requires_grad:
        if from_logits:
            return (activation_functions.softplus(y_pred) - targets * y_pred).mean(-1)
        return _entropy(targets, y_pred).mean(-1)
    return apply(loss.binary_crossentropy, y_pred, y_true=targets.data, from_logits=from_logits)


def binary_focal_crossentropy(y_true: TensorLike, y_pred: TensorLike,
                              apply_class_balancing: bool = False, alpha: float = 0.25,
                              gamma: float = 2.0, from_logits: bool = False,
                              label_smoothing: float = 0.0, axis: int = -1) -> Tensor:
    """mean((1 - q)^gamma binary crossentropy), where q is the predicted probability of the true
    class. apply_class_balancing also multiplies the loss by alpha for class 1 and by 1 - alpha for
    class 0. Lin et al., 2017.
    """
    t, p = _pair(_smooth_targets(y_true, label_smoothing), y_pred, "binary_focal_crossentropy")
    p = activation_functions.sigmoid(p) if from_logits else p
    entropy = _entropy(t, p)
    losses = (1 - (t * p + (1 - t) * (1 - p))) ** gamma * entropy
    if apply_class_balancing:
        losses = (t * alpha + (1 - t) * (1 - alpha)) * losses
    return losses.mean(axis)


def categorical_focal_crossentropy(y_true: TensorLike, y_pred: TensorLike, alpha: float = 0.25,
                                   gamma: float = 2.0, from_logits: bool = False,
                                   label_smoothing: float = 0.0, axis: int = -1) -> Tensor:
    """-sum(alpha (1 - p)^gamma t log p) over `axis`. Easy samples have less weight. Lin et al., 2017."""
    t, p = _pair(_smooth_targets(y_true, label_smoothing, True), y_pred, "categorical_focal_crossentropy")
    _warn_of_one_class(p, "categorical_focal_crossentropy")
    p = activation_functions.softmax(p, axis) if from_logits else p
    p = _distribution(p, axis)
    return (alpha * (1 - p) ** gamma * (-t * arrays.log(p))).sum(axis)


def categorical_generalized_cross_entropy(y_true: TensorLike, y_pred: TensorLike,
                                          q: float = 0.5) -> Tensor:
    """(1 - p^q) / q, where p is the predicted probability of the label. Zhang and Sabuncu, 2018."""
    if not 0 < q < 1:
        raise ValueError(f"q must be greater than 0 and less than 1. Received: {q!r}.")
    p = _predictions(y_pred)
    labels = _labels(y_true, p)
    hot = p.device.empty(p.shape, p.dtype)
    p.device.kernels("loss").one_hot(labels, hot)
    p = arrays.clip((p * Tensor(hot, device=p.device)).sum(-1), EPSILON, 1 - EPSILON)
    return (1 - p**q) / q


def kl_divergence(y_true: TensorLike, y_pred: TensorLike) -> Tensor:
    """sum(t log(t / p)) over the last axis, with t and p clipped to [1e-7, 1]. Kullback and Leibler, 1951."""
    t, p = (arrays.clip(each, EPSILON, 1.0) for each in _pair(y_true, y_pred, "kl_divergence"))
    return (t * arrays.log(t / p)).sum(-1)


def poisson(y_true: TensorLike, y_pred: TensorLike) -> Tensor:
    """mean(p - t log p): the negative log-likelihood of counts t at rates p, up to a constant."""
    t, p = _pair(y_true, y_pred, "poisson")
    return (p - t * arrays.log(p + EPSILON)).mean(-1)


# Regression losses.


def mean_squared_error(y_true: TensorLike, y_pred: TensorLike) -> Tensor:
    """mean((y_pred - y_true)^2) over the last axis: (N, C) -> (N,)."""
    targets, y_pred = _pair(y_true, y_pred, "mean_squared_error")
    if targets.requires_grad:
        return ((y_pred - targets) ** 2).mean(-1)
    return apply(loss.mean_squared_error, y_pred, y_true=targets.data)


def mean_absolute_error(y_true: TensorLike, y_pred: TensorLike) -> Tensor:
    """mean(|y_pred - y_true|) over the last axis: (N, C) -> (N,)."""
    targets, y_pred = _pair(y_true, y_pred, "mean_absolute_error")
    if targets.requires_grad:
        return arrays.abs(y_pred - targets).mean(-1)
    return apply(loss.mean_absolute_error, y_pred, y_true=targets.data)


def mean_absolute_percentage_error(y_true: TensorLike, y_pred: TensorLike) -> Tensor:
    """100 mean(|y_true - y_pred| / |y_true|) over the last axis, with divisors of at least 1e-7."""
    t, p = _pair(y_true, y_pred, "mean_absolute_percentage_error")
    return 100 * arrays.abs((t - p) / arrays.maximum(arrays.abs(t), EPSILON)).mean(-1)


def mean_squared_logarithmic_error(y_true: TensorLike, y_pred: TensorLike) -> Tensor:
    """mean((log(1 + t) - log(1 + p))^2) over the last axis, with targets t and predictions p of at least 1e-7."""
    t, p = (arrays.log(arrays.maximum(each, EPSILON) + 1) for each in _pair(
        y_true, y_pred, "mean_squared_logarithmic_error"))
    return ((p - t) ** 2).mean(-1)


def huber(y_true: TensorLike, y_pred: TensorLike, delta: float = 1.0) -> Tensor:
    """mean(e^2 / 2 if |e| <= delta else delta (|e| - delta / 2)), with errors e = y_pred - y_true. Huber, 1964."""
    t, p = _pair(y_true, y_pred, "huber")
    error = p - t
    size = arrays.abs(error)
    return arrays.where(size <= delta, 0.5 * error**2, delta * size - 0.5 * delta**2).mean(-1)


def log_cosh(y_true: TensorLike, y_pred: TensorLike) -> Tensor:
    """mean(log(cosh(e))) for errors e = y_pred - y_true, about e^2 / 2 for small e and |e| - log 2 for large e."""
    t, p = _pair(y_true, y_pred, "log_cosh")
    error = p - t
    return (error + activation_functions.softplus(-2 * error) - log(2)).mean(-1)


def cosine_similarity(y_true: TensorLike, y_pred: TensorLike, axis: int = -1) -> Tensor:
    """-sum(t p / (|t| |p|)) over `axis`: -1 for equal directions, 1 for opposite directions."""
    t, p = (unit_length(each, axis) for each in _pair(y_true, y_pred, "cosine_similarity"))
    return -(t * p).sum(axis)


# Margin losses.


def hinge(y_true: TensorLike, y_pred: TensorLike) -> Tensor:
    """mean(max(1 - t p, 0)) for targets t of -1 and 1. Targets that are all 0 or 1 are converted to -1 and 1."""
    t, p = _pair(y_true, y_pred, "hinge")
    return activation_functions.relu(1 - _signs(t) * p).mean(-1)


def squared_hinge(y_true: TensorLike, y_pred: TensorLike) -> Tensor:
    """mean(max(1 - t p, 0)^2) for targets t of -1 and 1. Targets that are all 0 or 1 are converted to -1 and 1."""
    t, p = _pair(y_true, y_pred, "squared_hinge")
    return (activation_functions.relu(1 - _signs(t) * p) ** 2).mean(-1)


def categorical_hinge(y_true: TensorLike, y_pred: TensorLike) -> Tensor:
    """max(1 + max((1 - t) p) - sum(t p), 0) over the last axis, for one-hot targets."""
    t, p = _pair(y_true, y_pred, "categorical_hinge")
    return activation_functions.relu(((1 - t) * p).max(-1) - (t * p).sum(-1) + 1)


# Segmentation losses, which compare areas.


def dice(y_true: TensorLike, y_pred: TensorLike, axis: int | Sequence[int] | None = None) -> Tensor:
    """1 - 2 sum(t p) / (sum(t) + sum(p)), with sums over `axis`, by default over all axes. Dice, 1945."""
    t, p = _pair(y_true, y_pred, "dice")
    return 1 - 2 * (t * p).sum(axis) / (t.sum(axis) + p.sum(axis) + EPSILON)


def tversky(y_true: TensorLike, y_pred: TensorLike, alpha: float = 0.5, beta: float = 0.5,
            axis: int | Sequence[int] | None = None) -> Tensor:
    """1 - I / (I + alpha sum((1 - p) t) + beta sum(p (1 - t))), with I = sum(t p). Salehi, 2017."""
    t, p = _pair(y_true, y_pred, "tversky")
    common = (t * p).sum(axis)
    return 1 - common / (common + ((1 - p) * t).sum(axis) * alpha + (p * (1 - t)).sum(axis) * beta + EPSILON)


# Helpers.


def _entropy(t: Tensor, p: Tensor) -> Tensor:
    """-(t log p + (1 - t) log(1 - p)), element by element, with p clipped to [1e-7, 1 - 1e-7]."""
    p = arrays.clip(p, EPSILON, 1 - EPSILON)
    return -(t * arrays.log(p) + (1 - t) * arrays.log(1 - p))


def _distribution(p: Tensor, axis: int) -> Tensor:
    """Scales probabilities to sum to 1 along `axis`, then clips them to [1e-7, 1 - 1e-7]."""
    return arrays.clip(p / p.sum(axis, keepdims=True), EPSILON, 1 - EPSILON)


def unit_length(x: TensorLike, axis: int = -1) -> Tensor:
    """Divides x by its L2 norm along `axis`. A zero vector stays zero."""
    x = _tensor(x)
    return x * arrays.maximum((x * x).sum(axis, keepdims=True), EPSILON**2) ** -0.5


def mask_class(y_true: TensorLike, ignored: int) -> tuple[Any, Tensor]:
    """Returns labels with `ignored` replaced by 0, and a mask that is nonzero for other labels."""
    refuse_gradient("A loss of integer labels", y_true=y_true)
    if isinstance(y_true, Tensor):
        counted = arrays.not_equal(y_true, ignored)
        labels = _move_constant(arrays.where(counted, y_true, 0), y_true, y_true.dtype)
        return Tensor(labels, device=y_true.device), counted
    labels = np.asarray(y_true)
    return np.where(labels == ignored, 0, labels), _tensor(labels != ignored)


def _predictions(value: TensorLike, y_true: TensorLike | None = None) -> Tensor:
    """Converts predictions to a floating-point tensor. If only the targets require gradients, the
    predictions are converted to the targets' dtype and device.
    """
    y_pred = _tensor(value)
    if isinstance(y_true, Tensor) and y_true.requires_grad and not y_pred.requires_grad:
        y_pred = Tensor(_move_constant(y_pred, y_true, y_true.dtype), device=y_true.device)
    if y_pred.ndim == 0:
        raise ValueError(f"y_pred must have at least one axis. Received shape: {y_pred.shape}.")
    if y_pred.dtype.kind != "f":  # a mean of integers would be truncated
        y_pred = Tensor(_move_constant(y_pred, y_pred, np.float32), device=y_pred.device)
    return y_pred


def _pair(y_true: TensorLike, y_pred: TensorLike, name: str) -> tuple[Tensor, Tensor]:
    """Converts targets and predictions to tensors of the same shape and dtype."""
    y_true = stack_all(y_true)
    y_pred = _predictions(y_pred, y_true)
    return _targets(y_true, y_pred, name), y_pred


def _logits(y_true: TensorLike, value: TensorLike, from_logits: bool, name: str, activation: str,
            axis: int = -1) -> tuple[Tensor, bool]:
    """Returns the predictions, and whether they are logits. If the predictions are the result of
    `activation`, returns the logits from which it computed them.
    """
    y_pred = _predictions(value, stack_all(y_true))
    if from_logits and y_pred.logits is not None:
        warnings.warn(f"{name} received from_logits=True, but its predictions come from a {y_pred.activation}, so "
                      "they are not logits. Leave out from_logits, or the activation of the last layer.", stacklevel=4)
    if y_pred.activation == activation and axis in (-1, y_pred.ndim - 1):
        return y_pred.logits, True  # type: ignore[return-value]
    return y_pred, from_logits


def _move_axis_last(x: Tensor, axis: int) -> Tensor:
    """Moves an axis of x to the end."""
    if isinstance(axis, bool) or not hasattr(axis, "__index__"):
        raise ValueError(f"axis must be an integer. Received: {axis!r}.")
    (at,) = arith.normalize_axes(axis, x.ndim)
    return x if at == x.ndim - 1 else x.transpose(*(i for i in range(x.ndim) if i != at), at)


def _last(y_true: TensorLike, y_pred: Tensor, axis: int) -> tuple[TensorLike, Tensor]:
    """Moves the class axis of targets and predictions to the end."""
    moved = _move_axis_last(y_pred, axis)
    return (y_true if moved is y_pred else _move_axis_last(_tensor(y_true), axis)), moved


def _smooth_targets(y_true: TensorLike, smoothing: float, over_classes: bool = False) -> TensorLike:
    """Returns targets (1 - `smoothing`) + `smoothing` / 2, or with 1/C instead of 1/2 if `over_classes`."""
    if not smoothing:
        return y_true
    y_true = stack_all(y_true)
    y_true = y_true if isinstance(y_true, Tensor) else np.asarray(y_true)
    return y_true * (1 - smoothing) + smoothing / (y_true.shape[-1] if over_classes else 2)


def _signs(t: Tensor) -> Tensor:
    """Converts targets that are all 0 or 1 to -1 and 1."""
    others = arrays.where(arrays.equal(t, 0), 0.0, arrays.where(arrays.equal(t, 1), 0.0, 1.0)).max()
    return arrays.where(arrays.equal(others, 0), 2 * t - 1, t)


def _warn_of_one_class(y_pred: Tensor, name: str) -> None:
    if y_pred.shape[-1] == 1:
        warnings.warn(f"{name} of predictions of one class is always 0. Received: y_pred of shape {y_pred.shape}. For "
                      "two classes use binary_crossentropy.", SyntaxWarning, stacklevel=4)


def _targets(y_true: TensorLike, y_pred: Tensor, name: str, remedy: str = "") -> Tensor:
    """Converts targets to a tensor of the predictions' shape and dtype. Gradients pass through the conversion."""
    y_true = stack_all(y_true)
    if isinstance(y_true, Tensor) and y_true.requires_grad:
        targets = _same_dtype(name, y_pred, y_true)[1]
    else:
        targets = Tensor(_move_constant(y_true, y_pred, y_pred.dtype), device=y_pred.device)
    if y_pred.shape in ((*targets.shape, 1), targets.shape[:-1]) and targets.size == y_pred.size:
        targets = targets.reshape(y_pred.shape)
    if targets.shape != y_pred.shape:
        raise ValueError(f"{name} needs y_true and y_pred of the same shape. Received: y_true of "
                         f"shape {targets.shape}, y_pred of shape {y_pred.shape}.{remedy}")
    return targets


def _labels(y_true: TensorLike, y_pred: Tensor) -> Any:
    """Returns the labels as an array of y_pred's shape without the last axis. Labels must be in 0..C-1."""
    y_true = stack_all(y_true)
    refuse_gradient("A loss of integer labels", y_true=y_true)
    if isinstance(y_true, Tensor) and y_true.dtype == np.int64:
        labels = _move_constant(y_true, y_pred, np.int64)  # kernels return NaN for labels out of range
    else:
        labels = np.asarray(y_true)
    if labels.shape == (*y_pred.shape[:-1], 1):
        labels = labels[..., 0] if isinstance(labels, np.ndarray) else labels.reshape(labels.shape[:-1])
    if labels.shape != y_pred.shape[:-1]:
        raise ValueError("y_true must contain one integer label per prediction. Received: y_true "
                         f"of shape {np.shape(y_true)}, y_pred of shape {y_pred.shape}. For "
                         "one-hot targets, use categorical_crossentropy.")
    return labels if isinstance(y_true, Tensor) and y_true.dtype == np.int64 else y_pred.device.asarray(
        whole_labels(labels, y_pred.shape[-1]))


def whole_labels(labels: np.ndarray, classes: int | None) -> np.ndarray:
    """Converts labels to int64. Raises ValueError if they are not integers in 0..classes-1."""
    with np.errstate(invalid="ignore"):
        whole = labels.astype(np.int64) if labels.dtype.kind in "iubf" and np.isfinite(labels).all() else None
    if whole is None or (whole != labels).any():
        remedy = ("For targets that are not classes, use a loss such as mse." if labels.dtype.kind == "f" and
                  np.isfinite(labels).all() else "Remove the samples without a label.")
        raise ValueError(f"Labels must be integers. Received: labels of dtype {labels.dtype}, "
                         f"starting with {labels.reshape(-1)[:5]}. {remedy}")
    if classes is not None and whole.size and (whole.min() < 0 or whole.max() >= classes):
        raise ValueError(f"Labels must be in 0..{classes - 1} for predictions of {classes} "
                         f"classes. Received: labels from {whole.min()} to {whole.max()}.")
    return whole


record_nodes(globals(), __all__)
