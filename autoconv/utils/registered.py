"""Classes and functions of your own by names, and objects as plain data with such names in it."""

from collections.abc import Mapping
from typing import Any

from ..arguments import custom
from ..arguments.custom import custom_object_scope, register_keras_serializable
from . import keras_objects

__all__ = [
    "CustomObjectScope", "custom_object_scope", "deserialize_keras_object", "get_custom_objects", "get_registered_name",
    "get_registered_object", "register_keras_serializable", "serialize_keras_object",
]

CustomObjectScope = custom_object_scope


def get_custom_objects() -> dict[str, Any]:
    """What is registered, by its names. What you add to it is known from then on."""
    return custom.registered


def get_registered_name(obj: Any) -> str:
    """The name under which a class or function is written to files: "package>name" once it is registered."""
    return custom.name_of(obj)


def get_registered_object(name: str, custom_objects: Mapping[str, Any] | None = None,
                          module_objects: Mapping[str, Any] | None = None) -> Any:
    """The class or function of a name, or None; module_objects are asked last."""
    return {**(module_objects or {}), **custom.by_full_name(), **(custom_objects or {})}.get(name)


def serialize_keras_object(obj: Any) -> Any:
    """A layer, optimizer, loss, function, array, list, dict or number as plain data in Keras's form: an object as
    `{"module", "class_name", "config", "registered_name"}`. Raises TypeError for a class without get_config, ValueError
    for a lambda.
    """
    return keras_objects.serialize(obj)


def deserialize_keras_object(config: Any, custom_objects: Mapping[str, Any] | None = None,
                             safe_mode: bool = True) -> Any:
    """The object that `serialize_keras_object` wrote. safe_mode: always, as code is never run. Raises an error that is
    both a ValueError and a TypeError for names that nobody knows.
    """
    if not safe_mode:
        raise ValueError("Code in a configuration is never run: safe_mode must be True. Pass classes and functions in "
                         "custom_objects.")
    return keras_objects.deserialize(config, custom_objects)
