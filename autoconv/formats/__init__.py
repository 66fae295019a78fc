"""Saves and loads models and weights, also as ONNX files and as PyTorch state dicts.

The suffix of a file's name selects the format; `model.save` and `models.load_model` call these
functions.
"""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from ..arguments.names import printable
from ..files import atomic, regular, suffixes
from . import checking, keras_files, matching, safetensors
from .architecture import CustomObjects
from .keras_files import from_json, to_json
from .torch_state import from_torch_state_dict, to_torch_state_dict

__all__ = ["from_json", "from_onnx", "from_torch_state_dict", "load_model", "load_weights",
           "save_model", "save_weights", "to_json", "to_onnx", "to_torch_state_dict"]

if TYPE_CHECKING:
    from ..models import Model

_FORMATS = {suffix: safetensors if suffix == ".safetensors" else keras_files for suffix in suffixes.SUFFIXES}

MODEL_OF_RUN = "model.safetensors"  # the model's file in a run folder of `autoconv train --out`

FilePath = str | os.PathLike[str]


@contextmanager
def _printable_errors() -> Iterator[None]:
    """Makes ValueErrors printable: escapes control characters quoted from a file."""
    try:
        yield
    except ValueError as error:
        current: BaseException | None = error
        while current is not None:
            current.args = tuple(printable(arg) if isinstance(arg, str) else arg for arg in current.args)
            current = current.__cause__ or current.__context__
        raise


def save_model(model: "Model", filepath: FilePath, overwrite: bool = True) -> None:
    """Writes the architecture, the weights and, for a compiled model, compile()'s arguments and
    the optimizer's slots. The file is either complete or absent.
    """
    path = _check_destination(filepath, overwrite)
    data = checking.to_checked_bytes(model, path, _select_format(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic.write(path, data)


def check_savable(model: "Model", filepath: FilePath) -> None:
    """Raises ValueError if `save_model` would; writes nothing."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        checking.to_checked_bytes(model, Path(filepath), _select_format(Path(filepath)))


@_printable_errors()
def load_model(filepath: FilePath, custom_objects: CustomObjects | None = None,
               compile: bool = True) -> "Model":
    """Reads a model from a file of `save_model` or from a run folder; with `compile`, compiles it as
    before, so that training can continue. Raises ValueError for a file that is damaged or not autoconv's.
    """
    path = _find_file(filepath)
    return _select_format(path).from_bytes(regular.read_file(path), path, custom_objects, compile)


def save_weights(model: "Model", filepath: FilePath, overwrite: bool = True) -> None:
    """Writes only the weights."""
    path = _check_destination(filepath, overwrite, weights_only=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    _select_format(path, weights_only=True).save_weights(model, path)


@_printable_errors()
def load_weights(model: "Model", filepath: FilePath, skip_mismatch: bool = False) -> None:
    """Reads weights into a built model. If names or shapes differ it raises ValueError and changes
    nothing, or with skip_mismatch warns and reads the others.
    """
    path = _find_file(filepath, weights=True)
    with matching.allow_mismatch(skip_mismatch):
        _FORMATS[path.suffix].load_weights(model, path)


def to_onnx(model: "Model", path: FilePath | None = None, opset: int = 17) -> Any:
    """Returns the model as an `onnx.ModelProto` that computes what `predict` does, and writes it to
    `path`.

    Inputs and outputs keep autoconv's shapes, images (N, H, W, C), with any number of samples, in
    float32. opset: a version of ONNX's operators, 17 to 21. Raises ValueError for a layer or
    function that has no counterpart, naming it; ExtraError without the package onnx.
    """
    from . import onnx_export

    return onnx_export.to_onnx(model, path, opset)


@_printable_errors()
def from_onnx(source: FilePath | bytes) -> "Model":
    """Reads the model of an ONNX file, given by its path or bytes, for prediction and training.
    Inputs and outputs are as in the file, images (N, C, H, W). No code of the file is run.

    Raises ValueError for a file that is damaged, in several files, or has an unknown op, naming it;
    FileNotFoundError.
    """
    from . import onnx_import

    return onnx_import.from_onnx(source)


def _select_format(path: Path, weights_only: bool = False) -> ModuleType:
    return _FORMATS[suffixes.check(path, weights_only)]


def _check_destination(filepath: FilePath, overwrite: bool, weights_only: bool = False) -> Path:
    """Returns a path to write to. Raises ValueError for its suffix, FileExistsError if taken."""
    path = Path(filepath)
    _select_format(path, weights_only)
    if not overwrite and path.exists():
        raise FileExistsError(f"The file {str(path)!r} exists. Pass overwrite=True to replace it.")
    return path


class MissingFileError(FileNotFoundError, ValueError):
    """A model file is missing. Keras raises one of the two bases, depending on the format."""


def _find_file(filepath: FilePath, weights: bool = False) -> Path:
    path = Path(filepath)
    if path.is_dir() and (path / MODEL_OF_RUN).is_file():
        path = path / MODEL_OF_RUN
    _select_format(path, weights_only=weights and path.name.endswith(".weights.h5"))
    if not path.exists() or path.is_dir():
        raise MissingFileError(f"There is no model file {str(path)!r}.")
    return path
