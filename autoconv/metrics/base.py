"""`Metric`, and what adds up numbers: sums, means, and means of functions. By NumPy."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from functools import partial, wraps
from typing import Any

import numpy as np

from .. import initializers
from ..arguments import names
from ..arguments.serialization import Configured
from ..backend.device import without_gradient
from ..held import Held
from ..tensor import Parameter, Tensor, within_formula
from ..versions import Versioned

ArrayFunction = Callable[..., Any]
DeviceFunction = Callable[..., Any]


class Value(float):
    """A metric's result, with what a tensor of one number can do."""

    dtype, shape, ndim = "float32", (), 0

    def numpy(self) -> np.ndarray:
        """The number as an array without axes."""
        return np.array(self, self.dtype)

    def item(self) -> float:
        """The number."""
        return float(self)

    def __reduce__(self) -> tuple:
        return float, (float(self),)


class Counted(Held, float):
    """A number that a metric holds in an attribute, as reading that gives it: assigning to it sets the attribute."""

    def __reduce__(self) -> tuple:
        return float, (float(self),)


class CountedArray(np.ndarray):
    """The same of an array."""

    def numpy(self) -> np.ndarray:
        """A copy, as an array of NumPy's alone."""
        return np.array(self, {"f": np.float32, "i": np.int32}.get(self.dtype.kind))

    @property
    def value(self) -> Tensor:
        """A copy as a tensor."""
        return Tensor(self.numpy())

    def assign(self, value: Any) -> None:
        """Sets the numbers."""
        self[...] = array(value)

    def assign_add(self, value: Any) -> None:
        """Adds to the numbers."""
        self[...] += array(value)

    def assign_sub(self, value: Any) -> None:
        """Subtracts from the numbers."""
        self[...] -= array(value)


class HeldVariable(Parameter):
    """What a metric holds in an attribute, as a variable: assigning to it sets the attribute."""

    __slots__ = ("_metric",)

    def __init__(self, metric: "Metric", attribute: str) -> None:
        value = np.asarray(getattr(metric, attribute))
        name = "accumulator" if metric._shown == (attribute,) else _NAMES.get(attribute, attribute)
        super().__init__(value.astype(metric.dtype), name, trainable=False)
        self._metric = metric, attribute
        self.path = f"{metric.name}/{self.name}"

    def assign(self, value: Any) -> None:
        """Sets the attribute."""
        super().assign(value)
        metric, attribute = self._metric
        like = np.asarray(getattr(metric, attribute)).dtype
        setattr(metric, attribute, self.data.astype(like) if self.ndim else self.data.astype(like).item())


def _counted(metric: "Metric", name: str, value: Any) -> Any:
    """A number or an array that a metric holds under this name, with `assign`."""
    if isinstance(value, float):
        value = Counted(value)
        value._put, value.name = partial(setattr, metric, name), name
    elif type(value) is np.ndarray:
        value = value.view(CountedArray)
    return value


