"""The pixels of a picture file, by Pillow: upright, in the wanted colours and size."""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import ModuleType
from typing import IO, Any, NamedTuple

import numpy as np

from ..arguments import extras
from ..files import regular

MODES = {"grayscale": "L", "rgb": "RGB", "rgba": "RGBA"}
CHANNELS = {"grayscale": 1, "rgb": 3, "rgba": 4}
COLOR_MODES = {channels: mode for mode, channels in CHANNELS.items()}
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "WEBP", "TIFF", "DIB", "JPEG2000", "PCX", "PSD", "TGA", "AVIF", "HEIF",
           "JXL")  # formats that run no program and open no other file
LARGE = 10_000_000  # pixels in colours; a larger file needs a byte per SPARSEST pixels
GRAY, GRAY_MADE_SMALL = 2, 4  # times as many pixels of a byte or a bit; if made smaller first
SPARSEST = 100  # a JPEG of one colour has 64 pixels a byte
_WITH_ALPHA = ("RGBA", "LA", "PA", "RGBa", "La")
_GRAY = ("1", "L", "LA", "La", "I", "F")  # those of 16 bits begin with I
_ORIENTATION = 0x0112  # the EXIF tag; its values 2 to 8 are undone by these methods of Pillow's
_UNDO = {2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE",
         6: "ROTATE_270", 7: "TRANSVERSE", 8: "ROTATE_90"}


class UnreadableImage(OSError):  # noqa: N818 - the name says what happened
    """A file that is no picture, or a broken one: `path` is the file, `reason` what is wrong."""

    def __init__(self, path: Any, reason: str) -> None:
        super().__init__(f"{path} cannot be read as a picture: {reason}.")
        self.path = str(path)
        self.reason = reason

    def __reduce__(self) -> tuple:
        return UnreadableImage, (self.path, self.reason)


class Decoding(NamedTuple):
    """How files become pixels: size (height, width), Keras's color_mode, a filter of Pillow's by
    name, and whether the largest centred part of the size's shape is taken (crop), or the picture
    with black on both sides (pad), instead of a distorted one.
    """

    size: tuple[int, int]
    color_mode: str
    filter: str
    crop: bool = False
    pad: bool = False

    def read(self, path: Any) -> np.ndarray:
        """The pixels (height, width, channels) of a file, as bytes. Raises UnreadableImage."""
        size = self.size[::-1]
        with naming(path), opened(path, whole=False) as image:
            turned = orientation(image)
            mode = mode_at_first(image, self.color_mode)
            if self.filter != "NEAREST":  # JPEG decodes at 1/2, 1/4 or 1/8
                image.draft("L" if self.color_mode == "grayscale" else "RGB", size[::-1] if turned > 4 else size)
            upright = in_colors(undone(image, turned), mode)
            if self.crop:
                upright = upright.crop(central_box(upright.size, size))
            resampling = pillow("Image").Resampling[self.filter]
            if self.pad:
                upright = padded(upright, size, resampling)
            if upright.size != size:
                upright = upright.resize(size, resampling)
            return np.asarray(in_colors(upright, self.color_mode)).reshape(*self.size, CHANNELS[self.color_mode])


def read_whole(path: Any, color_mode: str | None = None) -> np.ndarray:
    """Returns all pixels (H, W, channels) of a file, as bytes; gray if the file is and no
    color_mode says otherwise. Raises UnreadableImage.
    """
    with naming(path), opened(path) as image:
        gray = image.mode in _GRAY or image.mode.startswith("I;")
        mode = color_mode or ("grayscale" if gray else "rgb")
        first = mode_at_first(image, mode)
        pixels = np.asarray(in_colors(undone(image, orientation(image)), first))
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    if first != mode:
        pixels = pixels.repeat(CHANNELS[mode], 2)
        pixels[..., 3:] = 255  # opaque
    return pixels


def pillow(module: str) -> ModuleType:
    """A module of Pillow's, or an ExtraError that names the extra."""
    return extras.load(f"PIL.{module}", "Pillow", "images", "Reading and writing pictures")


@contextmanager
def opened(path: Any, whole: bool = True) -> Iterator[Any]:
    """Gives the picture in a file or an io.BytesIO, with only its size read. Warns of a very large
    one; raises ValueError if the file is far too short for its pixels. whole: whether all of its
    pixels are needed in colours.
    """
    module = pillow("Image")
    with nullcontext(path) if isinstance(path, io.BytesIO) else regular.opened(path) as file:
        try:
            image = module.open(file, formats=FORMATS[:5])  # the common ones
        except module.UnidentifiedImageError:
            module.init()
            image = module.open(file, formats=[name for name in FORMATS[5:] if name in module.OPEN])
        with image:
            _check_size(path, image, file, whole)
            yield image


