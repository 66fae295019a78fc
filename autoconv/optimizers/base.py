"""What all optimizers share: the learning rate, clipping, decay and averages of weights, the flat arrays, the state."""

import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache, partial, wraps
from inspect import signature
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np

from .. import initializers
from ..arguments import names, signatures
from ..arguments.keywords import unknown
from ..tensor import Parameter, Tensor, no_grad
from ..versions import Versioned
from . import schedules
from .flat import FlatParameters
from .variables import Count, Kept, Rate

_names_given: Counter[str] = Counter()

LearningRate = float | Callable[[int], float]


def _is_number(value: Any) -> bool:
    return np.ndim(value) == 0 and hasattr(value, "__float__")


def _fraction(what: str, value: float, upto_one: bool = False) -> float:
    if not _is_number(value) or not 0 <= value <= 1 or (value == 1 and not upto_one):
        raise ValueError(f"{what} must lie in [0, 1{']' if upto_one else ')'}. Received: {value!r}.")
    return float(value)


def _at_least_zero(what: str, value: float) -> float:
    if not _is_number(value) or value < 0:
        raise ValueError(f"{what} must be a number of at least 0. Received: {value!r}.")
    return float(value)


def _steps(what: str, value: Any) -> int:
    if isinstance(value, bool) or not hasattr(value, "__index__") or value < 1:
        raise ValueError(f"{what} must be an integer of at least 1. Received: {what}={value!r}.")
    return int(value)


_COMMON: dict[str, Callable] = {
    **dict.fromkeys(("clipnorm", "clipvalue", "global_clipnorm", "loss_scale_factor", "weight_decay"), _at_least_zero),
    "gradient_accumulation_steps": _steps}
_OF_AVERAGES: dict[str, Callable] = {  # checked where averages are kept
    "ema_momentum": partial(_fraction, upto_one=True), "ema_overwrite_frequency": _steps}


_KERAS_SLOTS = {"accumulated": "gradient_accumulator"}  # the names of slots that Keras calls otherwise


@cache
def _by_variable(kind: type) -> bool:
    """Whether an optimizer's `update_step` is Keras's, of a gradient, a variable and the learning rate."""
    return len(signature(kind.update_step).parameters) == 4  # type: ignore[attr-defined]


def _by_variable_too(on_flat: Callable[..., None]) -> Callable[..., None]:
    """An `update_step` by kernels, which then takes Keras's arguments as well: gradient, variable, learning_rate."""

    @wraps(on_flat)
    def update_step(self: Any, *args: Any, **kwargs: Any) -> None:
        if len(args) + len(kwargs) == 3:
            self._update_one(on_flat, *args, **kwargs)
        else:
            on_flat(self, *args, **kwargs)

    return update_step


class _Now:
    """What training itself changes of an optimizer, so that it counts as no change: the steps done and the rate."""

    def __init__(self, rate: LearningRate) -> None:
        self.steps, self.rate = 0, rate
        self.swapped = False  # whether the averages are in the place of the weights


