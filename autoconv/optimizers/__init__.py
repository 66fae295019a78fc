"""Optimizers with Keras's names, defaults and formulas. A step is one pass over the flat array of all parameters.

`optimizer.py` defines the settings and the step that all optimizers share, `slots.py` the flat
arrays of weights and state, `steps.py` and `muon.py` the formulas, `schedules.py` learning rates.
"""

from collections.abc import Callable
from typing import Any

from ..arguments.serialization import Registry
from . import schedules
from .muon import Muon
from .optimizer import LearningRate, Optimizer
from .steps import SGD, Adadelta, Adagrad, Adam, Adamax, AdamW, Ftrl, Lion, Nadam, RMSprop

__all__ = ["SGD", "Adadelta", "Adagrad", "Adam", "AdamW", "Adamax", "Ftrl", "LearningRate", "Lion", "Muon",
           "Nadam", "Optimizer", "RMSprop", "deserialize", "get", "schedules", "serialize"]

CLASSES: dict[str, type[Optimizer]] = {kind.__name__: kind for kind in (
    SGD, RMSprop, Adam, AdamW, Adadelta, Adagrad, Adamax, Ftrl, Lion, Muon, Nadam)}
BY_NAME: dict[str, Callable[..., Optimizer]] = {name.lower(): kind for name, kind in CLASSES.items()}


registry = Registry("optimizer", "keras.optimizers", Optimizer, CLASSES, BY_NAME)
serialize, deserialize = registry.serialize, registry.deserialize


def get(identifier: Any) -> Optimizer:
    """Returns the optimizer for a name ("adam" or "Adam") or a configuration. Returns an optimizer unchanged."""
    if isinstance(identifier, str) and identifier.lower() in BY_NAME:
        identifier = identifier.lower()
    return registry.find(None) if identifier is None else registry.get(identifier)
