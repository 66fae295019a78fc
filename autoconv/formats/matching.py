"""The arrays of a file beside the weights of a model: each belongs to the weight of its name."""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np

from ..engine.variable import Variable

SHOWN = 8  # differences that an error lists
LONGEST = 300  # characters of each
_lenient: ContextVar[bool] = ContextVar("skip_mismatch", default=False)


@contextmanager
def lenient(wanted: bool) -> Iterator[None]:
    """Within the block arrays that fit no weight are warned of and left out, if that is wanted."""
    token = _lenient.set(wanted)
    try:
        yield
    finally:
        _lenient.reset(token)


def matched(weights: Mapping[str, Variable], arrays: Mapping[str, np.ndarray], path: str,
            model: str) -> list[tuple[Variable, np.ndarray]]:
    """Returns each weight with the array of its name. Raises ValueError if they differ."""
    lines = [f"  {name}: the model has {_shape(weights.get(name))}, the file {_shape(arrays.get(name))}"
             for name in {**weights, **arrays} if _shape(weights.get(name)) != _shape(arrays.get(name))]
    shown = "\n".join(line[:LONGEST] for line in lines[:SHOWN])
    message = f"The weights in {path} are not those of {model!r}:\n{shown}"
    if lines and not _lenient.get():
        raise ValueError(message)
    if lines:
        warnings.warn(f"{message}\nThese stay as they are.", stacklevel=6)
    return [(weight, arrays[name]) for name, weight in weights.items() if _shape(weight) == _shape(arrays.get(name))]


def assign(found: list[tuple[Variable, np.ndarray]]) -> None:
    """Gives each weight its array."""
    for weight, array in found:
        weight.assign(array)


def _shape(thing: Any) -> str:
    return "none" if thing is None else str(tuple(thing.shape))
