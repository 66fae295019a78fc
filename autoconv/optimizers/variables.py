"""What an optimizer keeps, as Keras's variables: numbers that can be assigned to, parts of its slots, and your own."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from .. import initializers
from ..tensor import Tensor
from ..variable import Stateful, Variable
from .flat import FlatParameters

_KERAS_SLOTS = {"accumulated": "gradient_accumulator"}  # the names of slots that Keras calls otherwise


class Variables(Stateful):
    """What an optimizer can do with its variables, under Keras's names."""

    name: str
    use_ema: bool
    flat: FlatParameters | None
    learning_rate: Any
    apply: Callable[..., None]
    _is_excluded: Callable[[Variable], bool]
    _iterations: Variable
    _learning_rate: Variable
    _schedule: Any
    _state: dict[str, Any]
    _added: list[Variable]  # by add_variable
    _known: list[Variable]
    _slots_by_number: Callable[[], dict[int, dict[str, np.ndarray]]]
    slots: tuple[str, ...]
    slot_order: Callable[..., list[tuple[str, int]]]
    _make_slots: Callable[[], None]

    @property
    def built(self) -> bool:
        """Whether it knows its parameters."""
        return self.flat is not None

    @property
    def variables(self) -> list[Variable]:
        """What it keeps, in Keras's order: the steps done, the learning rate, variables of your own, then the slots.
        Assigning to them changes it.
        """
        return list(self._named_variables().values())

    def _named_variables(self) -> dict[str, Variable]:
        """`variables` by their keys in `get_state`."""
        found = {"iterations": self._iterations}
        if self._schedule is None:
            found["learning_rate"] = self._learning_rate
        found.update({f"variable_{i}": variable for i, variable in enumerate(self._added)})
        if self.flat is None:
            return found
        self._make_slots()  # a setting that was switched on since may need one more
        parts = {slot: self.flat.split(self._state[slot]) for slot in self.slots}
        for slot, i in [each for each in self.slot_order() if each[0] in parts]:
            of = self.flat.parameters[i]
            name = f"{of.path.replace('/', '_')}_{_KERAS_SLOTS.get(slot, slot)}"
            found[f"{slot}/{i}"] = Variable.over(parts[slot][i], name, self.name, device=of.device)
        return found

    def get_state(self, parameters: Sequence[Variable] | None = None) -> dict[str, np.ndarray]:
        """Returns copies of the state: "iterations", "learning_rate" unless scheduled, "<slot>/<i>" for parameter i of
        these parameters, or of all. Raises ValueError for a parameter that the optimizer was not built for.
        """
        found = {key: variable.numpy() for key, variable in self._named_variables().items()}
        if parameters is None or self.flat is None:
            return found
        known = {id(parameter): i for i, parameter in enumerate(self._known)}
        if not known.keys() >= set(map(id, parameters)):
            raise ValueError(f"This {type(self).__name__} was built for other parameters: layers were added or changed "
                             "their `trainable`.")
        state, slots = {key: value for key, value in found.items() if "/" not in key}, self._slots_by_number()
        for i, parameter in enumerate(parameters):
            own, zeros = slots[known[id(parameter)]], np.zeros(parameter.shape, parameter.dtype)
            state.update({f"{slot}/{i}": own.get(slot, zeros) for slot in self.slots})
        return state

    def set_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Puts back what `get_state` gave. Call `build(parameters)` first. Raises ValueError where it does not fit."""
        numbers, variables = ("iterations", "learning_rate"), self._named_variables()
        own = {key: variable.shape for key, variable in variables.items() if key not in numbers}
        given = {key: np.shape(value) for key, value in state.items() if key not in numbers}
        if own != given:
            raise ValueError("This state belongs to another optimizer or to other parameters. "
                             f"{type(self).__name__} has {own or 'no slots (build it first)'}. Received: {given}.")
        for key in variables.keys() & state.keys():
            variables[key].assign(state[key])

    def add_variable(self, shape: Sequence[int], initializer: Any = "zeros", dtype: Any = None,
                     aggregation: str = "none", layout: Any = None, name: str | None = None) -> Variable:
        """A new variable that the optimizer keeps, for an `update_step` of your own."""
        kind = np.dtype(dtype or np.float32)
        values = initializers.get(initializer)(tuple(shape), kind)
        variable = Variable(np.reshape(values, shape), None, kind, False, name=name)
        variable.path = f"{self.name}/{variable.name}"
        self._added.append(variable)
        return variable

    def add_variable_from_reference(self, reference_variable: Variable, name: str | None = None,
                                    initializer: Any = "zeros") -> Variable:
        """A new variable of the shape and dtype of a weight, beside it on its device."""
        of = reference_variable
        path = f"{of.path.replace('/', '_')}_{name or 'var'}"
        variable = self.add_variable(of.shape, initializer, of.dtype, name=path)
        variable.data, variable.device = of.device.array(variable.data), of.device
        return variable

    def add_optimizer_variables(self, trainable_variables: Sequence[Variable], name: Any,
                                initializer: Any = "zeros") -> Any:
        """`add_variable_from_reference` for each of several weights; of several names a tuple of such lists."""
        if isinstance(name, str):
            return [self.add_variable_from_reference(of, name, initializer) for of in trainable_variables]
        first = initializer if isinstance(initializer, list | tuple) else [initializer] * len(name)
        return tuple(self.add_optimizer_variables(trainable_variables, one, each) for one, each in zip(name, first))

    def assign(self, variable: Variable, value: Any) -> None:
        """Sets a variable: what Keras's optimizers call."""
        variable.assign(value)

    def assign_add(self, variable: Variable, value: Any) -> None:
        """Adds to a variable."""
        variable.assign_add(value)

    def assign_sub(self, variable: Variable, value: Any) -> None:
        """Subtracts from a variable."""
        variable.assign_sub(value)

    def set_weights(self, weights: Sequence[Any]) -> None:
        """Sets all variables. Raises ValueError before `build`, and where shapes differ."""
        if not self.built:
            raise ValueError("set_weights() needs the optimizer's variables: call build(parameters) before.")
        for variable, value in zip(self.variables, weights):
            variable.assign(value)

    def load_own_variables(self, store: Mapping[str, Any]) -> None:
        """Takes what `save_own_variables` put there; warns, and changes nothing, where there are more or fewer."""
        variables = self.variables
        if len(store) != len(variables):
            warnings.warn(f"Skipping variable loading for optimizer {self.name!r}, because it has {len(variables)} "
                          f"variables whereas the saved optimizer has {len(store)} variables. Call "
                          "build(parameters) before.", stacklevel=2)
            return
        super().load_own_variables(store)

    def stateless_apply(self, optimizer_variables: Sequence[Any], grads: Sequence[Any],
                        trainable_variables: Sequence[Any]) -> tuple[list[Tensor], list[Tensor]]:
        """The weights and the optimizer's variables after a step from these values; nothing of its own changes."""
        if not self.built:
            raise ValueError(f"To call stateless_apply, {type(self).__name__} must be built: build(parameters).")
        weights, variables = self.flat.parameters, self.variables  # type: ignore[union-attr]
        with self.holding(trainable_variables=(weights, trainable_variables),
                          optimizer_variables=(variables, optimizer_variables)):
            self.apply(grads)
            return [weight.value for weight in weights], [variable.value for variable in variables]

    # Keras's private names, which its users' own optimizers call.

    def _get_variable_index(self, variable: Variable) -> int:
        """The place of a weight among those that the optimizer was built for, under Keras's name."""
        return next(i for i, one in enumerate(self._known) if one is variable)

    def _use_weight_decay(self, variable: Variable) -> bool:
        """Whether weight decay takes from this weight, under Keras's name."""
        return not self._is_excluded(variable)

    def _get_current_learning_rate(self) -> Tensor:
        """The learning rate of the next step, under Keras's name."""
        return self.learning_rate

    @property
    def _model_variables_moving_average(self) -> list[Variable]:
        """The averages of the weights, under Keras's name."""
        return [variable for variable in self.variables if variable.name.endswith("_average")] if self.use_ema else []
