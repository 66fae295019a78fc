"""Reads and writes Keras's files: `.keras`, `.weights.h5`, and the `.h5` format of older versions.

A file contains only data: layers, weights, compile()'s arguments and the optimizer's variables.
Lambdas are refused. Sources: saving_lib.py and legacy/saving/ in Keras 3.15.
"""

import io
import json
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from .. import __version__
from ..arguments.serialization import serialize
from ..engine.variable import Variable
from ..files import atomic, json_text, regular
from ..files.json_text import JsonObject
from ..layers import Layer
from ..layers.function import Function
from ..models import Model
from . import architecture, hdf5, keras_config, keras_weights, matching, training
from .architecture import CustomObjects

LARGEST_CONFIG = 64 * 2**20  # maximum bytes of weights for a model built from JSON
MOST_PARTS = 10_000  # maximum number of files in an archive
KERAS_VERSION = "3.15.1"  # Keras version recorded in the files that autoconv writes


def to_bytes(model: Model, suffix: str) -> bytes:
    """Returns the bytes of a Keras file with a model's architecture, weights and training state."""
    training.warn_if_unbuilt(model)
    if suffix != ".keras":
        return _legacy_bytes(model)
    config = _describe_model(model)
    about = {"keras_version": KERAS_VERSION, "autoconv": __version__, "weights_sha256": model.fingerprint()}
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in (("metadata.json", json.dumps(about)), ("config.json", json.dumps(config)),
                           ("model.weights.h5", _weights_bytes(model, True))):
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), data)
    return out.getvalue()


def to_json(model: Model, **options: Any) -> str:
    """Returns a built model's architecture, and compile()'s arguments if any, as Keras's JSON."""
    return json.dumps(_describe_model(model), **options)


def from_json(text: str, custom_objects: CustomObjects | None = None) -> Model:
    """Builds a model with new weights from Keras's JSON. Raises ValueError if it is invalid."""
    config = _json(text, "the JSON")
    model = _build_model(config, LARGEST_CONFIG, "the JSON", custom_objects)
    if config.get("compile_config"):
        _train(model, config["compile_config"], {}, "the JSON", custom_objects, "remove the key compile_config")
    return model


def from_bytes(data: bytes, path: Path, custom_objects: CustomObjects | None = None,
               compile: bool = True) -> Model:
    """Builds a model from a Keras file, with its weights and, if `compile`, its training state."""
    label = repr(str(path))
    if path.suffix != ".keras":
        return _legacy_model(data, label, custom_objects, compile)
    parts = _unzip_parts(data, label)
    if not {"config.json", "model.weights.h5"} <= set(parts):
        raise ValueError(f"{label} is not a Keras 3 model file, because it lacks config.json or model.weights.h5.")
    config = _json(parts["config.json"], label)
    weights = parts["model.weights.h5"]
    model = _build_model(config, len(weights), label, custom_objects)
    with hdf5.open_root(weights, label) as file:
        arrays = hdf5.arrays(file, len(weights))
    matching.assign(keras_weights.match(model, arrays, label))
    keras_weights.put_streams(model, arrays, label)
    if compile and config.get("compile_config"):
        keys = sorted((key for key in arrays if key.startswith("optimizer/vars/")), key=_number)
        _train(model, config["compile_config"], {key: arrays[key] for key in keys}, label, custom_objects)
    return model


def save_weights(model: Model, path: Path) -> None:
    """Writes the weights of a built model as `.weights.h5`."""
    model.count_params()
    atomic.write(path, _weights_bytes(model, False))


def load_weights(model: Model, path: Path) -> None:
    """Reads the weights in any Keras file into a built model. On an error, no weight changes."""
    model.count_params()
    data = regular.read_file(path)
    label = repr(str(path))
    if path.suffix == ".keras":
        data = _unzip_parts(data, label).get("model.weights.h5", b"")
    with hdf5.open_root(data, label) as file:
        whole = "model_weights" in file
        if whole or "layer_names" in file.attrs:
            pairs = _match_layers(model, file["model_weights"] if whole else file, len(data), label)
        else:
            arrays = hdf5.arrays(file, len(data))
            pairs = keras_weights.match(model, arrays, label)
            keras_weights.put_streams(model, arrays, label)
    matching.assign(pairs)


# Contents of the files.


def _describe_model(model: Model) -> JsonObject:
    config = keras_config.model_to_keras(model)
    training = _training(model)
    return config if training is None else {**config, "compile_config": training}


def _training(model: Model) -> JsonObject | None:
    """Returns compile()'s arguments in Keras's form, or None if the model is not compiled."""
    config = model.get_compile_config()
    return None if config is None else serialize(config)


