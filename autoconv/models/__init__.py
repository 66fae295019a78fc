"""Models: `Model(inputs, outputs)` is any graph of layers, `Sequential` a chain; a class of yours has a `call`."""

from typing import Any

from ..layers import Input
from .model import Functional, Model, Path
from .sequential import Sequential

__all__ = ["Functional", "Input", "Model", "Sequential", "clone_model", "load_model", "save_model"]


def clone_model(model: Model) -> Model:
    """A model of the same layers with new weights, not compiled. Raises ValueError for what has no plain form."""
    return type(model).from_config(model.get_config())


def save_model(model: Model, filepath: Path, overwrite: bool = True) -> None:
    """`model.save(filepath)`."""
    model.save(filepath, overwrite)


def load_model(filepath: Path, custom_objects: dict[str, Any] | None = None, compile: bool = True,
               safe_mode: bool = True) -> Model:
    """The model that `model.save(filepath)` wrote, or that of the folder of a run, compiled as it was: fit() goes on
    with the optimizer's slots. `custom_objects` maps names to classes and functions of your own. compile: False leaves
    the training out. safe_mode: always, as files hold no code. Raises ValueError for a file that is no model's.
    """
    from .. import formats

    if not safe_mode:
        raise ValueError("A file's code is never run: safe_mode must be True. Pass classes and functions in "
                         "custom_objects.")
    return formats.load_model(filepath, custom_objects, compile)
