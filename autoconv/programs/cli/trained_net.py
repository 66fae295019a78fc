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


class TrainedNet(NamedTuple):
    """A net, its class names, a factor for pixels 0..255, and whether it was trained on photos."""

    net: Model
    classes: Sequence[str]
    factor: float
    photo_net: bool = False

    @property
    def shape(self) -> reading.Shape:
        """The shape of the net's input images, (H, W, C); None for any size."""
        return self.net.input_shape[1:]  # type: ignore[return-value]

    @property
    def kind(self) -> str:
        """The kind of pictures that the net classifies, an argument of `reading.read`."""
        return reading.picture_kind(self.shape, self.classes, self.photo_net)

    def probabilities(self, pixels: np.ndarray) -> np.ndarray:
        """Returns class probabilities (N, classes) for pixels 0..255, (N, H, W, C). A single output
        is the probability of class 1.
        """
        scores = class_scores(self.net, pixels * np.float32(self.factor))
        return np.hstack([1 - scores, scores]) if scores.shape[1] == 1 else scores


def load(path: Path, device: Device) -> TrainedNet:
    """Loads a net from a run folder or a model file. Raises a ClickException if the net cannot be
    read or does not classify pictures.

    The classes of a .safetensors file are its `class_names`; other files have numbered classes. A
    file's net receives pixels 0..255 if it has a Rescaling layer, and otherwise pixels 0..1.
    """
    if path.is_dir() or path.suffix not in suffixes.SUFFIXES:
        return _name_classes(path, from_run(*runs.load_run(path, device)))
    try:
        net = models.load_model(path, compile=False)
    except (OSError, TypeError, ValueError) as error:
        raise click.ClickException(f"The model in {path} cannot be read: {error}") from error
    net.to(device.name)
    return _name_classes(path, TrainedNet(net, tuple(net.class_names or ()), reading.factor(net)))


def from_run(net: Model, results: JsonObject) -> TrainedNet:
    """Returns a run's net with the class names and the kind of data from its run.json."""
    return TrainedNet(net, results["classes"], 1.0, "folder" in results)


def _name_classes(path: Path, classifier: TrainedNet) -> TrainedNet:
    """Checks the net's shapes, and returns it with a name for each class."""
    input_shape = classifier.net.input_shape
    output_shape = classifier.net.output_shape
    if not _is_shape(input_shape, 4) or not _is_shape(output_shape, 2) or output_shape[1] is None:
        raise click.ClickException(f"The net in {path} has input shape {input_shape} and output shape {output_shape}. "
                                   "A net that classifies pictures needs input shape (None, height, width, "
                                   "channels) and output shape (None, classes).")
    count = max(output_shape[1], 2)  # a single output is the second class's probability
    classes = classifier.classes or tuple(map(str, range(count)))
    if len(classes) != count:
        raise click.ClickException(f"The net in {path} has {count} classes, but {len(classes)} class names.")
    return classifier._replace(classes=classes)


def _is_shape(shape: Any, rank: int) -> bool:
    return isinstance(shape, tuple) and len(shape) == rank and all(n is None or isinstance(n, int) for n in shape)

