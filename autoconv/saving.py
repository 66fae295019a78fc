"""Saving and loading under Keras's names: models, and configurations with your own classes.

Files hold data only; your class or function is found by its name, once it is registered, within a
`custom_object_scope`, or in `custom_objects`.
"""

from typing import Any

from .arguments.serialization import (
    CustomObjectScope,
    custom_object_scope,
    deserialize_keras_object,
    get_custom_objects,
    get_registered_name,
    get_registered_object,
    register_keras_serializable,
    serialize_keras_object,
)
from .models import Model, load_model, save_model

__all__ = ["CustomObjectScope", "custom_object_scope", "deserialize_keras_object",
           "get_custom_objects", "get_registered_name", "get_registered_object", "load_model",
           "load_weights", "register_keras_serializable", "save_model", "save_weights",
           "serialize_keras_object"]

def save_weights(model: Model, filepath: Any, overwrite: bool = True) -> None:
    """`model.save_weights(filepath)`."""
    model.save_weights(filepath, overwrite)


def load_weights(model: Model, filepath: Any, skip_mismatch: bool = False) -> None:
    """`model.load_weights(filepath)`."""
    model.load_weights(filepath, skip_mismatch)
