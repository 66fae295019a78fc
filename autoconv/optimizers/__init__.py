"""Optimizers with Keras's names, defaults and formulas. A step is one pass over the flat array of all parameters."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

import numpy as np

from ..arguments import names
from ..tensor import Parameter
from ..versions import Versioned
from . import schedules
from .flat import FlatParameters

__all__ = ["SGD", "Adam", "AdamW", "Optimizer", "RMSprop", "get", "schedules"]

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


_CLIPS = dict.fromkeys(("clipnorm", "clipvalue", "global_clipnorm", "weight_decay"), _at_least_zero)


class _Now:
    """What training itself changes of an optimizer, so that it counts as no change: the steps done and the rate."""

    def __init__(self, rate: LearningRate) -> None:
        self.iterations, self.rate = 0, rate


class Optimizer(Versioned):
    """What all optimizers share: the learning rate, clipping, weight decay, the flat arrays and the state.

    `learning_rate` is a number or a callable of the number of steps done (see `optim.schedules`). `weight_decay` takes
    `learning_rate * weight_decay` of every weight before each step. Gradients are clipped by at most one of `clipnorm`
    (the L2 norm of each), `global_clipnorm` (that of all of them together) and `clipvalue` (each element).
    """

    unwatched = frozenset({"_now", "_state", "flat"})
    _checks: ClassVar[dict[str, Callable]] = _CLIPS  # of attributes, by name: they give what is set, or raise
    recordable = False  # whether `update_step` is kernels `k` alone, with all that changes in `rate` and `decay_factor`
    _slots: tuple[str, ...] = ()  # the names of the arrays it keeps beside the parameters

    def __init__(
        self, learning_rate: LearningRate, weight_decay: float | None = None, clipnorm: float | None = None,
        clipvalue: float | None = None, global_clipnorm: float | None = None, name: str | None = None,
    ) -> None:
        clips = {"clipnorm": clipnorm, "clipvalue": clipvalue, "global_clipnorm": global_clipnorm}
        given = {key: value for key, value in clips.items() if value is not None}
        if len(given) > 1:
            raise ValueError(f"Only one of clipnorm, clipvalue and global_clipnorm can be set. Received: {given}.")
        self.clipnorm, self.clipvalue, self.global_clipnorm = clipnorm, clipvalue, global_clipnorm
        self.weight_decay, self.name = weight_decay, name or type(self).__name__.lower()
        self._now = _Now(_checked_rate(learning_rate))
        self.flat: FlatParameters | None = None
        self._state: dict[str, Any] = {}

    def __setattr__(self, name: str, value: Any) -> None:
        check = self._checks.get(name)
        super().__setattr__(name, value if check is None or value is None else check(name, value))

    @property
    def built(self) -> bool:
        return self.flat is not None

    @property
    def iterations(self) -> int:
        """How many steps were done."""
        return self._now.iterations

    @iterations.setter
    def iterations(self, value: int) -> None:
        self._now.iterations = int(value)

    @property
    def is_scheduled(self) -> bool:
        """Whether a schedule sets the learning rate."""
        return callable(self._now.rate)

    @property
    def learning_rate(self) -> float:
        """The learning rate of the next step."""
        rate = self._now.rate
        return float(rate(self.iterations)) if callable(rate) else rate

    @learning_rate.setter
    def learning_rate(self, value: LearningRate) -> None:
        if callable(self._now.rate) and not callable(value):
            raise TypeError("This optimizer was made with a schedule as its learning_rate, so the schedule sets it. "
                            f"Received: {value!r}. Make the optimizer with a number to set it yourself.")
        self._now.rate = _checked_rate(value)

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
        for slot in self._slots:  # a setting that was switched on later may need one more
            if slot not in self._state:
                self._state[slot] = self.flat.zeros()

    def _move(self, parameters: Sequence[Parameter]) -> None:
        """Follows the parameters to another device, with the slots."""
        device, self.flat = self.flat.device, FlatParameters(parameters)  # type: ignore[union-attr]
        for slot, values in self._state.items():
            self._state[slot] = self.flat.zeros()
            self._state[slot][...] = device.numpy(values)

    def apply(self, gradients: Sequence[Any], parameters: Sequence[Parameter] | None = None) -> None:
        """One step. `gradients` are arrays in the order of the parameters; None counts as zeros."""
        if parameters is not None:
            self.build(parameters)
        if self.flat is None:
            raise ValueError("The first apply() needs the parameters: apply(gradients, parameters), or call "
                             "build(parameters) before.")
        self.flat.collect(gradients)
        self.update()
        self.iterations += 1

    def update(self) -> None:
        """Clips the gradients in `flat`, then updates the parameters and the slots: kernels alone, that a step records
        where the optimizer is `recordable`. Counts no step.
        """
        flat: Any = self.flat
        k, dynamic = flat.device.kernels("update"), flat.device.dynamic
        self._clip(k, flat)
        self.update_step(k, flat, dynamic(self._step_size), dynamic(self._decay_factor) if self.weight_decay else 1.0)

    def apply_gradients(self, gradients_and_parameters: Iterable[tuple[Any, Parameter]]) -> None:
        """`apply` under Keras's other name, from pairs."""
        gradients, parameters = zip(*gradients_and_parameters)
        self.apply(gradients, parameters)

    def _step_size(self) -> float:
        """What the kernel of the next step takes for the learning rate."""
        return self.learning_rate

    def _decay_factor(self) -> float:
        """The share of each weight that the next step's decay leaves."""
        return 1.0 - self.learning_rate * (self.weight_decay or 0.0)

    def update_step(self, k: Any, flat: FlatParameters, rate: Any, decay_factor: Any) -> None:
        """Changes `flat.data` by `flat.gradient`. `rate` is the step size and `decay_factor` what weight decay leaves
        of a weight: numbers, or in a recording what stands for them, which kernels alone can read.
        """
        raise NotImplementedError(f"{type(self).__name__} must override "
                                  "update_step(self, k, flat, rate, decay_factor).")

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
        state = {"iterations": np.asarray(self.iterations)}
        if not callable(self._now.rate):
            state["learning_rate"] = np.asarray(self._now.rate)
        if self.flat is not None:
            for slot, flat in self._state.items():
                for i, part in enumerate(self.flat.split(flat)):
                    state[f"{slot}/{i}"] = np.array(self.flat.device.numpy(part))
        return state

    def set_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Puts back what `get_state` gave. Call `build(parameters)` first. Raises ValueError where it does not fit."""
        parts = {}
        if self.flat is not None:
            for slot, flat in self._state.items():
                parts.update({f"{slot}/{i}": part for i, part in enumerate(self.flat.split(flat))})
        own = {key: part.shape for key, part in parts.items()}
        given = {key: np.shape(v) for key, v in state.items() if key not in ("iterations", "learning_rate")}
        if own != given:
            raise ValueError("This state belongs to another optimizer or to other parameters. "
                             f"{type(self).__name__} has {own or 'no slots (build it first)'}. Received: {given}.")
        for key, part in parts.items():
            part[...] = self.flat.device.asarray(state[key], part.dtype)  # type: ignore[union-attr]
        self.iterations = int(state["iterations"])
        if "learning_rate" in state and not callable(self._now.rate):
            self._now.rate = float(state["learning_rate"])


class SGD(Optimizer):
    """Gradient descent `w -= learning_rate * g`, or with momentum `m = momentum*m - learning_rate*g; w += m`.

    `nesterov` looks ahead: `w += momentum*m - learning_rate*g` (Sutskever et al., 2013).
    """

    recordable = True
    _checks: ClassVar[dict[str, Callable]] = {**_CLIPS, "momentum": partial(_fraction, upto_one=True)}

    def __init__(
        self, learning_rate: LearningRate = 0.01, momentum: float = 0.0, nesterov: bool = False, **common: Any
    ) -> None:
        super().__init__(learning_rate, **common)
        self.momentum, self.nesterov = momentum, nesterov

    @property
    def _slots(self) -> tuple[str, ...]:  # type: ignore[override]
        return ("momentum",) if self.momentum else ()

    def update_step(self, k: Any, flat: FlatParameters, rate: Any, decay_factor: Any) -> None:
        k.sgd(flat.data, flat.gradient, self._slot("momentum"), rate, self.momentum, bool(self.nesterov), decay_factor)


class RMSprop(Optimizer):
    """`v = rho*v + (1-rho)*g^2; w -= learning_rate * g / sqrt(v + epsilon)` (Hinton, lecture 6e, 2012).

    `centered` subtracts the square of the gradient's mean from v; `momentum` keeps that part of the last step.
    """

    recordable = True
    _checks: ClassVar[dict[str, Callable]] = {
        **_CLIPS, "rho": _fraction, "momentum": partial(_fraction, upto_one=True), "epsilon": _at_least_zero}

    def __init__(
        self, learning_rate: LearningRate = 0.001, rho: float = 0.9, momentum: float = 0.0, epsilon: float = 1e-7,
        centered: bool = False, **common: Any,
    ) -> None:
        super().__init__(learning_rate, **common)
        self.rho, self.momentum, self.epsilon, self.centered = rho, momentum, epsilon, centered

    @property
    def _slots(self) -> tuple[str, ...]:  # type: ignore[override]
        momentum = ("momentum",) if self.momentum else ()
        return ("velocity", *momentum, *(("average_gradient",) if self.centered else ()))

    def update_step(self, k: Any, flat: FlatParameters, rate: Any, decay_factor: Any) -> None:
        slots = self._slot("velocity"), self._slot("momentum"), self._slot("average_gradient")
        k.rmsprop(flat.data, flat.gradient, *slots, rate, self.rho, self.momentum, self.epsilon, decay_factor)


class Adam(Optimizer):
    """`m += (1-b1)(g - m); v += (1-b2)(g^2 - v); w -= alpha * m / (sqrt(v) + epsilon)` (Kingma and Ba, 2014).

    At step t `alpha = learning_rate * sqrt(1 - b2^t) / (1 - b1^t)`, so epsilon counts before the bias correction, as
    in Keras. `amsgrad` is not there: True raises ValueError.
    """

    recordable = True
    _slots = ("momentum", "velocity")
    _checks: ClassVar[dict[str, Callable]] = {
        **_CLIPS, "beta_1": _fraction, "beta_2": _fraction, "epsilon": _at_least_zero}

    def __init__(
        self, learning_rate: LearningRate = 0.001, beta_1: float = 0.9, beta_2: float = 0.999, epsilon: float = 1e-7,
        amsgrad: bool = False, **common: Any,
    ) -> None:
        super().__init__(learning_rate, **common)
        self.amsgrad = amsgrad
        self.beta_1, self.beta_2, self.epsilon = beta_1, beta_2, epsilon

    @property
    def amsgrad(self) -> bool:
        """Always False: it is not there."""
        return False

    @amsgrad.setter
    def amsgrad(self, value: bool) -> None:
        if value:
            raise ValueError(f"{type(self).__name__} has no amsgrad here. Received: amsgrad={value}. Leave it out.")

    def _step_size(self) -> float:
        t = self.iterations + 1
        return self.learning_rate * math.sqrt(1 - self.beta_2**t) / (1 - self.beta_1**t)

    def update_step(self, k: Any, flat: FlatParameters, rate: Any, decay_factor: Any) -> None:
        slots = self._slot("momentum"), self._slot("velocity")
        k.adam(flat.data, flat.gradient, *slots, rate, self.beta_1, self.beta_2, self.epsilon, decay_factor)


class AdamW(Adam):
    """Adam with decoupled weight decay, 0.004 by default (Loshchilov and Hutter, 2017)."""

    def __init__(self, learning_rate: LearningRate = 0.001, weight_decay: float = 0.004, beta_1: float = 0.9,
                 beta_2: float = 0.999, epsilon: float = 1e-7, amsgrad: bool = False, **common: Any) -> None:
        super().__init__(learning_rate, beta_1, beta_2, epsilon, amsgrad, weight_decay=weight_decay, **common)


BY_NAME: dict[str, Callable[..., Optimizer]] = {"sgd": SGD, "rmsprop": RMSprop, "adam": Adam, "adamw": AdamW}


def get(identifier: str | Optimizer) -> Optimizer:
    """An optimizer by its name ("sgd", "rmsprop", "adam", "adamw", in any case), or the one that was passed."""
    if isinstance(identifier, Optimizer):
        return identifier
    name = identifier.lower() if isinstance(identifier, str) else identifier
    return names.lookup("optimizer", name, BY_NAME)()


def _checked_rate(rate: Any) -> LearningRate:
    if callable(rate):
        return rate
    if isinstance(rate, bool) or not _is_number(rate) or float(rate) < 0:
        raise ValueError("learning_rate must be a number of at least 0, or a callable of the number of steps done, "
                         f"such as optim.schedules.CosineDecay. Received: {rate!r}.")
    return float(rate)
