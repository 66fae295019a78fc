"""Whether a file would make the model again that it is written from: asked before it is written."""

import json
from collections import Counter
from types import FunctionType
from typing import Any, Protocol, runtime_checkable

from .. import random
from ..arguments import names
from ..arguments.serialization import deserialize, get_registered_name, serialize
from ..layers import Layer
from ..layers.arguments import argument_names, attribute
from ..layers.parts import held, numbering
from ..models import Model
from ..tensor import Parameter

_START = "A file must make the model again."


@runtime_checkable
class _Described(Protocol):
    """What a file names by its class."""

    def get_config(self) -> dict[str, Any]: ...


def check_description(model: Model, architecture: dict[str, Any]) -> None:
    """Makes the model that `architecture` describes and compares its layers with those of `model`.

    Raises ValueError where one cannot be made, has other weights or settings, or lacks a function that was set on the
    layer itself. Draws no random numbers and gives no names.
    """
    layers = list(model._walk())
    classes = {type(item).__name__: type(item) for layer in layers
               for item in held({"layer": layer, "given": layer._arguments, **vars(layer)}, _Described)}
    before = random.state()
    with numbering():
        try:
            made = deserialize(architecture, classes)
            if not made.built:
                made.build(model.input_shape)
        except Exception as error:
            raise ValueError(f"{_START} {_culprit(layers, classes) or repr(model.name)} cannot be made as it is now: "
                             f"{error} Set what was changed back, or make a new model.") from error
        finally:
            random.set_state(before)
    copies = list(made._walk())
    for layer, other in zip(layers, copies):
        _compare(layer, other)
    if len(layers) != len(copies):
        raise ValueError(f"{_START} {model.name!r} has {len(layers)} layers, with those in "
                         f"layers; what its constructor makes has {len(copies)}. Make all of them in the constructor.")


def _compare(layer: Layer, made: Layer) -> None:
    """Raises ValueError where a file would make another layer than this one."""
    start = f"{_START} {_called(layer)}"
    if type(layer) is not type(made):
        raise ValueError(f"{start} would come back as a {type(made).__name__}. Make it in the constructor.")
    for name in vars(layer):
        if isinstance(getattr(type(layer), name, None), FunctionType) and name not in vars(made):
            raise ValueError(f"{start} has a function {name!r} that was set on it, and a file holds no code. Define "
                             f"it in a class of yours: class Mine(layers.{type(layer).__name__}).")
    mine, others = _weights(layer), _weights(made)
    for name in {**mine, **others}:
        if mine.get(name) != others.get(name):
            has, makes = ("none" if w is None else f"one of shape {w[0]} and {w[1]}"
                          for w in (mine.get(name), others.get(name)))
            raise ValueError(f"{start} must have the weights that its arguments say. Received: as {name!r} it has "
                             f"{has}, its arguments make {makes}. Set the arguments too, such as use_bias, filters or "
                             "kernel_size, or put the weight back.")
    for name in argument_names(type(layer)):  # type: ignore[arg-type]
        now, then = (_plain(attribute(of, name)) for of in (layer, made))
        if name not in ("name", "trainable") and now != then:
            raise ValueError(f"{start} would come back with {name}={then!r}. Received: {now!r}. Set it back, or make "
                             "it an argument that the constructor stores as it is.")


def _weights(layer: Layer) -> dict[str, tuple[tuple[int, ...], str]]:
    """Shapes and dtypes of a layer's own weights, by their names."""
    given: Counter[str] = Counter()
    return {names.numbered(w.name or "variable", given): (w.shape, w.dtype.name) for w in layer._own_weights()}


def _called(layer: Layer) -> str:
    return f"Layer {layer.name!r} ({type(layer).__name__})"


def _culprit(layers: list[Layer], classes: dict[str, type]) -> str | None:
    """The first layer that cannot be made by itself."""
    for layer in layers:
        if isinstance(layer, Model):
            continue
        try:
            type(layer).from_config(deserialize(layer.get_config(), classes)).build(layer._build_shape)
        except Exception:
            return _called(layer)
    return None


def _plain(value: Any) -> Any:
    """Returns an attribute as JSON has it and a function's name; None for layers and weights, compared elsewhere."""
    try:
        if isinstance(value, FunctionType):
            return get_registered_name(value)
        return None if held({"": value}, (Layer, Parameter)) else json.loads(json.dumps(serialize(value)))
    except (ValueError, NotImplementedError, TypeError):
        return None
