"""`TrainState` is the complete state of a training run between two steps, as plain data and arrays. If
the state is restored into the same model, in this process or a later one, training continues bit for bit.
"""

import random as python_random
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from typing import Any, NamedTuple

import numpy as np

from .. import random
from ..callbacks import Callback, CallbackList
from .user_arrays import Model

FORMAT = 1  # version number of the state format
ARRAY = "array"  # the key that marks a reference to an array in `metadata`


class TrainState(NamedTuple):
    """A training state. `metadata` is plain data, as in JSON, in which {"array": name} refers to one of `arrays`."""

    metadata: dict[str, Any]
    arrays: dict[str, np.ndarray]

    @classmethod
    def from_content(cls, content: Mapping[str, Any]) -> "TrainState":
        """Creates a state from nested dicts and lists. Raises TypeError for unsupported values."""
        arrays: dict[str, np.ndarray] = {}
        return cls(_plain(content, "", arrays), arrays)

    def content(self) -> dict[str, Any]:
        """Returns the content that was passed to `from_content`."""
        return _resolve(self.metadata, self.arrays)

    @property
    def position(self) -> tuple[int, int]:
        """The number of completed epochs, and the number of completed steps in the next epoch."""
        return int(self.metadata["position"]["epoch"]), int(self.metadata["position"]["done"])


def _plain(value: Any, place: str, arrays: dict[str, np.ndarray]) -> Any:
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf" and value.dtype.itemsize <= 8:
        while place in arrays:  # a key with a slash may give the same name
            place += "_"
        arrays[place] = value
        return {ARRAY: place}
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value) and set(value) != {ARRAY}:
        return {key: _plain(item, f"{place}/{key}".lstrip("/"), arrays) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, f"{place}/{i}", arrays) for i, item in enumerate(value)]
    keys = [key for key in value if not isinstance(key, str)] if isinstance(value, Mapping) else []
    description = type(value).__name__ + (f" with the key {keys[0]!r}" if keys else "")
    raise TypeError("The state of a training run may contain only numbers, strings, None, arrays of numbers, lists "
                    f"of these, and dicts with string keys. Received: {description} in the entry {place!r}.")