def _weights_bytes(model: Model, include_optimizer: bool) -> bytes:
    arrays = {path: weight.numpy() for path, weight in keras_weights.weights_by_path(model).items()}
    arrays.update({path: generator.state.numpy().astype(np.uint32)
                   for path, generator in keras_weights.generators(model).items()})
    groups: dict[str, JsonObject] = dict(keras_weights.groups(model))
    optimizer: Any = model.optimizer
    state = training.optimizer_state(model) if include_optimizer else {}
    if state:
        groups["optimizer/vars"] = {"name": optimizer.name}
        arrays.update({f"optimizer/vars/{i}": value
                       for i, (_, value) in enumerate(keras_weights.variables(optimizer, state))})
    return hdf5.to_bytes(arrays, groups)


def _build_model(config: Any, size: int, label: str, custom_objects: CustomObjects | None) -> Model:
    """Builds a model from Keras's configuration. Its weights may have at most `size` bytes."""
    try:
        architecture.check_depth(config)
        description = keras_config.from_keras(config)
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError) as error:
        raise ValueError(f"The architecture in {label} cannot be read: {error}.") from error
    if not isinstance(description, dict) or not {"class_name", "config"} <= set(description):
        raise ValueError(f"The architecture in {label} cannot be read: it must be a JSON object "
                         "with the keys class_name and config.")
    build = config.get("build_config") or {}
    description["input_shape"] = description["config"].get("build_input_shape") or build.get("input_shape")
    return architecture.build(description, [], size // 4 + 1, label, custom_objects)


def _train(model: Model, config: Any, variables: dict[str, np.ndarray], label: str,
           custom_objects: CustomObjects | None, remedy: str = "call load_model(path, compile=False)") -> None:
    """Compiles a model with the arguments in a file, and restores the optimizer's variables."""
    try:
        settings = keras_config.from_keras(config)
        default = settings.pop("optimizer_config", None) or "rmsprop"  # compile()'s default
        settings["optimizer"] = settings.get("optimizer") or default
        model.compile_from_config(settings, custom_objects)
        optimizer: Any = model.optimizer
        if variables:
            if model.trainable_weights and (not optimizer.slots or len(variables) > 2 - optimizer.is_scheduled or any(
                    value.ndim for value in variables.values())):
                optimizer.build(model.trainable_weights)
            keras_weights.put_variables(optimizer, variables)
    except Exception as error:  # constructors of losses, metrics and optimizers may raise anything
        raise ValueError(f"The training configuration in {label} cannot be restored: {error} To "
                         f"load only the model, {remedy}.") from error


def _number(path: str) -> int:
    last = path.rpartition("/")[2]
    if not last.isdecimal() or len(last) > 9:
        raise ValueError(f"The path of an optimizer variable in a file must end in a number. Received: {path!r}.")
    return int(last)


def _json(data: bytes | str, label: str) -> Any:
    try:
        config = json_text.parse(data)
    except ValueError as error:
        raise ValueError(f"The configuration in {label} cannot be read: {error}.") from error
    if not isinstance(config, dict):
        raise ValueError(f"The configuration in {label} must be a JSON object.")
    return config


def _unzip_parts(data: bytes, label: str) -> dict[str, bytes]:
    """Returns config.json and model.weights.h5 from a `.keras` archive. Raises ValueError if they are too large."""
    parts: dict[str, bytes] = {}
    limits = {"config.json": min(50 * len(data) + 2**20, json_text.LARGEST), "model.weights.h5": 4 * len(data) + 2**20}
    try:
        if data.count(b"PK\x01\x02") > MOST_PARTS:  # zipfile allocates 600 bytes per file
            raise ValueError(f"the archive has more than {MOST_PARTS:,} files")
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for name, limit in limits.items():
                if name not in archive.namelist():
                    continue
                info = archive.getinfo(name)
                if info.file_size > limit:
                    raise ValueError(f"{name} claims {info.file_size:,} bytes, but at most {limit:,} are allowed")
                with archive.open(info) as part:
                    parts[name] = part.read(limit + 1)
                if len(parts[name]) > limit:
                    raise ValueError(f"{name} has more than {limit:,} bytes")
    except Exception as error:  # zipfile raises many exception types for damaged archives
        raise ValueError(f"{label} cannot be read as a .keras file. The file may be damaged or "
                         f"truncated ({error}).") from error
    return parts


# Whole models in HDF5, the format before Keras 3.


def _legacy_bytes(model: Model) -> bytes:
    if not keras_weights.has_graph(model):
        raise ValueError("Only a Sequential model or a graph of layers can be saved as .h5. "
                         f"Received: {type(model).__name__}, a class with its own call(). Save "
                         "the model as .keras or .safetensors.")
    config = keras_config.model_to_keras(model)
    attributes: dict[str, JsonObject] = {"": {
        "backend": "autoconv", "keras_version": KERAS_VERSION, "model_config": json.dumps(config)}}
    arrays: dict[str, np.ndarray] = {}
    if training.generators(model):
        attributes[""]["streams"] = training.streams_text(model)
    attributes["model_weights"] = {"backend": "autoconv", "keras_version": KERAS_VERSION,
                                   "layer_names": [layer.name for layer in _layers(model)]}
    for layer in _layers(model):
        weights = _weights_by_name(layer)
        attributes[f"model_weights/{layer.name}"] = {"weight_names": list(weights)}
        arrays.update({f"model_weights/{layer.name}/{name}": weight.numpy() for name, weight in weights.items()})
    attributes["model_weights/top_level_model_weights"] = {"weight_names": np.zeros(0)}
    training_config = _training(model)
    optimizer = model.optimizer
    if training_config is not None and optimizer is not None:
        training_config["optimizer_config"] = training_config.pop("optimizer")
        attributes[""]["training_config"] = json.dumps(training_config)
        state = training.optimizer_state(model)
        if state:
            pairs = [(f"{optimizer.name}/{name.replace('/', '_')}", value)
                     for name, value in keras_weights.variables(optimizer, state)]
            attributes["optimizer_weights"] = {"weight_names": [name for name, _ in pairs]}
            arrays.update({f"optimizer_weights/{name}": value for name, value in pairs})
    return hdf5.to_bytes(arrays, attributes)


def _legacy_model(data: bytes, label: str, custom_objects: CustomObjects | None,
                  compile: bool) -> Model:
    with hdf5.open_root(data, label) as file:
        text = hdf5.text(file, "model_config")
        if text is None:
            raise ValueError("the file contains only weights. Create the model, then call model.load_weights.")
        if '"hard_sigmoid"' in text and str(hdf5.text(file, "keras_version")).startswith("2."):
            warnings.warn(f"{label} was written by Keras 2, where hard_sigmoid was clip(0.2 x + 0.5, 0, 1). Since "
                          "Keras 3 it is clip(x / 6 + 0.5, 0, 1), so predictions differ.", stacklevel=5)
        model = _build_model(_json(text, label), len(data), label, custom_objects)
        matching.assign(_match_layers(model, file["model_weights"], len(data), label))
        streams = hdf5.text(file, "streams")
        if streams is not None:
            training.put_streams(model, streams, label)
        training_config = hdf5.text(file, "training_config")
        variables = {}
        if training_config is not None and "optimizer_weights" in file:
            group = file["optimizer_weights"]
            arrays = hdf5.arrays(group, len(data))
            variables = {name: arrays[name] for name in hdf5.strings(group, "weight_names")}
    if compile and training_config is not None:
        _train(model, _json(training_config, label), variables, label, custom_objects)
    return model


def _layers(model: Model) -> list[Layer]:
    return [layer for layer in model.layers if not isinstance(layer, Function)]


def _weights_by_name(layer: Layer) -> dict[str, Variable]:
    """Returns the weights of a layer and of its inner layers, by their names in an .h5 file."""
    inner = [layer, *(each for _, each in keras_weights.walk(layer))]
    pairs = [(f"{each.name}/{weight.name}", weight) for each in inner for weight in keras_weights.list_weights(each)]
    return dict(sorted(pairs, key=lambda pair: not pair[1].trainable))  # trainable weights first


def _match_layers(model: Model, group: hdf5.HDF5Node, size: int,
                  label: str) -> list[tuple[Variable, np.ndarray]]:
    """Returns each weight with its array. Matches layers by order, and weights by name or order."""
    arrays = hdf5.arrays(group, size)
    groups = [(name, hdf5.strings(group[name], "weight_names"))
              for name in hdf5.strings(group, "layer_names")]
    layers = [(layer, _weights_by_name(layer)) for layer in _layers(model)]
    groups = [each for each in groups if each[1]]
    layers = [each for each in layers if each[1]]
    if len(groups) != len(layers):
        raise ValueError(f"The file {label} has weights for {len(groups)} layers, but "
                         f"{model.name!r} has {len(layers)} layers with weights.")
    matches: list[tuple[Variable, np.ndarray]] = []
    for (name, weight_names), (layer, weights) in zip(groups, layers):
        values = {"/".join(each.removesuffix(":0").split("/")[-2:]): arrays[f"{name}/{each}"] for each in weight_names}
        if set(values) != set(weights):
            values = {f"{layer.name}/{i}": arrays[f"{name}/{each}"] for i, each in enumerate(weight_names)}
            weights = {f"{layer.name}/{i}": weight for i, weight in enumerate(weights.values())}
        matches += matching.match(weights, values, label, model.name)
    return matches