def _as_value(result: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A metric's `result`, whose one number is then a `Value`, and several a tensor."""

    @wraps(result)
    def valued(self: Any) -> Any:
        found = result(self)
        if isinstance(found, np.ndarray):
            return Tensor(np.array(found, np.float32))
        return Value(found) if isinstance(found, float) else found

    return valued


def _of_values(update: Callable[..., Any]) -> Callable[..., Any]:
    """A metric's `update_state`, which takes values out of tensors also in the middle of a `train_step`."""

    @wraps(update)
    def updated(*args: Any, **kwargs: Any) -> Any:
        with within_formula(None):
            return update(*args, **kwargs)

    return updated


_NAMES = {"total_cm": "total_confusion_matrix"}  # of variables, where Keras's are not the attributes'


class Metric(Configured, Versioned):
    """The base of a metric of your own: override `update_state` and `result`.

    What it counts lies in variables from `add_variable`, which `reset_state` fills anew, or in attributes that a
    `reset_state` of its own sets. `metric(y_true, y_pred)` updates and returns the result so far.
    """

    # Whether `values(y_true, y_pred)` gives one number a sample, as an array, by functions of tensors alone. A step
    # then adds their sum and their number to `total` and `count`, and never calls `update_state`.
    recordable = False

    direction: str | None = None  # "up" where larger values are better, "down" where smaller ones are

    _shown: tuple[str, ...] = ()  # the attributes that are its variables, where not all that it counts in are
    _state: frozenset[str] = frozenset()  # what `reset_state` sets: training changes it, so it counts as no change

    def __init__(self, dtype: str | None = None, name: str | None = None) -> None:
        self.name, self.dtype = name or names.snake_case(type(self).__name__), dtype or "float32"
        self._variables: list[tuple[Parameter, Any]] = []
        settings = set(vars(self))
        self.reset_state()
        self._state = frozenset(vars(self)) - settings
        for attribute in self._state:
            setattr(self, attribute, vars(self)[attribute])

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "update_state" in vars(cls):
            cls.update_state = _of_values(cls.update_state)  # type: ignore[method-assign]
        if cls.__module__.startswith("autoconv.") and "result" in vars(cls):
            cls.result = _as_value(cls.result)  # type: ignore[method-assign, assignment]

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, Parameter) and name not in self._state:
            object.__setattr__(self, "_state", self._state | {name})
        if name in self._state:
            object.__setattr__(self, name, _counted(self, name, value))
        else:
            super().__setattr__(name, value)

    def add_variable(self, shape: tuple[int, ...] = (), initializer: Any = "zeros", dtype: Any = None,
                     name: str | None = None) -> Parameter:
        """A new array that the metric counts in, filled by `initializer` now and by `reset_state`."""
        fill, kind = initializers.get(initializer), np.dtype(dtype or self.dtype)
        values = np.require(fill(tuple(shape), kind), kind, ["C", "W"])
        variable = Parameter(values.reshape(tuple(shape)), name or "variable", False)
        variable.path = f"{self.name}/{variable.name}"
        self._variables.append((variable, fill))
        return variable

    def add_weight(self, shape: tuple[int, ...] = (), initializer: Any = "zeros", dtype: Any = None,
                   name: str | None = None) -> Parameter:
        """`add_variable` under Keras's other name."""
        return self.add_variable(shape, initializer, dtype, name)

    @property
    def variables(self) -> list[Parameter]:
        """What it counts in: what `add_variable` made and what it holds in attributes, then that of metrics within."""
        attributes = self._shown or [name for name, value in vars(self).items() if name in self._state
                                     and _is_plain(value)]
        return [*(variable for variable, _ in self._variables), *(HeldVariable(self, name) for name in attributes),
                *(variable for within in self._within() for variable in within.variables)]

    def _within(self) -> list["Metric"]:
        """The metrics in its attributes."""
        return [value for value in vars(self).values() if isinstance(value, Metric)]

    def stateless_update_state(self, metric_variables: Sequence[Any], *args: Any, **kwargs: Any) -> list[Tensor]:
        """The values of its variables after `update_state` from these values; nothing of its own changes."""
        with self._as_before():
            self._put(metric_variables)
            self.update_state(*args, **kwargs)
            return [variable.value for variable in self.variables]

    def stateless_result(self, metric_variables: Sequence[Any]) -> Any:
        """The result for these values of its variables."""
        with self._as_before():
            self._put(metric_variables)
            return self.result()

    def stateless_reset_state(self) -> list[Tensor]:
        """The values of its variables after `reset_state`."""
        with self._as_before():
            self.reset_state()
            return [variable.value for variable in self.variables]

    def _put(self, values: Sequence[Any]) -> None:
        own = self.variables
        if len(values) != len(own):
            raise ValueError(f"metric_variables must have a tensor for each of the {len(own)} variables of "
                             f"{type(self).__name__}. Received: {len(values)}.")
        for variable, value in zip(own, values):
            variable.assign(value)

    @contextmanager
    def _as_before(self) -> Iterator[None]:
        """Puts back, afterwards, what it and the metrics within hold."""
        every = [self, *self._within()]
        kept = [([variable.numpy() for variable, _ in one._variables],
                 {name: deepcopy(vars(one)[name]) for name in one._state if _is_plain(vars(one).get(name))})
                for one in every]
        try:
            yield
        finally:
            for one, (variables, attributes) in zip(every, kept):
                for (variable, _), value in zip(one._variables, variables):
                    variable.assign(value)
                for name, value in attributes.items():
                    setattr(one, name, value)

    def update_state(self, *args: Any, **kwargs: Any) -> None:
        """Takes in what a batch brings: targets and predictions, and a weight for each sample."""
        raise NotImplementedError(f"{type(self).__name__} must override update_state.")

    def result(self) -> Any:
        """The value over all that came since the last reset."""
        raise NotImplementedError(f"{type(self).__name__} must override result.")

    def reset_state(self) -> None:
        """Forgets all: fills the variables anew, also those of the metrics within."""
        for variable, fill in self._variables:
            variable.assign(fill(variable.shape, variable.dtype))
        for within in self._within():
            within.reset_state()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.update_state(*args, **kwargs)
        return self.result()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} name={self.name}>"


class Sum(Metric):
    """The sum of all values, each times its `sample_weight`."""

    def __init__(self, name: str = "sum", dtype: str | None = None) -> None:
        super().__init__(dtype, name)

    def reset_state(self) -> None:
        self.total = 0.0

    def update_state(self, values: Any, sample_weight: Any = None) -> None:
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

    def update_state(self, values: Any, sample_weight: Any = None) -> None:
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
        self._function, self._values = fn, values
        self.recordable = values is not None and options.get("ignore_class") is None  # whose weights change
        self._options = tuple(options)
        for option, value in options.items():
            setattr(self, option, value)

    def _given_options(self) -> dict[str, Any]:
        return {option: getattr(self, option) for option in self._options}

    def values(self, y_true: Tensor, y_pred: Tensor) -> Any:
        """One number a sample, as an array on the tensors' device."""
        return self._values(y_true, y_pred, **self._given_options())  # type: ignore[misc]

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:  # type: ignore[override]
        t, ignored = array(y_true), getattr(self, "ignore_class", None)
        found = array(self._function(t, array(y_pred), **self._given_options()))
        if ignored is not None and sample_weight is not None:
            sample_weight = weighted(found, sample_weight)[1] * (t.reshape(found.shape) != ignored)
        super().update_state(found, sample_weight)


def _is_plain(value: Any) -> bool:
    """Whether a metric counts in this: a number, or an array that is no variable yet."""
    return isinstance(value, int | float | np.ndarray | np.generic) and not isinstance(value, bool)


def array(value: Any) -> np.ndarray:
    """The values of a tensor, or what NumPy makes of it."""
    return value.numpy() if isinstance(value, Tensor) else np.asarray(without_gradient(value))


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
