"""Where Keras's files keep weights and the optimizer's variables: in a tree of groups named after classes, or in older
files after layers.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ..arguments import names
from ..layers import Layer
from ..layers.function import Function
from ..models import Model
from ..optimizers import Nadam, Optimizer
from ..tensor import Parameter
from . import matching


def places(model: Model) -> Iterator[tuple[str, Layer]]:
    """Each layer with the path of its group: "layers/conv2d_1", in models within "layers/sequential/layers/dense"."""
    given: Counter[str] = Counter()
    for layer in model.layers:
        if isinstance(layer, Function):
            continue
        name = names.numbered(names.snake_case(type(layer).__name__), given)
        yield f"layers/{name}", layer
        if isinstance(layer, Model):
            yield from ((f"layers/{name}/{inner}", each) for inner, each in places(layer))


def own(layer: Layer) -> list[Parameter]:
    """A layer's own weights as Keras orders them: what training changes first."""
    if isinstance(layer, Model):
        return []
    weights = layer._own_weights()
    return [*(w for w in weights if w.learns), *(w for w in weights if not w.learns)]


def weights_of(model: Model) -> dict[str, Parameter]:
    """All weights by the paths of their arrays: "layers/conv2d/vars/0"."""
    return {f"{path}/vars/{i}": weight for path, layer in places(model) for i, weight in enumerate(own(layer))}


def groups(model: Model) -> dict[str, dict[str, str]]:
    """The attributes of the groups: the names of layers."""
    return {"vars": {"name": model.name}, **{f"{path}/vars": {"name": layer.name} for path, layer in places(model)}}


def match(model: Model, arrays: Mapping[str, np.ndarray], path: str) -> list[tuple[Parameter, np.ndarray]]:
    """Each weight with its array. Raises ValueError, with the names, where they are not those of the model."""
    found = {key: value for key, value in arrays.items()
             if key.startswith("layers/") and "seed_generator" not in key}
    return matching.matched(weights_of(model), found, path, model.name)


# The optimizer's variables.


def variables(optimizer: Optimizer) -> list[tuple[str, np.ndarray]]:
    """An optimizer's state as Keras's list of variables, with our names of them."""
    state = optimizer.get_state()
    found: list[tuple[str, Any]] = [("iterations", state["iterations"].astype(np.int32))]
    if "learning_rate" in state:
        found.append(("learning_rate", state["learning_rate"].astype(np.float32)))
    found += [(f"{slot}/{i}", state[f"{slot}/{i}"]) for slot, i in optimizer.slot_order()]
    if isinstance(optimizer, Nadam):
        found.append(("product", np.float32(optimizer._product(optimizer.iterations))))
    return found


def put_variables(optimizer: Optimizer, given: list[np.ndarray]) -> None:
    """Gives an optimizer, built, the state that is in Keras's list. Raises ValueError where it does not fit."""
    like = variables(optimizer)
    if [np.shape(value) for _, value in like] != [np.shape(value) for value in given]:
        raise ValueError(f"The optimizer's variables are not those of {type(optimizer).__name__}, which has "
                         f"{len(like)}, of shapes {[np.shape(value) for _, value in like]}. Received: {len(given)}, of "
                         f"shapes {[np.shape(value) for value in given]}.")
    optimizer.set_state({name: value for (name, _), value in zip(like, given) if name != "product"})
