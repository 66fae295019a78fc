"""Settings that a resumed training run must share with the saved run: the data, compile()'s settings, the layers."""

from collections.abc import Mapping
from types import FunctionType
from typing import Any

import numpy as np

from ..layers import Layer
from ..metrics import Metric
from .user_arrays import Model


def settings(model: Model, data: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the training data's description and compile()'s settings as plain data."""
    optimizer = describe(model.optimizer)
    if not model.optimizer.iterations:  # after the first step, training may have changed the rate
        optimizer.setdefault("learning_rate", float(model.optimizer.learning_rate))
    return {"data": describe(data),  # compared first, because a schedule may depend on the number of samples
            "optimizer": optimizer, "loss": describe(model.loss),
            "loss_weights": describe(model._trainer.loss_weights), "metrics": describe(model._trainer.metrics),
            "weighted_metrics": describe(model._trainer.weighted_metrics)}


def architecture(model: Model) -> dict[str, Any]:
    """Returns the layers and their calls as plain data, without layer names, which differ between processes."""
    parts = [layer for layer in model._walk() if not layer._sublayers()]
    return {"model": {"config": _config(model), "layers": [_config(part) for part in parts]}}


def check_settings(old: Mapping[str, Any], new: Mapping[str, Any], other_schedule: bool = False) -> None:
    """Raises ValueError, naming the setting, if two settings differ. With `other_schedule`, the
    learning rate's schedule may differ.
    """
    for name, a, b in differences(old, new):
        if name.startswith("data."):
            raise ValueError("The data and batch settings must be the same as in the saved "
                             f"training run, which had {name[5:]}={a}. Received: {name[5:]}={b}. "
                             "Restore the data and settings, or start again in another folder.")
        if name == "optimizer.learning_rate" and None in (a, b) and isinstance(a or b, float):
            continue
        if not (other_schedule and name.startswith("optimizer.learning_rate.")):
            raise ValueError(f"The saved training run has {name} = {a!r}. Received: {b!r}. Use the "
                             "saved value, or start again in another folder.")


def differences(old: Any, new: Any, place: str = "") -> list[tuple[str, Any, Any]]:
    """Returns (name, old, new) for each difference. Lists whose items are lists or dicts are compared item by item."""
    if all(isinstance(v, list) and all(isinstance(item, list | dict) for item in v) for v in (old, new)):
        if len(old) != len(new):
            return [(f"{place} (number of items)", len(old), len(new))]
        old, new = ({str(i): item for i, item in enumerate(v)} for v in (old, new))
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        return [entry for key in dict.fromkeys([*old, *new])
                for entry in differences(old.get(key), new.get(key), f"{place}.{key}".lstrip("."))]
    return [] if old == new else [(place, old, new)]


def describe(thing: Any, parents: tuple[int, ...] = ()) -> Any:
    """Returns a setting as plain data: an object's class name and public attributes, except those
    that training changes. Returns only the class name of a layer or of an object that contains itself.
    """
    if thing is None or isinstance(thing, bool | int | float | str):
        return thing
    if isinstance(thing, np.generic):
        return thing.item()
    if id(thing) in parents or isinstance(thing, Layer):
        return type(thing).__qualname__
    parents = (*parents, id(thing))
    if isinstance(thing, Mapping):
        return {str(key): describe(item, parents) for key, item in thing.items()}
    if isinstance(thing, list | tuple):
        return [describe(item, parents) for item in thing]
    if isinstance(thing, type | FunctionType) or not hasattr(thing, "__dict__"):
        return getattr(thing, "__qualname__", type(thing).__qualname__)
    changing = {*getattr(thing, "bookkeeping", ()), *(thing.get_state() if isinstance(thing, Metric) else ())}
    public = {key: describe(value, parents) for key, value in vars(thing).items()
              if not key.startswith("_") and key not in changing}
    rule = getattr(thing, "_schedule", None)
    schedule = {"learning_rate": describe(rule, parents)} if callable(rule) else {}
    return {"class": type(thing).__qualname__, **public, **schedule}


def _config(layer: Any) -> Any:
    """Returns a layer's class name and config, without the names of layers."""
    try:
        return {"class_name": type(layer).__qualname__, **_nameless(describe(layer.get_config()), {})}
    except Exception:  # a user's class may have no config to compare
        return {"class_name": type(layer).__qualname__}


def _nameless(value: Any, numbers: dict[str, int]) -> Any:
    """Returns a config whose graph refers to layers by number, in order of occurrence."""
    if isinstance(value, list):
        return [_nameless(item, numbers) for item in value]
    if not isinstance(value, dict):
        return value
    tensor = value.get("tensor")
    if isinstance(tensor, list) and tensor:  # a reference to a layer's output
        return {"tensor": [numbers.setdefault(str(tensor[0]), len(numbers)), *tensor[1:]]}
    if "inbound_nodes" in value:
        value = {"number": numbers.setdefault(str(value.get("name")), len(numbers)), **value}
    return {key: _nameless(item, numbers) for key, item in value.items() if key != "name"}
