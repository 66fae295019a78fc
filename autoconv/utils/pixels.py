"""Reads the pixels of a picture file with Pillow, upright and in the requested colours and size."""

import io
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import ModuleType
from typing import IO, Any, NamedTuple

import numpy as np

from ..arguments import extras
from ..files import regular

PillowImage = Any  # a PIL.Image.Image; Pillow is imported when needed
PictureFile = str | os.PathLike[str] | io.BytesIO

MODES = {"grayscale": "L", "rgb": "RGB", "rgba": "RGBA"}
CHANNELS = {"grayscale": 1, "rgb": 3, "rgba": 4}
COLOR_MODES = {channels: mode for mode, channels in CHANNELS.items()}
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "WEBP", "TIFF", "DIB", "JPEG2000", "PCX", "PSD", "TGA", "AVIF", "HEIF",
           "JXL")  # formats whose decoders run no program and open no other file
LARGE = 10_000_000  # size limit in pixels for colour pictures with over SPARSEST pixels per byte
GRAY, GRAY_MADE_SMALL = 2, 4  # limits in LARGE pixels for gray pictures, read whole or shrunk
SPARSEST = 100  # maximum pixels per byte of a large picture; a single-colour JPEG has 64
_WITH_ALPHA = ("RGBA", "LA", "PA", "RGBa", "La")
_GRAY = ("1", "L", "LA", "La", "I", "F")  # 16-bit modes begin with "I;"
_ORIENTATION = 0x0112  # number of the EXIF tag; Pillow's methods in _UNDO undo its values 2 to 8
_UNDO = {2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE",
         6: "ROTATE_270", 7: "TRANSVERSE", 8: "ROTATE_90"}


class UnreadableImage(OSError):  # noqa: N818 - the name states the error
    """A file is damaged or is not a picture. `path` is the file, `reason` is the cause."""

    def __init__(self, path: PictureFile, reason: str) -> None:
        path = "The stream" if isinstance(path, io.BytesIO) else path
        super().__init__(f"{path} cannot be read as a picture: {reason}.")
        self.path = str(path)
        self.reason = reason

    def __reduce__(self) -> tuple:
        return UnreadableImage, (self.path, self.reason)


class Decoding(NamedTuple):
    """Settings for decoding pictures: the size (height, width), Keras's color_mode, and the name of
    a Pillow filter. crop: whether to crop pictures centrally to the size's aspect ratio. pad:
    whether to add black borders. Without crop or pad, resizing may distort pictures.
    """

    size: tuple[int, int]
    color_mode: str
    filter: str
    crop: bool = False
    pad: bool = False

    def read(self, path: PictureFile) -> np.ndarray:
        """Returns a file's pixels, uint8 (height, width, channels), or raises UnreadableImage."""
        size = self.size[::-1]
        with naming(path), open_picture(path, whole=False) as image:
            code = orientation(image)
            mode = decoding_mode(image, self.color_mode)
            if self.filter != "NEAREST":  # a JPEG can be decoded at 1/2, 1/4 or 1/8 of its size
                image.draft("L" if self.color_mode == "grayscale" else "RGB", size[::-1] if code > 4 else size)
            upright = convert_colors(turn_upright(image, code), mode)
            if self.crop:
                upright = upright.crop(central_box(upright.size, size))
            resampling = pillow("Image").Resampling[self.filter]
            if self.pad:
                upright = pad_picture(upright, size, resampling)
            if upright.size != size:
                upright = upright.resize(size, resampling)
            return np.asarray(convert_colors(upright, self.color_mode)).reshape(*self.size, CHANNELS[self.color_mode])


def read_whole(path: PictureFile, color_mode: str | None = None) -> np.ndarray:
    """Returns all pixels of a file, uint8 (H, W, channels). By default a gray file has one channel
    and any other file has three. Raises UnreadableImage if the file cannot be read.
    """
    with naming(path), open_picture(path) as image:
        gray = image.mode in _GRAY or image.mode.startswith("I;")
        mode = color_mode or ("grayscale" if gray else "rgb")
        first = decoding_mode(image, mode)
        pixels = np.asarray(convert_colors(turn_upright(image, orientation(image)), first))
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    if first != mode:
        pixels = pixels.repeat(CHANNELS[mode], 2)
        pixels[..., 3:] = 255  # alpha: opaque
    return pixels


def pillow(module: str) -> ModuleType:
    """Returns a module of Pillow. Raises ExtraError if Pillow is not installed."""
    return extras.load(f"PIL.{module}", "Pillow", "images", "Reading and writing pictures")


@contextmanager
def open_picture(path: PictureFile, whole: bool = True) -> Iterator[PillowImage]:
    """Yields the picture in a file or an io.BytesIO, after reading only its header. Warns if the
    picture is very large, and raises ValueError if the file is too short for a large picture.
    whole: whether all pixels are needed at full size.
    """
    module = pillow("Image")
    with nullcontext(path) if isinstance(path, io.BytesIO) else regular.open_file(path) as file:
        try:
            image = module.open(file, formats=FORMATS[:5])  # the common formats
        except module.UnidentifiedImageError:
            module.init()
            image = module.open(file, formats=[name for name in FORMATS[5:] if name in module.OPEN])
        with image:
            _check_size(path, image, file, whole)
            yield image


