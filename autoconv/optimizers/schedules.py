"""Learning rate schedules. A schedule may be any function from the number of completed steps to a learning rate."""

import math
from bisect import bisect_left
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..arguments.serialization import Configurable, Registry
from ..kernels.formulas import load_elementary


class LearningRateSchedule(Configurable):
    """Base class of custom schedules: override `__call__(step)`, and `get_config()` for saving."""

    def __call__(self, step: Any) -> float:
        number = step if isinstance(step, int | float) else np.asarray(step).item()
        return float(self.rate_at(number))

    def rate_at(self, step: Any) -> float:
        """Returns the learning rate after `step` steps."""
        raise NotImplementedError(f"{type(self).__name__} must override __call__(self, step).")


class ExponentialDecay(LearningRateSchedule):
    """`initial_learning_rate * decay_rate ** (step / decay_steps)`. `staircase` rounds the exponent down."""

    def __init__(
        self, initial_learning_rate: float, decay_steps: int, decay_rate: float, staircase: bool = False,
        name: str = "ExponentialDecay",
    ) -> None:
        self.initial_learning_rate = initial_learning_rate
        self.decay_rate = decay_rate
        self.staircase = staircase
        self.name = name
        self.decay_steps = _check_positive(decay_steps, "decay_steps")

    def rate_at(self, step: int) -> float:
        exponent = step // self.decay_steps if self.staircase else step / self.decay_steps
        return self.initial_learning_rate * load_elementary().power(self.decay_rate, exponent)


class CosineDecay(LearningRateSchedule):
    """Half a cosine from the initial rate down to `alpha` times that rate (Loshchilov and Hutter, "SGDR", 2016).

    With `warmup_target`, the rate first rises linearly from `initial_learning_rate` to `warmup_target` over
    `warmup_steps` steps. The cosine then starts from `warmup_target` and lasts another `decay_steps` steps.
    """

    def __init__(
        self, initial_learning_rate: float, decay_steps: int, alpha: float = 0.0, name: str = "CosineDecay",
        warmup_target: float | None = None, warmup_steps: int = 0,
    ) -> None:
        self.name = name
        self.initial_learning_rate, self.alpha = initial_learning_rate, alpha
        self.decay_steps = _check_positive(decay_steps, "decay_steps")
        self.warmup_target, self.warmup_steps = warmup_target, warmup_steps

    def rate_at(self, step: int) -> float:
        peak = self.initial_learning_rate
        if self.warmup_target is not None:
            if step < self.warmup_steps:
                return peak + (self.warmup_target - peak) * step / self.warmup_steps
            step, peak = step - self.warmup_steps, self.warmup_target
        cosine = 0.5 * (1 + load_elementary().cos(math.pi * min(step / self.decay_steps, 1.0)))
        return peak * ((1 - self.alpha) * cosine + self.alpha)


class CosineDecayRestarts(LearningRateSchedule):
    """Consecutive half cosines down to `alpha` times the initial rate (Loshchilov and Hutter,
    "SGDR", 2016). The first lasts `first_decay_steps` steps. Each later half cosine lasts `t_mul`
    times as long as the previous half cosine, and starts `m_mul` times as high.
    """

    def __init__(self, initial_learning_rate: float, first_decay_steps: int, t_mul: float = 2.0, m_mul: float = 1.0,
                 alpha: float = 0.0, name: str = "SGDRDecay") -> None:
        self.initial_learning_rate = initial_learning_rate
        self.first_decay_steps = _check_positive(first_decay_steps, "first_decay_steps")
        self.t_mul, self.m_mul, self.alpha, self.name = t_mul, m_mul, alpha, name

    def rate_at(self, step: int) -> float:
        progress, restarts = step / self.first_decay_steps, 0
        exact = load_elementary()
        if self.t_mul == 1.0:
            restarts = math.floor(progress)
            progress -= restarts
        else:
            logarithm = exact.log(1 - progress * (1 - self.t_mul))
            restarts = math.floor(logarithm / exact.log(self.t_mul))
            length = exact.power(self.t_mul, restarts)
            progress = (progress - (1 - length) / (1 - self.t_mul)) / length
        cosine = 0.5 * exact.power(self.m_mul, restarts) * (1 + exact.cos(math.pi * progress))
        return self.initial_learning_rate * ((1 - self.alpha) * cosine + self.alpha)


