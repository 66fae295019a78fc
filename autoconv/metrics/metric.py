"""`Metric`, and metrics that accumulate numbers with NumPy: sums, means, and means of functions."""

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from typing import Any

import numpy as np

from .. import initializers
from ..arguments import names
from ..engine.tensor import Tensor
from ..engine.variable import Stateful, Variable
from ..kernels.device import detach

SHARE = 1 << 16  # number of rows that `ordered_sum` converts to float64 at a time

ArrayFunction = Callable[..., Any]
DeviceFunction = Callable[..., Any]


class Number(float):
    """A metric's result, with the methods of a tensor of one number."""

    dtype, shape, ndim = "float32", (), 0

    def numpy(self) -> np.ndarray:
        """Returns the number as an array without axes."""
        return np.array(self, self.dtype)

    def item(self) -> float:
        """Returns the number."""
        return float(self)

    def __reduce__(self) -> tuple:
        return float, (float(self),)


class Metric(Stateful):
    """Base class of custom metrics: override `update_state` and `result`.

    The state consists of variables from `add_variable`, which `reset_state` refills, and of numbers
    and arrays in attributes, which a custom `reset_state` must set. `metric(y_true, y_pred)` adds a
    batch and returns the result for all batches since the last reset.
    """

    # Whether `values(y_true, y_pred)` returns an array with one number per sample, using only functions of tensors. A
    # step then adds the sum and the count of these numbers to `total` and `count`, and never calls `update_state`.
    recordable = False

    direction: str | None = None  # "up" if larger values are better, "down" if smaller values are

    bookkeeping = frozenset({"_variables"})  # attributes that no recording depends on

    def __init__(self, dtype: str | None = None, name: str | None = None) -> None:
        self.name = name or names.snake_case(type(self).__name__)
        self.dtype = dtype or "float32"
        self._variables: list[tuple[Variable, Any]] = []

    def add_variable(self, shape: tuple[int, ...] = (), initializer: Any = "zeros", dtype: Any = None,
                     name: str | None = None) -> Variable:
        """Adds a state variable, filled by `initializer` now and by `reset_state`."""
        fill, kind = initializers.get(initializer), np.dtype(dtype or self.dtype)
        values = np.require(fill(tuple(shape), kind), kind, ["C", "W"])
        variable = Variable.wrap(values.reshape(tuple(shape)), name or "variable", self.name)
        self._variables.append((variable, fill))
        return variable

    add_weight = add_variable

    @property
    def variables(self) -> list[Variable]:
        """The state: variables from `add_variable`, then the variables of metrics in attributes."""
        return [*(variable for variable, _ in self._variables),
                *(variable for metric in self._inner_metrics() for variable in metric.variables)]

    def _inner_metrics(self) -> list["Metric"]:
        return [value for value in vars(self).values() if isinstance(value, Metric)]

    def stateless_update_state(self, metric_variables: Sequence[Any], *args: Any, **kwargs: Any) -> list[Tensor]:
        """Returns the values of the variables after `update_state`, given their values before. Changes no variable."""
        with self.holding(metric_variables=(self.variables, metric_variables)):
            self.update_state(*args, **kwargs)
            return [variable.value for variable in self.variables]

    def stateless_result(self, metric_variables: Sequence[Any]) -> Any:
        """Returns the result for variables with the values `metric_variables`. Changes no variable."""
        with self.holding(metric_variables=(self.variables, metric_variables)):
            return self.result()

    def stateless_reset_state(self) -> list[Tensor]:
        """Returns the variables' values after a `reset_state`. Changes no variable."""
        with self.holding():
            self.reset_state()
            return [variable.value for variable in self.variables]

    def get_state(self) -> dict[str, Any]:
        """Returns a copy of the state, keyed by attribute name, for `set_state`. It includes variables, numbers and
        arrays, also in lists and dicts, but no constructor arguments. The state of an inner metric is a dict.
        """
        arguments, state = self.config_parameters(), {}
        for name, value in vars(self).items():
            if isinstance(value, Variable):
                state[name] = value.numpy() if value.ndim else value.numpy().item()
            elif isinstance(value, Metric):
                state[name] = value.get_state()
            elif name not in arguments and _is_plain(value):
                state[name] = deepcopy(value)
        return state

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Restores a state returned by `get_state`."""
        for name in self.get_state().keys() & state.keys():
            current, value = getattr(self, name), state[name]
            if isinstance(current, Metric):
                current.set_state(value)
            elif isinstance(current, Variable) and current.shape == np.shape(value):
                current.assign(value)
            elif isinstance(current, Variable):  # a variable whose shape the first batch determines
                current.data = np.array(value, current.dtype)
            else:
                setattr(self, name, deepcopy(value))

    def update_state(self, *args: Any, **kwargs: Any) -> None:
        """Adds a batch to the state: targets, predictions, and optional sample weights."""
        raise NotImplementedError(f"{type(self).__name__} must override update_state.")

    def result(self) -> Any:
        """Returns the value for all batches since the last reset."""
        raise NotImplementedError(f"{type(self).__name__} must override result.")

    def reset_state(self) -> None:
        """Resets the state: refills the variables, also those of inner metrics."""
        for variable, fill in self._variables:
            variable.assign(fill(variable.shape, variable.dtype))
        for metric in self._inner_metrics():
            metric.reset_state()

    def _doubles(self, *names: str, shape: tuple[int, ...] = ()) -> list[Variable]:
        return [self.add_variable(shape, dtype=np.float64, name=name) for name in names]

    def _fit(self, shape: tuple[int, ...]) -> None:
        """Replaces float64 variables of another shape by zeros of this shape, which the first batch determines."""
        for variable, _ in self._variables:
            if variable.dtype == np.float64 and variable.shape != shape:
                variable.data = np.zeros(shape, variable.dtype)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.update_state(*args, **kwargs)
        return self.result()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} name={self.name}>"


class Sum(Metric):
    """The sum of all values, each multiplied by its `sample_weight`."""

    def __init__(self, name: str = "sum", dtype: str | None = None) -> None:
        super().__init__(dtype, name)
        self.total, = self._doubles("total")

    def update_state(self, values: Any, sample_weight: Any = None) -> None:
        values, weights = broadcast_weights(values, sample_weight)
        self.total.assign_add(ordered_sum(values * weights))

    def result(self) -> Any:
        return number(self.total.data)


class Mean(Metric):
    """The mean of all values, weighted by `sample_weight`, or 0.0 if there are no values."""

    def __init__(self, name: str = "mean", dtype: str | None = None) -> None:
        super().__init__(dtype, name)
        self.total, self.count = self._doubles("total", "count")

    def update_state(self, values: Any, sample_weight: Any = None) -> None:
        values, weights = (array(values), None) if sample_weight is None else broadcast_weights(values, sample_weight)
        total = values if weights is None else values * weights
        self.total.assign_add(ordered_sum(total))
        self.count.assign_add(values.size if weights is None else ordered_sum(weights))

    def result(self) -> Any:
        return number(ratio(self.total.data, self.count.data))


class MeanMetricWrapper(Mean):
    """The mean of a function `(y_true, y_pred, **options) -> one number per sample` on NumPy arrays.

    values: the same function on tensors, with which a training step computes sums on the device.
    """

    recordable = True

    def __init__(self, fn: ArrayFunction, name: str | None = None, dtype: str | None = None,
                 values: DeviceFunction | None = None, **options: Any) -> None:
        super().__init__(name or str(getattr(fn, "__name__", "metric")), dtype)
        self._function, self._values = fn, values
        self.recordable = values is not None and options.get("ignore_class") is None  # ignore_class changes the weights
        self._options = tuple(options)
        for option, value in options.items():
            setattr(self, option, value)

    def _get_options(self) -> dict[str, Any]:
        return {option: getattr(self, option) for option in self._options}

    def values(self, y_true: Tensor, y_pred: Tensor) -> Any:
        """Returns one number per sample, as an array on the tensors' device."""
        return self._values(y_true, y_pred, **self._get_options())  # type: ignore[misc]

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:  # type: ignore[override]
        t, ignored_class = array(y_true), getattr(self, "ignore_class", None)
        values = array(self._function(t, array(y_pred), **self._get_options()))
        if ignored_class is not None and sample_weight is not None:
            _, weights = broadcast_weights(values, sample_weight)
            sample_weight = weights * (t.reshape(values.shape) != ignored_class)
        super().update_state(values, sample_weight)


