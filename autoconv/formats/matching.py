"""The arrays of a file beside the weights of a model: each belongs to the weight of its name."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..tensor import Parameter

SHOWN = 8  # differences that an error tells


def matched(weights: Mapping[str, Parameter], arrays: Mapping[str, np.ndarray], path: str,
            model: str) -> list[tuple[Parameter, np.ndarray]]:
    """Each weight with the array of its name. Raises ValueError, with the names, where names or shapes differ."""
    lines = [f"  {name}: the model has {_shape(weights.get(name))}, the file {_shape(arrays.get(name))}"
             for name in {**weights, **arrays} if _shape(weights.get(name)) != _shape(arrays.get(name))]
    if lines:
        raise ValueError(f"The weights in {path} are not those of {model!r}:\n" + "\n".join(lines[:SHOWN]))
    return [(weight, arrays[name]) for name, weight in weights.items()]


def assign(found: list[tuple[Parameter, np.ndarray]]) -> None:
    """Gives each weight its array."""
    for weight, array in found:
        weight.assign(array)


def _shape(thing: Any) -> str:
    return "none" if thing is None else str(tuple(thing.shape))
