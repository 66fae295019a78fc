"""Metrics with Keras's names: they add up what batches bring and give the mean over all of it. By NumPy."""

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

import numpy as np

from . import functional
from .arguments import names
from .tensor import Tensor
from .versions import Versioned

ArrayFunction = Callable[[np.ndarray, np.ndarray], Any]
DeviceFunction = Callable[[Tensor, Tensor], Any]


class Metric(Versioned):
    """The base of a metric of your own: override `update_state`, `result` and `reset_state`.

    `metric(y_true, y_pred)` updates and returns the result so far.
    """

    # Whether `values(y_true, y_pred)` gives one number a sample, as an array, by functions of tensors alone. A step
    # then adds their sum and their number to `total` and `count`, and never calls `update_state`.
    recordable = False

    _state: frozenset[str] = frozenset()  # what `reset_state` sets: training changes it, so it counts as no change

    def __init__(self, name: str | None = None) -> None:
        self.name = name or names.snake_case(type(self).__name__)
        settings = set(vars(self))
        self.reset_state()
        self._state = frozenset(vars(self)) - settings

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self._state:
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Takes in the targets and predictions of a batch."""
        raise NotImplementedError(f"{type(self).__name__} must override update_state.")

    def result(self) -> float:
        """The value over all that came since the last reset."""
        raise NotImplementedError(f"{type(self).__name__} must override result.")

    def reset_state(self) -> None:
        """Forgets all."""
        raise NotImplementedError(f"{type(self).__name__} must override reset_state.")

    def __call__(self, *args: Any, **kwargs: Any) -> float:
        self.update_state(*args, **kwargs)
        return self.result()


class Mean(Metric):
    """The mean of all values, each counted `sample_weight` times; 0.0 of none at all."""

    def reset_state(self) -> None:
        self.total, self.count = 0.0, 0.0

    def update_state(self, values: Any, sample_weight: Any = None) -> None:  # type: ignore[override]
        values = _array(values)
        if sample_weight is None:
            self.total += float(values.sum(dtype=np.float64))
            self.count += values.size
        else:
            weights = _array(sample_weight)
            weights = weights.reshape(weights.shape + (1,) * (values.ndim - weights.ndim))  # (N,) -> (N, 1, ...)
            weights = np.broadcast_to(weights, values.shape)
            self.total += float((values * weights).sum(dtype=np.float64))
            self.count += float(weights.sum(dtype=np.float64))

    def result(self) -> float:
        return self.total / self.count if self.count else 0.0


class MeanMetricWrapper(Mean):
    """The mean of a function `(y_true, y_pred) -> one number a sample`, both NumPy arrays."""

    recordable = True

    def __init__(self, function: ArrayFunction, name: str | None = None, values: DeviceFunction | None = None) -> None:
        super().__init__(name or getattr(function, "__name__", None))
        self._function, self._values, self.recordable = function, values, values is not None

    def values(self, y_true: Tensor, y_pred: Tensor) -> Any:
        """One number a sample, as an array on the tensors' device."""
        return self._values(y_true, y_pred)  # type: ignore[misc]

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:  # type: ignore[override]
        super().update_state(self._function(_array(y_true), _array(y_pred)), sample_weight)


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


def _scored(kernel: str, *parameters: Any) -> DeviceFunction:
    """`Metric.values` by a kernel of that name: (targets, predictions (M, C), *parameters, out (M,))."""

    def values(y_true: Tensor, y_pred: Tensor) -> Any:
        k, x = y_pred.device.kernels("step"), y_pred.data.reshape(-1, y_pred.shape[-1])
        out = k.empty((x.size if kernel == "binary_accuracy" else len(x),), x.dtype)
        targets = y_true.data.reshape(-1) if y_true.size == out.size else y_true.data.reshape(x.shape)
        getattr(k, kernel)(targets, x, *parameters, out)
        return out

    return values


def _by_ops(function: Callable[[Any, Any], Tensor]) -> DeviceFunction:
    """`Metric.values` of a function of tensors."""
    return lambda y_true, y_pred: function(y_true, y_pred).data


class CategoricalAccuracy(MeanMetricWrapper):
    """The share of samples whose largest output is the class of the one-hot target."""

    def __init__(self, name: str = "categorical_accuracy") -> None:
        super().__init__(categorical_accuracy, name, _scored("categorical_accuracy"))


class SparseCategoricalAccuracy(MeanMetricWrapper):
    """The share of samples whose largest output is that of the integer label."""

    def __init__(self, name: str = "sparse_categorical_accuracy") -> None:
        super().__init__(sparse_categorical_accuracy, name, _scored("sparse_categorical_accuracy"))


