"""Matches the arrays of a file with the weights of a model, by name."""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np

from ..engine.variable import Variable

SHOWN = 8  # maximum number of differences in an error message
LONGEST = 300  # maximum characters per difference
_lenient: ContextVar[bool] = ContextVar("skip_mismatch", default=False)


@contextmanager
def allow_mismatch(skip_mismatch: bool) -> Iterator[None]:
    """Makes `match` skip arrays that match no weight, with a warning, if `skip_mismatch`."""
    token = _lenient.set(skip_mismatch)
    try:
        yield
    finally:
        _lenient.reset(token)


def match(weights: Mapping[str, Variable], arrays: Mapping[str, np.ndarray], path: str,
          model: str) -> list[tuple[Variable, np.ndarray]]:
    """Returns each weight with its array. Raises ValueError if names or shapes differ."""
    lines = [f"  {name}: the model has {_shape(weights.get(name))}, the file {_shape(arrays.get(name))}"
             for name in {**weights, **arrays} if _shape(weights.get(name)) != _shape(arrays.get(name))]
    text = "\n".join(line[:LONGEST] for line in lines[:SHOWN])
    message = f"The weights in {path} are not those of {model!r}:\n{text}"
    if lines and not _lenient.get():
        raise ValueError(message)
    if lines:
        warnings.warn(f"{message}\nThese weights are left unchanged.", stacklevel=6)
    return [(weight, arrays[name]) for name, weight in weights.items() if _shape(weight) == _shape(arrays.get(name))]


def assign(matches: list[tuple[Variable, np.ndarray]]) -> None:
    """Assigns each array to its weight."""
    for weight, array in matches:
        weight.assign(array)


def _shape(thing: Any) -> str:
    return "none" if thing is None else str(tuple(thing.shape))