def _is_plain(value: Any) -> bool:
    """Returns whether an attribute is state: a number, an array, or a list or dict of numbers and arrays."""
    if isinstance(value, list | dict):
        return all(map(_is_plain, value.values() if isinstance(value, dict) else value))
    return isinstance(value, int | float | np.ndarray | np.generic) and not isinstance(value, bool)


def array(value: Any) -> np.ndarray:
    """Converts a tensor or another value to a NumPy array, without a gradient."""
    return value.detach().numpy() if isinstance(value, Tensor) else np.asarray(detach(value))


def broadcast_weights(values: Any, sample_weight: Any) -> tuple[np.ndarray, np.ndarray]:
    """Returns the values, and the weights broadcast to their shape. Without sample weights, the weights are 1."""
    values = array(values)
    weights = np.ones((), np.float64) if sample_weight is None else array(sample_weight)
    if weights.ndim == values.ndim + 1 and weights.shape[-1] == 1:
        weights = weights[..., 0]
    if weights.ndim:
        weights = weights.reshape(weights.shape + (1,) * (values.ndim - weights.ndim))  # (N,) -> (N, 1, ...)
    return values, np.broadcast_to(weights, values.shape)


def ordered_sum(values: Any, axis: int | None = None) -> np.ndarray:
    """The float64 sum along an axis or of all values, in order. `np.sum` orders them as NumPy's version does."""
    values = np.reshape(values, -1) if axis is None else np.moveaxis(values, axis, 0)
    total = np.zeros(values.shape[1:])
    for start in range(0, len(values), SHARE):
        share = values[start : start + SHARE].astype(np.float64)
        share[0] += total
        total = np.cumsum(share, 0)[-1]
    return total


def ratio(a: Any, b: Any) -> np.ndarray:
    """a / b, or 0 if b is 0."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    return np.divide(a, b, out=np.zeros(np.broadcast_shapes(a.shape, b.shape)), where=b != 0)


def number(value: Any) -> Any:
    """Converts a result: a single number to a `Number`, several numbers to a tensor."""
    return Tensor(np.asarray(value, np.float32)) if np.ndim(value) else Number(value)
