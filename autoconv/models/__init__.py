"""Models: `Model(inputs, outputs)` is any graph of layers, `Sequential` a chain; your own class defines `call`."""

from collections.abc import Callable
from typing import Any

from ..arguments.serialization import Registry
from ..layers import Input, Layer
from . import cloning
from .model import Functional, Model, Path
from .sequential import Sequential

__all__ = ["Functional", "Input", "Model", "Sequential", "clone_model", "load_model", "model_from_json",
           "save_model"]


Registry("model", "keras", Model, {"Model": Model, "Sequential": Sequential})
Registry("model", "keras.src.models.functional", Model, {"Functional": Functional})


def clone_model(model: Model, input_tensors: Any = None, clone_function: Callable[[Layer], Layer] | None = None,
                call_function: Callable[..., Any] | None = None, recursive: bool = False) -> Model:
    """Copies a model with new weights, not compiled. Raises ValueError for layers without a plain form, and for
    functions with a class that has its own call.

    input_tensors: symbolic input tensors. clone_function: makes the new layer of each, by default
    `layer.from_config(layer.get_config())`; an Input stays. call_function(layer, *args, **kwargs): calls the new layer.
    recursive: clones nested models' layers one by one, too.
    """
    if input_tensors is None and clone_function is None and call_function is None and not recursive:
        return type(model).from_config(model.get_config())
    return cloning.clone(model, input_tensors, clone_function, call_function, recursive)


def model_from_json(json_string: str, custom_objects: dict[str, Any] | None = None) -> Model:
    """Makes a model from `model.to_json()`, of autoconv or Keras, with new weights."""
    from .. import formats

    return formats.from_json(json_string, custom_objects)


def save_model(model: Model, filepath: Path, overwrite: bool = True, **unknown: Any) -> None:
    """`model.save(filepath)`."""
    model.save(filepath, overwrite, **unknown)


def load_model(filepath: Path, custom_objects: dict[str, Any] | None = None, compile: bool = True,
               safe_mode: bool = True) -> Model:
    """Reads a model that `model.save(filepath)` wrote, or a run folder's, compiled as it was: fit() resumes with the
    optimizer's slots. `custom_objects` maps names to your own classes and functions. compile: False skips the training
    settings. safe_mode: must be True, as files hold no code. Raises ValueError for a file without a model.
    """
    from .. import formats

    if not safe_mode:
        raise ValueError("A file's code is never run: safe_mode must be True. Pass classes and functions in "
                         "custom_objects.")
    return formats.load_model(filepath, custom_objects, compile)
