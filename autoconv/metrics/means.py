"""Metrics that are means of functions with one value per sample. `_mean` creates a class for each function."""

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from .. import functional as F
from ..arguments import keywords
from ..engine.tensor import Tensor
from . import accuracy as own
from .metric import DeviceFunction, Mean, MeanMetricWrapper, array, number


def _compute_values(kernel: str, y_true: Tensor, y_pred: Tensor, **options: Any) -> Any:
    """Computes `Metric.values` with a kernel that is called with (targets, predictions (M, C), *options, out (M,))."""
    k, x = y_pred.device.kernels("step"), y_pred.data.reshape(-1, y_pred.shape[-1])
    out = k.empty((x.size if kernel == "binary_accuracy" else len(x),), x.dtype)
    targets = y_true.data.reshape(-1) if y_true.size == out.size else y_true.data.reshape(x.shape)
    getattr(k, kernel)(targets, x, *options.values(), out)
    return out


def _data_of(function: Callable[..., Tensor], y_true: Tensor, y_pred: Tensor, **options: Any) -> Any:
    """Computes `Metric.values` with a function of tensors. Unlike a lambda, it can be pickled."""
    return function(y_true, y_pred, **options).data


def _mean(name: str, function: Callable, metric_name: str | None = None, values: DeviceFunction | None = None,
          has_kernel: bool = False, first: tuple[str, ...] = (), direction: str = "down") -> Any:
    """Creates the metric class for the mean of a function. Its constructor accepts the options in
    `first`, name, dtype, then all other options. values: the function on tensors, by default
    `function` itself, or the kernel of the same name if `has_kernel`. direction: "up" if larger
    values are better, else "down".
    """
    options = {p.name: p for p in keywords.parameters(function, 2)}
    default_name, dtype = keywords.parameters(Mean.__init__, 1, 3)
    name_parameter = default_name.replace(default=metric_name or function.__name__)
    parameters = [*(options.pop(each) for each in first), name_parameter, dtype, *options.values()]
    if values is None:
        values = partial(_compute_values, function.__name__) if has_kernel else partial(_data_of, function)
    return type(name, (MeanMetricWrapper,), {
        "__init__": keywords.constructor(parameters, MeanMetricWrapper, function, values=values),
        "__module__": __name__, "direction": direction,
        "__doc__": f"The mean over samples of: {inspect.getdoc(function)}"})


def _positive_cosine(y_true: Any, y_pred: Any, axis: int = -1) -> Tensor:
    """sum(t p / (|t| |p|)) over `axis`: 1 for vectors of the same direction, -1 for opposite directions."""
    return -F.cosine_similarity(y_true, y_pred, axis)


def _equal(y_true: Tensor, y_pred: Tensor) -> Any:
    k, out = y_pred.device.kernels("arith"), y_pred.device.empty(y_pred.shape, y_pred.dtype)
    k.copy(F.equal(y_true.reshape(y_pred.shape), y_pred).data, out)
    return out


Accuracy = _mean("Accuracy", own.accuracy, values=_equal, direction="up")
BinaryAccuracy = _mean("BinaryAccuracy", own.binary_accuracy, has_kernel=True, direction="up")
CategoricalAccuracy = _mean("CategoricalAccuracy", own.categorical_accuracy, has_kernel=True,
                            direction="up")
SparseCategoricalAccuracy = _mean("SparseCategoricalAccuracy", own.sparse_categorical_accuracy,
                                  has_kernel=True, direction="up")
TopKCategoricalAccuracy = _mean("TopKCategoricalAccuracy", own.top_k_categorical_accuracy,
                                has_kernel=True, first=("k",), direction="up")
SparseTopKCategoricalAccuracy = _mean("SparseTopKCategoricalAccuracy", own.sparse_top_k_categorical_accuracy,
                                      has_kernel=True, first=("k",), direction="up")
BinaryCrossentropy = _mean("BinaryCrossentropy", F.binary_crossentropy)
CategoricalCrossentropy = _mean("CategoricalCrossentropy", F.categorical_crossentropy)
SparseCategoricalCrossentropy = _mean("SparseCategoricalCrossentropy", F.sparse_categorical_crossentropy)
KLDivergence = _mean("KLDivergence", F.kl_divergence)
Poisson = _mean("Poisson", F.poisson)
Hinge = _mean("Hinge", F.hinge)
SquaredHinge = _mean("SquaredHinge", F.squared_hinge)
CategoricalHinge = _mean("CategoricalHinge", F.categorical_hinge)
CosineSimilarity = _mean("CosineSimilarity", _positive_cosine, "cosine_similarity", direction="up")
LogCoshError = _mean("LogCoshError", F.log_cosh, "logcosh")
MeanAbsoluteError = _mean("MeanAbsoluteError", F.mean_absolute_error)
MeanAbsolutePercentageError = _mean("MeanAbsolutePercentageError", F.mean_absolute_percentage_error)
MeanSquaredError = _mean("MeanSquaredError", F.mean_squared_error)
MeanSquaredLogarithmicError = _mean("MeanSquaredLogarithmicError", F.mean_squared_logarithmic_error)


class RootMeanSquaredError(Mean):
    """The square root of the mean of (y_pred - y_true)^2."""

    direction = "down"

    def __init__(self, name: str = "root_mean_squared_error", dtype: str | None = None) -> None:
        super().__init__(name, dtype)

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:  # type: ignore[override]
        t, p = array(y_true), array(y_pred)
        super().update_state((p - t.reshape(p.shape)) ** 2, sample_weight)

    def result(self) -> Any:
        return number(np.sqrt(super().result()))
