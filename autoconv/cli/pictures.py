"""Picture files as pixels that a net takes."""

from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np

from ..utils.pixels import COLOR_MODES, Decoding, UnreadableImage

BRIGHT = 128  # a border whose mean is at least this is bright ground


class Picture(NamedTuple):
    """Pixels 0..255 in a net's shape (H, W, C), and the name they are reported under."""

    name: str
    pixels: np.ndarray


def read(path: Path, shape: tuple[int, int, int], photo: bool = False) -> list[Picture]:
    """The picture in a file, or those in a .npy file; `photo`: as nets get it that are trained on folders. Raises a
    ClickException for what cannot be read.
    """
    try:
        if path.suffix == ".npy":
            return _from_array(path, np.load(path, allow_pickle=False), shape)
        if photo:
            return [Picture(str(path), Decoding(shape[:2], COLOR_MODES[shape[2]], "BILINEAR").read(path))]
        return [Picture(str(path), _from_picture(path, shape))]
    except UnreadableImage as error:
        raise click.ClickException(str(error)) from error
    except (OSError, ValueError, EOFError) as error:
        raise click.ClickException(f"{path} cannot be read as an image: {error}") from error


def _from_array(path: Path, array: np.ndarray, shape: tuple[int, int, int]) -> list[Picture]:
    wanted = {shape, shape[:2]} if shape[2] == 1 else {shape}
    if array.dtype.kind not in "uif" or not wanted & {array.shape, array.shape[1:]}:
        raise ValueError(f"the net takes numbers of shape {shape}, or several of them. "
                         f"Received: {array.dtype} of shape {array.shape}.")
    if array.shape in wanted:
        return [Picture(str(path), array.reshape(shape))]
    return [Picture(f"{path}[{i}]", one.reshape(shape)) for i, one in enumerate(array)]


def _from_picture(path: Path, shape: tuple[int, int, int]) -> np.ndarray:
    """The picture upright, without transparency, in the net's colours and size; its border fills what it lacks."""
    image_module, ops = _pillow()
    if shape[2] not in (1, 3):
        raise ValueError(f"the net takes images of {shape[2]} channels, and pictures have 1 or 3. Give it a .npy file.")
    with image_module.open(path) as opened:
        image = ops.exif_transpose(opened).convert("RGBA")
    ground = image_module.new("RGBA", image.size, "white")
    image = image_module.alpha_composite(ground, image).convert("L" if shape[2] == 1 else "RGB")
    border = _border(np.asarray(image))
    image = ops.pad(image, (shape[1], shape[0]), image_module.Resampling.BOX, color=tuple(int(v) for v in border))
    pixels = np.asarray(image).reshape(shape)
    return 255 - pixels if shape[2] == 1 and border[0] >= BRIGHT else pixels


def _border(pixels: np.ndarray) -> np.ndarray:
    """The mean of the outermost pixels of (H, W) or (H, W, C), for each channel."""
    pixels = pixels.reshape(*pixels.shape[:2], -1)
    edges = (pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1])
    return np.concatenate(edges).mean(0)


def _pillow() -> tuple[Any, Any]:
    try:
        from PIL import Image, ImageOps
    except ImportError:
        raise click.ClickException(
            "Reading pictures needs Pillow, which is not installed: pip install 'autoconv[images]'. "
            "A .npy file with an array of pixels needs nothing more."
        ) from None
    return Image, ImageOps