def _check_size(path: Any, image: Any, file: IO[bytes], whole: bool) -> None:
    limit = pillow("Image").MAX_IMAGE_PIXELS
    count = image.width * image.height
    length = file.getbuffer().nbytes if isinstance(file, io.BytesIO) else regular.size(file)
    large = LARGE * (1 if not _is_gray(image) else GRAY if whole else GRAY_MADE_SMALL)
    if count > max(large, SPARSEST * length):
        raise ValueError(f"a picture of more than {large // 10**6} million pixels has a byte for each {SPARSEST} of "
                         f"them at least. Received: {count / 1e6:.0f} million in {length:,} bytes. Save it smaller")
    if limit is not None and count > limit:
        warnings.warn(f"{path} is very large, {count / 1e6:.0f} million pixels: reading it takes long.", stacklevel=4)


@contextmanager
def naming(path: Any) -> Iterator[None]:
    """Raises whatever Pillow's decoders raise as an UnreadableImage."""
    try:
        yield
    except extras.ExtraError:
        raise
    except Exception as error:
        raise UnreadableImage(path, _reason(path, error)) from error


def _reason(path: Any, error: Exception) -> str:
    if isinstance(path, str | Path) and Path(path).is_file() and not Path(path).stat().st_size:
        return "the file is empty"
    if type(error).__name__ == "UnidentifiedImageError":
        return "it is in no format that Pillow knows, or in one that runs other programs"
    if type(error).__name__ == "DecompressionBombError":
        most = 2 * pillow("Image").MAX_IMAGE_PIXELS
        return f"it has more pixels than Pillow takes, {most / 1e6:.0f} million"
    if isinstance(error, MemoryError):  # Pillow's word for sizes that cannot be, too
        return "it takes more memory than there is"
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return (text or type(error).__name__).rstrip(".")


def orientation(image: Any) -> int:
    """Returns how a camera was held, by EXIF: 1 upright, 2 to 8; 1 if the tag cannot be read."""
    try:
        found = image.getexif().get(_ORIENTATION, 1)
    except (SyntaxError, ValueError, KeyError, TypeError, IndexError, ArithmeticError, RuntimeError):
        return 1
    return found if found in _UNDO else 1


def undone(image: Any, turned: int) -> Any:
    """The picture upright."""
    return image if turned == 1 else image.transpose(pillow("Image").Transpose[_UNDO[turned]])


def _is_gray(image: Any) -> bool:
    """Whether a byte has all of a pixel."""
    return image.mode in ("1", "L") and "transparency" not in image.info


def mode_at_first(image: Any, color_mode: str) -> str:
    """Returns the mode in which a picture is made smaller: gray ones get colours afterwards."""
    return "grayscale" if _is_gray(image) else color_mode


def in_colors(image: Any, color_mode: str) -> Any:
    """Returns the picture with 8 bits a channel, in the mode; transparent pixels become white."""
    mode = MODES[color_mode]
    if image.mode[0] in "IF":  # of 16 bits and more the upper eight, as in TensorFlow
        values = np.asarray(image)
        if ";16" in image.mode or (image.mode == "I" and values.max(initial=0) > 255):
            values = values >> 8
        image = pillow("Image").fromarray(values.clip(0, 255).astype(np.uint8))
    if mode != "RGBA" and (image.mode in _WITH_ALPHA or "transparency" in image.info):
        image = image.convert("RGBA")
        image = pillow("Image").alpha_composite(pillow("Image").new("RGBA", image.size, "white"), image)
    return image if image.mode == mode else image.convert(mode)


def central_box(size: tuple[int, int], target: tuple[int, int]) -> tuple[int, int, int, int]:
    """Returns the largest centred part with the shape of `target`, as `smart_resize` does."""
    (width, height), (w, h) = size, target
    part = max(1, min(width, height * w // h)), max(1, min(height, width * h // w))
    left = (width - part[0]) // 2
    top = (height - part[1]) // 2
    return left, top, left + part[0], top + part[1]


def padded(image: Any, target: tuple[int, int], resampling: Any) -> Any:
    """Returns the picture in the middle of a black one of the shape of `target`."""
    w, h = target
    scale = min(w / image.width, h / image.height)
    if scale < 1:
        image = image.resize([max(1, round(side * scale)) for side in image.size], resampling)
    left = max(image.height * w // h - image.width, 0) // 2
    top = max(image.width * h // w - image.height, 0) // 2
    canvas = pillow("Image").new(image.mode, (image.width + 2 * left, image.height + 2 * top))
    canvas.paste(image, (left, top))
    return canvas
