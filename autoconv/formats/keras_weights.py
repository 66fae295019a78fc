"""Maps weights and optimizer variables to the paths of their arrays in Keras's files."""

import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ..arguments import names
from ..engine.variable import Variable
from ..layers import Layer
from ..layers.drawing import RandomLayer
from ..layers.function import Function
from ..layers.parts import NO_PARTS
from ..models import Model, Sequential
from ..optimizers import Nadam, Optimizer
from ..random import SeedGenerator
from . import matching


def walk(layer: Layer, ids: set[int] | None = None) -> Iterator[tuple[str, Layer]]:
    """Yields the path, such as "encoder/layers/dense", and the layer for each inner layer."""
    ids = {id(layer)} if ids is None else ids
    attributes = {name: value for name, value in vars(layer).items() if name not in NO_PARTS}
    if isinstance(layer, Model) and has_graph(layer):
        attributes = {"layers": layer.layers}
    for name in sorted(attributes, key=lambda name: f"~{name}" if name.startswith("_") else name):
        for path, each in _parts(name, attributes[name]):
            if id(each) not in ids:
                ids.add(id(each))
                yield path, each
                yield from ((f"{path}/{inner}", child) for inner, child in walk(each, ids))


def _parts(path: str, value: Any) -> Iterator[tuple[str, Layer]]:
    """Yields the path of the HDF5 group, and the layer, for each layer in an attribute's value."""
    if isinstance(value, Layer):
        yield path, value
    counts: Counter[str] = Counter()
    for each in value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ():
        if isinstance(each, Layer) and not isinstance(each, Function):
            yield f"{path}/{names.uniquify(names.snake_case(type(each).__name__), counts)}", each
        elif isinstance(each, list | tuple | dict):
            yield from _parts(f"{path}/{names.uniquify('container', counts)}", each)


def has_graph(model: Model) -> bool:
    """Whether a model is a Sequential or a graph of layers without its own `call`."""
    has_own_reason = type(model)._missing_reason is not Model._missing_reason
    return isinstance(model, Sequential) or (not has_own_reason and model._graph is not None)


def list_weights(layer: Layer) -> list[Variable]:
    """Returns a layer's own weights in Keras's order: first the weights that training changes."""
    weights = layer._own_weights()
    return [*(w for w in weights if w.learns), *(w for w in weights if not w.learns)]


def weights_by_path(model: Model) -> dict[str, Variable]:
    """Returns all weights by the paths of their arrays, such as "layers/conv2d/vars/0"."""
    return {f"{path}/vars/{i}".lstrip("/"): weight for path, layer in [("", model), *walk(model)]
            for i, weight in enumerate(list_weights(layer))}


def groups(model: Model) -> dict[str, dict[str, str]]:
    """Returns each HDF5 group's attributes by the group's path. The only attribute is the layer's name."""
    return {"vars": {"name": model.name}, **{f"{path}/vars": {"name": layer.name} for path, layer in walk(model)}}


def match(model: Model, arrays: Mapping[str, np.ndarray], path: str) -> list[tuple[Variable, np.ndarray]]:
    """Returns each weight with its array. Raises ValueError if their names or shapes differ."""
    weights = weights_by_path(model)
    states = generators(model)
    groups_ = {"layers", *(key.partition("/")[0] for key in weights)}
    candidates = {key: value for key, value in arrays.items() if key.partition("/")[0] in groups_
                  and "generator/vars" not in key and key not in states}
    return matching.match(weights, candidates, path, model.name)


def generators(model: Model) -> dict[str, SeedGenerator]:
    """Returns the layers' generators by path, such as "layers/dropout/seed_generator/vars/0"."""
    return {f"{path}/{layer.generator_name if isinstance(layer, RandomLayer) else name}/vars/0".lstrip("/"): value
            for path, layer in [("", model), *walk(model)]
            for name, value in vars(layer).items() if isinstance(value, SeedGenerator)}


def put_streams(model: Model, arrays: Mapping[str, np.ndarray], path: str) -> None:
    """Sets the layers' generators to the states in a file. Raises ValueError if a state is damaged."""
    for name, generator in generators(model).items():
        state = arrays.get(name)
        if state is None:
            continue
        if state.shape != (2,) or state.dtype.kind not in "iu" or state[1] < 0:
            raise ValueError(f"The state of a random generator in {path} must be two integers, a seed and a "
                             f"non-negative draw count. Received at {name!r}: {state!r:.80}.")
        generator.streams = int(state[1])