class Optimizer(Versioned):
    """What all optimizers share: the learning rate, clipping, weight decay, the flat arrays and the state.

    `learning_rate` is a number or a callable of the number of steps done (see `optim.schedules`). `weight_decay` takes
    `learning_rate * weight_decay` of every weight before each step. Gradients are clipped by at most one of `clipnorm`
    (the L2 norm of each), `global_clipnorm` (that of all of them together) and `clipvalue` (each element).
    `use_ema` keeps moving averages of the weights, which take the weights' place each `ema_overwrite_frequency` steps
    and by `callbacks.SwapEMAWeights`. `gradient_accumulation_steps` of n gradients make one step with their mean.
    Gradients of a loss that `scale_loss` multiplied by `loss_scale_factor` are divided by it.

    Your own overrides `update_step(self, gradient, variable, learning_rate)`, and `build`, where it makes its variables
    by `add_variable_from_reference`; as kernels on the flat arrays `update_step(self, k, flat, rate, decay_factor)`.
    """

    unwatched = frozenset({"_added", "_now", "_state", "flat", "name"})
    _checks: ClassVar[dict[str, Callable]] = _COMMON  # of attributes, by name: they give what is set, or raise
    recordable = False  # whether `update_step` is kernels `k` alone, with all that changes in `rate` and `decay_factor`
    _slots: tuple[str, ...] = ()  # the names of the arrays it keeps beside the parameters
    _first: ClassVar[dict[str, str]] = {}  # the attribute whose value a slot begins with, where that is not 0
    _apart: ClassVar[tuple[str, ...]] = ("velocity_hat",)  # slots that Keras makes after all others
    _arguments: ClassVar[tuple[str, ...]] = ()  # of the constructor, beside the common ones

    def __init__(
        self, learning_rate: LearningRate, weight_decay: float | None = None, clipnorm: float | None = None,
        clipvalue: float | None = None, global_clipnorm: float | None = None, use_ema: bool = False,
        ema_momentum: float = 0.99, ema_overwrite_frequency: int | None = None, loss_scale_factor: float | None = None,
        gradient_accumulation_steps: int | None = None, name: str | None = None, **others: Any,
    ) -> None:
        if others.pop("decay", None) is not None:
            warnings.warn("Argument `decay` is no longer supported and will be ignored. A schedule does "
                          "what it did.", stacklevel=3)
        for other in others:
            raise unknown(self, other, Optimizer, others, "Argument(s) not recognized")
        clips = {"clipnorm": clipnorm, "clipvalue": clipvalue, "global_clipnorm": global_clipnorm}
        given = {key: value for key, value in clips.items() if value is not None}
        if len(given) > 1:
            raise ValueError(f"Only one of clipnorm, clipvalue and global_clipnorm can be set. Received: {given}.")
        self.clipnorm, self.clipvalue, self.global_clipnorm = clipnorm, clipvalue, global_clipnorm
        gradient_accumulation_steps = gradient_accumulation_steps or None
        if gradient_accumulation_steps is not None and gradient_accumulation_steps < 2:
            raise ValueError("gradient_accumulation_steps must be at least 2, or None. "
                             f"Received: gradient_accumulation_steps={gradient_accumulation_steps!r}.")
        self.weight_decay, self.name = weight_decay, name or names.numbered(
            names.snake_case(type(self).__name__), _names_given)
        self.use_ema, self.ema_momentum = bool(use_ema), ema_momentum
        self.ema_overwrite_frequency, self.loss_scale_factor = ema_overwrite_frequency, loss_scale_factor
        self.gradient_accumulation_steps = gradient_accumulation_steps
        if gradient_accumulation_steps:
            self.recordable = False  # most steps change no weight
        self._not_decayed: tuple[list[int], list[str]] = [], []  # ids of weights, and patterns of their names
        self._now = _Now(_checked_rate(learning_rate))
        self._added: list[Parameter] = []  # by add_variable
        self.flat: FlatParameters | None = None
        self._state: dict[str, Any] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if cls.__module__.startswith(__package__) and "update_step" in vars(cls):
            cls.update_step = _by_variable_too(cls.update_step)  # type: ignore[method-assign]

    def __setattr__(self, name: str, value: Any) -> None:
        check = self._checks.get(name) or (_OF_AVERAGES.get(name) if vars(self).get("use_ema") else None)
        super().__setattr__(name, value if check is None or value is None else check(name, value))

    @property
    def built(self) -> bool:
        return self.flat is not None

    @property
    def iterations(self) -> Count:
        """How many steps were done; with gradient_accumulation_steps the updates are counted."""
        count = Count(self._updates())
        count._put = partial(setattr, self, "iterations")
        return count

    @iterations.setter
    def iterations(self, value: int) -> None:
        self._now.steps = int(value) * (self.gradient_accumulation_steps or 1)

    def _updates(self) -> int:
        return self._now.steps // (self.gradient_accumulation_steps or 1)

    def count_step(self) -> None:
        """Counts a step whose `update` was made by kernels."""
        self._now.steps += 1

    @property
    def swapped(self) -> bool:
        """Whether the moving averages are in the place of the weights: see `swap_averages`."""
        return self._now.swapped

    @swapped.setter
    def swapped(self, value: bool) -> None:
        self._now.swapped = bool(value)

    @property
    def is_scheduled(self) -> bool:
        """Whether a schedule sets the learning rate."""
        return callable(self._now.rate)

    @property
    def learning_rate(self) -> Rate:
        """The learning rate of the next step: a number, which `learning_rate.assign(value)` sets as well."""
        rate = Rate(self._rate())
        rate._put = partial(setattr, self, "learning_rate")
        return rate

    @learning_rate.setter
    def learning_rate(self, value: LearningRate) -> None:
        if callable(self._now.rate) and not callable(value):
            raise TypeError("This optimizer was made with a schedule as its learning_rate, so the schedule sets it. "
                            f"Received: {value!r}. Make the optimizer with a number to set it yourself.")
        self._now.rate = _checked_rate(value)

    def _rate(self) -> float:
        rate = self._now.rate
        return float(rate(self._now.steps)) if callable(rate) else rate

    def build(self, parameters: Sequence[Parameter]) -> None:
        """Lays the parameters into flat arrays and makes the slots, once; later calls only check for the same ones.

        Raises ValueError when it was built for other parameters: its slots belong to those.
        """
        parameters = list({id(p): p for p in parameters}.values())
        if self.flat is None:
            self.flat = FlatParameters(parameters)
        elif list(map(id, parameters)) != list(map(id, self.flat.parameters)):
            raise ValueError(f"This {type(self).__name__} was built for {len(self.flat.parameters)} other parameters. "
                             f"Received {len(parameters)}. Layers were added or changed their `trainable`: make a new "
                             "optimizer (in a model: call compile() again).")
        elif self.flat.device is not parameters[0].device:
            self._move(parameters)
        else:
            self.flat.bind()
        for slot in self.slots:  # a setting that was switched on later may need one more
            if slot not in self._state:
                self._state[slot] = self.flat.zeros()
                if slot in self._first:
                    for part in self.flat.split(self._state[slot]):
                        part[...] = getattr(self, self._first[slot])

    @property
    def slots(self) -> tuple[str, ...]:
        """The names of the arrays that it keeps beside the parameters."""
        of_all = (("average",) * self.use_ema, ("accumulated",) * bool(self.gradient_accumulation_steps))
        return (*self._slots, *(slot for slots in of_all for slot in slots))

    def _move(self, parameters: Sequence[Parameter]) -> None:
        """Follows the parameters to another device, with the slots."""
        device, self.flat = self.flat.device, FlatParameters(parameters)  # type: ignore[union-attr]
        for slot, values in self._state.items():
            self._state[slot] = self.flat.zeros()
            self._state[slot][...] = device.numpy(values)

    def apply(self, gradients: Sequence[Any], parameters: Sequence[Parameter] | None = None) -> None:
        """One step. `gradients` are arrays in the order of the parameters; a parameter whose gradient is None stays as
        it is. Raises ValueError where all are None.
        """
        if not gradients:
            return
        own = self.flat is not None and gradients is self.flat.gradients  # a training step's, which are not scaled
        gradients = [g.data if isinstance(g, Tensor) else g for g in gradients]
        self._warn_of_missing(gradients, parameters)
        if parameters is not None:
            gradients = self._in_order(gradients, list(parameters))
        if self.flat is None:
            raise ValueError("The first apply() needs the parameters: apply(gradients, parameters), or call "
                             "build(parameters) before.")
        if len(gradients) != len(self.flat.parameters):
            raise ValueError(f"apply() needs one gradient for each of the {len(self.flat.parameters)} parameters. "
                             f"Received: {len(gradients)}.")
        missing = {i for i, gradient in enumerate(gradients) if gradient is None}
        self.flat.collect(gradients)
        if self.loss_scale_factor and not own:
            self.flat.gradient /= self.flat.dtype.type(self.loss_scale_factor)
        if not self.gradient_accumulation_steps or self._accumulated():
            self._update(missing)
        elif self.use_ema:
            self._keep_average(self.flat)
        self._now.steps += 1

    def _warn_of_missing(self, gradients: Sequence[Any], parameters: Sequence[Parameter] | None) -> None:
        """Says which parameters have no gradient. Raises ValueError where none has one."""
        missing = [i for i, gradient in enumerate(gradients) if gradient is None]
        if not missing:
            return
        if len(missing) == len(gradients):
            raise ValueError("No gradients provided for any variable.")
        of = self.flat.parameters if parameters is None and self.flat is not None else list(parameters or ())
        named = [of[i].name or i if i < len(of) else i for i in missing]
        warnings.warn(f"Gradients do not exist for variables {named}, which stay as they are. Is each of them used in "
                      "the loss?", stacklevel=4)

    def _in_order(self, gradients: Sequence[Any], parameters: Sequence[Parameter]) -> list[Any]:
        """Builds the optimizer, or checks that it knows the parameters, which may be some of its own in any order.
        Gives a gradient or None for each of its own.
        """
        if self.flat is None:
            self.build(parameters)
            if self.flat is None:  # a build() of a user's own
                Optimizer.build(self, parameters)
        given = {id(parameter): gradient for parameter, gradient in zip(parameters, gradients)}
        known = self.flat.parameters  # type: ignore[union-attr]
        if given.keys() <= {id(parameter) for parameter in known}:
            Optimizer.build(self, known)  # where they moved to another device, or another optimizer took them over
            return [given.get(id(parameter)) for parameter in known]
        Optimizer.build(self, parameters)  # says what is wrong
        return list(gradients)

    def _accumulated(self) -> bool:
        """Adds the gradient to those before; whether these are all, so that the gradient is now their mean."""
        flat: Any = self.flat
        k, total, count = flat.device.kernels("arith"), self._state["accumulated"], self.gradient_accumulation_steps
        k.add(total, flat.gradient, total)
        if (self._now.steps + 1) % count:  # type: ignore[operator]
            return False
        k.divide(total, total.dtype.type(count), flat.gradient)
        total[...] = 0
        return True

    def update(self) -> None:
        """Clips the gradients in `flat`, then updates the parameters and the slots: kernels alone, that a step records
        where the optimizer is `recordable`. Counts no step.
        """
        self._update(set())

    def _update(self, missing: set[int]) -> None:
        """`update`, which leaves the parameters of these numbers as they are."""
        flat: Any = self.flat
        kept = [(part, np.array(flat.device.numpy(part))) for array in (flat.data, *self._state.values())
                for i, part in enumerate(flat.split(array)) if i in missing]
        k = flat.device.kernels("update")
        self._clip(k, flat)
        if _by_variable(type(self)):  # type: ignore[arg-type]
            self._update_each(k, flat, missing)
        else:
            self._update_all(k, flat)
        for part, before in kept:
            part[...] = flat.device.asarray(before)
        self._constrain(flat)
        if self.use_ema:
            self._keep_average(flat)

    def _update_each(self, k: Any, flat: FlatParameters, missing: set[int]) -> None:
        """By an `update_step` of a user's own, parameter by parameter."""
        step: Any = self.update_step
        with no_grad():
            for i, (parameter, view) in enumerate(zip(flat.parameters, flat.views)):
                if i not in missing:
                    if self.weight_decay and not self._is_excluded(parameter):
                        k.decay(view.reshape(-1), self._decay_factor())
                    step(Tensor(flat.gradients[i], device=flat.device), parameter, self.learning_rate)

    def _update_one(self, on_flat: Callable[..., None], gradient: Any, variable: Parameter, learning_rate: Any) -> None:
        """By an `update_step` on flat arrays, of which it gets the part of one parameter."""
        whole: Any = self.flat
        if whole is None:
            raise ValueError(f"update_step() needs the optimizer's variables: call {type(self).__name__}.build([...]) "
                             "before.")
        i, state, rate, device = self._get_variable_index(variable), self._state, self._now.rate, whole.device
        values = gradient.data if isinstance(gradient, Tensor) else gradient
        part = SimpleNamespace(
            data=whole.views[i].reshape(-1), device=device,
            gradient=device.asarray(np.asarray(values) if not hasattr(values, "dtype") else values,
                                    whole.dtype).reshape(-1))
        try:
            self._state = {slot: whole.split(array)[i].reshape(-1) for slot, array in state.items()}
            self._now.rate = float(learning_rate)
            on_flat(self, device.kernels("update"), part, device.dynamic(self._step_size), 1.0)
        finally:
            self._state, self._now.rate = state, rate

    def _update_all(self, k: Any, flat: FlatParameters) -> None:
        """By an `update_step` on the flat arrays."""
        dynamic = flat.device.dynamic
        decay_factor = dynamic(self._decay_factor) if self.weight_decay else 1.0
        if self.weight_decay and any(self._not_decayed):
            for start, parameter in zip(flat.starts, flat.parameters):
                if not self._is_excluded(parameter):
                    k.decay(flat.data[start : start + parameter.size], decay_factor)
            decay_factor = 1.0
        self.update_step(k, flat, dynamic(self._step_size), decay_factor)

    def _keep_average(self, flat: Any) -> None:
        k, dynamic = flat.device.kernels("update"), flat.device.dynamic
        k.moving_average(self._state["average"], flat.data, dynamic(self._average_momentum))
        if self.ema_overwrite_frequency:
            k.adopt(flat.data, self._state["average"], dynamic(self._is_overwritten))

    def _constrain(self, flat: FlatParameters) -> None:
        """Makes the weights with a constraint what that says, by kernels."""
        copy = flat.device.kernels("arith").copy
        for parameter, view in zip(flat.parameters, flat.views):
            if parameter.constraint is not None:
                with no_grad():
                    copy(parameter.constraint(Tensor(view, device=flat.device)).data, view)

    def _average_momentum(self) -> float:
        return self.ema_momentum if self._updates() else 0.0

    def _is_overwritten(self) -> float:
        return float((self._updates() + 1) % (self.ema_overwrite_frequency or 1) == 0)

    def _is_excluded(self, parameter: Parameter) -> bool:
        ids, patterns = self._not_decayed
        return id(parameter) in ids or any(re.search(pattern, parameter.path) for pattern in patterns)

    def exclude_from_weight_decay(self, var_list: Sequence[Parameter] | None = None,
                                  var_names: Sequence[str] | None = None) -> None:
        """Leaves these weights as they are, and those whose path a pattern of `var_names` is found in. Raises
        ValueError once the optimizer is built.
        """
        if self.built:
            raise ValueError("exclude_from_weight_decay() must be called before the first step.")
        self._not_decayed = [id(p) for p in var_list or ()], list(var_names or ())

    def finalize_variable_values(self, var_list: Sequence[Parameter] | None = None) -> None:
        """Makes the weights their moving averages, where `use_ema` keeps some: what `fit` does at its end."""
        if self.swapped:  # they are there already; what lies in their place is of no use any more
            self.flat.device.kernels("arith").copy(self.flat.data, self._state["average"])  # type: ignore[union-attr]
            self._now.swapped = False
        elif self.use_ema and self.flat is not None and self._now.steps:
            self.flat.device.kernels("update").adopt(self.flat.data, self._state["average"], 1.0)

    def swap_averages(self) -> None:
        """Puts the moving averages in the place of the weights, and the weights in theirs; twice changes nothing."""
        if self.flat is not None and self._now.steps:
            self._now.swapped = not self._now.swapped
            copy, average = self.flat.device.kernels("arith").copy, self._state["average"]
            weights = self.flat.zeros()
            copy(self.flat.data, weights)
            copy(average, self.flat.data)
            copy(weights, average)

    def apply_gradients(self, grads_and_vars: Iterable[tuple[Any, Parameter]]) -> int:
        """`apply` under Keras's other name, from pairs. Returns the number of steps done."""
        gradients, parameters = zip(*grads_and_vars)
        self.apply(gradients, parameters)
        return self.iterations

    def _step_size(self) -> float:
        """What the kernel of the next step takes for the learning rate."""
        return self._rate()

    def _decay_factor(self) -> float:
        """The share of each weight that the next step's decay leaves."""
        return 1.0 - self._rate() * (self.weight_decay or 0.0)

    def update_step(self, k: Any, flat: Any, rate: Any, decay_factor: Any) -> None:
        """Changes `flat.data` by `flat.gradient`. `rate` is the step size and `decay_factor` what weight decay leaves
        of a weight: numbers, or in a recording what stands for them, which kernels alone can read.
        """
        raise NotImplementedError(f"{type(self).__name__} must override "
                                  "update_step(self, gradient, variable, learning_rate).")

    def _slot(self, slot: str) -> Any:
        """A slot's flat array; one of length zero where this optimizer has no such slot."""
        return self._state[slot] if slot in self._slots else self.flat.data[:0]  # type: ignore[union-attr]

    def _clip(self, k: Any, flat: FlatParameters) -> None:
        if self.clipvalue is not None:
            k.clip(flat.gradient, self.clipvalue)
        elif self.clipnorm is not None:
            for gradient in flat.gradients:
                k.shrink(gradient, self.clipnorm)
        elif self.global_clipnorm is not None:
            k.shrink(flat.gradient, self.global_clipnorm)

    def get_state(self) -> dict[str, np.ndarray]:
        """Copies of the state: "iterations", "learning_rate" unless scheduled, "<slot>/<i>" for parameter i."""
        state = {"iterations": np.asarray(self._now.steps)}
        if not callable(self._now.rate):
            state["learning_rate"] = np.asarray(self._now.rate)
        state.update({f"variable_{i}": variable.numpy() for i, variable in enumerate(self._added)})
        if self.flat is not None:
            for slot, flat in self._state.items():
                for i, part in enumerate(self.flat.split(flat)):
                    state[f"{slot}/{i}"] = np.array(self.flat.device.numpy(part))
        return state

    def set_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Puts back what `get_state` gave. Call `build(parameters)` first. Raises ValueError where it does not fit."""
        parts = {f"variable_{i}": variable.data for i, variable in enumerate(self._added)}
        if self.flat is not None:
            for slot, flat in self._state.items():
                parts.update({f"{slot}/{i}": part for i, part in enumerate(self.flat.split(flat))})
        own = {key: part.shape for key, part in parts.items()}
        given = {key: np.shape(v) for key, v in state.items() if key not in ("iterations", "learning_rate")}
        if own != given:
            raise ValueError("This state belongs to another optimizer or to other parameters. "
                             f"{type(self).__name__} has {own or 'no slots (build it first)'}. Received: {given}.")
        devices = {f"variable_{i}": variable.device for i, variable in enumerate(self._added)}
        for key, part in parts.items():
            part[...] = (devices.get(key) or self.flat.device).asarray(state[key], part.dtype)  # type: ignore[union-attr]
        self._now.steps = int(state["iterations"])
        if "learning_rate" in state and not callable(self._now.rate):
            self._now.rate = float(state["learning_rate"])

    # Keras's variables.

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

    def slot_order(self) -> list[tuple[str, int]]:
        """The slots with the numbers of their parameters, in the order of Keras's variables: the averages and sums of
        gradients first, then all slots of a parameter together, but for those in `_apart`.
        """
        count = range(len(self.flat.parameters) if self.flat is not None else 0)
        slots = [slot for slot in self._slots if slot in self._state]
        together = [slot for slot in slots if slot not in self._apart]
        alone = [slot for slot in slots if slot in self._apart]
        return [*((slot, i) for slot in ("average", "accumulated") if slot in self._state for i in count),
                *((slot, i) for i in count for slot in together), *((slot, i) for slot in alone for i in count)]

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

    def _get_variable_index(self, variable: Parameter) -> int:
        """The place of a weight among those that the optimizer was built for, under Keras's name."""
        return next(i for i, one in enumerate(self.flat.parameters) if one is variable)  # type: ignore[union-attr]

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

    def assign(self, variable: Parameter, value: Any) -> None:
        """Sets a variable: what Keras's optimizers call."""
        variable.assign(value)

    def assign_add(self, variable: Parameter, value: Any) -> None:
        """Adds to a variable."""
        variable.assign_add(value)

    def assign_sub(self, variable: Parameter, value: Any) -> None:
        """Subtracts from a variable."""
        variable.assign_sub(value)

    def scale_loss(self, loss: Any) -> Any:
        """The loss times `loss_scale_factor`, where there is one: `apply` divides its gradients again."""
        return loss * self.loss_scale_factor if self.loss_scale_factor else loss

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

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, as plain data."""
        rate = self._now.rate
        common = ("name", "weight_decay", "clipnorm", "global_clipnorm", "clipvalue", "use_ema", "ema_momentum",
                  "ema_overwrite_frequency", "loss_scale_factor", "gradient_accumulation_steps")
        return {"learning_rate": _of_schedule(rate) if callable(rate) else float(rate),
                **{name: getattr(self, name) for name in (*common, *self._arguments)}}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "Optimizer":
        """The optimizer that `get_config` describes, without steps."""
        rate = config["learning_rate"]
        return cls(**{**config, "learning_rate": schedules.deserialize(rate) if isinstance(rate, Mapping) else rate})


def _of_schedule(rate: Any) -> dict[str, Any]:
    """A schedule as plain data. Raises ValueError for a function, which has no such form."""
    written = schedules.serialize(rate)
    return {key: written[key] for key in ("class_name", "config")}


def _checked_rate(rate: Any) -> LearningRate:
    if callable(rate):
        if isinstance(rate, schedules.LearningRateSchedule) or signatures.accepts(rate, 1):
            return rate
        return lambda step: float(rate())
    if isinstance(rate, bool) or not _is_number(rate):
        raise ValueError("learning_rate must be a number, or a callable of the number of steps done, "
                         f"such as optim.schedules.CosineDecay. Received: {rate!r}.")
    return float(rate)
