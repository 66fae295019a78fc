"""Loads a trained net from a run or a model file, to classify pictures."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np

from ... import models
from ...files import suffixes
from ...files.json_text import JsonObject
from ...kernels.device import Device
from ...models import Model
from ...pictures import reading
from ...pictures.inside import class_scores
from . import runs


class Trained(NamedTuple):
    """A net, its classes, the scale of pixels 0..255, and whether it was trained on photos."""

    net: Model
    classes: Sequence[str]
    factor: float
    on_photos: bool = False

    @property
    def shape(self) -> reading.Shape:
        """The shape of the net's input images, (H, W, C); None for any size."""
        return self.net.input_shape[1:]  # type: ignore[return-value]

    @property
    def kind(self) -> str:
        """The kind of input picture, an argument of `reading.read`."""
        return reading.kind_for(self.shape, self.classes, self.on_photos)

    def probabilities(self, pixels: np.ndarray) -> np.ndarray:
        """Returns class probabilities (N, C) of pixels (N, H, W, C). A single output is class 1."""
        found = class_scores(self.net, pixels * np.float32(self.factor))
        return np.hstack([1 - found, found]) if found.shape[1] == 1 else found


def load(path: Path, device: Device) -> Trained:
    """Returns the net of a run's folder or of a model file. Raises a ClickException for other nets.

    The classes are the `class_names` in a .safetensors file, else numbers. A file's net receives
    pixels 0..255 if it scales them itself, else 0..1, as in the lectures' listings.
    """
    if path.is_dir() or path.suffix not in suffixes.SUFFIXES:
        return _checked(path, of_run(*runs.restored(path, device)))
    try:
        net = models.load_model(path, compile=False)
    except (OSError, TypeError, ValueError) as error:
        raise click.ClickException(f"The model in {path} cannot be read: {error}") from error
    net.to(device.name)
    return _checked(path, Trained(net, tuple(net.class_names or ()), reading.factor(net)))


def of_run(net: Model, results: JsonObject) -> Trained:
    """Returns the net of a run, with the settings in its run.json."""
    return Trained(net, results["classes"], 1.0, "folder" in results)


def _checked(path: Path, trained: Trained) -> Trained:
    """Checks the net's shapes, and returns it with a name for each class."""
    takes = trained.net.input_shape
    gives = trained.net.output_shape
    if not _is_shape(takes, 4) or not _is_shape(gives, 2) or gives[1] is None:
        raise click.ClickException(f"The net in {path} has input shape {takes} and output shape {gives}. A net for "
                                   "pictures needs (None, height, width, channels) and (None, classes).")
    count = max(gives[1], 2)  # one output is the second of two classes
    classes = trained.classes or tuple(map(str, range(count)))
    if len(classes) != count:
        raise click.ClickException(f"The net in {path} has {count} classes, but {len(classes)} class names.")
    return trained._replace(classes=classes)


def _is_shape(shape: Any, rank: int) -> bool:
    return isinstance(shape, tuple) and len(shape) == rank and all(n is None or isinstance(n, int) for n in shape)