# The optimizer's variables.


def variables(optimizer: Optimizer, state: Mapping[str, np.ndarray]) -> list[tuple[str, np.ndarray]]:
    """Returns an optimizer's state as pairs (autoconv's name, array), in the order of Keras's variables."""
    result: list[tuple[str, Any]] = [("iterations", state["iterations"].astype(np.int32))]
    if "learning_rate" in state:
        result.append(("learning_rate", state["learning_rate"].astype(np.float32)))
    result += [(name, value) for name, value in state.items() if name.startswith("variable_")]
    keys = [f"{slot}/{i}" for slot, i in optimizer.slot_order(sum("/" in name for name in state))]
    result += [(key, state[key]) for key in keys if key in state]
    if isinstance(optimizer, Nadam) and len(result) > 2 - optimizer.is_scheduled:
        result.append(("product", np.float32(optimizer._product(optimizer._updates()))))
    return result


def put_variables(optimizer: Optimizer, arrays: Mapping[str, np.ndarray]) -> None:
    """Sets an optimizer's state to Keras's variables. Raises ValueError if their shapes differ."""
    if any(name.endswith(":0") for name in arrays):
        return _put_keras_2(optimizer, arrays)
    state = optimizer.get_state()
    values = list(arrays.values())
    targets = variables(optimizer, state)
    if not optimizer.slots:  # Keras 2 may write slots that SGD does not use
        values = [value for value in values if value.shape == ()]
    if len(values) < len(targets):  # Keras 2 does not write these two variables
        targets = [pair for pair in targets if pair[0] not in ("learning_rate", "product")]
    if [np.shape(value) for _, value in targets] != [value.shape for value in values]:
        raise ValueError(f"{type(optimizer).__name__} needs {len(targets)} optimizer variables of "
                         f"shapes {[np.shape(value) for _, value in targets]}. Received: "
                         f"{len(values)} variables of shapes {[value.shape for value in values]}.")
    new_state = {name: value for (name, _), value in zip(targets, values) if name != "product"}
    rate = state.get("learning_rate")  # the configured rate; the file stores it rounded to float32
    if rate is not None and np.float32(rate) == new_state.get("learning_rate"):
        new_state["learning_rate"] = rate
    optimizer.set_state({**state, **new_state})


_SLOTS_OF_KERAS_2 = {"m": "momentum", "v": "velocity", "u": "norm", "vhat": "velocity_hat", "rms": "velocity",
                     "mg": "average_gradient", "accum_grad": "accumulated_grad", "accum_var": "accumulated_delta_var"}


def _put_keras_2(optimizer: Optimizer, arrays: Mapping[str, np.ndarray]) -> None:
    """Sets an optimizer's state to variables of Keras 2. Their names are such as
    "Adam/m/dense/kernel:0", or "Adam/dense/kernel/m:0" if a legacy optimizer wrote them.
    """
    slot_index = -1 if any(name.endswith("/iter:0") for name in arrays) else 1
    state = dict(optimizer.get_state())
    new_slots = dict[str, np.ndarray]()
    slots = {**_SLOTS_OF_KERAS_2, **({"v": "norm"} if "norm" in optimizer.slots else {})}
    for name, value in arrays.items():
        parts = name.removesuffix(":0").split("/")
        if parts[-1] in ("iter", "iteration"):
            state["iterations"] = value
        elif len(parts) > 2:
            slot = slots.get(parts[slot_index], parts[slot_index])
            number = sum(key.startswith(f"{slot}/") for key in new_slots)
            new_slots[f"{slot}/{number}"] = value
    slot_keys = [key for key in state if "/" in key]
    if any(key not in new_slots or new_slots[key].shape != state[key].shape for key in slot_keys):
        warnings.warn("The optimizer state in the file does not match "
                      f"{type(optimizer).__name__}: it starts from scratch.", stacklevel=8)
        return
    optimizer.set_state({**state, **{key: new_slots[key] for key in slot_keys}})
