"""Layers, and what they are given, as plain data (what JSON holds), and back."""

from typing import Any

import numpy as np

from .. import activations, constraints, functional, initializers, regularizers
from ..arguments import custom, names
from ..tensor import Tensor
from .policy import DTypePolicy

_KEYS = {"class_name", "config", "module", "registered_name", "build_config", "compile_config"}  # Keras writes

CLASSES: dict[str, Any] = {  # autoconv's layers add themselves
    **initializers.CLASSES, **regularizers.CLASSES, **constraints.CLASSES, "DTypePolicy": DTypePolicy}


def serialize(layer: Any) -> Any:
    """A layer, or what one is given, as plain data; an object with `get_config` becomes
    `{"class_name": ..., "config": ...}`.

    Raises ValueError for what has no plain form, such as a lambda.
    """
    value = layer
    if hasattr(value, "get_config"):
        return {"class_name": custom.name_of(type(value)), "config": serialize(value.get_config())}
    if isinstance(value, dict):
        return {key: serialize(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        items = (serialize(item) for item in value)
        return tuple(items) if isinstance(value, tuple) else list(items)
    if isinstance(value, (np.ndarray, np.generic, Tensor)):
        return np.asarray(value).tolist()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    functions = {**{name: getattr(functional, name) for name in functional.__all__}, **activations.ACTIVATIONS}
    for name, function in functions.items():
        if function is value:
            return name
    if callable(value) and custom.name_of(value) in custom.registered:
        return custom.name_of(value)
    raise ValueError(
        f"This cannot be written as plain data: {value!r}. Pass a function by name (such as 'relu'), or give its layer "
        "a get_config() that returns numbers, strings, lists and layers."
    )


def deserialize(config: Any, custom_objects: dict[str, type] | None = None) -> Any:
    """The object that `serialize` wrote, or Keras's `serialize`. `custom_objects` maps the names of your own classes to
    them.
    """
    value = config
    if isinstance(value, (list, tuple)):
        items = (deserialize(item, custom_objects) for item in value)
        return tuple(items) if isinstance(value, tuple) else list(items)
    if not isinstance(value, dict):
        return value
    if not {"class_name", "config"} <= set(value) or set(value) - _KEYS:
        return {key: deserialize(item, custom_objects) for key, item in value.items()}
    known = custom.known(CLASSES, custom_objects)
    name = value.get("registered_name") or value["class_name"]
    name = name if name in known else value["class_name"]
    if name not in known:
        raise custom.UnknownClassError(
            f"Unknown class {name!r}.{names.suggestion(name, known)} If it is a class of your own, pass "
            f"custom_objects={{{name!r}: {name}}}."
        )
    made = known[name].from_config(deserialize(value["config"], custom_objects))
    if value.get("build_config") and hasattr(made, "build_from_config") and not made.built:
        made.build_from_config(value["build_config"])
    return made
