"""`TrainState`: a training's complete state between two steps, as plain data and arrays. Restored into the same model,
in this process or a later one, training continues bit for bit.
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

FORMAT = 1  # version of a state's format
ARRAY = "array"  # the key that marks a reference to an array in `facts`


class TrainState(NamedTuple):
    """facts: plain data, as in JSON, in which {"array": name} refers to one of `arrays`."""

    facts: dict[str, Any]
    arrays: dict[str, np.ndarray]

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> "TrainState":
        """Makes a state from nested dicts and lists of numbers, strings, None and arrays. Raises TypeError for others.
        """
        arrays: dict[str, np.ndarray] = {}
        return cls(_plain(content, "", arrays), arrays)

    def content(self) -> dict[str, Any]:
        """Returns the content that `of` was given."""
        return _whole(self.facts, self.arrays)

    @property
    def position(self) -> tuple[int, int]:
        """The numbers of completed epochs, and of completed steps in the next epoch."""
        return int(self.facts["position"]["epoch"]), int(self.facts["position"]["done"])


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
    what = type(value).__name__ + (f" with the key {keys[0]!r}" if keys else "")
    raise TypeError("The state of a training holds numbers, strings, None, arrays of numbers, lists of them, and dicts "
                    f"with string keys. Received: {what} as {place}.")


def _whole(value: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    if isinstance(value, dict):
        return arrays[value[ARRAY]] if set(value) == {ARRAY} else {k: _whole(v, arrays) for k, v in value.items()}
    return [_whole(item, arrays) for item in value] if isinstance(value, list) else value


# The parts of a state.


def of_model(model: Model) -> dict[str, Any]:
    """Copies the weights and the optimizer's slots, both by the weights' names."""
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


def check_model(model: Model, kept: Mapping[str, Any]) -> None:
    """Raises ValueError if the weights and slots do not fit the model."""
    own = of_model(model)
    for what, mine, theirs in [("weights", own["weights"], kept["weights"]),
                               *((f"{slot} of", own["slots"].get(slot, {}), kept["slots"].get(slot, {}))
                                 for slot in dict.fromkeys([*own["slots"], *kept["slots"]]))]:
        for name in dict.fromkeys([*mine, *theirs]):
            shapes = [_shape(arrays.get(name)) for arrays in (theirs, mine)]
            if shapes[0] != shapes[1]:
                raise ValueError(f"The model differs from the saved training's: {what} {name!r} "
                                 f"had {shapes[0]} and now has {shapes[1]}. Make the model as it was.")


def _shape(array: Any) -> str:
    return "none" if array is None else f"{np.shape(array)} {array.dtype}"


def put_into_model(model: Model, kept: Mapping[str, Any]) -> None:
    """Restores the weights and slots of `of_model`, which must fit."""
    weights = model.named_weights()
    for name, weight in weights.items():
        weight.assign(kept["weights"][name])
    by_id = {id(weight): name for name, weight in weights.items()}
    numbers = [by_id[id(parameter)] for parameter in model.optimizer.flat.parameters] if model.optimizer.built else []
    state = {f"{slot}/{i}": by_name[name] for slot, by_name in kept["slots"].items() for i, name in enumerate(numbers)}
    model.optimizer.set_state({**state, **kept["optimizer"]})


def of_random(model: Model) -> dict[str, Any]:
    """Returns the positions of all random streams: autoconv's, seeded layers', NumPy's and Python's."""
    return {**of_process(), "layers": [[g.seed, g.first, g.streams] for g in _generators(model)]}


def check_random(model: Model, kept: Mapping[str, Any]) -> None:
    """Raises ValueError if the model's seeded layers differ."""
    generators = _generators(model)
    if len(generators) != len(kept["layers"]):
        raise ValueError(f"The training that was saved has {len(kept['layers'])} layers with seeds of their own. The "
                         f"model has {len(generators)}. Make the model as it was.")


def put_into_random(model: Model, kept: Mapping[str, Any]) -> None:
    """Restores the random streams of `of_random`."""
    for generator, (seed, first, streams) in zip(_generators(model), kept["layers"], strict=True):
        generator.first = int(first)
        generator.state.data[:] = int(seed), int(streams)
    put_into_process(kept)


@contextmanager
def random_as_before() -> Iterator[None]:
    """Restores the process's random streams after the block, so that the same numbers are drawn again."""
    kept = of_process()
    try:
        yield
    finally:
        put_into_process(kept)


def _generators(model: Model) -> list[random.SeedGenerator]:
    return random.find_generators(model._walk())[1:]


def of_process() -> dict[str, Any]:
    """Returns the positions of this process's random streams: autoconv's, NumPy's and Python's."""
    numpys: dict[str, Any] = np.random.get_state(legacy=False)  # type: ignore[assignment]
    version, words, gauss = python_random.getstate()
    return {"process": random.state(), "numpy": numpys,
            "python": {"version": version, "words": np.array(words, np.uint32), "gauss": gauss}}


def put_into_process(kept: Mapping[str, Any]) -> None:
    """Restores the random streams of `of_process`."""
    random.set_state(kept["process"])
    np.random.set_state(kept["numpy"])
    python = kept["python"]
    python_random.setstate((python["version"], tuple(int(word) for word in python["words"]), python["gauss"]))


def of_callbacks(hooks: CallbackList) -> dict[str, Any]:
    """Returns the states of callbacks, by class name."""
    return {name: deepcopy(state) for name, callback in _named(hooks).items() if (state := callback.get_state())}


def check_callbacks(hooks: CallbackList, kept: Mapping[str, Any]) -> None:
    """Raises ValueError if a callback that had a state is missing."""
    own = _named(hooks)
    for name in kept:
        if name not in own:
            raise ValueError(f"The training that was saved had a callback {name}, which is missing. Pass the same "
                             "callbacks.")


def put_into_callbacks(hooks: CallbackList, kept: Mapping[str, Any]) -> None:
    """Restores the callbacks' states."""
    for name, callback in _named(hooks).items():
        if name in kept:
            callback.set_state(kept[name])


def _named(hooks: CallbackList) -> dict[str, Callback]:
    """Callbacks by their classes' names; a class's second instance is `Name 2`, which no class name can be."""
    given: Counter[str] = Counter()
    found = {}
    for callback in hooks.callbacks:
        kind = type(callback).__name__
        given[kind] += 1
        found[f"{kind} {given[kind]}" if given[kind] > 1 else kind] = callback
    return found