def _check_size(path: PictureFile, image: PillowImage, file: IO[bytes], whole: bool) -> None:
    limit = pillow("Image").MAX_IMAGE_PIXELS
    count = image.width * image.height
    length = file.getbuffer().nbytes if isinstance(file, io.BytesIO) else regular.size(file)
    large = LARGE * (1 if not _is_gray(image) else GRAY if whole else GRAY_MADE_SMALL)
    if count > max(large, SPARSEST * length):
        raise ValueError(f"a picture of more than {large // 10**6} million pixels must have at "
                         f"least one byte per {SPARSEST} pixels. Received: {count / 1e6:.0f} "
                         f"million pixels in {length:,} bytes. Save the picture at a smaller size")
    if limit is not None and count > limit:
        warnings.warn(f"{path} is very large, {count / 1e6:.0f} million pixels: reading it takes a long time.",
                      stacklevel=4)


@contextmanager
def naming(path: PictureFile) -> Iterator[None]:
    """Converts any exception in the block, except ExtraError, to an UnreadableImage."""
    try:
        yield
    except extras.ExtraError:
        raise
    except Exception as error:
        raise UnreadableImage(path, _describe_error(path, error)) from error


def _describe_error(path: PictureFile, error: Exception) -> str:
    if isinstance(path, str | Path) and Path(path).is_file() and not Path(path).stat().st_size:
        return "the file is empty"
    if type(error).__name__ == "UnidentifiedImageError":
        return "its format is unknown to Pillow, or runs other programs"
    if type(error).__name__ == "DecompressionBombError":
        most = 2 * pillow("Image").MAX_IMAGE_PIXELS
        return f"it has more pixels than Pillow allows, {most / 1e6:.0f} million"
    if isinstance(error, MemoryError):  # Pillow also raises MemoryError for impossible sizes
        return "it needs more memory than is available"
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return (text or type(error).__name__).rstrip(".")


def orientation(image: PillowImage) -> int:
    """Returns the EXIF orientation, from 1 (upright) to 8, or 1 if the file has no valid one."""
    try:
        code = image.getexif().get(_ORIENTATION, 1)
    except (SyntaxError, ValueError, KeyError, TypeError, IndexError, ArithmeticError, RuntimeError):
        return 1
    return code if code in _UNDO else 1


def turn_upright(image: PillowImage, code: int) -> PillowImage:
    """Returns the picture turned upright. code: its EXIF orientation."""
    return image if code == 1 else image.transpose(pillow("Image").Transpose[_UNDO[code]])


def _is_gray(image: PillowImage) -> bool:
    """Whether a picture is gray, with at most one byte per pixel and without transparency."""
    return image.mode in ("1", "L") and "transparency" not in image.info


def decoding_mode(image: PillowImage, color_mode: str) -> str:
    """Returns the color_mode for resizing. Gray pictures are converted to colours afterwards."""
    return "grayscale" if _is_gray(image) else color_mode


def convert_colors(image: PillowImage, color_mode: str) -> PillowImage:
    """Returns the picture in `color_mode`, 8 bits per channel; transparent pixels become white."""
    mode = MODES[color_mode]
    if image.mode[0] in "IF":  # keeps the upper 8 of 16 bits, as TensorFlow does
        values = np.asarray(image)
        if ";16" in image.mode or (image.mode == "I" and values.max(initial=0) > 255):
            values = values >> 8
        image = pillow("Image").fromarray(values.clip(0, 255).astype(np.uint8))
    if mode != "RGBA" and (image.mode in _WITH_ALPHA or "transparency" in image.info):
        image = image.convert("RGBA")
        image = pillow("Image").alpha_composite(pillow("Image").new("RGBA", image.size, "white"), image)
    return image if image.mode == mode else image.convert(mode)


def central_box(size: tuple[int, int], target: tuple[int, int]) -> tuple[int, int, int, int]:
    """Returns the box (left, top, right, bottom) of the largest centred part with the aspect ratio
    of `target`, as in Keras's `smart_resize`.
    """
    (width, height), (w, h) = size, target
    part = max(1, min(width, height * w // h)), max(1, min(height, width * h // w))
    left = (width - part[0]) // 2
    top = (height - part[1]) // 2
    return left, top, left + part[0], top + part[1]


def pad_picture(image: PillowImage, target: tuple[int, int], resampling: int) -> PillowImage:
    """Returns the picture centred on a black background with the aspect ratio of `target`."""
    w, h = target
    scale = min(w / image.width, h / image.height)
    if scale < 1:
        image = image.resize([max(1, round(side * scale)) for side in image.size], resampling)
    left = max(image.height * w // h - image.width, 0) // 2
    top = max(image.width * h // w - image.height, 0) // 2
    canvas = pillow("Image").new(image.mode, (image.width + 2 * left, image.height + 2 * top))
    canvas.paste(image, (left, top))
    return canvas
