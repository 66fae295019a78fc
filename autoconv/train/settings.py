"""What a training must have in common with the one that it goes on from: how the model was compiled, and the data."""

from collections.abc import Mapping
from types import FunctionType
from typing import Any

import numpy as np


def settings(model: Any, data: Mapping[str, Any]) -> dict[str, Any]:
    """How the model was compiled and on what it is trained, as plain data."""
    return {"data": described(data),  # first: a schedule may follow from how many there are
            "optimizer": described(model.optimizer), "loss": described(model.loss),
            "loss_weights": described(model._loss_weights), "metrics": described(model._metrics_wanted)}


def check_settings(kept: Mapping[str, Any], own: Mapping[str, Any], other_schedule: bool) -> None:
    """Raises ValueError, with the name, where two settings differ. other_schedule: that of the learning rate may."""
    for name, then, now in _differences(kept, own, ""):
        if name.startswith("data."):
            raise ValueError(f"The data are not those of the training that was saved, which had {name[5:]} {then}. "
                             f"Received: {now}. Put back what was there, or begin anew in another folder.")
        if not (other_schedule and name.startswith("optimizer.learning_rate.")):
            raise ValueError(f"The training that was saved has {name} = {then!r}. Received: {now!r}. Train as before, "
                             "or begin anew in another folder.")


def _differences(then: Any, now: Any, place: str) -> list[tuple[str, Any, Any]]:
    if isinstance(then, Mapping) and isinstance(now, Mapping):
        return [found for key in dict.fromkeys([*then, *now])
                for found in _differences(then.get(key), now.get(key), f"{place}.{key}".lstrip("."))]
    return [] if then == now else [(place, then, now)]


def described(thing: Any) -> Any:
    """A setting as plain data: of an object its class and its public attributes."""
    if thing is None or isinstance(thing, bool | int | float | str):
        return thing
    if isinstance(thing, np.generic):
        return thing.item()
    if isinstance(thing, Mapping):
        return {str(key): described(item) for key, item in thing.items()}
    if isinstance(thing, list | tuple):
        return [described(item) for item in thing]
    if isinstance(thing, type | FunctionType) or not hasattr(thing, "__dict__"):
        return getattr(thing, "__qualname__", type(thing).__qualname__)
    changing = {"version", "flat", *getattr(thing, "_state", ())}
    public = {key: described(value) for key, value in vars(thing).items()
              if not key.startswith("_") and key not in changing}
    rate = getattr(getattr(thing, "_now", None), "rate", None)
    schedule = {"learning_rate": described(rate)} if callable(rate) else {}
    return {"class": type(thing).__qualname__, **public, **schedule}
