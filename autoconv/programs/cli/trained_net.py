"""Loads a trained net from a run or a model file, to classify pictures."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import click
import numpy as np

from ... import models
from ...engine.symbolic import SymbolicTensor
from ...files import regular, suffixes
from ...files.json_text import JsonObject
from ...kernels.device import Device
from ...layers import Flatten, Input, Permute
from ...models import Model
from ...pictures import reading
from ...pictures.inside import class_scores
from ...pictures.reading import PREPROCESSING, Preprocessing
from . import options, runs
from .lines import echo

if TYPE_CHECKING:
    from ...formats.onnx_import import OnnxModel

ONNX = ".onnx"
LABEL_BYTES = 2**24  # maximum size of a file of labels
CONVERSIONS = ("torch: to 0..1, minus ImageNet's mean, divided by its standard deviation, as for most classifiers from "
               "PyTorch; tf: to -1..1; caffe: to blue, green, red, minus ImageNet's mean; unit: to 0..1; none: 0..255. "
               "torch, tf and caffe are the modes of Keras's preprocess_input.")
# values of ONNX's metadata entry Image.NominalPixelRange
_RANGES = {"nominalrange_0_255": "none", "normalized_0_1": "unit", "normalized_1_1": "tf"}

Size = tuple[int, int] | None  # (height, width), the value of --image-size


class TrainedNet(NamedTuple):
    """A net for pixels 0..255, its class names, whether it was trained on photos, and whether it returns logits, see
    `class_scores`.
    """

    net: Model
    classes: Sequence[str]
    photo_net: bool = False
    from_logits: bool | None = None

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
        scores = class_scores(self.net, pixels.astype(np.float32), self.net.input_shape[0] or 64, self.from_logits)
        return np.hstack([1 - scores, scores]) if scores.shape[1] == 1 else scores


def model_options(command: Callable) -> Callable:
    """Adds the options --labels, --preprocessing, --image-size and --as-is, about a net and its pictures."""
    for option in (
        click.option("--as-is", is_flag=True,
                     help="Do not search the picture for a digit; only scale the picture to the net's input size."),
        click.option("--image-size", type=options.Size(), metavar="HEIGHTxWIDTH", show_default="the net's own",
                     help="Size to which the pictures are scaled, such as 224. Only for a MODEL that accepts images of "
                          "any size."),
        click.option("--preprocessing", type=options.Name("preprocessing", reading.PREPROCESSING),
                     metavar="|".join(reading.PREPROCESSING),
                     show_default="as MODEL specifies; unit for a .safetensors or Keras file without a Rescaling layer",
                     help=f"Conversion of pixels to MODEL's input. {CONVERSIONS} The option is required if an .onnx "
                          "file does not specify the conversion in its metadata or its first nodes."),
        click.option("--labels", type=options.FILE, metavar="FILE",
                     show_default="the class names in MODEL, or numbers",
                     help="Text file with one class name per line, in the order of the net's outputs."),
    ):
        command = option(command)
    return command


def load(path: Path, device: Device, preprocessing: str | None = None, image_size: Size = None,
         labels: Path | None = None) -> TrainedNet:
    """Loads a net from a run folder or a model file. Raises a ClickException if the net cannot be
    read or does not classify pictures.

    The classes are the lines of the file `labels`, or the `class_names` of a .safetensors or ONNX file, or numbers.
    `preprocessing` is a name in PREPROCESSING. Without it, the net of a .safetensors or Keras file receives pixels
    0..255 if it has a Rescaling layer, and otherwise pixels 0..1. An ONNX file must then specify the preprocessing.
    """
    if path.is_dir() or path.suffix not in (*suffixes.SUFFIXES, ONNX):
        classifier = from_run(*runs.load_run(path, device))
        if preprocessing or image_size:
            raise click.UsageError("--preprocessing and --image-size apply only to model files, because a run stores "
                                   f"both. Received: the run {path}. Leave out these options.")
        return _name_classes(path, classifier, labels)
    net = read_model(path, device)
    classifier = TrainedNet(net, tuple(net.class_names or ()))
    if _is_shape(getattr(net, "input_shape", None), 4):
        if path.suffix == ONNX:
            onnx_net = cast("OnnxModel", net)
            classifier = classifier._replace(net=_onnx_for_pixels(path, onnx_net, preprocessing, image_size),
                                             from_logits=onnx_net.returns_logits())
        else:
            classifier = classifier._replace(net=_for_pixels(path, net, preprocessing, image_size))
    return _name_classes(path, classifier, labels)


def read_model(path: Path, device: Device) -> Model:
    """Reads a model file of any format. Raises a ClickException if it cannot be read."""
    from ... import formats  # imported here because it is slow

    try:
        net = formats.from_onnx(path) if path.suffix == ONNX else models.load_model(path, compile=False)
    except (OSError, TypeError, ValueError) as error:
        raise click.ClickException(f"The model in {path} cannot be read: {error}") from error
    return net.to(device.name)  # type: ignore[return-value]


def from_run(net: Model, results: JsonObject) -> TrainedNet:
    """Returns a run's net with the class names and the kind of data from its run.json."""
    return TrainedNet(net, results["classes"], "folder" in results)


def _for_pixels(path: Path, net: Model, name: str | None, image_size: Size) -> Model:
    """Returns the net of a model file with layers that convert pixels 0..255, (N, H, W, C), to its input."""
    _, height, width, channels = net.input_shape
    if name is None and reading.factor(net) != 1:
        name = "unit"
        echo(f"note: the net in {path} has no Rescaling layer, so it receives pixels 0..1. If it was trained on other "
             "values, pass --preprocessing.", err=True)
    images = Input((*choose_size(path, (height, width), image_size), channels))
    return Model(images, net(convert_pixels(images, PREPROCESSING[name or "none"])))


