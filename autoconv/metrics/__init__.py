"""Metrics with Keras's names. They accumulate over batches and return the value for all batches.

`metric.py` defines `Metric`, sums and means. `accuracy.py` and `means.py` define means over samples, `confusion.py`
counts at thresholds, `iou.py` intersection over union, `regression.py` R2 scores and correlations.
"""

from collections.abc import Callable, Mapping
from typing import Any

from .. import functional
from ..arguments import names
from ..arguments.serialization import Registry
from ..functional import (
    binary_crossentropy,
    binary_focal_crossentropy,
    categorical_crossentropy,
    categorical_focal_crossentropy,
    categorical_hinge,
    hinge,
    huber,
    kl_divergence,
    log_cosh,
    mean_absolute_error,
    mean_absolute_percentage_error,
    mean_squared_error,
    mean_squared_logarithmic_error,
    poisson,
    sparse_categorical_crossentropy,
    squared_hinge,
)
from .accuracy import (
    binary_accuracy,
    categorical_accuracy,
    sparse_categorical_accuracy,
    sparse_top_k_categorical_accuracy,
    top_k_categorical_accuracy,
)
from .confusion import (
    AUC,
    F1Score,
    FalseNegatives,
    FalsePositives,
    FBetaScore,
    Precision,
    PrecisionAtRecall,
    Recall,
    RecallAtPrecision,
    SensitivityAtSpecificity,
    SpecificityAtSensitivity,
    TrueNegatives,
    TruePositives,
)
from .iou import BinaryIoU, IoU, MeanIoU, OneHotIoU, OneHotMeanIoU
from .means import (
    Accuracy,
    BinaryAccuracy,
    BinaryCrossentropy,
    CategoricalAccuracy,
    CategoricalCrossentropy,
    CategoricalHinge,
    CosineSimilarity,
    Hinge,
    KLDivergence,
    LogCoshError,
    MeanAbsoluteError,
    MeanAbsolutePercentageError,
    MeanSquaredError,
    MeanSquaredLogarithmicError,
    Poisson,
    RootMeanSquaredError,
    SparseCategoricalAccuracy,
    SparseCategoricalCrossentropy,
    SparseTopKCategoricalAccuracy,
    SquaredHinge,
    TopKCategoricalAccuracy,
)
from .metric import Mean, MeanMetricWrapper, Metric, Sum
from .regression import (
    ConcordanceCorrelation,
    PearsonCorrelation,
    R2Score,
    concordance_correlation,
    pearson_correlation,
)

__all__ = [
    "AUC", "Accuracy", "BinaryAccuracy", "BinaryCrossentropy", "BinaryIoU", "CategoricalAccuracy",
    "CategoricalCrossentropy", "CategoricalHinge", "ConcordanceCorrelation", "CosineSimilarity", "F1Score",
    "FBetaScore", "FalseNegatives", "FalsePositives", "Hinge", "IoU", "KLDivergence", "LogCoshError", "Mean",
    "MeanAbsoluteError", "MeanAbsolutePercentageError", "MeanIoU", "MeanMetricWrapper", "MeanSquaredError",
    "MeanSquaredLogarithmicError", "Metric", "OneHotIoU", "OneHotMeanIoU", "PearsonCorrelation", "Poisson",
    "Precision", "PrecisionAtRecall", "R2Score", "Recall", "RecallAtPrecision", "RootMeanSquaredError",
    "SensitivityAtSpecificity", "SparseCategoricalAccuracy", "SparseCategoricalCrossentropy",
    "SparseTopKCategoricalAccuracy", "SpecificityAtSensitivity", "SquaredHinge", "Sum", "TopKCategoricalAccuracy",
    "TrueNegatives", "TruePositives", "binary_accuracy", "binary_crossentropy", "binary_focal_crossentropy",
    "categorical_accuracy", "categorical_crossentropy", "categorical_focal_crossentropy", "categorical_hinge",
    "concordance_correlation", "deserialize", "get", "hinge", "huber", "kl_divergence", "log_cosh",
    "mean_absolute_error", "mean_absolute_percentage_error", "mean_squared_error", "mean_squared_logarithmic_error",
    "pearson_correlation", "poisson", "serialize", "sparse_categorical_accuracy", "sparse_categorical_crossentropy",
    "sparse_top_k_categorical_accuracy", "squared_hinge", "top_k_categorical_accuracy",
]

Shape = tuple[int | None, ...]

CLASSES: dict[str, type[Metric]] = {name: value for name, value in dict(globals()).items()
                                    if isinstance(value, type) and issubclass(value, Metric)}
_FUNCTION_METRICS = (
    BinaryAccuracy, BinaryCrossentropy, CategoricalAccuracy, CategoricalCrossentropy, CategoricalHinge, Hinge,
    KLDivergence, MeanAbsoluteError, MeanAbsolutePercentageError, MeanSquaredError, MeanSquaredLogarithmicError,
    Poisson, SparseCategoricalAccuracy, SparseCategoricalCrossentropy, SparseTopKCategoricalAccuracy, SquaredHinge,
    TopKCategoricalAccuracy)
