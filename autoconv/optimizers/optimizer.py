"""What all optimizers share: their settings, the learning rate, the flat arrays, and one step: clip, decay, update."""

import re
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import numpy as np

from ..arguments import names
from ..arguments.keywords import unknown
from ..arguments.serialization import Configured
from ..engine.tensor import Tensor
from ..engine.variable import Variable
from ..engine.versions import Versioned
from . import schedules, settings
from .by_variable import by_variable_too, is_by_variable, update_each
from .flat import FlatParameters
from .settings import Checks, LearningRate
from .state import OptimizerState

names_given: Counter[str] = Counter()


class Optimizer(Configured, OptimizerState, Versioned):
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

    unwatched = frozenset({"_added", "_known", "_resting", "_state", "flat", "name"})
    _checks: ClassVar[Checks] = settings.COMMON  # of attributes, by name: they give what is set, or raise
    recordable = False  # whether `update_step` is kernels `k` alone, with all that changes in `rate` and `decay_factor`

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
        settings.at_most_one(clipnorm=clipnorm, clipvalue=clipvalue, global_clipnorm=global_clipnorm)
        self.clipnorm, self.clipvalue, self.global_clipnorm = clipnorm, clipvalue, global_clipnorm
        gradient_accumulation_steps = settings.several_steps(gradient_accumulation_steps)
        super().__init__(name or names.numbered(names.snake_case(type(self).__name__), names_given))
        self.weight_decay = weight_decay
        self.use_ema, self.ema_momentum = bool(use_ema), ema_momentum
        self.ema_overwrite_frequency, self.loss_scale_factor = ema_overwrite_frequency, loss_scale_factor
        self.gradient_accumulation_steps = gradient_accumulation_steps
        if gradient_accumulation_steps:
            self.recordable = False  # most steps change no weight
        self._not_decayed: tuple[list[int], list[str]] = [], []  # ids of weights, and patterns of their names
        self.learning_rate = learning_rate

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if cls.__module__.startswith(__package__) and "update_step" in vars(cls):
            cls.update_step = by_variable_too(cls.update_step)  # type: ignore[method-assign]

    def __setattr__(self, name: str, value: Any) -> None:
        check = self._checks.get(name) or (settings.OF_AVERAGES.get(name) if vars(self).get("use_ema") else None)
        super().__setattr__(name, value if check is None or value is None else check(name, value))

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments as plain data. Raises ValueError for a function as learning rate."""
        rate = schedules.serialize(self._schedule) if self.is_scheduled else self._rate()
        return {**super().get_config(), "learning_rate": rate}

    # The flat arrays.

    def build(self, parameters: Sequence[Variable]) -> None:
        """Lays the parameters into flat arrays and makes the slots, once. Later calls may leave some of them out, which
        keep their slots, and take them in again.

        Raises ValueError for parameters that it was not built for.
        """
        parameters = list({id(p): p for p in parameters}.values())
        if self.flat is None:
            self.flat, self._known = FlatParameters(parameters), parameters
        elif not {id(p) for p in parameters} <= {id(p) for p in self._known}:
            raise ValueError(f"This {type(self).__name__} was built for {len(self._known)} other parameters. "
                             f"Received {len(parameters)}. Layers were added or changed their `trainable`: make a new "
                             "optimizer (in a model: call compile() again).")
        elif list(map(id, parameters)) != list(map(id, self.flat.parameters)):
            self._lay_out(parameters)
        elif self.flat.device is not parameters[0].device:
            self._move(parameters)
        else:
            self.flat.bind()
        self._make_slots()

    def train(self, parameters: Sequence[Variable]) -> None:
        """Builds the optimizer before its first step; later takes the parameters that are trained from now on."""
        if self.flat is None:
            self.build(parameters)
        Optimizer.build(self, parameters)  # also after a build() of a user's own

    # One step.

    def apply(self, gradients: Sequence[Any], parameters: Sequence[Variable] | None = None) -> None:
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
        self.count_step()

    def apply_gradients(self, grads_and_vars: Iterable[tuple[Any, Variable]]) -> Tensor:
        """`apply` under Keras's other name, from pairs. Returns the number of steps done."""
        gradients, parameters = zip(*grads_and_vars)
        self.apply(gradients, parameters)
        return self.iterations

    def scale_loss(self, loss: Any) -> Any:
        """The loss times `loss_scale_factor`, where there is one: `apply` divides its gradients again."""
        return loss * self.loss_scale_factor if self.loss_scale_factor else loss

    def _warn_of_missing(self, gradients: Sequence[Any], parameters: Sequence[Variable] | None) -> None:
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

    def _in_order(self, gradients: Sequence[Any], parameters: Sequence[Variable]) -> list[Any]:
        """Builds the optimizer, or checks that it knows the parameters, which may be some of its own in any order.
        Gives a gradient or None for each of its own.
        """
        if self.flat is None:
            self.train(parameters)
        given = {id(parameter): gradient for parameter, gradient in zip(parameters, gradients)}
        known = self.flat.parameters  # type: ignore[union-attr]
        if given.keys() <= {id(parameter) for parameter in known}:
            Optimizer.build(self, known)  # where they moved to another device, or another optimizer took them over
            return [given.get(id(parameter)) for parameter in known]
        Optimizer.build(self, parameters)  # says what is wrong
        return list(gradients)

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
        if is_by_variable(type(self)):  # type: ignore[arg-type]
            update_each(self, k, flat, missing)
        else:
            self._update_all(k, flat)
        for part, before in kept:
            part[...] = flat.device.asarray(before)
        flat.constrain()
        if self.use_ema:
            self._keep_average(flat)

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

    def _clip(self, k: Any, flat: FlatParameters) -> None:
        if self.clipvalue is not None:
            k.clip(flat.gradient, self.clipvalue)
        elif self.clipnorm is not None:
            for gradient in flat.gradients:
                k.shrink(gradient, self.clipnorm)
        elif self.global_clipnorm is not None:
            k.shrink(flat.gradient, self.global_clipnorm)

    def _step_size(self) -> float:
        """What the kernel of the next step takes for the learning rate."""
        return self._rate()

    def update_step(self, k: Any, flat: Any, rate: Any, decay_factor: Any) -> None:
        """Changes `flat.data` by `flat.gradient`. `rate` is the step size and `decay_factor` what weight decay leaves
        of a weight: numbers, or in a recording what stands for them, which kernels alone can read.
        """
        raise NotImplementedError(f"{type(self).__name__} must override "
                                  "update_step(self, gradient, variable, learning_rate).")

    def _decay_factor(self) -> float:
        """The share of each weight that the next step's decay leaves."""
        return 1.0 - self._rate() * (self.weight_decay or 0.0)

    def _is_excluded(self, parameter: Variable) -> bool:
        ids, patterns = self._not_decayed
        return id(parameter) in ids or any(re.search(pattern, parameter.path) for pattern in patterns)

    def exclude_from_weight_decay(self, var_list: Sequence[Variable] | None = None,
                                  var_names: Sequence[str] | None = None) -> None:
        """Leaves these weights as they are, and those whose path a pattern of `var_names` is found in. Raises
        ValueError once the optimizer is built.
        """
        if self.built:
            raise ValueError("exclude_from_weight_decay() must be called before the first step.")
        self._not_decayed = [id(p) for p in var_list or ()], list(var_names or ())
