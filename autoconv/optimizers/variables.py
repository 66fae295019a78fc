"""What an optimizer keeps, as Keras's variables: numbers that can be assigned to, parts of its slots, and your own."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from .. import initializers
from ..held import Held
from ..tensor import Parameter, Tensor
from .flat import FlatParameters

_KERAS_SLOTS = {"accumulated": "gradient_accumulator"}  # the names of slots that Keras calls otherwise


class Kept(Parameter):
    """A number that an optimizer keeps elsewhere, as a variable: assigning to it sets that number."""

    __slots__ = ("_put",)

    def __init__(self, value: Any, name: str, owner: str, put: Callable[[Any], None]) -> None:
        super().__init__(np.array(value), name, trainable=False)
        self.path, self._put = f"{owner}/{name}", put

    def assign(self, value: Any) -> None:
        """Sets the number."""
        super().assign(value)
        self._put(self.data.item())


class Rate(Held, float):
    """A learning rate."""

    name = "learning_rate"

    def __reduce__(self) -> tuple:
        return float, (float(self),)


class Count(Held, int):
    """How many steps were done."""

    dtype, name = "int32", "iteration"

    def __reduce__(self) -> tuple:
        return int, (int(self),)


class Variables:
    """What an optimizer can do with its variables, under Keras's names."""

    name: str
    use_ema: bool
    flat: FlatParameters | None
    learning_rate: Any
    apply: Callable[..., None]
    _is_excluded: Callable[[Parameter], bool]
    _now: Any
    _state: dict[str, Any]
    _added: list[Parameter]  # by add_variable
    _known: list[Parameter]
    slot_order: Callable[..., list[tuple[str, int]]]

    @property
    def built(self) -> bool:
        """Whether it knows its parameters."""
        return self.flat is not None

    @property
    def variables(self) -> list[Parameter]:
        """What it keeps, in Keras's order: the steps done, the learning rate, variables of your own, then the slots.
        Assigning to them changes it.
        """
        steps = min(self._now.steps, np.iinfo(np.int32).max)
        found: list[Parameter] = [Kept(np.int32(steps), "iteration", self.name, self._put_steps)]
        if not callable(self._now.rate):
            found.append(Kept(np.float32(self._now.rate), "learning_rate", self.name, self._put_rate))
        found += self._added
        flat = self.flat
        for slot, i in [] if flat is None else self.slot_order():
            of, part = flat.parameters[i], flat.split(self._state[slot])[i]  # type: ignore[union-attr]
            variable = Parameter(part, f"{of.path.replace('/', '_')}_{_KERAS_SLOTS.get(slot, slot)}", False, of.device)
            variable.path = f"{self.name}/{variable.name}"
            found.append(variable)
        return found

    def _put_steps(self, value: Any) -> None:
        self._now.steps = int(value)

    def _put_rate(self, value: Any) -> None:
        self.learning_rate = float(value)

    def add_variable(self, shape: Sequence[int], initializer: Any = "zeros", dtype: Any = None,
                     aggregation: str = "none", layout: Any = None, name: str | None = None) -> Parameter:
        """A new variable that the optimizer keeps, for an `update_step` of your own."""
        kind = np.dtype(dtype or np.float32)
        values = initializers.get(initializer)(tuple(shape), kind)
        variable = Parameter(np.ascontiguousarray(values, kind).reshape(tuple(shape)), name or "variable", False)
        variable.path = f"{self.name}/{variable.name}"
        self._added.append(variable)
        return variable

    def add_variable_from_reference(self, reference_variable: Parameter, name: str | None = None,
                                    initializer: Any = "zeros") -> Parameter:
        """A new variable of the shape and dtype of a weight, beside it on its device."""
        of = reference_variable
        path = f"{of.path.replace('/', '_')}_{name or 'var'}"
        variable = self.add_variable(of.shape, initializer, of.dtype, name=path)
        variable.data, variable.device = of.device.array(variable.data), of.device
        return variable

    def add_optimizer_variables(self, trainable_variables: Sequence[Parameter], name: Any,
                                initializer: Any = "zeros") -> Any:
        """`add_variable_from_reference` for each of several weights; of several names a tuple of such lists."""
        if isinstance(name, str):
            return [self.add_variable_from_reference(of, name, initializer) for of in trainable_variables]
        first = initializer if isinstance(initializer, list | tuple) else [initializer] * len(name)
        return tuple(self.add_optimizer_variables(trainable_variables, one, each) for one, each in zip(name, first))

    def assign(self, variable: Parameter, value: Any) -> None:
        """Sets a variable: what Keras's optimizers call."""
        variable.assign(value)

    def assign_add(self, variable: Parameter, value: Any) -> None:
        """Adds to a variable."""
        variable.assign_add(value)

    def assign_sub(self, variable: Parameter, value: Any) -> None:
        """Subtracts from a variable."""
        variable.assign_sub(value)

    def set_weights(self, weights: Sequence[Any]) -> None:
        """Sets all variables. Raises ValueError before `build`, and where shapes differ."""
        if not self.built:
            raise ValueError("set_weights() needs the optimizer's variables: call build(parameters) before.")
        for variable, value in zip(self.variables, weights):
            variable.assign(value)

    def save_own_variables(self, store: Any) -> None:
        """Puts the values of all variables into a dict, under "0", "1" and so on."""
        store.update({str(i): variable.numpy() for i, variable in enumerate(self.variables)})

    def load_own_variables(self, store: Mapping[str, Any]) -> None:
        """Takes what `save_own_variables` put there; warns, and changes nothing, where there are more or fewer."""
        variables = self.variables
        if len(store) != len(variables):
            warnings.warn(f"Skipping variable loading for optimizer {self.name!r}, because it has {len(variables)} "
                          f"variables whereas the saved optimizer has {len(store)} variables. Call "
                          "build(parameters) before.", stacklevel=2)
            return
        for i, variable in enumerate(variables):
            variable.assign(store[str(i)])

    def stateless_apply(self, optimizer_variables: Sequence[Any], grads: Sequence[Any],
                        trainable_variables: Sequence[Any]) -> tuple[list[Tensor], list[Tensor]]:
        """The weights and the optimizer's variables after a step from these values; nothing of its own changes."""
        if not self.built:
            raise ValueError(f"To call stateless_apply, {type(self).__name__} must be built: build(parameters).")
        own: list[Any] = [*self.flat.parameters, *self.variables]  # type: ignore[union-attr]
        given = [*trainable_variables, *optimizer_variables]
        count = len(own) - len(self.variables)
        if len(optimizer_variables) != len(own) - count or len(trainable_variables) != count:
            raise ValueError(f"stateless_apply() needs a value for each of the {len(own) - count} variables and the "
                             f"{count} weights. Received: {len(optimizer_variables)} and {len(trainable_variables)}.")
        before = [variable.numpy() for variable in own]
        try:
            for variable, value in zip(own, given):
                variable.assign(value)
            self.apply(grads)
            own = [*self.flat.parameters, *self.variables]  # type: ignore[union-attr]
            after = [variable.value for variable in own]
        finally:
            for variable, value in zip(own, before):
                variable.assign(value)
        return after[:count], after[count:]

    # Keras's private names, which its users' own optimizers call.

    def _get_variable_index(self, variable: Parameter) -> int:
        """The place of a weight among those that the optimizer was built for, under Keras's name."""
        return next(i for i, one in enumerate(self._known) if one is variable)

    def _use_weight_decay(self, variable: Parameter) -> bool:
        """Whether weight decay takes from this weight, under Keras's name."""
        return not self._is_excluded(variable)

    def _get_current_learning_rate(self) -> Rate:
        """The learning rate of the next step, under Keras's name."""
        return self.learning_rate

    @property
    def _model_variables_moving_average(self) -> list[Parameter]:
        """The averages of the weights, under Keras's name."""
        return [variable for variable in self.variables if variable.name.endswith("_average")] if self.use_ema else []
