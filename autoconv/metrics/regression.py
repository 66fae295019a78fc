"""Metrics of regression: the coefficient of determination, and correlations."""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import functional as F
from ..engine.tensor import Tensor
from .metric import Mean, Metric, array, broadcast_weights, number, ordered_sum


class R2Score(Metric):
    """1 - sum((t - p)^2) / sum((t - mean(t))^2) of each output (N, C): 1 for perfect predictions, 0 for p = mean(t).

    class_aggregation: "uniform_average", "variance_weighted_average", or None for the score of each output.
    num_regressors: the number of predictors for the adjusted R2 score; 0 gives the standard R2 score.
    """

    direction = "up"

    def __init__(self, class_aggregation: str | None = "uniform_average", num_regressors: int = 0,
                 name: str = "r2_score", dtype: str | None = None) -> None:
        choices = (None, "uniform_average", "variance_weighted_average")
        if class_aggregation not in choices:
            raise ValueError("Invalid value for argument `class_aggregation`. Expected one of "
                             f"{choices}. Received: class_aggregation={class_aggregation}.")
        if num_regressors < 0:
            raise ValueError("Invalid value for argument `num_regressors`. Expected a value >= 0. "
                             f"Received: num_regressors={num_regressors}.")
        self.class_aggregation, self.num_regressors = class_aggregation, num_regressors
        super().__init__(dtype, name)
        self.squared_sum, self.sum, self.total_mse, self.count = self._doubles(
            "squared_sum", "sum", "total_mse", "count")
        self.num_samples = self.add_variable(dtype=np.int64, name="num_samples")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        t, p = array(y_true).astype(np.float64), array(y_pred).astype(np.float64)
        if p.ndim != 2 or t.shape != p.shape:
            raise ValueError("R2Score expects 2D inputs with the same shape (batch_size, output_dim). Received input "
                             f"shapes: y_pred.shape={p.shape} and y_true.shape={t.shape}.")
        _, weights = broadcast_weights(t, sample_weight)
        self._fit(t.shape[1:])
        self.sum.assign_add(ordered_sum(t * weights, 0))
        self.squared_sum.assign_add(ordered_sum(t * t * weights, 0))
        self.total_mse.assign_add(ordered_sum((t - p) ** 2 * weights, 0))
        self.count.assign_add(ordered_sum(weights, 0))
        self.num_samples.assign_add(t.size)

    def result(self) -> Any:
        squared, sums, error, count = (each.data for each in (self.squared_sum, self.sum, self.total_mse, self.count))
        samples = int(self.num_samples)
        with np.errstate(divide="ignore", invalid="ignore"):
            total = squared - sums * (sums / count)
            scores = 1 - error / total
        scores = np.where(np.isinf(scores), 0.0, scores)
        if self.class_aggregation == "uniform_average":
            scores = ordered_sum(scores) / scores.size
        elif self.class_aggregation == "variance_weighted_average":
            scores = ordered_sum(total * scores) / ordered_sum(total)
        free = samples - self.num_regressors - 1
        if self.num_regressors and free <= 0:
            warnings.warn("More independent predictors than datapoints in adjusted R2 score. Falling back to standard "
                          "R2 score." if free < 0 else "Division by zero in Adjusted R2 score. Falling back to "
                          "standard R2 score.", stacklevel=2)
        elif self.num_regressors:
            scores = 1 - (1 - scores) * (samples - 1) / free
        return number(scores)


class _Correlation(Mean):
    """The mean over samples of a correlation of targets and predictions along `axis`."""

    direction = "up"

    function: Callable[..., Tensor]

    def __init__(self, name: str, dtype: str | None = None, axis: int = -1) -> None:
        self.axis = axis
        super().__init__(name, dtype)

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:  # type: ignore[override]
        super().update_state(type(self).function(y_true, y_pred, self.axis), sample_weight)


def pearson_correlation(y_true: Any, y_pred: Any, axis: int = -1) -> Tensor:
    """The cosine similarity along `axis` of targets and predictions, each minus its mean (Pearson, 1895)."""
    return -F.cosine_similarity(_deviations(y_true, axis), _deviations(y_pred, axis), axis)


def _deviations(values: Any, axis: int) -> Tensor:
    values = Tensor(array(values))
    return values - values.mean(axis, keepdims=True)


def concordance_correlation(y_true: Any, y_pred: Any, axis: int = -1) -> Tensor:
    """2 cov(t, p) / (var(t) + var(p) + (mean(t) - mean(p))^2) along `axis`. Lin, 1989."""
    t, p = _deviations(y_true, axis), _deviations(y_pred, axis)
    shift = Tensor(array(y_true)).mean(axis) - Tensor(array(y_pred)).mean(axis)
    spread = (t * t).mean(axis) + (p * p).mean(axis) + shift * shift
    return 2 * (t * p).mean(axis) / (spread + F.loss_functions.EPSILON)


class PearsonCorrelation(_Correlation):
    """The mean over samples of Pearson's correlation along `axis`: 1 for an increasing linear relation."""

    function = staticmethod(pearson_correlation)

    def __init__(self, name: str = "pearson_correlation", dtype: str | None = None, axis: int = -1) -> None:
        super().__init__(name, dtype, axis)


class ConcordanceCorrelation(_Correlation):
    """The mean over samples of Lin's concordance correlation along `axis`: 1 if targets equal predictions."""

    function = staticmethod(concordance_correlation)

    def __init__(self, name: str = "concordance_correlation", dtype: str | None = None, axis: int = -1) -> None:
        super().__init__(name, dtype, axis)