def _resolve(value: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    if isinstance(value, dict):
        return arrays[value[ARRAY]] if set(value) == {ARRAY} else {k: _resolve(v, arrays) for k, v in value.items()}
    return [_resolve(item, arrays) for item in value] if isinstance(value, list) else value


# Copying, checking and restoring the parts of a state.


def copy_model(model: Model) -> dict[str, Any]:
    """Copies the weights and the optimizer's slots, both keyed by the weights' names."""
    weights = model.named_weights()
    by_id = {id(weight): name for name, weight in weights.items()}
    slots: dict[str, dict[str, Any]] = {}
    state = model.optimizer.get_state()
    for key, value in state.items():
        slot, _, number = key.partition("/")
        if number:
            slots.setdefault(slot, {})[by_id[id(model.optimizer.flat.parameters[int(number)])]] = value
    rest = {key: np.asarray(value) for key, value in state.items() if "/" not in key}
    return {"weights": {name: weight.numpy() for name, weight in weights.items()}, "slots": slots, "optimizer": rest}


def check_model(model: Model, state: Mapping[str, Any]) -> None:
    """Raises ValueError if the saved weights and slots do not match the model's."""
    current = copy_model(model)
    for part, mine, theirs in [("weights", current["weights"], state["weights"]),
                               *((f"{slot} of", current["slots"].get(slot, {}), state["slots"].get(slot, {}))
                                 for slot in dict.fromkeys([*current["slots"], *state["slots"]]))]:
        for name in dict.fromkeys([*mine, *theirs]):
            shapes = [_shape(arrays.get(name)) for arrays in (theirs, mine)]
            if shapes[0] != shapes[1]:
                raise ValueError(f"The model must be the same as in the saved training run. Saved {part} {name!r}: "
                                 f"{shapes[0]}. Received: {shapes[1]}. Create the same model.")


def _shape(array: Any) -> str:
    return "none" if array is None else f"{np.shape(array)} {array.dtype}"


def restore_model(model: Model, state: Mapping[str, Any]) -> None:
    """Restores the weights and slots that `copy_model` returned. Weights and slots must match the model."""
    weights = model.named_weights()
    for name, weight in weights.items():
        weight.assign(state["weights"][name])
    by_id = {id(weight): name for name, weight in weights.items()}
    numbers = [by_id[id(parameter)] for parameter in model.optimizer.flat.parameters] if model.optimizer.built else []
    flat = {f"{slot}/{i}": by_name[name] for slot, by_name in state["slots"].items() for i, name in enumerate(numbers)}
    model.optimizer.set_state({**flat, **state["optimizer"]})


def copy_random(model: Model) -> dict[str, Any]:
    """Returns the positions of all random streams: autoconv's, seeded layers', NumPy's and Python's."""
    return {**copy_process(), "layers": [[g.seed, g.first, g.streams] for g in _generators(model)]}


def check_random(model: Model, state: Mapping[str, Any]) -> None:
    """Raises ValueError if the model does not have as many seeded layers as the saved state."""
    generators = _generators(model)
    if len(generators) != len(state["layers"]):
        raise ValueError(f"The saved training run has {len(state['layers'])} layers with their own seeds, but the "
                         f"model has {len(generators)} such layers. Create the same model.")


def restore_random(model: Model, state: Mapping[str, Any]) -> None:
    """Restores the random streams from the positions that `copy_random` returned."""
    for generator, (seed, first, streams) in zip(_generators(model), state["layers"], strict=True):
        generator.first = int(first)
        generator.state.data[:] = int(seed), int(streams)
    restore_process(state)


@contextmanager
def preserve_random() -> Iterator[None]:
    """Restores the process's random streams after the `with` block, so that the same numbers are drawn again."""
    state = copy_process()
    try:
        yield
    finally:
        restore_process(state)


def _generators(model: Model) -> list[random.SeedGenerator]:
    return random.find_generators(model._walk())[1:]


def copy_process() -> dict[str, Any]:
    """Returns the positions of this process's random streams: autoconv's, NumPy's and Python's."""
    numpys: dict[str, Any] = np.random.get_state(legacy=False)  # type: ignore[assignment]
    version, words, gauss = python_random.getstate()
    return {"process": random.state(), "numpy": numpys,
            "python": {"version": version, "words": np.array(words, np.uint32), "gauss": gauss}}


def restore_process(state: Mapping[str, Any]) -> None:
    """Restores the random streams from the positions that `copy_process` returned."""
    random.set_state(state["process"])
    np.random.set_state(state["numpy"])
    python = state["python"]
    python_random.setstate((python["version"], tuple(int(word) for word in python["words"]), python["gauss"]))


def copy_callbacks(hooks: CallbackList) -> dict[str, Any]:
    """Returns copies of the callbacks' states, keyed by class name."""
    return {name: deepcopy(state) for name, callback in _name_all(hooks).items() if (state := callback.get_state())}


def check_callbacks(hooks: CallbackList, state: Mapping[str, Any]) -> None:
    """Raises ValueError if a callback that has a saved state is missing."""
    callbacks = _name_all(hooks)
    for name in state:
        if name not in callbacks:
            raise ValueError(f"The saved training run had a callback {name}, which is missing. "
                             "Pass the same callbacks.")


def restore_callbacks(hooks: CallbackList, state: Mapping[str, Any]) -> None:
    """Restores the states that `copy_callbacks` returned."""
    for name, callback in _name_all(hooks).items():
        if name in state:
            callback.set_state(state[name])


def _name_all(hooks: CallbackList) -> dict[str, Callback]:
    """Returns the callbacks keyed by class name. A class's second instance has the key `Name 2`,
    which is not a class name.
    """
    counts: Counter[str] = Counter()
    callbacks = {}
    for callback in hooks.callbacks:
        kind = type(callback).__name__
        counts[kind] += 1
        callbacks[f"{kind} {counts[kind]}" if counts[kind] > 1 else kind] = callback
    return callbacks
