"""Checks a model file before it is written, by reading it back and comparing the two models."""

import json
import warnings
from collections import Counter
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import numpy as np

from .. import random
from ..arguments import names
from ..arguments.serialization import (
    attribute,
    collect_written_objects,
    custom_object_scope,
    deserialize,
    get_registered_name,
    serialize,
)
from ..engine.variable import Variable
from ..layers import Layer
from ..layers.parts import find_parts, numbering
from ..models import Model
from ..optimizers.optimizer import name_counts
from . import training

_START = "A saved file must restore the model exactly."


def to_checked_bytes(model: Model, path: Path, file_format: ModuleType) -> bytes:
    """Returns the bytes of a model's file, after checking that the model and its training can be
    restored from them.

    Raises ValueError if a layer cannot be rebuilt, if the rebuilt layer has other weights or
    settings or lacks a function set on the original, or if the optimizer's state would differ.
    Leaves the random generators and the counters of automatic names unchanged.
    """
    with collect_written_objects() as custom_objects:
        data = file_format.to_bytes(model, path.suffix)
    with numbering(), numbering(name_counts), warnings.catch_warnings(), random.process_generator().holding():
        warnings.simplefilter("ignore")
        try:
            copy = file_format.from_bytes(data, path, custom_objects)
        except Exception as error:
            with custom_object_scope(custom_objects):
                culprit = _culprit(model) or repr(model.name)
            raise ValueError(f"{_START} {culprit} cannot be rebuilt in its current state: {error} Undo the changes to "
                             "this layer or model, or create a new model.") from error
        layers = list(model._walk())
        copies = list(copy._walk())
        for layer, other in zip(layers, copies):
            _compare(layer, other)
        if len(layers) != len(copies):
            raise ValueError(f"{_START} Model {model.name!r} has {len(layers)} layers, including nested layers, but "
                             f"its constructor creates {len(copies)}. Create all layers in the constructor.")
        _compare_training(model, copy)
    return data


def _compare(layer: Layer, copy: Layer) -> None:
    """Raises ValueError if the layer restored from a file differs from the original."""
    start = f"{_START} {_describe_layer(layer)}"
    if type(layer) is not type(copy):
        raise ValueError(f"{start} would be loaded as an instance of {type(copy).__name__}. Create "
                         "the layer in the constructor of the model.")
    for name in vars(layer):
        if isinstance(getattr(type(layer), name, None), FunctionType) and name not in vars(copy):
            raise ValueError(f"{start} has a function {name!r} that was set on the instance, but a file contains no "
                             f"code. Define the function in a subclass of {type(layer).__name__}.")
    specs = _weight_specs(layer)
    copy_specs = _weight_specs(copy)
    for name in {**specs, **copy_specs}:
        if specs.get(name) != copy_specs.get(name):
            spec, copy_spec = ("no weight" if w is None else f"a weight of shape {w[0]} and dtype {w[1]}"
                               for w in (specs.get(name), copy_specs.get(name)))
            raise ValueError(f"{start} must have the weights that its arguments imply. Received: under the name "
                             f"{name!r} the layer has {spec}, but its arguments create {copy_spec}. Change the "
                             "arguments too, such as use_bias, filters or kernel_size, or restore the weight.")
    for weight, other in zip(layer._own_weights(), copy._own_weights()):
        if weight.requires_grad != other.requires_grad:
            raise ValueError(f"{start} would be loaded with trainable={other.requires_grad} for "
                             f"its weight {weight.name!r}. Set `trainable` of the layer and of "
                             "the models that contain it, not of the weight.")
    for name in type(layer).config_parameters():
        value, copy_value = (_plain(attribute(each, name)) for each in (layer, copy))
        if name not in ("name", "trainable") and value != copy_value:
            raise ValueError(f"{start} would be loaded with {name}={copy_value!r}. Received: {name}={value!r}. "
                             f"Restore the old value, or store the argument {name!r} unchanged in the constructor.")


def _compare_training(model: Model, copy: Model) -> None:
    """Raises ValueError if the restored model has different weights or training settings."""
    for (name, weight), other in zip(model.named_weights().items(), copy.weights, strict=True):
        if weight.numpy().tobytes() != other.numpy().tobytes():
            raise ValueError(f"{_START} The weight {name!r} would be loaded with different values. "
                             "Save the model as .safetensors.")
    streams = training.streams_text(model)
    copy_streams = training.streams_text(copy)
    if streams != copy_streams:
        raise ValueError(f"{_START} The layers' random generators would be loaded with the states {copy_streams}. "
                         f"Received: the states {streams}. Create each generator in the constructor of its layer.")
    if copy.optimizer is None or model.optimizer is None:
        return
    config, copy_config = (_plain(each.get_compile_config()) for each in (model, copy))
    for key, value in (config or {}).items():
        if key != "optimizer" and value != copy_config[key]:
            raise ValueError(f"{_START} The model would be compiled with {key}={copy_config[key]!r}. Received: "
                             f"{key}={value!r}. Pass this value to compile().")
    optimizers = model.optimizer, copy.optimizer
    configs = [_plain({**each.get_config(), "name": None}) for each in optimizers]
    state = training.optimizer_state(model)
    copy_state = copy.optimizer.get_state()
    differing = [key for key in {**configs[0], **configs[1]} if configs[0].get(key) != configs[1].get(key)]
    differing += [key for key in {**state, **copy_state} if state and (
        key not in state or key not in copy_state or not np.array_equal(state[key], copy_state[key], equal_nan=True))]
    if differing:
        raise ValueError(f"{_START} The optimizer {model.optimizer!r} would be loaded with a "
                         f"different value of {differing[0]!r}. Make {differing[0]!r} a constructor "
                         "argument that is stored unchanged, or create it with add_variable().")


def _weight_specs(layer: Layer) -> dict[str, tuple[tuple[int, ...], str]]:
    """Returns the shapes and dtypes of a layer's own weights, by name."""
    counts: Counter[str] = Counter()
    return {names.uniquify(w.name or "variable", counts): (w.shape, w.dtype.name) for w in layer._own_weights()}


def _describe_layer(layer: Layer) -> str:
    return f"Layer {layer.name!r} ({type(layer).__name__})"


def _culprit(model: Model) -> str | None:
    """Describes the first layer that cannot be rebuilt, or returns None if all layers can be.
    Raises ValueError if a rebuilt layer differs from the original.
    """
    for layer in model._walk():
        if isinstance(layer, Model):
            continue
        try:
            copy = type(layer).from_config(deserialize(layer.get_config()))
            if layer.built and not copy.built:
                copy.build(layer._build_shape)
        except Exception:
            return _describe_layer(layer)
        _compare(layer, copy)
    return None


def _plain(value: Any) -> Any:
    """Returns an attribute as JSON data, or None for a layer, a weight or a value that JSON lacks."""
    try:
        if isinstance(value, FunctionType):
            return get_registered_name(value)
        return None if find_parts({"": value}, (Layer, Variable)) else json.loads(json.dumps(serialize(value)))
    except (ValueError, NotImplementedError, TypeError):
        return None
