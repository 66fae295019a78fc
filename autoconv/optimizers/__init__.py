"""Optimizers with Keras's names, defaults and formulas. A step is one pass over the flat array of all parameters.

`base.py` has the step that they share, `steps.py` the formulas, `flat.py` the flat array, `slots.py` the arrays beside
it, `averages.py` means over steps, `variables.py` Keras's variables, `by_variable.py` Keras's form of an update,
`settings.py` what may be set, `schedules.py` learning rates.
"""

from collections.abc import Callable, Mapping
from typing import Any

from ..arguments import custom
from . import schedules
from .base import Optimizer
from .settings import LearningRate
from .steps import SGD, Adadelta, Adagrad, Adam, Adamax, AdamW, Ftrl, Lion, Nadam, RMSprop

__all__ = ["SGD", "Adadelta", "Adagrad", "Adam", "AdamW", "Adamax", "Ftrl", "LearningRate", "Lion", "Nadam",
           "Optimizer", "RMSprop", "deserialize", "get", "schedules", "serialize"]

CLASSES: dict[str, type[Optimizer]] = {kind.__name__: kind for kind in (
    SGD, RMSprop, Adam, AdamW, Adadelta, Adagrad, Adamax, Ftrl, Lion, Nadam)}
BY_NAME: dict[str, Callable[..., Optimizer]] = {name.lower(): kind for name, kind in CLASSES.items()}


def get(identifier: Any) -> Optimizer:
    """An optimizer by its name ("sgd", "rmsprop", "adam", ..., in any case), of a config, or the one passed."""
    if isinstance(identifier, Optimizer):
        return identifier
    if isinstance(identifier, Mapping):
        return deserialize(identifier)
    name = identifier.lower() if isinstance(identifier, str) else identifier
    return custom.find("optimizer", name if name in BY_NAME else identifier, BY_NAME)()


def serialize(optimizer: Optimizer) -> dict[str, Any]:
    """An optimizer as plain data, without its state."""
    return custom.to_keras_config(optimizer, "keras.optimizers")


def deserialize(config: Mapping[str, Any], custom_objects: Mapping[str, type] | None = None) -> Optimizer:
    """The optimizer that `serialize` wrote; custom_objects maps names to classes of yours."""
    return custom.from_config("optimizer", config, {**BY_NAME, **CLASSES}, custom_objects)
