"""Builds the model described in a file, after checking the whole description."""

from collections.abc import Mapping
from math import prod
from typing import Any

import numpy as np

from ..arguments.serialization import deserialize
from ..engine.symbolic import map_shapes
from ..files import allowance, json_text
from ..files.json_text import JsonObject
from ..layers.parts import count_name
from ..models import Model

CustomObjects = Mapping[str, Any]  # a user's classes and functions, by name

DEEPEST = 100  # maximum nesting depth of models and lists
MOST = 8_000  # maximum number of layers and other objects that have a class name
NAMES = 1 / 16  # fraction of json_text's limits that applies to the class names, about 1 MB


def make(metadata: dict[str, str], tensors: dict[str, np.ndarray], path: str,
         custom_objects: CustomObjects | None) -> Model:
    """Builds the model described by a file's metadata. Raises ValueError if that fails."""
    try:
        description = json_text.parse(metadata["model"])
        classes = json_text.parse(metadata.get("class_names", "[]"), NAMES)
        _check(description, classes)
    except ValueError as error:
        raise ValueError(f"The architecture in {path} cannot be read: {error}") from error
    max_weights = sum(prod(tensor.shape) for tensor in tensors.values())
    return build(description, classes, max_weights, path, custom_objects)


def build(description: JsonObject, classes: list[str], max_weights: int, path: str,
          custom_objects: CustomObjects | None) -> Model:
    """Builds the model in `description`. Raises ValueError if that fails, or if the weights need
    more than `max_weights` numbers (plus allowance.SPARE).
    """
    try:
        input_shape = description.pop("input_shape")
        with allowance.limit_weights(max_weights):
            model = deserialize(description, custom_objects)
            if not isinstance(model, Model):
                raise ValueError(f"The file must describe a model. Received: an object of type {type(model).__name__}.")
            if not model.built and input_shape is not None:
                model.build(map_shapes(tuple, input_shape))
    except Exception as error:  # constructors may raise any exception
        raise ValueError(f"The model in {path} cannot be created: {_describe_error(error)}") from error
    for layer in model._walk():
        count_name(layer.name)
        for node in layer._graph.nodes if isinstance(layer, Model) and layer._graph is not None else ():
            count_name(node.operation.name)  # also a function's name
    if classes:
        model.class_names = tuple(classes)
    return model


def _check(description: Any, classes: Any) -> None:
    """Raises ValueError if `model.save` cannot have written this description and these classes."""
    if not isinstance(description, dict) or not (
            {"input_shape", "class_name", "config"} <= set(description)):
        raise ValueError("the description must be a JSON object with the keys input_shape, class_name and config")
    if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
        raise ValueError("class_names must be a list of strings")
    if description["input_shape"] is not None:
        map_shapes(tuple, description["input_shape"])
    check_depth(description)


def check_depth(description: Any) -> None:
    """Raises ValueError for a description with too many levels or objects, or with huge integers."""
    pending: list[tuple[Any, int]] = [(description, 0)]
    objects = 0
    while pending:
        value, depth = pending.pop()
        objects += isinstance(value, dict) and "class_name" in value
        if objects > MOST:
            raise ValueError(f"the model has more than {MOST:,} layers and other objects")
        if depth > DEEPEST:
            raise ValueError(f"the configuration is nested more than {DEEPEST} levels deep")
        if isinstance(value, int) and abs(value) >= 2**63:
            raise ValueError("an integer in the configuration must be less than 2**63 in absolute value")
        parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        pending += [(part, depth + 1) for part in parts]


def _describe_error(error: Exception) -> str:
    """Returns an error's message, preceded by the error's type unless the type is ValueError."""
    if type(error) is ValueError:
        return str(error)
    text = f"{type(error).__name__}: {error}"
    return f"{text}{'' if text[-1] in '.?!' else '.'} If none of your classes raised this error, the file is damaged."
