"""`Metric`, and what adds up numbers: sums, means, and means of functions. By NumPy."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from .. import initializers
from ..arguments import names
from ..tensor import Parameter, Tensor
from ..versions import Versioned

ArrayFunction = Callable[..., Any]
DeviceFunction = Callable[..., Any]


class Metric(Versioned):
    """The base of a metric of your own: override `update_state` and `result`.

    What it counts lies in variables from `add_variable`, which `reset_state` fills anew, or in attributes that a
    `reset_state` of its own sets. `metric(y_true, y_pred)` updates and returns the result so far.
    """

    # Whether `values(y_true, y_pred)` gives one number a sample, as an array, by functions of tensors alone. A step
    # then adds their sum and their number to `total` and `count`, and never calls `update_state`.
    recordable = False

    direction: str | None = None  # "up" where larger values are better, "down" where smaller ones are

    _state: frozenset[str] = frozenset()  # what `reset_state` sets: training changes it, so it counts as no change

    def __init__(self, dtype: str | None = None, name: str | None = None) -> None:
        self.name, self.dtype = name or names.snake_case(type(self).__name__), dtype or "float32"
        self._variables: list[tuple[Parameter, Any]] = []
        settings = set(vars(self))
        self.reset_state()
        self._state = frozenset(vars(self)) - settings

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, Parameter) and name not in self._state:
            object.__setattr__(self, "_state", self._state | {name})
        if name in self._state:
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)

    def add_variable(self, shape: tuple[int, ...] = (), initializer: Any = "zeros", dtype: Any = None,
                     name: str | None = None) -> Parameter:
        """A new array that the metric counts in, filled by `initializer` now and by `reset_state`."""
        fill, kind = initializers.get(initializer), np.dtype(dtype or self.dtype)
        variable = Parameter(np.ascontiguousarray(fill(tuple(shape), kind), kind), name or "variable", False)
        self._variables.append((variable, fill))
        return variable

    def add_weight(self, shape: tuple[int, ...] = (), initializer: Any = "zeros", dtype: Any = None,
                   name: str | None = None) -> Parameter:
        """`add_variable` under Keras's other name."""
        return self.add_variable(shape, initializer, dtype, name)

    @property
    def variables(self) -> list[Parameter]:
        """What `add_variable` made."""
        return [variable for variable, _ in self._variables]

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Takes in the targets and predictions of a batch."""
        raise NotImplementedError(f"{type(self).__name__} must override update_state.")

    def result(self) -> Any:
        """The value over all that came since the last reset."""
        raise NotImplementedError(f"{type(self).__name__} must override result.")

    def reset_state(self) -> None:
        """Forgets all: fills the variables anew."""
        for variable, fill in self._variables:
            variable.assign(fill(variable.shape, variable.dtype))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.update_state(*args, **kwargs)
        return self.result()

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, as plain data."""
        return {"name": self.name, "dtype": self.dtype}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "Metric":
        """The metric that `get_config` describes."""
        return cls(**config)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} name={self.name}>"


class Sum(Metric):
    """The sum of all values, each times its `sample_weight`."""

    def __init__(self, name: str = "sum", dtype: str | None = None) -> None:
        super().__init__(dtype, name)

    def reset_state(self) -> None:
        self.total = 0.0

    def update_state(self, values: Any, sample_weight: Any = None) -> None:  # type: ignore[override]
        values, weights = weighted(values, sample_weight)
        self.total += float((values * weights).sum(dtype=np.float64))

    def result(self) -> float:
        return self.total


class Mean(Metric):
    """The mean of all values, each counted `sample_weight` times; 0.0 of none at all."""

    def __init__(self, name: str = "mean", dtype: str | None = None) -> None:
        super().__init__(dtype, name)

    def reset_state(self) -> None:
        self.total, self.count = 0.0, 0.0

    def update_state(self, values: Any, sample_weight: Any = None) -> None:  # type: ignore[override]
        if sample_weight is None:
            values = array(values)
            self.total += float(values.sum(dtype=np.float64))
            self.count += values.size
        else:
            values, weights = weighted(values, sample_weight)
            self.total += float((values * weights).sum(dtype=np.float64))
            self.count += float(weights.sum(dtype=np.float64))

    def result(self) -> float:
        return self.total / self.count if self.count else 0.0


class MeanMetricWrapper(Mean):
    """The mean of a function `(y_true, y_pred, **options) -> one number a sample`, both NumPy arrays.

    values: the same on tensors; with it a training step takes the sums on the device. Each option is an attribute.
    """

    recordable = True

    def __init__(self, fn: ArrayFunction, name: str | None = None, dtype: str | None = None,
                 values: DeviceFunction | None = None, **options: Any) -> None:
        super().__init__(name or str(getattr(fn, "__name__", "metric")), dtype)
        self._function, self._values, self.recordable = fn, values, values is not None
        self._options = tuple(options)
        for option, value in options.items():
            setattr(self, option, value)

    def _given(self) -> dict[str, Any]:
        return {option: getattr(self, option) for option in self._options}

    def values(self, y_true: Tensor, y_pred: Tensor) -> Any:
        """One number a sample, as an array on the tensors' device."""
        return self._values(y_true, y_pred, **self._given())  # type: ignore[misc]

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:  # type: ignore[override]
        super().update_state(self._function(array(y_true), array(y_pred), **self._given()), sample_weight)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **self._given()}


def array(value: Any) -> np.ndarray:
    """The values of a tensor, or what NumPy makes of it."""
    return value.numpy() if isinstance(value, Tensor) else np.asarray(value)


def weighted(values: Any, sample_weight: Any) -> tuple[np.ndarray, np.ndarray]:
    """Values, and weights (N,) or of the same rank in their shape; 1 where none are given."""
    values = array(values)
    weights = np.ones((), np.float64) if sample_weight is None else array(sample_weight)
    if weights.ndim == values.ndim + 1 and weights.shape[-1] == 1:
        weights = weights[..., 0]
    if weights.ndim:
        weights = weights.reshape(weights.shape + (1,) * (values.ndim - weights.ndim))  # (N,) -> (N, 1, ...)
    return values, np.broadcast_to(weights, values.shape)


def ratio(a: Any, b: Any) -> Any:
    """a / b, 0 where b is 0."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    return np.divide(a, b, out=np.zeros(np.broadcast_shapes(a.shape, b.shape)), where=b != 0)


def number(value: Any) -> Any:
    """An array of one item as a number."""
    return float(np.asarray(value).reshape(())) if np.size(value) == 1 and np.ndim(value) == 0 else np.asarray(value)