_SHORT = {"bce": BinaryCrossentropy, "mse": MeanSquaredError, "mae": MeanAbsoluteError,
          "mape": MeanAbsolutePercentageError, "msle": MeanSquaredLogarithmicError, "kld": KLDivergence,
          "rmse": RootMeanSquaredError, "auc": AUC, "precision": Precision, "recall": Recall, "f1_score": F1Score,
          "cosine_similarity": CosineSimilarity, "r2_score": R2Score, "log_cosh": LogCoshError, "logcosh": LogCoshError,
          "root_mean_squared_error": RootMeanSquaredError}
_ACCURACY = ("accuracy", "acc")
BY_NAME: dict[str, Callable[[], Metric]] = {
    **{kind().name: kind for kind in _FUNCTION_METRICS}, **_SHORT,  # type: ignore[call-arg]
    **{name.upper(): kind for name, kind in _SHORT.items() if name in ("bce", "mse", "mae", "mape", "msle", "kld")}}
_FUNCTION_NAMES = {function: name for name, function in globals().items() if name in BY_NAME}
_FUNCTION_NAMES.update({getattr(functional, name): name for name in BY_NAME if hasattr(functional, name)})


registry = Registry("metric", "keras.metrics", Metric, CLASSES, {**BY_NAME, "accuracy": Accuracy, "acc": Accuracy})
get, serialize, deserialize = registry.get, registry.serialize, registry.deserialize


def check(identifier: Any) -> str:
    """Returns the name of the metric that `find_metric` returns. Raises ValueError for an unknown metric's name."""
    if isinstance(identifier, Metric):
        return identifier.name
    if isinstance(identifier, Mapping) or (isinstance(identifier, str) and identifier in CLASSES):
        return get(identifier).name
    if callable(identifier):
        return getattr(identifier, "__name__", "metric").strip("<>")  # a lambda's name is "<lambda>"
    names.lookup("metric", identifier, {**BY_NAME, **dict.fromkeys(_ACCURACY)})
    return identifier


def find_metric(identifier: Any, y_true_shape: Shape, y_pred_shape: Shape, loss: Any = None) -> Metric:
    """Returns the metric object for a name, function, class, configuration or object, and for these
    shapes of targets and outputs.

    "accuracy" means binary accuracy if the model has one output, sparse accuracy if the targets are
    labels, else categorical accuracy. Raises ValueError if the metric cannot be used with such targets.
    """
    if isinstance(identifier, type) and issubclass(identifier, Metric):
        identifier = identifier()
    if isinstance(identifier, Mapping) or (isinstance(identifier, str) and identifier in CLASSES):
        identifier = get(identifier)
    name = check(identifier)
    sparse = len(y_true_shape) < len(y_pred_shape) or y_true_shape[-1] == 1
    if isinstance(identifier, str) and identifier in _ACCURACY:
        kind = BinaryAccuracy if y_pred_shape[-1] == 1 else SparseCategoricalAccuracy if sparse else CategoricalAccuracy
        return kind(name=name)
    if callable(identifier) and not isinstance(identifier, Metric):
        identifier = _FUNCTION_NAMES.get(identifier, identifier)
    if isinstance(identifier, str):
        metric = BY_NAME[identifier]()
        metric.name = name
    else:
        metric = identifier if isinstance(identifier, Metric) else MeanMetricWrapper(identifier, name)
    _check_targets(metric, sparse, y_true_shape, y_pred_shape, loss)
    return metric


def _check_targets(metric: Metric, sparse: bool, y_true: Shape, y_pred: Shape, loss: Any) -> None:
    """Raises ValueError if the metric would misinterpret the targets, such as labels as one-hot targets."""
    if y_pred[-1] == 1 or y_pred[-1] is None:
        return
    shapes = f"Received: targets of shape {y_true}, outputs of shape {y_pred}."
    if sparse and isinstance(metric, CategoricalAccuracy | TopKCategoricalAccuracy):
        raise ValueError(f"{metric.name} is for one-hot targets. {shapes} For integer labels use "
                         f"'sparse_{_plain(metric)}', or 'accuracy'.")
    if not sparse and isinstance(metric, SparseCategoricalAccuracy | SparseTopKCategoricalAccuracy):
        raise ValueError(f"{metric.name} is for integer labels. {shapes} For one-hot targets use "
                         f"'{_plain(metric).removeprefix('sparse_')}', or 'accuracy'.")
    if isinstance(metric, BinaryAccuracy) and (sparse or "categorical" in str(getattr(loss, "name", ""))):
        raise ValueError(f"{metric.name} compares each of the {y_pred[-1]} outputs with a separate "
                         f"target. {shapes} For mutually exclusive classes use 'accuracy'.")


def _plain(metric: Metric) -> str:
    return names.snake_case(type(metric).__name__)
