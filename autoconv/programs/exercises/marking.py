"""The functions with which an exercise checks an answer."""

import inspect
import reprlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

Check = Callable[..., str | None]


class Wrong(Exception):  # noqa: N818 - reads well in `raise Wrong(hint)`
    """An answer is wrong. The message is a hint that helps with this mistake."""


@dataclass(frozen=True)
class Exercise:
    """An exercise: its title, its task, the names that an answer defines, and the function that
    checks their values. The function raises `Wrong`, or returns None or a text about the answer.
    """

    title: str
    task: str
    answers: tuple[str, ...]
    check: Check


def exercise(title: str) -> Callable[[Check], Exercise]:
    """Returns a decorator that converts a function to an `Exercise`. The function's docstring is
    the task, and its parameters are the names that an answer defines. Raises TypeError without a
    title, and ValueError without a docstring.
    """
    if not isinstance(title, str):
        raise TypeError('An exercise needs a title, as in @exercise("Convolve by hand"). '
                        f'Received: {title!r}.')

    def convert(function: Check) -> Exercise:
        task = inspect.getdoc(function)
        if not task:
            raise ValueError(f"An exercise needs a task. Add a docstring to {function.__name__}.")
        return Exercise(title, task, tuple(inspect.signature(function).parameters), function)

    return convert


def require(condition: object, hint: str) -> None:
    """Raises `Wrong` with the hint if the condition is false."""
    if not condition:
        raise Wrong(hint)


def expect(name: str, answer: object, right: object,
           mistakes: Mapping[str, object] | None = None) -> None:
    """Compares a number, or an array of numbers, with the right one. Rounding to three decimals is
    allowed.

    name: the answer's name, for the hints. mistakes: results of known mistakes, by the hint that
    helps with the mistake. Raises `Wrong` with the hint of the mistake that gives this answer. For
    other answers, the hint names the required shape, or the first wrong number.
    """
    wanted = np.asarray(right, np.float64)
    given = _numbers(name, answer, wanted.shape)
    if _agree(given, wanted):
        return
    for hint, result in (mistakes or {}).items():
        require(not _agree(given, np.asarray(result, np.float64)), hint)
    require(given.shape == wanted.shape, f"`{name}` must be {_describe(wanted.shape)}. Received: "
                                         f"{_describe(given.shape)}.")
    index = tuple(map(int, np.argwhere(~np.isclose(given, wanted, 1e-6, 1e-3))[0]))
    position = f"[{', '.join(map(str, index))}]" if index else ""
    size = "small" if given[index] < wanted[index] else "large"
    raise Wrong(f"`{name}{position}` is too {size}. Received: {given[index]:g}.")


def expect_shape(name: str, answer: object, shape: tuple[int, ...]) -> np.ndarray:
    """Returns an answer as a float64 array. Raises `Wrong` if it is not numbers of this shape."""
    numbers = _numbers(name, answer, shape)
    require(numbers.shape == shape, f"`{name}` must be {_describe(shape)}. Received: "
                                    f"{_describe(numbers.shape)}.")
    return numbers


def _numbers(name: str, answer: object, shape: tuple[int, ...]) -> np.ndarray:
    """Converts an answer to an array. `shape` is only for the hint."""
    try:
        numbers = np.asarray(answer, np.float64)
        if np.isfinite(numbers).all():
            return numbers
    except (TypeError, ValueError, OverflowError):
        pass
    raise Wrong(f"`{name}` must be {_describe(shape)}. Received: {reprlib.repr(answer)}.")


def _agree(one: np.ndarray, other: np.ndarray) -> bool:
    return one.shape == other.shape and np.allclose(one, other, 1e-6, 1e-3)


def _describe(shape: tuple[int, ...]) -> str:
    if len(shape) > 2:
        return f"an array of the shape {shape}"
    count = f"{shape[-1]} number{'s' * (shape[-1] != 1)}" if shape else "one number"
    return f"{shape[0]} rows of {count}" if len(shape) == 2 else count
