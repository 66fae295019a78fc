"""Models: any graph of layers (`Model`), a chain of layers (`Sequential`), or your own class with `call`."""

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
    """Copies a model with new weights; the copy is not compiled. Raises ValueError if a layer
    cannot be serialized, or if any other argument is passed for a model class with its own `call`.

    input_tensors: symbolic inputs of the copy. clone_function(layer): creates the copy of each
    layer except Inputs, by default `layer.from_config(layer.get_config())`. call_function(layer,
    *args, **kwargs): calls a new layer. recursive: also clones nested models' layers one by one.
    """
    if input_tensors is None and clone_function is None and call_function is None and not recursive:
        return type(model).from_config(model.get_config())
    return cloning.clone(model, input_tensors, clone_function, call_function, recursive)


def model_from_json(json_string: str, custom_objects: dict[str, Any] | None = None) -> Model:
    """Creates a model with new weights from JSON text that `to_json` of autoconv or Keras returned."""
    from .. import formats

    return formats.from_json(json_string, custom_objects)


def save_model(model: Model, filepath: Path, overwrite: bool = True, **unknown: Any) -> None:
    """Calls `model.save(filepath)`."""
    model.save(filepath, overwrite, **unknown)


def load_model(filepath: Path, custom_objects: dict[str, Any] | None = None, compile: bool = True,
               safe_mode: bool = True) -> Model:
    """Reads a model that `model.save` wrote, from a file or a run folder. The model is compiled as
    it was when saved, so fit() resumes with the optimizer's slots. `custom_objects` maps names to
    your own classes and functions. compile=False skips the training settings. safe_mode must be
    True, because code from a file is never run. Raises ValueError if the file has no model.
    """
    from .. import formats

    if not safe_mode:
        raise ValueError("safe_mode must be True, because code from a file is never run. Pass "
                         "your own classes and functions in custom_objects.")
    return formats.load_model(filepath, custom_objects, compile)
