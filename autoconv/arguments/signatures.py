"""Constructors that are made: the arguments of a function become those of the class that is made of it."""

import inspect
from collections.abc import Callable
from typing import Any


def parameters(function: Callable, start: int = 0, stop: int | None = None) -> list[inspect.Parameter]:
    """Some of the parameters of a function, by their places."""
    return list(inspect.signature(function).parameters.values())[start:stop]


def constructor(taken: list[inspect.Parameter], base: type, *given: Any, **fixed: Any) -> Callable[..., None]:
    """An `__init__` of these parameters: it calls `base`'s with all of them by name, and with what is given here."""
    signature = inspect.Signature([inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD), *taken])

    def start(self: Any, *args: Any, **kwargs: Any) -> None:
        bound = signature.bind(self, *args, **kwargs)
        bound.apply_defaults()
        arguments = dict(bound.arguments)
        del arguments["self"]
        base.__init__(self, *given, **fixed, **arguments)  # type: ignore[misc]

    start.__signature__ = signature  # type: ignore[attr-defined]
    return start
