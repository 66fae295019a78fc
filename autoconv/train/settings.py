"""Settings that a resumed training must share with the saved one: the data, compile's settings, the layers."""

from collections.abc import Mapping
from types import FunctionType
from typing import Any

import numpy as np

from ..layers import Layer
from ..metrics import Metric
from .user_arrays import Model


def settings(model: Model, data: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a model's training data and compile settings as plain data."""
    optimizer = described(model.optimizer)
    if not model.optimizer.iterations:  # later, training may have changed the rate
        optimizer.setdefault("learning_rate", float(model.optimizer.learning_rate))
    return {"data": described(data),  # first: a schedule may depend on the number of samples
            "optimizer": optimizer, "loss": described(model.loss),
            "loss_weights": described(model._trainer.loss_weights), "metrics": described(model._trainer.metrics),
            "weighted_metrics": described(model._trainer.weighted_metrics)}


def architecture(model: Model) -> dict[str, Any]:
    """Returns the layers and their calls as plain data, without this process's automatic names."""
    parts = [layer for layer in model._walk() if not layer._sublayers()]
    return {"model": {"config": _config(model), "layers": [_config(part) for part in parts]}}


def check_settings(kept: Mapping[str, Any], own: Mapping[str, Any], other_schedule: bool = False) -> None:
    """Raises ValueError, with the name, if settings differ. other_schedule: the learning rate's schedule may."""
    for name, then, now in differences(kept, own):
        if name.startswith("data."):
            raise ValueError(f"The data are not those of the training that was saved, which had {name[5:]} {then}. "
                             f"Received: {now}. Put back what was there, or begin anew in another folder.")
        if name == "optimizer.learning_rate" and None in (then, now) and isinstance(then or now, float):
            continue
        if not (other_schedule and name.startswith("optimizer.learning_rate.")):
            raise ValueError(f"The training that was saved has {name} = {then!r}. Received: {now!r}. Train as before, "
                             "or begin anew in another folder.")


def differences(then: Any, now: Any, place: str = "") -> list[tuple[str, Any, Any]]:
    """Yields (place, then, now) for all differences. Lists of lists and dicts are compared item by item."""
    if all(isinstance(each, list) and all(isinstance(item, list | dict) for item in each) for each in (then, now)):
        if len(then) != len(now):
            return [(f"{place}, their number,", len(then), len(now))]
        then, now = ({str(i): item for i, item in enumerate(each)} for each in (then, now))
    if isinstance(then, Mapping) and isinstance(now, Mapping):
        return [found for key in dict.fromkeys([*then, *now])
                for found in differences(then.get(key), now.get(key), f"{place}.{key}".lstrip("."))]
    return [] if then == now else [(place, then, now)]


def described(thing: Any, within: tuple[int, ...] = ()) -> Any:
    """Returns a setting as plain data: an object's class and public attributes, except those that training changes. For
    layers, and objects that contain themselves, only the class.
    """
    if thing is None or isinstance(thing, bool | int | float | str):
        return thing
    if isinstance(thing, np.generic):
        return thing.item()
    if id(thing) in within or isinstance(thing, Layer):
        return type(thing).__qualname__
    within = (*within, id(thing))
    if isinstance(thing, Mapping):
        return {str(key): described(item, within) for key, item in thing.items()}
    if isinstance(thing, list | tuple):
        return [described(item, within) for item in thing]
    if isinstance(thing, type | FunctionType) or not hasattr(thing, "__dict__"):
        return getattr(thing, "__qualname__", type(thing).__qualname__)
    changing = {*getattr(thing, "bookkeeping", ()), *(thing.get_state() if isinstance(thing, Metric) else ())}
    public = {key: described(value, within) for key, value in vars(thing).items()
              if not key.startswith("_") and key not in changing}
    given = getattr(thing, "_schedule", None)
    schedule = {"learning_rate": described(given, within)} if callable(given) else {}
    return {"class": type(thing).__qualname__, **public, **schedule}


def _config(layer: Any) -> Any:
    """A layer's class and config, without the names of layers."""
    try:
        return {"class_name": type(layer).__qualname__, **_nameless(described(layer.get_config()), {})}
    except Exception:  # a user's class without a plain form cannot be compared
        return {"class_name": type(layer).__qualname__}


def _nameless(value: Any, numbers: dict[str, int]) -> Any:
    """Returns a config in which a graph's calls name layers by number, in order of occurrence."""
    if isinstance(value, list):
        return [_nameless(item, numbers) for item in value]
    if not isinstance(value, dict):
        return value
    tensor = value.get("tensor")
    if isinstance(tensor, list) and tensor:  # the output of a layer
        return {"tensor": [numbers.setdefault(str(tensor[0]), len(numbers)), *tensor[1:]]}
    if "inbound_nodes" in value:
        value = {"number": numbers.setdefault(str(value.get("name")), len(numbers)), **value}
    return {key: _nameless(item, numbers) for key, item in value.items() if key != "name"}
