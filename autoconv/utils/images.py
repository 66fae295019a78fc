"""Converts pictures between files, Pillow's images and arrays."""

import io
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from ..arguments import names
from ..files import regular
from .digit import as_mnist
from .pixels import (
    MODES,
    PictureFile,
    PillowImage,
    UnreadableImage,
    central_box,
    convert_colors,
    decoding_mode,
    naming,
    open_picture,
    orientation,
    pillow,
    read_whole,
    turn_upright,
)

FILTERS = {
    name: name.upper() for name in ("nearest", "bilinear", "bicubic", "hamming", "box", "lanczos")}


def load_img(path: PictureFile, color_mode: str = "rgb", target_size: tuple[int, int] | None = None,
             interpolation: str = "nearest", keep_aspect_ratio: bool = False) -> PillowImage:
    """Returns the picture in a file or an io.BytesIO as a Pillow Image. target_size: the (height,
    width) to which the picture is resized.

    color_mode: "grayscale", "rgb" or "rgba". keep_aspect_ratio: whether to crop the picture to the
    target's aspect ratio first. Unlike in Keras, the picture is turned upright (EXIF) and has 8
    bits per channel, and transparent pixels become white unless color_mode is "rgba". Raises
    UnreadableImage if the file is not a readable picture, ValueError for wrong arguments.
    """
    pil = pillow("Image")
    _check_file(path)
    names.lookup("color_mode", color_mode, MODES)
    resample = pil.Resampling[names.lookup("interpolation", interpolation, FILTERS)]
    file = path if isinstance(path, io.BytesIO) else io.BytesIO(regular.read_file(path))
    with naming(path), open_picture(file, target_size is None) as image:
        mode = decoding_mode(image, color_mode)
        picture = convert_colors(turn_upright(image, orientation(image)), mode)
        picture.load()
    if target_size is not None and picture.size != (target_size[1], target_size[0]):
        size = target_size[1], target_size[0]
        picture = picture.resize(size, resample, central_box(picture.size, size) if keep_aspect_ratio else None)
    return convert_colors(picture, color_mode)


def load_digit(path: PictureFile) -> np.ndarray:
    """Reads a photo of one handwritten digit in the form of MNIST's images: uint8 (28, 28, 1),
    pixels 0..255, bright ink on black.

    `autoconv predict` reads digits with this function. The function subtracts the paper, which may
    be bright or dark and unevenly lit, scales the ink to 20 x 20 pixels, and centres it by its
    mass. Raises UnreadableImage if the file is not a readable picture or contains no digit.
    """
    _check_file(path)
    digit = as_mnist(read_whole(path, "grayscale")[..., 0])
    if not digit.any():
        raise UnreadableImage(path, "no digit was found in the picture. To use the whole picture, read it with "
                                    "utils.load_img, or pass --as-is on the command line")
    return digit[..., None]


def img_to_array(img: PillowImage, data_format: str | None = None,
                 dtype: DTypeLike | None = None) -> np.ndarray:
    """Returns a Pillow Image as an array (height, width, channels), float32 by default."""
    _check_format(data_format)
    if isinstance(img, str | os.PathLike):
        raise TypeError(f"img must be a Pillow Image or an array. Received: {img!r}. Read the file first: "
                        "utils.load_img(path).")
    array = np.array(img, "float32" if dtype is None else dtype)
    if array.ndim not in (2, 3):
        raise ValueError("img must have the shape (height, width) or (height, width, channels). "
                         f"Received shape: {array.shape}.")
    return array.reshape(*array.shape[:2], -1)


def array_to_img(x: np.ndarray, data_format: str | None = None, scale: bool = True,
                 dtype: DTypeLike | None = None) -> PillowImage:
    """Returns an array (height, width, channels) with 1, 3 or 4 channels as a Pillow Image.

    scale: whether to stretch the values to 0..255. Without it, a one-channel array with values
    above 255 becomes a 32-bit picture (mode "I").
    """
    pil = pillow("Image")
    _check_format(data_format)
    x = np.array(x, "float32" if dtype is None else dtype)
    if x.ndim != 3 or x.shape[2] not in (1, 3, 4):
        raise ValueError("x must have the shape (height, width, channels) with 1, 3 or 4 channels. "
                         f"Received shape: {x.shape}.")
    if scale:
        x = x - x.min()
        x = np.minimum(x * (255 / x.max()), 255) if x.max() else x  # rounding may exceed 255
    if x.shape[2] > 1:
        return pil.fromarray(x.astype(np.uint8))
    return pil.fromarray(x[..., 0].astype(np.int32 if x.max() > 255 else np.uint8))


def save_img(path: PictureFile, x: np.ndarray, data_format: str | None = None,
             file_format: str | None = None, scale: bool = True, **kwargs: Any) -> None:
    """Writes an array (height, width, channels) as a picture file. The suffix of `path`
    selects the format unless `file_format` is given.

    scale: as in `array_to_img`. Further arguments are passed to Pillow's `Image.save`. JPEG does
    not support transparency, so an alpha channel is dropped with a warning.
    """
    if file_format is None and isinstance(path, str | Path):
        file_format = Path(path).suffix[1:]
    file_format = "jpeg" if file_format and file_format.lower() == "jpg" else file_format
    image = array_to_img(x, data_format, scale)
    if image.mode == "RGBA" and file_format and file_format.lower() == "jpeg":
        warnings.warn("The JPEG format does not support RGBA images, converting to RGB.", stacklevel=2)
        image = image.convert("RGB")
    try:
        image.save(path, format=file_format or None, **kwargs)
    except KeyError:
        raise ValueError("The suffix of path or file_format must be a format that Pillow writes, such as png or jpg. "
                         f"Received: {file_format!r}.") from None


def _check_file(path: object) -> None:
    if not isinstance(path, io.BytesIO | os.PathLike | str | bytes):
        raise TypeError(f"path must be path-like or an io.BytesIO. Received: {type(path).__name__}.")


def _check_format(data_format: str | None) -> None:
    if data_format not in (None, "channels_last"):
        raise ValueError("data_format must be 'channels_last', because autoconv's images have the "
                         f"shape (height, width, channels). Received: {data_format!r}.")
