"""Reads and writes safetensors files, with named weights and the architecture as JSON.

Such a file contains only data, no code.
"""

import io
import json
from pathlib import Path

import numpy as np
from safetensors import numpy as safetensors

from .. import __version__
from ..arguments.serialization import serialize
from ..files import atomic, json_text, regular
from ..models import Model
from . import architecture, matching, training
from .architecture import CustomObjects


def to_bytes(model: Model, suffix: str) -> bytes:
    """Returns the bytes of a file with a model's architecture, weights and training state."""
    training.warn_if_unbuilt(model)
    config = {"input_shape": getattr(model, "input_shape", None), **serialize(model)}
    classes = {} if model.class_names is None else {"class_names": json.dumps([str(c) for c in model.class_names])}
    metadata, slots = training.describe_training(model)
    streams = {"streams": training.streams_text(model)} if training.generators(model) else {}
    return _bytes(model, {"model": json.dumps(config), **classes, **metadata, **streams}, slots)


def save_weights(model: Model, path: Path) -> None:
    """Writes the weights of a built model to a file."""
    model.count_params()  # raises if the model is not built
    atomic.write(path, _bytes(model, {}, {}))


def from_bytes(data: bytes, path: Path, custom_objects: CustomObjects | None = None,
               compile: bool = True) -> Model:
    """Builds the model in a file, with its weights and, if `compile`, its training state."""
    metadata, tensors = _read_tensors(data, path)
    if "autoconv" not in metadata:
        raise ValueError(f"{str(path)!r} was not written by autoconv's model.save, so the file has "
                         "no model architecture.")
    if "model" not in metadata:
        raise ValueError(f"{str(path)!r} contains only weights. Create the model, then call model.load_weights.")
    model = architecture.make(metadata, tensors, repr(str(path)), custom_objects)
    _assign(model, tensors, path)
    if "streams" in metadata:
        training.put_streams(model, metadata["streams"], repr(str(path)))
    if compile:
        training.restore_training(model, metadata, tensors, repr(str(path)), custom_objects)
    return model


def load_weights(model: Model, path: Path) -> None:
    """Reads the weights in a file into a built model."""
    model.count_params()  # raises if the model is not built
    _assign(model, _read_tensors(regular.read_file(path), path)[1], path)


def _bytes(model: Model, metadata: dict[str, str], extras: dict[str, np.ndarray]) -> bytes:
    """Returns the bytes of a file with a model's weights, the tensors in `extras` and metadata."""
    weights = {name: weight.numpy() for name, weight in model.named_weights().items()}
    tensors = {name: np.asarray(value, order="C") for name, value in {**weights, **extras}.items()}
    return _sort_metadata(safetensors.save(tensors, {"autoconv": __version__, **metadata}))


def _sort_metadata(data: bytes) -> bytes:
    """Sorts a file's metadata by name, because safetensors writes them in varying order."""
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + data[end:]


def _read_tensors(data: bytes, path: Path) -> tuple[dict[str, str], dict[str, np.ndarray]]:
    """Returns a file's metadata and tensors. Raises ValueError unless all tensors are floats."""
    try:
        metadata = json_text.safetensors_header(io.BytesIO(data)).get("__metadata__") or {}
        tensors = safetensors.load(data)
    except Exception as error:  # a damaged header, or a type that NumPy lacks
        raise ValueError(f"{str(path)!r} cannot be read as safetensors: {error}. The file may be truncated.") from error
    strange = sorted(name for name, tensor in tensors.items() if tensor.dtype.kind != "f")
    if strange:
        raise ValueError(f"Weights must be floating-point numbers. Received: {strange[0]!r} of "
                         f"dtype {tensors[strange[0]].dtype} in {str(path)!r}.")
    return metadata, tensors


def _assign(model: Model, tensors: dict[str, np.ndarray], path: Path) -> None:
    """Checks all tensors, then assigns them to the weights with the same names."""
    tensors = {key: value for key, value in tensors.items() if not key.startswith(training.SLOTS)}
    matching.assign(matching.match(model.named_weights(), tensors, repr(str(path)), model.name))
