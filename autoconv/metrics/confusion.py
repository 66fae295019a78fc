"""Metrics that count true and false positives and negatives at thresholds, and ratios of these counts."""

import inspect
import warnings
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np

from .. import functional as F
from ..arguments import keywords, names
from ..engine.variable import Variable
from .metric import Metric, array, broadcast_weights, number, ordered_sum, ratio

SUMMATIONS = ("interpolation", "minoring", "majoring")
COUNTS = ("true_positives", "false_positives", "true_negatives", "false_negatives")
LOWEST = -1e10  # less than every prediction


class _Counts(Metric):
    """Base class of metrics that count outcomes at several thresholds. `_counts` names the counts that are needed."""

    _counts: ClassVar[tuple[str, ...]] = COUNTS

    def __init__(self, thresholds: Sequence[float], name: str | None, dtype: str | None) -> None:
        super().__init__(dtype, name)
        self._thresholds = np.asarray(thresholds, np.float64)
        for count, variable in zip(self._counts, self._doubles(*self._counts, shape=self._thresholds.shape)):
            setattr(self, count, variable)

    def _get_counts(self) -> list[np.ndarray]:
        return [getattr(self, count).data for count in self._counts]

    def _count(self, t: np.ndarray, p: np.ndarray, weights: np.ndarray) -> None:
        """Counts targets and predictions of the same shape, per label if the counts have a second axis."""
        scores = p[p != LOWEST]  # LOWEST marks predictions outside the top k
        if scores.size and ((scores < 0).any() or (scores > 1).any()) and self._thresholds[0] != LOWEST:
            warnings.warn(f"{type(self).__name__} needs predictions in [0, 1]. Received values from "
                          f"{p.min()} to {p.max()}. Use a softmax or a sigmoid as the last activation.", stacklevel=4)
        counts = dict(zip(self._counts, self._get_counts()))
        labels = counts[self._counts[0]][0].size
        columns = (values.reshape(-1, labels).T for values in (t.astype(bool), p, weights))
        limits = self._thresholds.astype(np.float32)  # in float32, so that a prediction of 0.2 is not above 0.2
        order = np.argsort(limits)
        for label, (true, predicted, weight) in enumerate(zip(*columns)):
            bins = np.searchsorted(limits[order], predicted.astype(np.float32))  # number of limits exceeded
            bins[np.isnan(predicted)] = 0
            for mask, positives, negatives in ((true, COUNTS[0], COUNTS[3]), (~true, COUNTS[1], COUNTS[2])):
                histogram = np.bincount(bins, weight * mask, len(order) + 1)
                rejected = np.cumsum(histogram)
                for count, sums in ((negatives, rejected[:-1]), (positives, rejected[-1] - rejected[:-1])):
                    if count in counts:
                        counts[count].reshape(-1, labels)[order, label] += sums