class _Parametrized(MeanMetricWrapper):
    """A metric of ours with a parameter, the attribute of that name, which can be set later."""

    recordable = True
    _of: ClassVar[tuple[ArrayFunction, str]]  # the function, and the parameter's name

    def __init__(self, name: str, value: float) -> None:
        function, self._parameter = self._of
        setattr(self, self._parameter, value)
        super().__init__(function, name, self._by_kernel)

    def _options(self) -> dict[str, Any]:
        return {self._parameter: getattr(self, self._parameter)}

    def _by_kernel(self, y_true: Tensor, y_pred: Tensor) -> Any:
        return _scored(self._of[0].__name__, *self._options().values())(y_true, y_pred)

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:  # type: ignore[override]
        values = self._function(_array(y_true), _array(y_pred), **self._options())  # type: ignore[call-arg]
        Mean.update_state(self, values, sample_weight)


class BinaryAccuracy(_Parametrized):
    """The share of outputs that lie on the target's side of `threshold`."""

    _of = binary_accuracy, "threshold"

    def __init__(self, name: str = "binary_accuracy", threshold: float = 0.5) -> None:
        super().__init__(name, threshold)


class TopKCategoricalAccuracy(_Parametrized):
    """The share of samples whose one-hot target's class is among the k largest outputs."""

    _of = top_k_categorical_accuracy, "k"

    def __init__(self, k: int = 5, name: str = "top_k_categorical_accuracy") -> None:
        super().__init__(name, k)


class SparseTopKCategoricalAccuracy(_Parametrized):
    """The share of samples whose integer label is among the k largest outputs."""

    _of = sparse_top_k_categorical_accuracy, "k"

    def __init__(self, k: int = 5, name: str = "sparse_top_k_categorical_accuracy") -> None:
        super().__init__(name, k)


class MeanSquaredError(MeanMetricWrapper):
    """The mean of (y_pred - y_true)^2."""

    def __init__(self, name: str = "mean_squared_error") -> None:
        super().__init__(functional.mean_squared_error, name, _by_ops(functional.mean_squared_error))


class MeanAbsoluteError(MeanMetricWrapper):
    """The mean of |y_pred - y_true|."""

    def __init__(self, name: str = "mean_absolute_error") -> None:
        super().__init__(functional.mean_absolute_error, name, _by_ops(functional.mean_absolute_error))


_ACCURACY = ("accuracy", "acc")
_KNOWN: dict[str, Callable[[], Metric]] = {
    **dict.fromkeys(_ACCURACY, CategoricalAccuracy),
    "categorical_accuracy": CategoricalAccuracy,
    "sparse_categorical_accuracy": SparseCategoricalAccuracy,
    "binary_accuracy": BinaryAccuracy,
    "top_k_categorical_accuracy": TopKCategoricalAccuracy,
    "sparse_top_k_categorical_accuracy": SparseTopKCategoricalAccuracy,
    **dict.fromkeys(("mse", "mean_squared_error"), MeanSquaredError),
    **dict.fromkeys(("mae", "mean_absolute_error"), MeanAbsoluteError),
    **{f.__name__: partial(MeanMetricWrapper, f, f.__name__, _by_ops(f)) for f in (
        functional.categorical_crossentropy, functional.sparse_categorical_crossentropy, functional.binary_crossentropy,
    )},
}


def check(identifier: Any) -> str:
    """The name under which `get` will report, or a ValueError that says what there is."""
    if isinstance(identifier, Metric):
        return identifier.name
    if callable(identifier):
        return getattr(identifier, "__name__", "metric")
    names.lookup("metric", identifier, _KNOWN)
    return identifier


def get(identifier: Any, y_true_shape: tuple[int | None, ...], y_pred_shape: tuple[int | None, ...]) -> Metric:
    """The metric of a name, of a function `(y_true, y_pred)` on NumPy arrays, or the one that was passed.

    "accuracy" means binary where the model has one output, sparse where the targets are labels, else categorical.
    """
    if isinstance(identifier, type) and issubclass(identifier, Metric):
        identifier = identifier()
    name = check(identifier)
    if isinstance(identifier, Metric):
        return identifier
    if identifier in _ACCURACY:
        sparse = len(y_true_shape) < len(y_pred_shape) or y_true_shape[-1] == 1
        kind = BinaryAccuracy if y_pred_shape[-1] == 1 else SparseCategoricalAccuracy if sparse else CategoricalAccuracy
        return kind(name)
    metric = _KNOWN[identifier]() if isinstance(identifier, str) else MeanMetricWrapper(identifier, name)
    metric.name = name
    return metric


def _array(value: Any) -> np.ndarray:
    return value.numpy() if isinstance(value, Tensor) else np.asarray(value)


def _labels(y_true: np.ndarray, y_pred: np.ndarray) -> np.ndarray:
    return y_true[..., 0] if y_true.ndim == y_pred.ndim else y_true
