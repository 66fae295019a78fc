"""Stores a model's training state in its file: compile()'s arguments and the optimizer's slots."""

import json
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from .. import random
from ..files import json_text
from ..files.json_text import JsonObject
from ..models import Model
from .architecture import CustomObjects

SLOTS = "optimizer."  # prefix of the names of slots, such as "optimizer.velocity/dense/kernel"


def optimizer_state(model: Model) -> dict[str, np.ndarray]:
    """Returns the optimizer's state, or {} if it is not built or does not match the model."""
    optimizer: Any = model.optimizer
    if optimizer is None or not optimizer.built:
        return {}
    try:
        return optimizer.get_state(model.trainable_weights)
    except ValueError as error:
        warnings.warn(f"The file will have the optimizer of {model.name!r} without its state: "
                      f"{error} Call compile() before the next step.", stacklevel=7)
        return {}


def warn_if_unbuilt(model: Model) -> None:
    """Warns if the model is not built."""
    if not model.built:
        warnings.warn("You are saving a model that has not yet been built. It might not contain any weights yet. "
                      "Consider building the model first by calling it on some data.", stacklevel=6)


def generators(model: Model) -> list[random.SeedGenerator]:
    """Returns the layers' own random generators."""
    return list({id(each): each for each in random.find_generators(model._walk())[1:]}.values())


def streams_text(model: Model) -> str:
    """Returns the draw counts of the layers' random generators as JSON."""
    return json.dumps([each.streams for each in generators(model)])


def put_streams(model: Model, text: str, label: str) -> None:
    """Sets the generators' draw counts from JSON. Raises ValueError if `text` is invalid."""
    numbers = json_text.parse(text)
    layer_generators = generators(model)
    if not isinstance(numbers, list) or len(numbers) != len(layer_generators) or any(
            type(number) is not int or number < 0 for number in numbers):
        raise ValueError(f"The entry 'streams' in {label} must be a list with one non-negative draw count for each of "
                         f"the {len(layer_generators)} random generators in {model.name!r}. Received: {text[:80]}.")
    for generator, number in zip(layer_generators, numbers):
        generator.streams = number


def describe_training(model: Model) -> tuple[dict[str, str], dict[str, np.ndarray]]:
    """Returns a model's training state as metadata and tensors. Warns if the state cannot be saved."""
    try:
        config = model.get_compile_config()
        json.dumps(config)
    except (ValueError, TypeError, AttributeError, NotImplementedError) as error:
        warnings.warn(f"The training of {model.name!r} cannot be written to the file: call "
                      f"compile() after loading it. {error}", stacklevel=6)
        return {}, {}
    if config is None:
        return {}, {}
    config["optimizer"]["config"].pop("name", None)  # an automatic name, specific to this process
    state = {}
    slots = {}
    names = [name for name, weight in model.named_weights().items() if weight.requires_grad]
    for key, value in optimizer_state(model).items():
        slot, _, place = key.partition("/")
        if place:
            slots[f"{SLOTS}{slot}/{names[int(place)]}"] = value
        elif key in ("iterations", "learning_rate"):
            state[key] = value.item()
        else:
            slots[f"{SLOTS}{key}"] = value
    return {"training": json.dumps({"compile": config, "optimizer": state})}, slots


def restore_training(model: Model, metadata: Mapping[str, str], tensors: Mapping[str, np.ndarray],
                     path: str, custom_objects: CustomObjects | None) -> None:
    """Compiles a model and restores its optimizer from a file. Raises ValueError if that fails."""
    if "training" not in metadata:
        return
    try:
        settings = json_text.parse(metadata["training"])
        if not isinstance(settings, dict) or "compile" not in settings or not isinstance(
                settings.get("optimizer"), dict):
            raise ValueError("the entry 'training' must be a JSON object with the keys 'compile' and 'optimizer'.")
        model.compile_from_config(settings["compile"], custom_objects)
        if settings["optimizer"]:
            slots = {name.removeprefix(SLOTS): value for name, value in tensors.items() if name.startswith(SLOTS)}
            _restore_optimizer(model, settings["optimizer"], slots)
    except Exception as error:  # constructors of losses, metrics and optimizers may raise anything
        raise ValueError(f"The training state in {path} cannot be read: {error} To load the model without its "
                         "training state, call load_model(path, compile=False).") from error


def _restore_optimizer(model: Model, state: JsonObject, slots: Mapping[str, np.ndarray]) -> None:
    weights = model.trainable_weights
    optimizer = model.optimizer
    assert optimizer is not None
    indices = {id(weight): index for index, weight in enumerate(weights)}
    names = {name: indices[id(weight)] for name, weight in model.named_weights().items() if id(weight) in indices}
    if weights:
        optimizer.build(weights)
    new_state: JsonObject = dict(state)
    for name, value in slots.items():
        slot, _, weight = name.partition("/")
        if weight and weight not in names:
            raise ValueError(f"The optimizer slot {slot!r} belongs to {weight!r}, which is not a trainable weight.")
        new_state[f"{slot}/{names[weight]}" if weight else slot] = value
    optimizer.set_state(new_state)
