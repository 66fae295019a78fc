"""Classes and functions of your own by names, and objects as plain data with such names in it."""

from collections.abc import Mapping
from typing import Any

from ..arguments import custom
from ..arguments.custom import custom_object_scope, register_keras_serializable
from ..layers.config import deserialize, serialize

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


def get_registered_object(name: str, custom_objects: Mapping[str, Any] | None = None) -> Any:
    """The class or function of a name, or None."""
    return custom.known({}, custom_objects).get(name)


def serialize_keras_object(obj: Any) -> Any:
    """A layer, initializer, list, dict or number as plain data. Raises ValueError for what has no plain form."""
    return serialize(obj)


def deserialize_keras_object(config: Any, custom_objects: Mapping[str, Any] | None = None) -> Any:
    """The object that `serialize_keras_object` wrote. Raises ValueError for names that nobody knows."""
    return deserialize(config, dict(custom_objects or {}))
