"""What an optimizer keeps: steps and rate, slots beside the flat array of the weights, averages, your own variables."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from .. import initializers
from ..engine.tensor import Tensor
from ..engine.variable import Stateful, Variable
from . import settings
from .flat import FlatParameters
from .settings import LearningRate

_KERAS_SLOTS = {"accumulated": "gradient_accumulator"}  # the names of slots that Keras calls otherwise


class OptimizerState(Stateful):
    """The variables of an optimizer, under Keras's names, and what reads and changes them."""

    # Settings, and methods of the optimizer.
    use_ema: bool
    ema_momentum: float
    ema_overwrite_frequency: int | None
    gradient_accumulation_steps: int | None
    apply: Callable[..., None]
    _is_excluded: Callable[[Variable], bool]

    _slots: tuple[str, ...] = ()  # the names of those of this kind of optimizer
    _first: ClassVar[dict[str, str]] = {}  # the attribute whose value a slot begins with, where that is not 0
    _apart: ClassVar[tuple[str, ...]] = ("velocity_hat",)  # slots that Keras makes after all others

    def __init__(self, name: str) -> None:
        self.name = name
        self._iterations = Variable.over(np.array(0), "iteration", name)
        self._learning_rate = Variable.over(np.array(0.0), "learning_rate", name)  # of use without a schedule
        self._swapped = Variable.over(np.array(False), "swapped", name)  # averages in the place of the weights
        self._schedule: Callable[[int], float] | None = None
        self._added: list[Variable] = []  # by add_variable
        self.flat: FlatParameters | None = None
        self._state: dict[str, Any] = {}  # the slots by name
        self._known: list[Variable] = []  # all that it was built for, in that order
        self._resting: dict[int, dict[str, np.ndarray]] = {}  # slots of those that are frozen, by number in _known

    # Steps and rate.

    @property
    def iterations(self) -> Tensor:
        """The variable of the steps done; with gradient_accumulation_steps a tensor of the number of updates."""
        return Tensor(np.array(self._updates())) if self.gradient_accumulation_steps else self._iterations

    @iterations.setter
    def iterations(self, value: int) -> None:
        self._iterations.data[()] = int(value) * (self.gradient_accumulation_steps or 1)

    def _steps(self) -> int:
        return self._iterations.data.item()

    def _updates(self) -> int:
        return self._iterations.data.item() // (self.gradient_accumulation_steps or 1)

    def count_step(self) -> None:
        """Counts a step whose `update` was made by kernels."""
        steps = self._iterations.data
        steps[()] = steps.item() + 1

    @property
    def is_scheduled(self) -> bool:
        """Whether a schedule sets the learning rate."""
        return self._schedule is not None

    @property
    def learning_rate(self) -> Tensor:
        """The learning rate of the next step: a variable, or a tensor of the number that a schedule gives."""
        return Tensor(np.array(self._rate())) if self.is_scheduled else self._learning_rate

    @learning_rate.setter
    def learning_rate(self, value: LearningRate) -> None:
        if self._schedule is not None and not callable(value):
            raise TypeError("This optimizer was made with a schedule as its learning_rate, so the schedule sets it. "
                            f"Received: {value!r}. Make the optimizer with a number to set it yourself.")
        rate = settings.learning_rate(value)
        if callable(rate):
            self._schedule = rate
        else:
            self._learning_rate.data[()] = rate

    def _rate(self) -> float:
        schedule = self._schedule
        return self._learning_rate.data.item() if schedule is None else float(schedule(self._iterations.data.item()))

    # The variables.

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

    # The slots.

    @property
    def slots(self) -> tuple[str, ...]:
        """The names of the arrays that it keeps beside the parameters."""
        of_all = (("average",) * self.use_ema, ("accumulated",) * bool(self.gradient_accumulation_steps))
        return (*self._slots, *(slot for slots in of_all for slot in slots))

    def _slot(self, slot: str) -> Any:
        """A slot's flat array; one of length zero where this optimizer has no such slot."""
        return self._state[slot] if slot in self._slots else self.flat.data[:0]  # type: ignore[union-attr]

    def _make_slots(self) -> None:
        """Those that are not there yet: a setting that was switched on later may need one more."""
        flat: Any = self.flat
        for slot in self.slots:
            if slot not in self._state:
                self._state[slot] = flat.zeros()
                if slot in self._first:
                    for part in flat.split(self._state[slot]):
                        part[...] = getattr(self, self._first[slot])

    def _move(self, parameters: Sequence[Variable]) -> None:
        """Follows the parameters to another device, with the slots."""
        self.flat = FlatParameters(parameters)
        self._state = {slot: self.flat.device.array(values) for slot, values in self._state.items()}

    def _lay_out(self, parameters: Sequence[Variable]) -> None:
        """Lays out these of the known parameters with their slots; the slots of the others rest."""
        slots, known = self._slots_by_number(), {id(parameter): i for i, parameter in enumerate(self._known)}
        self.flat, self._state = FlatParameters(parameters), {}
        self._make_slots()
        for slot, flat in self._state.items():
            for parameter, part in zip(parameters, self.flat.split(flat)):
                values = slots[known[id(parameter)]]
                if slot in values:
                    part[...] = self.flat.device.asarray(values[slot], part.dtype)
        trained = set(map(id, parameters))
        self._resting = {i: slots[i] for i, parameter in enumerate(self._known) if id(parameter) not in trained}

    def _slots_by_number(self) -> dict[int, dict[str, np.ndarray]]:
        """Copies of the slots of all known parameters, by their numbers."""
        flat: Any = self.flat
        known, found = {id(parameter): i for i, parameter in enumerate(self._known)}, dict(self._resting)
        parts = {slot: flat.split(array) for slot, array in self._state.items()}
        for i, parameter in enumerate(flat.parameters):
            found[known[id(parameter)]] = {slot: np.array(flat.device.numpy(each[i])) for slot, each in parts.items()}
        return found

    def slot_order(self, count: int | None = None) -> list[tuple[str, int]]:
        """The slots with the numbers of their parameters, in the order of Keras's variables: the averages and sums of
        gradients first, then all slots of a parameter together, but for those in `_apart`. count: of parameters.
        """
        numbers = range(len(self.flat.parameters) if count is None and self.flat is not None else count or 0)
        slots = [slot for slot in self._slots if slot in self._state]
        together = [slot for slot in slots if slot not in self._apart]
        alone = [slot for slot in slots if slot in self._apart]
        return [*((slot, i) for slot in ("average", "accumulated") if slot in self._state for i in numbers),
                *((slot, i) for i in numbers for slot in together), *((slot, i) for slot in alone for i in numbers)]

    # Averages: of the weights in the slot `average`, of gradients in the slot `accumulated`.

    @property
    def swapped(self) -> bool:
        """Whether the moving averages are in the place of the weights: see `swap_averages`."""
        return self._swapped.data.item()

    @swapped.setter
    def swapped(self, value: bool) -> None:
        self._swapped.data[()] = value

    def finalize_variable_values(self, var_list: Sequence[Variable] | None = None) -> None:
        """Makes the weights their moving averages, where `use_ema` keeps some: what `fit` does at its end."""
        if self.swapped:  # they are there already; what lies in their place is of no use any more
            self.flat.device.kernels("arith").copy(self.flat.data, self._state["average"])  # type: ignore[union-attr]
            self.swapped = False
        elif self.use_ema and self.flat is not None and self._steps():
            self.flat.device.kernels("update").adopt(self.flat.data, self._state["average"], 1.0)

    def swap_averages(self) -> None:
        """Puts the moving averages in the place of the weights, and the weights in theirs; twice changes nothing."""
        if self.flat is not None and self._steps():
            self.swapped = not self.swapped
            copy, average = self.flat.device.kernels("arith").copy, self._state["average"]
            weights = self.flat.zeros()
            copy(self.flat.data, weights)
            copy(average, self.flat.data)
            copy(weights, average)

    def _keep_average(self, flat: Any) -> None:
        k, dynamic = flat.device.kernels("update"), flat.device.dynamic
        k.moving_average(self._state["average"], flat.data, dynamic(self._average_momentum))
        if self.ema_overwrite_frequency:
            k.adopt(flat.data, self._state["average"], dynamic(self._is_overwritten))

    def _average_momentum(self) -> float:
        return self.ema_momentum if self._updates() else 0.0

    def _is_overwritten(self) -> float:
        return float((self._updates() + 1) % (self.ema_overwrite_frequency or 1) == 0)

    def _accumulated(self) -> bool:
        """Adds the gradient to those before; whether these are all, so that the gradient is now their mean."""
        flat: Any = self.flat
        k, total, count = flat.device.kernels("arith"), self._state["accumulated"], self.gradient_accumulation_steps
        k.add(total, flat.gradient, total)
        if (self._steps() + 1) % count:  # type: ignore[operator]
            return False
        k.divide(total, total.dtype.type(count), flat.gradient)
        total[...] = 0
        return True

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
