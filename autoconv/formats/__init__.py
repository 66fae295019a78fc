"""Saves and loads models and weights, including as ONNX files and as PyTorch state dicts.

The suffix of a file's name selects the format. `model.save` and `models.load_model` call the
functions in this module.
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

MODEL_OF_RUN = "model.safetensors"  # model file in a run folder of `autoconv train --out`

FilePath = str | os.PathLike[str]


@contextmanager
def _printable_errors() -> Iterator[None]:
    """Escapes control characters, quoted from a file, in the messages of ValueErrors."""
    try:
        yield
    except ValueError as error:
        current: BaseException | None = error
        while current is not None:
            current.args = tuple(printable(arg) if isinstance(arg, str) else arg for arg in current.args)
            current = current.__cause__ or current.__context__
        raise


def save_model(model: "Model", filepath: FilePath, overwrite: bool = True) -> None:
    """Writes a model's architecture and weights to a file and, if the model is compiled, also
    compile()'s arguments and the optimizer's slots. A failed save leaves no partial file.
    """
    path = _check_destination(filepath, overwrite)
    data = checking.to_checked_bytes(model, path, _select_format(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic.write(path, data)


def check_savable(model: "Model", filepath: FilePath) -> None:
    """Raises ValueError if `save_model` cannot save this model to `filepath`. Writes nothing."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        checking.to_checked_bytes(model, Path(filepath), _select_format(Path(filepath)))


@_printable_errors()
def load_model(filepath: FilePath, custom_objects: CustomObjects | None = None,
               compile: bool = True) -> "Model":
    """Reads a model from a file that `save_model` or Keras wrote, or from a run folder. `compile`:
    whether to also restore compile()'s arguments and the optimizer's state, so that training can
    continue. Raises ValueError if the file is damaged or contains no model.
    """
    path = _find_file(filepath)
    return _select_format(path).from_bytes(regular.read_file(path), path, custom_objects, compile)


def save_weights(model: "Model", filepath: FilePath, overwrite: bool = True) -> None:
    """Writes a model's weights to a file, without its architecture."""
    path = _check_destination(filepath, overwrite, weights_only=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    _select_format(path, weights_only=True).save_weights(model, path)


@_printable_errors()
def load_weights(model: "Model", filepath: FilePath, skip_mismatch: bool = False) -> None:
    """Reads weights from a file into a built model. If names or shapes differ, raises ValueError
    and changes no weight. With skip_mismatch=True it warns and reads only the matching weights.
    """
    path = _find_file(filepath, weights=True)
    with matching.allow_mismatch(skip_mismatch):
        _FORMATS[path.suffix].load_weights(model, path)


def to_onnx(model: "Model", path: FilePath | None = None, opset: int = 17) -> Any:
    """Returns the model as an `onnx.ModelProto` that computes the same results as `predict`. Writes
    it to `path` if a path is given.

    Inputs and outputs are float32 and keep autoconv's shapes, with images (N, H, W, C) and any
    batch size N. opset: the version of ONNX's operators, 17 to 21. Raises ValueError if a layer or
    function has no ONNX counterpart, and ExtraError if the package onnx is missing.
    """
    from . import onnx_export

    return onnx_export.to_onnx(model, path, opset)


@_printable_errors()
def from_onnx(source: FilePath | bytes) -> "Model":
    """Builds a model, for prediction and training, from an ONNX file given as a path or as bytes.
    Inputs and outputs keep the file's shapes, with images (N, C, H, W). Runs no code from the file.

    Raises ValueError if the file is damaged, stores data in other files, or has an unsupported op.
    Raises FileNotFoundError if the file does not exist.
    """
    from . import onnx_import

    return onnx_import.from_onnx(source)


def _select_format(path: Path, weights_only: bool = False) -> ModuleType:
    return _FORMATS[suffixes.check(path, weights_only)]


def _check_destination(filepath: FilePath, overwrite: bool, weights_only: bool = False) -> Path:
    """Returns the Path to write to. Raises ValueError for an unknown suffix, and FileExistsError if
    the file exists and `overwrite` is False.
    """
    path = Path(filepath)
    _select_format(path, weights_only)
    if not overwrite and path.exists():
        raise FileExistsError(f"The file {str(path)!r} already exists. Pass overwrite=True to replace it.")
    return path


class MissingFileError(FileNotFoundError, ValueError):
    """A model file is missing. Keras raises one of the two bases, depending on the format."""


def _find_file(filepath: FilePath, weights: bool = False) -> Path:
    path = Path(filepath)
    if path.is_dir() and (path / MODEL_OF_RUN).is_file():
        path = path / MODEL_OF_RUN
    _select_format(path, weights_only=weights and path.name.endswith(".weights.h5"))
    if not path.exists() or path.is_dir():
        place = "" if path.is_absolute() else f" The current folder is {str(Path.cwd())!r}."
        raise MissingFileError(f"There is no model file {str(path)!r}.{place}")
    return path
