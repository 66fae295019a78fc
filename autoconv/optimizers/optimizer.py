"""Base class of all optimizers: settings, variables, and the step, which clips, decays, updates and averages."""

import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from inspect import signature
from typing import Any, ClassVar

import numpy as np

from .. import initializers
from ..arguments import keywords, names
from ..arguments.checked import Setting, check_above_one, check_fraction_or_one, check_nonnegative, is_number
from ..arguments.shapes import check_count
from ..engine.tensor import Tensor, no_grad
from ..engine.variable import Stateful, Variable, preserve_values
from . import schedules
from .slots import FlatParameters, Slots, check_gradients

LearningRate = float | Callable[[int], float]

name_counts: Counter[str] = Counter()


class Optimizer(Stateful):
    """Base class of all optimizers, with learning rate, clipping, weight decay and state.

    `learning_rate` is a number or a function of the number of completed steps (see
    `optim.schedules`). With `weight_decay`, each step first reduces every weight by the fraction
    `learning_rate * weight_decay`. At most one of three arguments clips the gradients: `clipnorm`
    (the L2 norm of each gradient), `global_clipnorm` (the L2 norm of all gradients together) or
    `clipvalue` (each element). With `use_ema`, the optimizer keeps moving averages of the weights.
    They replace the weights every `ema_overwrite_frequency` steps, at the end of `fit`, and when
    `callbacks.SwapEMAWeights` swaps them. With `gradient_accumulation_steps=n`, every n-th step
    updates the weights with the mean of n gradients. `scale_loss` multiplies the loss by
    `loss_scale_factor`, and `apply` divides the gradients by this factor.

    A custom optimizer overrides `update_step(self, gradient, variable, learning_rate)`, and
    `build`, which creates its variables with `add_variable_from_reference`. To run kernels on the
    flat arrays, it overrides `update_step(self, k, flat, rate, decay_factor)` instead.
    """

    # Whether `update_step` runs only kernels of `k`, and only `rate` and `decay_factor` change between steps.
    recordable = False
    # Attributes that training itself changes. No recording depends on their contents.
    bookkeeping: ClassVar[frozenset[str]] = frozenset({"_added_variables", "_products", "name"})

    _slots: tuple[str, ...] = ()  # names of the slots of this optimizer class
    _initial_attributes: ClassVar[dict[str, str]] = {}  # attributes that hold the initial values, by slot
    _late_slots: ClassVar[tuple[str, ...]] = ("velocity_hat",)  # slots that Keras creates after all others

    weight_decay = Setting(check_nonnegative, optional=True)
    clipnorm = Setting(check_nonnegative, optional=True)
    clipvalue = Setting(check_nonnegative, optional=True)
    global_clipnorm = Setting(check_nonnegative, optional=True)
    loss_scale_factor = Setting(check_nonnegative, optional=True)
    gradient_accumulation_steps = Setting(check_above_one, optional=True)

    def __init__(
        self, learning_rate: LearningRate, weight_decay: float | None = None, clipnorm: float | None = None,
        clipvalue: float | None = None, global_clipnorm: float | None = None, use_ema: bool = False,
        ema_momentum: float = 0.99, ema_overwrite_frequency: int | None = None, loss_scale_factor: float | None = None,
        gradient_accumulation_steps: int | None = None, name: str | None = None, **kwargs: Any,
    ) -> None:
        if kwargs.pop("decay", None) is not None:
            warnings.warn("Argument `decay` is no longer supported and will be ignored. Pass a "
                          "schedule as learning_rate.", stacklevel=3)
        for key in kwargs:
            keywords.refuse_argument(self, key, Optimizer, kwargs, "Argument(s) not recognized")
        clips = {"clipnorm": clipnorm, "clipvalue": clipvalue, "global_clipnorm": global_clipnorm}
        clips = {key: value for key, value in clips.items() if value is not None}
        if len(clips) > 1:
            raise ValueError(f"Only one of clipnorm, clipvalue and global_clipnorm can be set. Received: {clips}.")
        if use_ema:
            ema_momentum = check_fraction_or_one(ema_momentum, "ema_momentum")
            check_count("ema_overwrite_frequency", 1 if ema_overwrite_frequency is None else ema_overwrite_frequency, 1)
        self.name = name or names.uniquify(names.snake_case(type(self).__name__), name_counts)
        self.clipnorm = clipnorm
        self.clipvalue = clipvalue
        self.global_clipnorm = global_clipnorm
        self.weight_decay = weight_decay
        self.use_ema = bool(use_ema)
        self.ema_momentum = ema_momentum
        self.ema_overwrite_frequency = ema_overwrite_frequency
        self.loss_scale_factor = loss_scale_factor
        self.gradient_accumulation_steps = gradient_accumulation_steps
        if self.gradient_accumulation_steps:
            self.recordable = False  # most steps only add to the gradient sum
        self._decay_exclusions: tuple[list[int], list[str]] = [], []  # ids of weights, and patterns of paths
        self._iterations = Variable.wrap(np.array(0), "iteration", self.name)
        self._learning_rate = Variable.wrap(np.array(0.0), "learning_rate", self.name)  # used only without a schedule
        self._schedule: Callable[[int], float] | None = None
        self._added_variables: list[Variable] = []  # variables that add_variable created
        self._storage = Slots()
        self.learning_rate = learning_rate

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments as plain data. Raises ValueError if the learning rate is a function."""
        rate = schedules.serialize(self._schedule) if self.is_scheduled else self._rate()
        return {**super().get_config(), "learning_rate": rate}

    # Steps and learning rate.

    @property
    def iterations(self) -> Tensor:
        """The number of completed steps, a variable. With gradient accumulation, the number of updates, a tensor."""
        return Tensor(np.array(self._updates())) if self.gradient_accumulation_steps else self._iterations

    @iterations.setter
    def iterations(self, value: int) -> None:
        self._iterations.data[()] = int(value) * (self.gradient_accumulation_steps or 1)

    def _updates(self) -> int:
        return self._iterations.data.item() // (self.gradient_accumulation_steps or 1)

    def count_step(self) -> None:
        """Adds 1 to the number of completed steps."""
        steps = self._iterations.data
        steps[()] = steps.item() + 1

    @property
    def is_scheduled(self) -> bool:
        """Whether a schedule sets the learning rate."""
        return self._schedule is not None

    @property
    def learning_rate(self) -> Tensor:
        """The learning rate of the next step: a variable, or a tensor with a schedule's value."""
        return Tensor(np.array(self._rate())) if self.is_scheduled else self._learning_rate

    @learning_rate.setter
    def learning_rate(self, value: LearningRate) -> None:
        if callable(value):
            takes_steps = isinstance(value, schedules.LearningRateSchedule) or keywords.accepts(value, 1)
            self._schedule = value if takes_steps else lambda step: float(value())  # type: ignore[call-arg]
        elif self._schedule is not None:
            raise TypeError("The learning rate of this optimizer cannot be changed, because a schedule sets the "
                            f"rate. Received: {value!r}. Create the optimizer with a number as learning_rate.")
        elif isinstance(value, bool) or not is_number(value) or value < 0:
            raise ValueError("learning_rate must be a number of at least 0, or a function of the step count, "
                             f"such as optim.schedules.CosineDecay. Received: {value!r}.")
        else:
            self._learning_rate.data[()] = float(value)

    def _rate(self) -> float:
        schedule = self._schedule
        return self._learning_rate.data.item() if schedule is None else float(schedule(self._iterations.data.item()))

    # Flat arrays and slots. A slot stores one value per weight.

    @property
    def flat(self) -> FlatParameters | None:
        """The weights in one flat array, with their gradients; None before `build`."""
        return self._storage.flat

    @property
    def built(self) -> bool:
        """Whether `build` has been called."""
        return self._storage.flat is not None

    def build(self, parameters: Sequence[Tensor]) -> None:
        """Moves the parameters into flat arrays and creates the slots. Later calls may omit some of these parameters
        (their slots are kept) and add them again. Raises ValueError for parameters that the first call did not include.
        """
        self._storage.build(list({id(p): p for p in parameters}.values()), self._first_values())

    def train(self, parameters: Sequence[Tensor]) -> None:
        """Builds the optimizer before its first step; later calls change the set of trained parameters."""
        if not self.built:
            self.build(parameters)
        Optimizer.build(self, parameters)  # because a user's own build() might not call this method

    @property
    def slots(self) -> tuple[str, ...]:
        """The names of the arrays that the optimizer keeps in addition to the parameters."""
        return (*self._slots, *("average",) * self.use_ema, *("accumulated",) * bool(self.gradient_accumulation_steps))

    def _first_values(self) -> dict[str, float]:
        names = self._initial_attributes
        return {slot: getattr(self, names[slot]) if slot in names else 0.0 for slot in self.slots}

    def _slot(self, slot: str) -> Any:
        """Returns a slot's flat array, or an array of length zero if this optimizer lacks the slot."""
        return self._storage.arrays[slot] if slot in self._slots else self.flat.data[:0]  # type: ignore[union-attr]

    def slot_order(self, count: int | None = None) -> list[tuple[str, int]]:
        """Returns pairs of slot name and parameter number, in Keras's order. count: the number of parameters."""
        slots = [slot for slot in self.slots if slot in self._storage.arrays]
        return self._storage.order(slots, self._late_slots, count)

    # The variables.

    @property
    def variables(self) -> list[Variable]:
        """The optimizer's state in Keras's order: the number of completed steps, the learning rate unless scheduled,
        variables from `add_variable`, then the slots. Assigning to a variable changes the state.
        """
        return list(self._named_variables().values())

    def _named_variables(self) -> dict[str, Variable]:
        """Returns `variables` as a dict with the keys of `get_state`."""
        variables = {"iterations": self._iterations}
        if self._schedule is None:
            variables["learning_rate"] = self._learning_rate
        variables.update({f"variable_{i}": added for i, added in enumerate(self._added_variables)})
        if self.built:
            self._storage.make(self._first_values())
            variables.update(self._storage.variables(self.slot_order(), self.name))
        return variables

    def get_state(self, parameters: Sequence[Tensor] | None = None) -> dict[str, np.ndarray]:
        """Returns copies of the state by key: "iterations", "learning_rate" unless scheduled, and
        "<slot>/<i>" for parameter i. parameters: the parameters to include, by default all. Raises
        ValueError for a parameter that the optimizer was not built for.
        """
        arrays = {key: variable.numpy() for key, variable in self._named_variables().items()}
        if parameters is None or not self.built:
            return arrays
        if not {id(parameter) for parameter in self._storage.weights} >= set(map(id, parameters)):
            raise ValueError("This optimizer was built for other parameters. Layers were added, or their `trainable` "
                             "was changed. Create a new optimizer (for a model, call compile() again).")
        state = {key: value for key, value in arrays.items() if "/" not in key}
        return {**state, **self._storage.copy_state(parameters, self.slots)}

    def set_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Restores a state from `get_state`. Call `build(parameters)` first. Raises ValueError if shapes differ."""
        numbers, variables = ("iterations", "learning_rate"), self._named_variables()
        shapes = {key: variable.shape for key, variable in variables.items() if key not in numbers}
        sizes = {key: np.shape(value) for key, value in state.items() if key not in numbers}
        if shapes != sizes:
            raise ValueError("This state belongs to another optimizer or to other parameters. Expected slots of "
                             f"shapes: {shapes or 'none (call build(parameters) first)'}. Received: {sizes}.")
        for key in variables.keys() & state.keys():
            variables[key].assign(state[key])

    def add_variable(self, shape: Sequence[int], initializer: Any = "zeros", dtype: Any = None,
                     name: str | None = None) -> Variable:
        """Adds a new variable to the optimizer, for use in a custom `update_step`."""
        kind = np.dtype(dtype or np.float32)
        values = initializers.get(initializer)(tuple(shape), kind)
        variable = Variable(np.reshape(values, shape), None, kind, False, name=name)
        variable.path = f"{self.name}/{variable.name}"
        self._added_variables.append(variable)
        return variable

    def add_variable_from_reference(self, reference_variable: Variable, name: str | None = None,
                                    initializer: Any = "zeros") -> Variable:
        """Adds a new variable with a weight's shape, dtype and device."""
        weight = reference_variable
        path = f"{weight.path.replace('/', '_')}_{name or 'var'}"
        variable = self.add_variable(weight.shape, initializer, weight.dtype, name=path)
        variable.data, variable.device = weight.device.array(variable.data), weight.device
        return variable

    # Methods that Keras's optimizers call to change a variable.
    assign = staticmethod(Variable.assign)
    assign_add = staticmethod(Variable.assign_add)
    assign_sub = staticmethod(Variable.assign_sub)

    def load_own_variables(self, store: Mapping[str, Any]) -> None:
        """Loads the values that `save_own_variables` stored. Warns and changes nothing if their number differs."""
        variables = self.variables
        if len(store) != len(variables):
            warnings.warn(f"Skipping variable loading for optimizer {self.name!r}, because it has "
                          f"{len(variables)} variables whereas the saved optimizer has "
                          f"{len(store)} variables. Call build(parameters) first.", stacklevel=2)
            return
        super().load_own_variables(store)

    # One step.

    def apply(self, gradients: Sequence[Any], parameters: Sequence[Tensor] | None = None) -> None:
        """Runs one step. `gradients` are arrays in the order of the parameters: variables, or tensors created with
        requires_grad=True. A parameter whose gradient is None does not change. Raises ValueError for other tensors,
        and if all gradients are None.
        """
        if isinstance(gradients, Sequence) and not gradients:
            return
        flat: Any = self.flat
        if flat is None and parameters is None:
            raise ValueError("The first call of apply() needs the parameters. Call "
                             "apply(gradients, parameters), or call build(parameters) first.")
        is_own = flat is not None and gradients is flat.gradients  # from `fit`, which does not scale its loss
        gradients = check_gradients(gradients, flat.parameters if parameters is None else parameters)
        if parameters is not None:
            if flat is None:
                self.train(parameters)
            by_id = {id(parameter): gradient for parameter, gradient in zip(parameters, gradients)}
            own_parameters = self.flat.parameters  # type: ignore[union-attr]
            is_subset = by_id.keys() <= {id(parameter) for parameter in own_parameters}
            Optimizer.build(self, own_parameters if is_subset else parameters)  # the device may have changed
            flat = self.flat
            gradients = [by_id.get(id(parameter)) for parameter in flat.parameters]
        flat.collect(gradients)
        if self.loss_scale_factor and not is_own:
            flat.gradient /= flat.dtype.type(self.loss_scale_factor)
        count = self.gradient_accumulation_steps
        if not count or self._storage.accumulate(count, is_last=(self._iterations.data.item() + 1) % count == 0):
            self.update({i for i, gradient in enumerate(gradients) if gradient is None})
        elif self.use_ema:
            self._keep_average(flat)
        self.count_step()

    def zero_grad(self) -> None:
        """Sets `grad` of all parameters of earlier `apply` and `build` calls to None, because gradients add up."""
        for parameter in self._storage.weights:
            parameter.grad = None

    def apply_gradients(self, grads_and_vars: Iterable[tuple[Any, Tensor]]) -> Tensor:
        """Calls `apply` with (gradient, variable) pairs, as in Keras. Returns the number of completed steps."""
        gradients, parameters = zip(*grads_and_vars)
        self.apply(gradients, parameters)
        return self.iterations

    def stateless_apply(self, optimizer_variables: Sequence[Any], grads: Sequence[Any],
                        trainable_variables: Sequence[Any]) -> tuple[list[Tensor], list[Tensor]]:
        """Returns the weights and optimizer variables after a step from the given values. Changes no variable."""
        if self.flat is None:
            raise ValueError(f"To call stateless_apply, {type(self).__name__} must be built. Call build(parameters).")
        weights: Any = self.flat.parameters
        variables = self.variables
        with self.holding(trainable_variables=(weights, trainable_variables),
                          optimizer_variables=(variables, optimizer_variables)):
            self.apply(grads)
            return [weight.value for weight in weights], [variable.value for variable in variables]

    def scale_loss(self, loss: Any) -> Any:
        """Returns the loss times `loss_scale_factor`, if set; `apply` divides the gradients by it."""
        return loss * self.loss_scale_factor if self.loss_scale_factor else loss

    def update(self, missing: AbstractSet[int] = frozenset()) -> None:
        """Clips the gradients in `flat`, then updates parameters and slots, with kernels that can be recorded if the
        optimizer is `recordable`. Does not count the step. missing: the numbers of parameters to leave unchanged.
        """
        flat: Any = self.flat
        old_values = [(part, np.array(flat.device.numpy(part))) for array in (flat.data, *self._storage.arrays.values())
                      for i, part in enumerate(flat.split(array)) if i in missing]
        k = flat.device.kernels("update")
        if self.clipvalue is not None:
            k.clip(flat.gradient, self.clipvalue)
        elif self.clipnorm is not None:
            for gradient in flat.gradients:
                k.shrink(gradient, self.clipnorm)
        elif self.global_clipnorm is not None:
            k.shrink(flat.gradient, self.global_clipnorm)
        if len(signature(self.update_step).parameters) == 3:  # parameters: gradient, variable and learning rate
            self._update_parameters(k, flat, missing)
        else:
            decays = [self._decay_of(parameter) for parameter in flat.parameters]
            factors = {decay: flat.device.dynamic(lambda decay=decay: 1.0 - self._rate() * decay)
                       if decay else 1.0 for decay in dict.fromkeys(decays)}
            if len(factors) > 1:
                for start, parameter, decay in zip(flat.starts, flat.parameters, decays):
                    k.decay(flat.data[start : start + parameter.size], factors[decay])
            decay_factor = 1.0 if len(factors) > 1 else factors[decays[0]]
            self.update_step(k, flat, flat.device.dynamic(self._step_size), decay_factor)
        for part, values in old_values:
            part[...] = flat.device.asarray(values)
        flat.constrain()
        if self.use_ema:
            self._keep_average(flat)

    def _update_parameters(self, k: Any, flat: FlatParameters, missing: AbstractSet[int]) -> None:
        """Updates one parameter after the other with a user's `update_step`."""
        with no_grad():
            for i, (parameter, view) in enumerate(zip(flat.parameters, flat.views)):
                if i not in missing:
                    if decay := self._decay_of(parameter):
                        k.decay(view.reshape(-1), 1.0 - self._rate() * decay)
                    self.update_step(Tensor(flat.gradients[i], device=flat.device), parameter, self.learning_rate)

    def update_step(self, *args: Any, **kwargs: Any) -> None:
        """Updates one weight if called as `update_step(gradient, variable, learning_rate)`, or all
        weights in the flat arrays if called as `update_step(k, flat, rate, decay_factor)`. A custom
        optimizer overrides it with either signature. `k` provides the kernels. `rate` is the step size,
        and `decay_factor` the fraction of a weight that weight decay leaves. Both are numbers. During a
        recording, they are placeholders that only kernels can read.
        """
        if len(args) + len(kwargs) == 3:
            self._update_one(*args, **kwargs)
        else:
            self.formula(*args, **kwargs)

    def formula(self, k: Any, flat: Any, rate: Any, decay_factor: Any) -> None:
        """Updates `flat.data` from `flat.gradient` by the optimizer's formula. Arguments are as in `update_step`."""
        raise NotImplementedError(f"{type(self).__name__} must override "
                                  "update_step(self, gradient, variable, learning_rate).")

    def _update_one(self, gradient: Any, variable: Variable, learning_rate: Any) -> None:
        """Updates one weight by the formula, on the weight's part of the flat arrays."""
        if not self.built:
            raise ValueError(f"update_step() needs the variables of the {type(self).__name__} "
                             "optimizer. Call build(parameters) first.")
        schedule = self._schedule
        with preserve_values([self._learning_rate]), self._storage.restrict_to(variable, gradient) as part:
            try:
                self._schedule = None
                self.learning_rate = float(learning_rate)
                self.formula(part.device.kernels("update"), part, part.device.dynamic(self._step_size), 1.0)
            finally:
                self._schedule = schedule

    def _step_size(self) -> float:
        """Returns the step size that the next step passes to its kernel."""
        return self._rate()

    def _decay_of(self, parameter: Tensor) -> float:
        return 0.0 if self._is_excluded(parameter) else self.weight_decay or 0.0

    def _is_excluded(self, parameter: Tensor) -> bool:
        ids, patterns = self._decay_exclusions
        return id(parameter) in ids or any(re.search(pattern, parameter.path) for pattern in patterns)

    def exclude_from_weight_decay(self, var_list: Sequence[Tensor] | None = None,
                                  var_names: Sequence[str] | None = None) -> None:
        """Excludes these weights from decay, and weights whose path contains a pattern of
        `var_names`. Raises ValueError once the optimizer is built.
        """
        if self.built:
            raise ValueError("exclude_from_weight_decay() must be called before the optimizer is built.")
        self._decay_exclusions = [id(p) for p in var_list or ()], list(var_names or ())

    # Averages of the weights.

    @property
    def is_swapped(self) -> bool:
        """Whether the moving averages have replaced the weights: see `swap_averages`."""
        return self._storage.is_swapped

    @is_swapped.setter
    def is_swapped(self, value: bool) -> None:
        self._storage.is_swapped = value

    def finalize_variable_values(self, var_list: Sequence[Variable] | None = None) -> None:
        """Sets the weights to their moving averages if `use_ema` is on, as `fit` does at its end."""
        if self.built and (self.is_swapped or (self.use_ema and self._iterations.data.item())):
            self._storage.adopt_average()

    def swap_averages(self) -> None:
        """Exchanges the weights and their moving averages. A second call exchanges them back."""
        if self.built and self._iterations.data.item():
            self._storage.swap_average()

    def _keep_average(self, flat: FlatParameters) -> None:
        every = self.ema_overwrite_frequency
        momentum = flat.device.dynamic(lambda: self.ema_momentum if self._updates() else 0.0)
        overwrite = flat.device.dynamic(lambda: float((self._updates() + 1) % every == 0)) if every else None
        self._storage.keep_average(momentum, overwrite)
