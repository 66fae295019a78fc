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
    title, and ValueError without a docstring or with other parameters than plain ones.
    """
    if not isinstance(title, str):
        raise TypeError('An exercise needs a title, as in @exercise("Convolve by hand"). '
                        f'Received: {title!r}.')

    def convert(function: Check) -> Exercise:
        task = inspect.getdoc(function)
        if not task:
            raise ValueError(f"An exercise needs a task. Add a docstring to {function.__name__}.")
        signature = inspect.signature(function)
        plain = [name for name, parameter in signature.parameters.items()
                 if parameter.kind == parameter.POSITIONAL_OR_KEYWORD]
        if not plain or len(plain) < len(signature.parameters):
            raise ValueError("An exercise needs one plain parameter per name that an answer "
                             f"defines, as in def {function.__name__}(result). Received: "
                             f"def {function.__name__}{signature}.")
        return Exercise(title, task, tuple(plain), function)

    return convert


def require(condition: object, hint: str) -> None:
    """Raises `Wrong` with the hint if the condition is false."""
    if not condition:
        raise Wrong(hint)


def expect(name: str, answer: object, right: object,
           mistakes: Mapping[str, object] | None = None) -> None:
    """Compares a number, or an array of numbers, with the right one. Rounding to three decimals is
    allowed, except if `right` consists of integers.

    name: the answer's name, for the hints. mistakes: results of known mistakes, by the hint that
    helps with the mistake. Raises `Wrong` with the hint of the mistake that gives this answer. For
    other answers, the hint names the required shape, or the first wrong number.
    """
    wanted = np.asarray(right)
    given = _numbers(name, answer, wanted.shape)
    if _agree(given, wanted):
        return
    for hint, result in (mistakes or {}).items():
        require(not _agree(given, np.asarray(result)), hint)
    require(given.shape == wanted.shape, f"`{name}` must be {_describe(wanted.shape)}. Received: "
                                         f"{_describe(given.shape)}.")
    index = tuple(map(int, np.argwhere(~_close(given, wanted))[0]))
    position = f"[{', '.join(map(str, index))}]" if index else ""
    size = "small" if given[index] < wanted[index] else "large"
    raise Wrong(f"`{name}{position}` is too {size}. Received: {given[index]:.10g}.")


def expect_shape(name: str, answer: object, shape: tuple[int, ...]) -> np.ndarray:
    """Returns an answer as a float64 array. Raises `Wrong` if it is not numbers of this shape."""
    numbers = _numbers(name, answer, shape)
    require(numbers.shape == shape, f"`{name}` must be {_describe(shape)}. Received: "
                                    f"{_describe(numbers.shape)}.")
    return numbers


def _numbers(name: str, answer: object, shape: tuple[int, ...]) -> np.ndarray:
    """Converts an answer to an array. `shape` is only for the hint."""
    try:
        numbers = np.asarray(answer)
        if numbers.dtype.kind in "biuf" and np.isfinite(numbers).all():
            return numbers.astype(np.float64)
    except (TypeError, ValueError, OverflowError):
        pass
    raise Wrong(f"`{name}` must be {_describe(shape)}. Received: {reprlib.repr(answer)}.")


def _agree(one: np.ndarray, other: np.ndarray) -> bool:
    return one.shape == other.shape and bool(_close(one, other).all())


def _close(given: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    # Integers that were computed with floats, such as 9 * (1 / 9), may be wrong in the last digits.
    tolerance = 1e-3 if wanted.dtype.kind == "f" else 1e-5
    return np.abs(given - wanted) <= tolerance


def _describe(shape: tuple[int, ...]) -> str:
    if not shape:
        return "one number"
    if len(shape) > 2:
        return f"an array of the shape {shape}"
    numbers = f"{shape[-1]} number{'s' * (shape[-1] != 1)}"
    return (f"{shape[0]} row{'s' * (shape[0] != 1)} of {numbers}" if len(shape) == 2 else
            f"a list of {numbers}")
