"""The training of a model in its file: what compile() was given, and the optimizer's slots by the weights' names."""

import json
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..files import json_text
from ..models import Model

SLOTS = "optimizer."  # begins the names of slots: "optimizer.velocity/dense/kernel"; no weight's name has a dot


def written(model: Model) -> tuple[dict[str, str], dict[str, np.ndarray]]:
    """What a file says of a model's training, and the slots; of one that is not compiled nothing. Warns where the
    training cannot be described, such as of a loss that is a lambda.
    """
    try:
        config = model.get_compile_config()
        json.dumps(config)
    except (ValueError, TypeError, AttributeError, NotImplementedError) as error:
        warnings.warn(f"The file will say nothing of the training of {model.name!r}: call compile() after loading it. "
                      f"{error}", stacklevel=5)
        return {}, {}
    if config is None:
        return {}, {}
    config["optimizer"]["config"].pop("name", None)  # a number of this process, which means nothing in others
    state, slots = {}, {}
    optimizer: Any = model.optimizer
    if optimizer.built:
        by_id = {id(weight): name for name, weight in model.named_weights().items()}
        named = [by_id.get(id(parameter)) for parameter in optimizer.flat.parameters]
        for key, value in optimizer.get_state().items():
            slot, _, place = key.partition("/")
            if not place:
                state[key] = value.item()
            elif named[int(place)] is not None:
                slots[f"{SLOTS}{slot}/{named[int(place)]}"] = value
    return {"training": json.dumps({"compile": config, "optimizer": state})}, slots


def read(model: Model, metadata: Mapping[str, str], tensors: Mapping[str, np.ndarray], path: str,
         custom_objects: Mapping[str, Any] | None) -> None:
    """Compiles a model as it was when the file was written, with the optimizer's slots. Raises ValueError where that
    cannot be read.
    """
    if "training" not in metadata:
        return
    try:
        given = json_text.parse(metadata["training"])
        if not isinstance(given, dict) or not isinstance(given.get("optimizer"), dict):
            raise ValueError("it must be an object with 'compile' and 'optimizer'")
        model.compile_from_config(given["compile"], custom_objects)
        if given["optimizer"]:
            _put_back(model, given["optimizer"], {name.removeprefix(SLOTS): value for name, value in tensors.items()
                                                  if name.startswith(SLOTS)})
    except Exception as error:  # constructors of losses, metrics and optimizers raise any kind
        raise ValueError(f"The training in {path} cannot be read: {error} Load the model without it: load_model(path, "
                         "compile=False).") from error


def _put_back(model: Model, state: Mapping[str, Any], slots: Mapping[str, np.ndarray]) -> None:
    weights, optimizer = model.trainable_weights, model.optimizer
    assert optimizer is not None
    places = {id(weight): place for place, weight in enumerate(weights)}
    names = {name: places[id(weight)] for name, weight in model.named_weights().items() if id(weight) in places}
    optimizer.build(weights)
    found: dict[str, Any] = dict(state)
    for name, value in slots.items():
        slot, _, weight = name.partition("/")
        if weight not in names:
            raise ValueError(f"The slot {slot!r} is of {weight!r}, which is no trainable weight.")
        found[f"{slot}/{names[weight]}"] = value
    optimizer.set_state(found)
