"""Saves and loads models and configurations, including your own classes, under Keras's names.

Files contain only data. Your own class or function is found by its name if it is registered, in a
`custom_object_scope`, or passed in `custom_objects`.
"""

import os

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

def save_weights(model: Model, filepath: str | os.PathLike[str], overwrite: bool = True) -> None:
    """Calls `model.save_weights(filepath)`."""
    model.save_weights(filepath, overwrite)


def load_weights(model: Model, filepath: str | os.PathLike[str],
                 skip_mismatch: bool = False) -> None:
    """Calls `model.load_weights(filepath)`."""
    model.load_weights(filepath, skip_mismatch)
