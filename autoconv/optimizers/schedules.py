"""Learning rates that change with the number of steps done. Any callable `step -> learning rate` serves as one."""

import math
from bisect import bisect_left
from collections.abc import Sequence


class LearningRateSchedule:
    """The base of a schedule of your own: override `__call__(step)`."""

    def __call__(self, step: int) -> float:
        raise NotImplementedError(f"{type(self).__name__} must override __call__(self, step).")


class ExponentialDecay(LearningRateSchedule):
    """`initial_learning_rate * decay_rate ** (step / decay_steps)`; with `staircase` the exponent is a whole number."""

    def __init__(
        self, initial_learning_rate: float, decay_steps: int, decay_rate: float, staircase: bool = False
    ) -> None:
        self.initial_learning_rate, self.decay_rate, self.staircase = initial_learning_rate, decay_rate, staircase
        self.decay_steps = _positive(decay_steps)

    def __call__(self, step: int) -> float:
        exponent = step // self.decay_steps if self.staircase else step / self.decay_steps
        return self.initial_learning_rate * self.decay_rate**exponent


class CosineDecay(LearningRateSchedule):
    """Half a cosine from the initial rate down to `alpha` times it (Loshchilov and Hutter, "SGDR", 2016).

    With `warmup_target` the rate first climbs in a line from `initial_learning_rate` to it, over `warmup_steps`; the
    cosine then starts from `warmup_target` and takes another `decay_steps`.
    """

    def __init__(
        self, initial_learning_rate: float, decay_steps: int, alpha: float = 0.0,
        warmup_target: float | None = None, warmup_steps: int = 0,
    ) -> None:
        self.initial_learning_rate, self.alpha = initial_learning_rate, alpha
        self.decay_steps, self.warmup_target, self.warmup_steps = _positive(decay_steps), warmup_target, warmup_steps

    def __call__(self, step: int) -> float:
        peak = self.initial_learning_rate
        if self.warmup_target is not None:
            if step < self.warmup_steps:
                return peak + (self.warmup_target - peak) * step / self.warmup_steps
            step, peak = step - self.warmup_steps, self.warmup_target
        cosine = 0.5 * (1 + math.cos(math.pi * min(step / self.decay_steps, 1.0)))
        return peak * ((1 - self.alpha) * cosine + self.alpha)


class WarmUp(LearningRateSchedule):
    """Climbs in a line from `start` over `steps`, then goes on as `after`, a rate or a schedule, has it.

    For large batches, whose rate is too high for first weights (Goyal et al.: "Accurate, large minibatch SGD", 2017).
    """

    def __init__(self, start: float, after: float | LearningRateSchedule, steps: int) -> None:
        self.start, self.after, self.steps = start, after, _positive(steps)

    def __call__(self, step: int) -> float:
        after = self.after(max(step - self.steps, 0)) if callable(self.after) else self.after
        return self.start + (after - self.start) * min(step / self.steps, 1.0)


class OneCycle(LearningRateSchedule):
    """One climb and one descent, in lines: from `peak / 10` to `peak` over the first quarter of `steps`, then to 0.

    High rates train fast, and the descent settles what they left rough (Smith and Topin, "Super-convergence", 2017).
    """

    def __init__(self, peak: float, steps: int) -> None:
        self.peak, self.steps = peak, _positive(steps)

    def __call__(self, step: int) -> float:
        share = min(step / self.steps, 1.0)
        return self.peak * min(0.1 + 0.9 * share / 0.25, (1 - share) / 0.75)


class PiecewiseConstantDecay(LearningRateSchedule):
    """`values[0]` up to and including step `boundaries[0]`, then `values[1]` up to `boundaries[1]`, and so on."""

    def __init__(self, boundaries: Sequence[int], values: Sequence[float]) -> None:
        if len(values) != len(boundaries) + 1 or list(boundaries) != sorted(boundaries):
            raise ValueError("PiecewiseConstantDecay needs increasing boundaries and one value more than boundaries. "
                             f"Received: boundaries={boundaries}, values={values}.")
        self.boundaries, self.values = list(boundaries), list(values)

    def __call__(self, step: int) -> float:
        return self.values[bisect_left(self.boundaries, step)]


def _positive(decay_steps: int) -> int:
    if decay_steps <= 0:
        raise ValueError(f"decay_steps must be greater than 0. Received: {decay_steps}.")
    return decay_steps