def _onnx_for_pixels(path: Path, net: "OnnxModel", name: str | None, image_size: Size) -> Model:
    """Does the same for an ONNX file. A file for a batch of one image receives the images one by one."""
    _, *shape = net.input_shape
    height, width, channels = (shape[1], shape[2], shape[0]) if net.channels_first else shape
    stated = re.findall(r"\d{1,4}", net.metadata.get("imgsz", ""))  # Ultralytics: [224, 224]
    if None in (height, width) and image_size is None and len(stated) == 2:
        image_size = int(stated[0]), int(stated[1])
    size = choose_size(path, (height, width), image_size)
    if None in (*size, channels):
        remedy = ("Export the net with a known number of channels." if channels is None else
                  "Pass the size of its training images, such as --image-size 224.")
        raise click.ClickException(f"The input shape of the net in {path} must be known. Received: {net.input_shape}. "
                                   f"{remedy}")
    images = Input((*size, channels), batch_size=1 if net.batch_size == 1 else None)
    converted = convert_pixels(images, PREPROCESSING[name] if name else _stated_preprocessing(path, net))
    try:
        scores = net(Permute((3, 1, 2))(converted) if net.channels_first else converted)
    except ValueError as error:
        remedy = ("Pass the size of its training images with --image-size." if image_size else
                  "Export the net for a batch of one image.")
        raise click.ClickException(f"The net in {path} cannot run on one image of {size[0]}x{size[1]} pixels. {error} "
                                   f"{remedy}") from error
    is_map = _is_shape(getattr(scores, "shape", None), 4) and scores.shape[2:] == (1, 1)
    return Model(images, Flatten()(scores) if is_map else scores)


def choose_size(path: Path, size: tuple[int | None, int | None], image_size: Size) -> tuple[int | None, int | None]:
    """Returns the value of --image-size, or `size`, the net's own. Raises a ClickException if they differ."""
    if image_size and any(n not in (None, chosen) for n, chosen in zip(size, image_size)):
        raise click.ClickException(f"--image-size must be the input size of the net in {path}, {size[0]}x{size[1]}. "
                                   f"Received: {image_size[0]}x{image_size[1]}. Leave out --image-size.")
    return image_size or size


def convert_pixels(images: SymbolicTensor, preprocessing: Preprocessing) -> SymbolicTensor:
    """Converts pixels 0..255. Raises a ClickException if the preprocessing needs another number of channels."""
    channels = images.shape[-1]
    if max(np.size(preprocessing.scale), np.size(preprocessing.offset)) not in (1, channels):
        raise click.ClickException("The values torch and caffe of --preprocessing need a net for images with 3 "
                                   f"channels. Received: a net for {channels} channels. Use unit, tf or none.")
    return preprocessing.convert(images)


def _stated_preprocessing(path: Path, net: "OnnxModel") -> Preprocessing:
    """Returns the preprocessing that an ONNX file specifies. Raises a ClickException if it specifies none.

    It is specified by ONNX's image metadata, by a division of the pixels in the first nodes, or by Ultralytics as
    exporter, whose classifiers receive pixels 0..1.
    """
    metadata = {key.lower(): value.lower() for key, value in net.metadata.items()}
    name = _RANGES.get(metadata.get("image.nominalpixelrange", ""))
    if name is None and net.takes_bytes():
        name = "none"
    if name is None and metadata.get("author") == "ultralytics":
        name = "unit"
    if name is None:
        raise click.ClickException(f"The file {path} must specify how pixels are converted to the net's input. Pass "
                                   f"the conversion of its training as --preprocessing. {CONVERSIONS}")
    return PREPROCESSING[name]._replace(bgr=metadata.get("image.bitmappixelformat", "").startswith("bgr"))


def _name_classes(path: Path, classifier: TrainedNet, labels: Path | None) -> TrainedNet:
    """Checks the net's shapes, and returns it with a name for each class."""
    input_shape: Any = getattr(classifier.net, "input_shape", None)
    output_shape: Any = getattr(classifier.net, "output_shape", None)
    if not _is_shape(input_shape, 4) or not _is_shape(output_shape, 2) or output_shape[1] is None:
        raise click.ClickException(f"The net in {path} has input shape {input_shape} and output shape {output_shape}. "
                                   "A net that classifies pictures needs input shape (None, height, width, "
                                   "channels) and output shape (None, classes).")
    count = max(output_shape[1], 2)  # a single output is the second class's probability
    classes = classifier.classes or tuple(map(str, range(count)))
    if labels is not None:
        try:
            text = regular.read_file(labels, LABEL_BYTES).decode("utf-8-sig").rstrip()
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "it is not text in UTF-8"
            raise click.ClickException(f"The labels in {labels} cannot be read: {reason}.") from error
        classes = tuple(line.strip() for line in text.split("\n"))
    if len(classes) != count:
        raise click.ClickException(f"There must be {count} class names, one per class of the net in {path}. Received: "
                                   f"{len(classes)} in {labels or path}. Pass a text file with one class "
                                   "name per line as --labels.")
    return classifier._replace(classes=classes)


def _is_shape(shape: Any, rank: int) -> bool:
    return isinstance(shape, tuple) and len(shape) == rank and all(n is None or isinstance(n, int) for n in shape)
