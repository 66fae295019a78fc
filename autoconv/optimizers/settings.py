"""The settings of optimizers: what they may be. A check gives the value that is kept, or raises."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from ..arguments import keywords
from . import schedules

LearningRate = float | Callable[[int], float]
Checks = dict[str, Callable]  # of attributes, by name


def _is_number(value: Any) -> bool:
    return np.ndim(value) == 0 and hasattr(value, "__float__")


def fraction(what: str, value: float, upto_one: bool = False) -> float:
    """A number from 0 to 1, without 1 or with it."""
    if not _is_number(value) or not 0 <= value <= 1 or (value == 1 and not upto_one):
        raise ValueError(f"{what} must lie in [0, 1{']' if upto_one else ')'}. Received: {value!r}.")
    return float(value)


def at_least_zero(what: str, value: float) -> float:
    """A number that is not negative."""
    if not _is_number(value) or value < 0:
        raise ValueError(f"{what} must be a number of at least 0. Received: {value!r}.")
    return float(value)


def _steps(what: str, value: Any) -> int:
    if isinstance(value, bool) or not hasattr(value, "__index__") or value < 1:
        raise ValueError(f"{what} must be an integer of at least 1. Received: {what}={value!r}.")
    return int(value)


COMMON: Checks = {  # of all optimizers
    **dict.fromkeys(("clipnorm", "clipvalue", "global_clipnorm", "loss_scale_factor", "weight_decay"), at_least_zero),
    "gradient_accumulation_steps": _steps}
OF_AVERAGES: Checks = {  # checked where averages are kept
    "ema_momentum": partial(fraction, upto_one=True), "ema_overwrite_frequency": _steps}


def at_most_one(**clips: float | None) -> None:
    """Refuses several ways of clipping at once."""
    given = {key: value for key, value in clips.items() if value is not None}
    if len(given) > 1:
        raise ValueError(f"Only one of clipnorm, clipvalue and global_clipnorm can be set. Received: {given}.")


def several_steps(count: int | None) -> int | None:
    """How many gradients make one step; None where each makes one."""
    if count and count < 2:
        raise ValueError("gradient_accumulation_steps must be at least 2, or None. "
                         f"Received: gradient_accumulation_steps={count!r}.")
    return count or None


def learning_rate(rate: Any) -> LearningRate:
    """A learning rate: a number, or a callable of the number of steps done. One of nothing is asked at each step."""
    if callable(rate):
        if isinstance(rate, schedules.LearningRateSchedule) or keywords.accepts(rate, 1):
            return rate
        return lambda step: float(rate())
    if isinstance(rate, bool) or not _is_number(rate):
        raise ValueError("learning_rate must be a number, or a callable of the number of steps done, "
                         f"such as optim.schedules.CosineDecay. Received: {rate!r}.")
    return float(rate)
