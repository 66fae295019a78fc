"""`Setting`, an attribute that checks and converts its values, and checks of numbers."""

from collections.abc import Callable
from typing import Any

import numpy as np


class Setting:
    """An attribute that stores `check(value, name)` when it is set to a value. The check may raise ValueError.

    optional: whether None is also accepted. None is stored unchecked.
    """

    def __init__(self, check: Callable[[Any, str], Any], optional: bool = False) -> None:
        self.check = check
        self._is_optional = optional

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, instance: Any, owner: type) -> Any:
        if instance is None:
            return self
        try:
            return vars(instance)[self._name]
        except KeyError:
            raise AttributeError(f"{type(instance).__name__!r} object has no attribute {self._name!r}") from None

    def __set__(self, instance: Any, value: Any) -> None:
        vars(instance)[self._name] = None if value is None and self._is_optional else self.check(value, self._name)


def is_number(value: Any) -> bool:
    """Returns whether the value is a single number, or an array without axes."""
    return np.ndim(value) == 0 and hasattr(value, "__float__")


def check_fraction(value: Any, name: str) -> float:
    """Returns the value as a float. Raises ValueError unless it is a number in [0, 1)."""
    if not is_number(value) or not 0 <= value < 1:
        raise ValueError(f"{name} must be a number in [0, 1). Received: {value!r}.")
    return float(value)


def check_fraction_or_one(value: Any, name: str) -> float:
    """Returns the value as a float. Raises ValueError unless it is a number in [0, 1]."""
    if not is_number(value) or not 0 <= value <= 1:
        raise ValueError(f"{name} must be a number in [0, 1]. Received: {value!r}.")
    return float(value)


def check_nonnegative(value: Any, name: str) -> float:
    """Returns the value as a float. Raises ValueError unless it is a number of at least 0."""
    if not is_number(value) or value < 0:
        raise ValueError(f"{name} must be a number of at least 0. Received: {value!r}.")
    return float(value)


def check_above_one(value: Any, name: str) -> int | None:
    """Returns an integer of at least 2, or None for 0. Raises ValueError for other values."""
    if isinstance(value, bool) or not hasattr(value, "__index__") or value < 0 or value == 1:
        raise ValueError(f"{name} must be an integer of at least 2, or None. Received: {value!r}.")
    return int(value) or None


def positive(value: Any, name: str) -> int:
    """Returns a positive integer as an int. Raises ValueError for other values."""
    if isinstance(value, bool) or not hasattr(value, "__index__") or value < 1:
        raise ValueError(f"Invalid value for argument `{name}`. Expected a strictly positive value "
                         f"of type int. Received: {value!r}.")
    return int(value)