class PolynomialDecay(LearningRateSchedule):
    """Lowers the rate from the initial rate to `end_learning_rate` as `(1 - step / decay_steps) ** power`.
    With `cycle`, `decay_steps` is doubled, tripled, ... whenever that many steps are completed.
    """

    def __init__(self, initial_learning_rate: float, decay_steps: int, end_learning_rate: float = 0.0001,
                 power: float = 1.0, cycle: bool = False, name: str = "PolynomialDecay") -> None:
        self.initial_learning_rate = initial_learning_rate
        self.end_learning_rate = end_learning_rate
        self.decay_steps = _check_positive(decay_steps, "decay_steps")
        self.power, self.cycle, self.name = power, cycle, name

    def rate_at(self, step: int) -> float:
        steps = self.decay_steps * max(math.ceil(step / self.decay_steps), 1) if self.cycle else self.decay_steps
        rest = load_elementary().power(1 - min(step, steps) / steps, self.power)
        return (self.initial_learning_rate - self.end_learning_rate) * rest + self.end_learning_rate


class InverseTimeDecay(LearningRateSchedule):
    """`initial_learning_rate / (1 + decay_rate * step / decay_steps)`. `staircase` rounds the quotient down."""

    def __init__(self, initial_learning_rate: float, decay_steps: int, decay_rate: float, staircase: bool = False,
                 name: str = "InverseTimeDecay") -> None:
        self.initial_learning_rate = initial_learning_rate
        self.decay_rate = decay_rate
        self.staircase = staircase
        self.decay_steps, self.name = _check_positive(decay_steps, "decay_steps"), name

    def rate_at(self, step: int) -> float:
        intervals = step // self.decay_steps if self.staircase else step / self.decay_steps
        return self.initial_learning_rate / (1 + self.decay_rate * intervals)


class WarmUp(LearningRateSchedule):
    """Rises linearly from `start` over `steps` steps, then follows `after`, a rate or a schedule.

    It helps with large batches, whose learning rate is too high for the initial weights (Goyal et
    al.: "Accurate, large minibatch SGD", 2017).
    """

    def __init__(self, start: float, after: float | LearningRateSchedule, steps: int) -> None:
        self.start, self.after, self.steps = start, after, _check_positive(steps, "steps")

    def rate_at(self, step: int) -> float:
        target = self.after(max(step - self.steps, 0)) if callable(self.after) else self.after
        return self.start + (target - self.start) * min(step / self.steps, 1.0)


class OneCycle(LearningRateSchedule):
    """Rises linearly from `peak / 10` to `peak` over the first quarter of `steps`, then falls linearly to 0.

    High rates train fast, and the fall refines the result (Smith and Topin, "Super-convergence", 2017).
    """

    def __init__(self, peak: float, steps: int) -> None:
        self.peak, self.steps = peak, _check_positive(steps, "steps")

    def rate_at(self, step: int) -> float:
        fraction = min(step / self.steps, 1.0)
        return self.peak * min(0.1 + 0.9 * fraction / 0.25, (1 - fraction) / 0.75)


class PiecewiseConstantDecay(LearningRateSchedule):
    """`values[0]` up to and including step `boundaries[0]`, then `values[1]` up to `boundaries[1]`, and so on."""

    def __init__(self, boundaries: Sequence[int], values: Sequence[float],
                 name: str = "PiecewiseConstant") -> None:
        self.name = name
        if len(values) != len(boundaries) + 1 or list(boundaries) != sorted(boundaries):
            raise ValueError("PiecewiseConstantDecay needs increasing boundaries and one more value than boundaries. "
                             f"Received: boundaries={boundaries}, values={values}.")
        self.boundaries, self.values = list(boundaries), list(values)

    def rate_at(self, step: int) -> float:
        return self.values[bisect_left(self.boundaries, step)]


registry = Registry("schedule", "keras.optimizers.schedules", LearningRateSchedule, {
    kind.__name__: kind for kind in LearningRateSchedule.__subclasses__()})
deserialize = registry.deserialize


def serialize(learning_rate_schedule: Any) -> dict[str, Any]:
    """Returns a schedule as plain data. Raises ValueError for a function."""
    if not isinstance(learning_rate_schedule, LearningRateSchedule):
        raise ValueError(f"Only a LearningRateSchedule can be serialized. Received: {learning_rate_schedule!r}.")
    return registry.serialize(learning_rate_schedule)


def _check_positive(value: int, name: str) -> int:
    if value <= 0:
        raise ValueError(f"{name} must be greater than 0. Received: {value}.")
    return value
