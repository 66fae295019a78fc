"""The parameters of functions: what a function takes, and constructors that take the same."""

import inspect
from collections.abc import Callable
from typing import Any


def parameters(function: Callable, start: int = 0, stop: int | None = None) -> list[inspect.Parameter]:
    """Some of the parameters of a function, by their places."""
    return list(inspect.signature(function).parameters.values())[start:stop]


def accepts(function: Callable, count: int) -> bool:
    """Whether a function can be called with so many arguments. One in C that does not tell is taken at its word."""
    try:
        inspect.signature(function).bind(*[None] * count)
    except TypeError:
        return False
    except ValueError:  # it has no signature
        return True
    return True


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
