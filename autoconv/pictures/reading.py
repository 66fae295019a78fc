"""Reads picture files in the size and colours of a net, and digits in the form of MNIST."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..arguments.extras import ExtraError
from ..engine.symbolic import SymbolicTensor
from ..files import npy, regular
from ..layers import Rescaling
from ..models import Model
from ..utils.images import load_digit
from ..utils.pixels import COLOR_MODES, Decoding, UnreadableImage, pillow, read_whole

Shape = tuple[int | None, int | None, int]  # (H, W, C); None means any size

# An image: numbers (H, W) or (H, W, C), or the name of a picture file.
ImageLike = np.ndarray | Sequence[Sequence[Any]] | str | os.PathLike[str]


class Preprocessing(NamedTuple):
    """The conversion of pixels 0..255 to a net's input: pixels * scale + offset, per channel. bgr: whether the channels
    are first reversed to blue, green, red.
    """

    scale: float | tuple[float, ...] = 1.0
    offset: float | tuple[float, ...] = 0.0
    bgr: bool = False

    def convert(self, images: SymbolicTensor) -> SymbolicTensor:
        """Converts images (N, H, W, C) of pixels 0..255."""
        return Rescaling(self.scale, self.offset)(images[..., ::-1] if self.bgr else images)


# The modes of Keras's `imagenet_utils.preprocess_input`, and the ranges 0..1 and 0..255.
PREPROCESSING = {
    "torch": Preprocessing((1 / (255 * 0.229), 1 / (255 * 0.224), 1 / (255 * 0.225)),
                           (-0.485 / 0.229, -0.456 / 0.224, -0.406 / 0.225)),
    "tf": Preprocessing(1 / 127.5, -1.0),
    "caffe": Preprocessing(1.0, (-103.939, -116.779, -123.68), bgr=True),
    "unit": Preprocessing(1 / 255),
    "none": Preprocessing()}

DIGITS = tuple("0123456789")
BRIGHT = 128  # a border with at least this mean is a bright background


class Picture(NamedTuple):
    """Pixels 0..255 in a net's shape (H, W, C), and the picture's name for messages."""

    name: str
    pixels: np.ndarray


def read_for_model(model: Model, path: Path) -> np.ndarray:
    """Reads a picture file (H, W, C) and multiplies the pixels by `factor`. The kind of picture
    depends on the model's classes, see `picture_kind`. Raises UnreadableImage for an unreadable
    file, ValueError if the model's input is not a picture.
    """
    shape = model.input_shape[1:]
    output_shape = model.output_shape
    if len(shape) != 3:
        raise ValueError("A picture has the shape (height, width, channels), but the model's "
                         f"input has the shape {shape}. Pass an array instead of a file.")
    count = output_shape[-1] if isinstance(output_shape, tuple) and len(output_shape) == 2 else 0
    kind = picture_kind(shape, model.class_names or tuple(map(str, range(count))))
    pictures = read(path, shape, kind)
    if len(pictures) != 1:
        raise ValueError(f"The file must contain exactly one picture. Received: {len(pictures)} pictures in {path}.")
    return pictures[0].pixels * np.float32(factor(model))


def factor(model: Model) -> float:
    """Returns a scale for pixels 0..255: 1 if the model has a Rescaling layer, also a nested one, else 1 / 255."""
    return 1.0 if any(isinstance(layer, Rescaling) for layer in model._walk()) else 1 / 255


def picture_kind(shape: Shape, classes: Sequence[str], photo_net: bool = False) -> str:
    """Returns the kind of pictures that a net classifies: "digit", "photo" or "figure"."""
    if photo_net or shape[2] != 1:
        return "photo"
    return "digit" if shape == (28, 28, 1) and tuple(classes) == DIGITS else "figure"


def read(path: Path, shape: Shape, kind: str, any_range: bool = False) -> list[Picture]:
    """Reads the picture in a file, or all pictures in a .npy file.

    kind: "digit" converts a digit to MNIST's form, "photo" scales to the net's size, "figure" keeps
    the whole picture, bright on a dark background. any_range: whether a .npy file may contain values
    0..1 instead of pixels 0..255. Raises UnreadableImage if reading fails.
    """
    try:
        if path.suffix.lower() == ".npy":
            with regular.open_file(path) as file:
                array = npy.read_array(file, regular.size(file))
            if not any_range and array.dtype.kind == "f" and array.size and 0 <= array.min() < array.max() <= 1:
                raise ValueError(f"the pixels must be 0..255. Received: values from {array.min():.3g} to "
                                 f"{array.max():.3g}. Multiply the array by 255")
            return _split_array(path, array, shape)
        if shape[2] not in (1, 3):
            raise ValueError(f"the net needs images with {shape[2]} channels, but pictures have 1 "
                             "or 3. Pass a .npy file")
        return [Picture(str(path), _read_image(path, shape, kind))]
    except UnreadableImage:
        raise
    except Exception as error:  # NumPy's readers raise many kinds of errors, even MemoryError
        if isinstance(error, ExtraError):
            raise
        raise UnreadableImage(path, (getattr(error, "strerror", None) or str(error)).rstrip(".")) from error


def _split_array(path: Path, array: np.ndarray, shape: Shape) -> list[Picture]:
    if not array.size:
        raise ValueError("the array in the file is empty")
    array = array[..., None] if shape[2] == 1 and array.shape[-1:] != (1,) else array
    fits = array.ndim in (3, 4) and all(want in (None, n) for want, n in zip(shape, array.shape[-3:]))
    if array.dtype.kind not in "uif" or not fits:
        raise ValueError(f"the net needs an array of numbers with the shape {shape}, or a batch of such arrays. "
                         f"Received: an array of dtype {array.dtype} with the shape {array.shape}.")
    if array.ndim == 3:
        return [Picture(str(path), array)]
    return [Picture(f"{path}[{i}]", one) for i, one in enumerate(array)]


def _read_image(path: Path, shape: Shape, kind: str) -> np.ndarray:
    h, w, mode = *shape[:2], COLOR_MODES[shape[2]]
    if kind == "photo" and h is not None and w is not None:
        return Decoding((h, w), mode, "BILINEAR").read(path)
    if kind == "digit":
        return load_digit(path)
    whole = read_whole(path, mode)
    return whole if kind == "photo" else _figure(whole, shape)


def _figure(pixels: np.ndarray, shape: Shape) -> np.ndarray:
    """Scales the whole picture to the net's size, padded with its border colour. A gray picture
    with a bright border is inverted.
    """
    border = _border(pixels)
    image = pillow("Image").fromarray(pixels[..., 0] if shape[2] == 1 else pixels)
    size = (shape[1] or image.size[0], shape[0] or image.size[1])
    image = pillow("ImageOps").pad(image, size, pillow("Image").Resampling.BOX, color=tuple(int(v) for v in border))
    pixels = np.asarray(image).reshape(size[1], size[0], shape[2])
    return 255 - pixels if shape[2] == 1 and border[0] >= BRIGHT else pixels


def _border(pixels: np.ndarray) -> np.ndarray:
    """Returns the mean of a picture's border pixels, (C,), or (1,) for a picture (H, W)."""
    pixels = pixels.reshape(*pixels.shape[:2], -1)
    edges = (pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1])
    return np.concatenate(edges).mean(0)