def _match_shapes(y_true: Any, y_pred: Any, sample_weight: Any, top_k: int | None = None,
                  class_id: int | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns targets, predictions and weights of the same shape. class_id: the only class to keep.
    top_k: the number of predictions to keep per sample; the other predictions become `LOWEST`.
    """
    p = array(y_pred).astype(np.float64)
    t = array(y_true)
    if t.ndim != p.ndim and t.size == p.size:
        t = t.reshape(p.shape)
    if t.shape != p.shape:
        raise ValueError("Targets must have the same shape as the predictions. Received: targets "
                         f"of shape {t.shape}, predictions of shape {p.shape}. Convert integer "
                         "labels to one-hot targets with utils.to_categorical.")
    _, weights = broadcast_weights(p, sample_weight)
    if top_k is not None:
        top = np.argsort(-p, -1, kind="stable")[..., :top_k]
        top_scores = np.full_like(p, LOWEST)
        np.put_along_axis(top_scores, top, np.take_along_axis(p, top, -1), -1)
        p = top_scores
    if class_id is not None:
        t, p, weights = t[..., class_id], p[..., class_id], weights[..., class_id]
    return t, p, weights


class _CountRatio(_Counts):
    """A metric computed from the counts at `thresholds`, which is one number or several, by default 0.5."""

    _formula: ClassVar[Callable[..., Any]]

    def __init__(self, thresholds: Any = None, top_k: int | None = None, class_id: int | None = None,
                 name: str | None = None, dtype: str | None = None) -> None:
        is_list = isinstance(thresholds, list | tuple | np.ndarray)
        limits = list(thresholds) if is_list else [thresholds]
        if thresholds is None:
            limits = [0.5 if top_k is None else LOWEST]
        if any(t is None or not 0 <= t <= 1 for t in limits if t != LOWEST):
            raise ValueError(f"Threshold values must be in [0, 1]. Received: {thresholds!r}.")
        self.init_thresholds, self.top_k, self.class_id = thresholds, top_k, class_id
        self.thresholds = limits
        super().__init__(limits, name, dtype)

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        self._count(*_match_shapes(y_true, y_pred, sample_weight, self.top_k, self.class_id))

    def result(self) -> Any:
        values = type(self)._formula(*self._get_counts())
        return number(values[0] if len(self.thresholds) == 1 else values)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "thresholds": self.init_thresholds}


class Precision(_CountRatio):
    """The fraction of predictions above the threshold whose targets are positive: TP / (TP + FP)."""

    direction = "up"
    _counts = ("true_positives", "false_positives")
    _formula = staticmethod(lambda tp, fp: ratio(tp, tp + fp))


class Recall(_CountRatio):
    """The fraction of positive targets whose predictions are above the threshold: TP / (TP + FN)."""

    direction = "up"
    _counts = ("true_positives", "false_negatives")
    _formula = staticmethod(lambda tp, fn: ratio(tp, tp + fn))


class _OneCount(_CountRatio):
    _formula = staticmethod(lambda count: count)

    def __init__(self, thresholds: Any = None, name: str | None = None, dtype: str | None = None) -> None:
        super().__init__(thresholds, None, None, name, dtype)
        self._variables[0][0].name = "accumulator"


class TruePositives(_OneCount):
    """The number of positive targets whose predictions are above the threshold."""

    direction = "up"
    _counts = ("true_positives",)


class FalsePositives(_OneCount):
    """The number of negative targets whose predictions are above the threshold."""

    direction = "down"
    _counts = ("false_positives",)


class TrueNegatives(_OneCount):
    """The number of negative targets whose predictions are not above the threshold."""

    direction = "up"
    _counts = ("true_negatives",)


class FalseNegatives(_OneCount):
    """The number of positive targets whose predictions are not above the threshold."""

    direction = "down"
    _counts = ("false_negatives",)


class _Best(_Counts):
    """The best value of one ratio over the thresholds at which another ratio is large enough."""

    direction = "up"
    _condition: ClassVar[Callable[..., Any]]  # the ratio that must reach the given value
    _best: ClassVar[Callable[..., Any]]
    _argument: ClassVar[str]

    def __init__(self, num_thresholds: int = 200, class_id: int | None = None, name: str | None = None,
                 dtype: str | None = None, **least: float) -> None:
        value = least[self._argument]
        if not 0 <= value <= 1:
            raise ValueError(f"Argument `{self._argument}` must be in the range [0, 1]. Received: {value}.")
        if num_thresholds <= 0:
            raise ValueError(f"num_thresholds must be an integer > 0. Received: {num_thresholds}.")
        self.num_thresholds, self.class_id = num_thresholds, class_id
        setattr(self, self._argument, value)
        self.thresholds = [0.5] if num_thresholds == 1 else [i / (num_thresholds - 1) for i in range(num_thresholds)]
        super().__init__(self.thresholds, name, dtype)

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        self._count(*_match_shapes(y_true, y_pred, sample_weight, None, self.class_id))

    def result(self) -> Any:
        counts = self._get_counts()
        feasible = type(self)._condition(*counts) >= getattr(self, self._argument)
        return number(type(self)._best(*counts)[feasible].max(initial=0.0))


def _precision(tp: np.ndarray, fp: np.ndarray, tn: np.ndarray, fn: np.ndarray) -> np.ndarray:
    return ratio(tp, tp + fp)


def _sensitivity(tp: np.ndarray, fp: np.ndarray, tn: np.ndarray, fn: np.ndarray) -> np.ndarray:
    return ratio(tp, tp + fn)


def _specificity(tp: np.ndarray, fp: np.ndarray, tn: np.ndarray, fn: np.ndarray) -> np.ndarray:
    return ratio(tn, tn + fp)


def _make_best(name: str, best: Callable, condition: Callable, argument: str) -> type[_Best]:
    doc = (f"The best {best.__name__[1:]} over `num_thresholds` thresholds in [0, 1] at which the "
           f"{argument} is at least `{argument}`, or 0 if there is no such threshold.")
    parameters = [inspect.Parameter(argument, inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=float),
                  *keywords.parameters(_Best.__init__, 1, 5)]
    return type(name, (_Best,), {
        "__init__": keywords.constructor(parameters, _Best), "_best": staticmethod(best),
        "_condition": staticmethod(condition), "_argument": argument, "__doc__": doc, "__module__": __name__})


PrecisionAtRecall = _make_best("PrecisionAtRecall", _precision, _sensitivity, "recall")
RecallAtPrecision = _make_best("RecallAtPrecision", _sensitivity, _precision, "precision")
SensitivityAtSpecificity = _make_best("SensitivityAtSpecificity", _sensitivity, _specificity, "specificity")
SpecificityAtSensitivity = _make_best("SpecificityAtSensitivity", _specificity, _sensitivity, "sensitivity")


class AUC(_Counts):
    """The area under a curve, computed from `num_thresholds` thresholds.

    curve: "ROC" for the true over the false positive rate, "PR" for precision over recall.
    summation_method: "interpolation" for trapezoids (for "PR" as in Davis and Goadrich, 2006),
    "minoring" or "majoring" for the smaller or larger height of each interval. multi_label: whether
    to average the areas of all labels, weighted by `label_weights`.
    """

    direction = "up"

    def __init__(
        self, num_thresholds: int = 200, curve: str = "ROC", summation_method: str = "interpolation",
        name: str | None = None, dtype: str | None = None, thresholds: Sequence[float] | None = None,
        multi_label: bool = False, num_labels: int | None = None, label_weights: Any = None, from_logits: bool = False,
    ) -> None:
        self.curve = names.lookup("curve", str(curve).upper(), dict(zip(("ROC", "PR"), ("ROC", "PR"))))
        self.summation_method = names.lookup("summation_method", str(summation_method).lower(), {
            each: each for each in SUMMATIONS})
        if thresholds is None and num_thresholds <= 1:
            raise ValueError(f"Argument `num_thresholds` must be an integer > 1. Received: {num_thresholds}.")
        if num_labels and not multi_label:
            raise ValueError("`num_labels` is needed only when `multi_label` is True.")
        inner = sorted(thresholds) if thresholds is not None else [
            (i + 1) / (num_thresholds - 1) for i in range(num_thresholds - 2)]
        self.num_thresholds = len(inner) + 2
        self.multi_label = multi_label
        self.num_labels = num_labels
        self.label_weights = None if label_weights is None else np.asarray(label_weights, np.float64)
        self.from_logits = from_logits
        self._inner = None if thresholds is None else inner
        super().__init__([-1e-7, *inner, 1 + 1e-7], name or "auc", dtype)
        if multi_label:
            self._fit((self.num_thresholds, num_labels or 1))

    @property
    def thresholds(self) -> list[float]:
        """The thresholds, including one below 0 and one above 1."""
        return self._thresholds.tolist()

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        t, p, weights = _match_shapes(y_true, y_pred, sample_weight)
        if self.from_logits:
            p = F.sigmoid(p).numpy()
        if self.multi_label and p.ndim != 2:
            raise ValueError(f"`y_pred` must have rank 2 when `multi_label=True`. Received shape: {p.shape}.")
        if self.multi_label:
            self.num_labels = p.shape[1]
            self._fit((self.num_thresholds, p.shape[1]))
        if not self.multi_label and self.label_weights is not None:
            weights = weights * self.label_weights
        self._count(t, p, weights)

    def result(self) -> Any:
        tp, fp, tn, fn = self._get_counts()
        names.lookup("curve", self.curve, dict.fromkeys(("ROC", "PR")))
        names.lookup("summation_method", self.summation_method, dict.fromkeys(SUMMATIONS))
        if self.curve == "PR" and self.summation_method == "interpolation":
            areas = _interpolate_area(tp, fp, fn)
        else:
            recall = ratio(tp, tp + fn)
            x, y = (ratio(fp, fp + tn), recall) if self.curve == "ROC" else (recall, ratio(tp, tp + fp))
            height = {"interpolation": (y[:-1] + y[1:]) / 2, "minoring": np.minimum(y[:-1], y[1:]),
                      "majoring": np.maximum(y[:-1], y[1:])}[self.summation_method]
            areas = ordered_sum((x[:-1] - x[1:]) * height, 0)
        if not self.multi_label:
            return number(areas)
        weights = np.ones(areas.shape) if self.label_weights is None else self.label_weights
        return number(ratio(ordered_sum(areas * weights), ordered_sum(weights)))

    def get_config(self) -> dict[str, Any]:
        weights = None if self.label_weights is None else self.label_weights.tolist()
        return {**super().get_config(), "label_weights": weights, "thresholds": self._inner}


def _interpolate_area(tp: np.ndarray, fp: np.ndarray, fn: np.ndarray) -> np.ndarray:
    """Returns the area under the precision-recall curve, with linearly interpolated counts between thresholds."""
    p = tp + fp
    slope = ratio(tp[:-1] - tp[1:], np.maximum(p[:-1] - p[1:], 0))
    offset = tp[1:] - slope * p[1:]
    is_positive = (p[:-1] > 0) & (p[1:] > 0)
    quotient = np.where(is_positive, ratio(p[:-1], p[1:]), 1.0)
    parts = slope * (tp[:-1] - tp[1:] + offset * F.log(quotient).numpy())
    return ordered_sum(ratio(parts, tp[1:] + fn[1:]), 0)


class FBetaScore(Metric):
    """(1 + b^2) precision recall / (b^2 precision + recall) of each class. Targets are one-hot
    (N, C).

    average: None for the scores of all classes, "micro" for the score of the classes' summed
    counts, "macro" for the mean score, "weighted" for the mean weighted by class frequency. If
    `threshold` is None, the class with the largest output is predicted.
    """

    direction = "up"
    _counts = ("true_positives", "false_positives", "false_negatives", "intermediate_weights")

    def __init__(self, average: str | None = None, beta: float = 1.0, threshold: float | None = None,
                 name: str = "fbeta_score", dtype: str | None = None) -> None:
        if average not in (None, "micro", "macro", "weighted"):
            raise ValueError("Invalid `average` argument value. Expected one of: {None, 'micro', "
                             f"'macro', 'weighted'}}. Received: average={average!r}.")
        if not isinstance(beta, float) or beta <= 0:
            raise ValueError("Invalid `beta` argument value. It should be a Python float > 0. "
                             f"Received: beta={beta!r} of type {type(beta)}.")
        if threshold is not None and (not isinstance(threshold, float) or not 0 < threshold <= 1):
            raise ValueError("Invalid `threshold` argument value. It should be a Python float with 0 < threshold <= 1. "
                             f"Received: threshold={threshold!r} of type {type(threshold)}.")
        self.average, self.beta, self.threshold = average, beta, threshold
        super().__init__(dtype, name)
        for count, variable in zip(self._counts, self._doubles(*self._counts)):
            setattr(self, count, variable)

    @property
    def variables(self) -> list[Variable]:
        """The count variables. The list is empty before the first batch, which determines the number of classes."""
        counts = super().variables
        return counts if self.average == "micro" or counts[0].ndim else []

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        t, p = array(y_true).astype(np.float64), array(y_pred)
        if p.ndim != 2 or t.shape != p.shape:
            raise ValueError(f"{type(self).__name__} expects 2D inputs with the same shape (batch_size, output_dim). "
                             f"Received input shapes: y_pred.shape={p.shape} and y_true.shape={t.shape}.")
        if self.threshold is None:
            label = (p >= p.max(-1, keepdims=True)) & (np.abs(p) > 1e-9)
        else:
            label = p > self.threshold
        _, weights = broadcast_weights(p, sample_weight)
        axis = None if self.average == "micro" else 0
        if axis is not None:
            self._fit(t.shape[1:])
        for name, values in zip(self._counts, (label * t, label * (1 - t), ~label * t, t)):
            getattr(self, name).assign_add(ordered_sum(values * weights, axis))

    def result(self) -> Any:
        tp, fp, fn, labels = (getattr(self, name).data for name in self._counts)
        precision, recall, squared = ratio(tp, tp + fp), ratio(tp, tp + fn), self.beta**2
        scores = ratio(precision * recall * (1 + squared), precision * squared + recall)
        if self.average == "weighted":
            return number(ordered_sum(scores * ratio(labels, ordered_sum(labels))))
        return number(scores if self.average is None else ordered_sum(scores) / scores.size)


class F1Score(FBetaScore):
    """2 precision recall / (precision + recall) of each class: `FBetaScore` with beta 1."""

    def __init__(self, average: str | None = None, threshold: float | None = None, name: str = "f1_score",
                 dtype: str | None = None) -> None:
        super().__init__(average, 1.0, threshold, name, dtype)
