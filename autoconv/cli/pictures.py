"""Picture files as pixels that a net takes."""

from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np

from ..pictures.digit import as_mnist

Shape = tuple[int | None, int | None, int]  # (H, W, C) of the images that a net takes, None for any size

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".npy", ".png", ".ppm", ".tif", ".tiff", ".webp")
INK = " .:-=+*#%@"
BRIGHT = 128  # a border whose mean is at least this is bright ground


class Picture(NamedTuple):
    """Pixels 0..255 in a net's shape (H, W, C), and the name they are reported under."""

    name: str
    pixels: np.ndarray


class UnreadableError(Exception):
    """A file that is no picture for this net."""


def files_in(path: Path) -> list[Path]:
    """The file itself, or all pictures in a folder and its folders, by their names. An empty folder is refused."""
    if not path.is_dir():
        return [path]
    found = sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
    if not found:
        raise click.ClickException(f"There is no picture in the folder {path}. Pictures end in {', '.join(SUFFIXES)}.")
    return found


def read(path: Path, shape: Shape, digit: bool) -> list[Picture]:
    """The picture in a file, or those in a .npy file; `digit`: as MNIST would have the digit in it.

    Raises UnreadableError for what is none, and a ClickException where Pillow is missing.
    """
    try:
        if path.suffix == ".npy":
            return _from_array(path, np.load(path, allow_pickle=False), shape)
        return [Picture(str(path), _from_picture(path, shape, digit))]
    except (OSError, ValueError, EOFError, SyntaxError) as error:  # Pillow raises SyntaxError for a broken PNG
        raise UnreadableError(f"{path} cannot be read as an image: {error}") from error


def drawn(pixels: np.ndarray) -> str:
    """A picture (H, W, C) as text: two characters a pixel, the denser the brighter; at most 40 pixels wide."""
    step = -(-pixels.shape[1] // 40)
    gray = pixels[::step, ::step].mean(-1)
    return "\n".join("".join(2 * INK[int(value * len(INK) / 256)] for value in row).rstrip() for row in gray)


def _from_array(path: Path, array: np.ndarray, shape: Shape) -> list[Picture]:
    array = array[..., None] if shape[2] == 1 and array.shape[-1:] != (1,) else array
    fits = array.ndim in (3, 4) and all(want in (None, n) for want, n in zip(shape, array.shape[-3:]))
    if array.dtype.kind not in "uif" or not fits:
        raise ValueError(f"the net takes numbers of shape {shape}, or several of them. "
                         f"Received: {array.dtype} of shape {array.shape}.")
    if array.ndim == 3:
        return [Picture(str(path), array)]
    return [Picture(f"{path}[{i}]", one) for i, one in enumerate(array)]


def _from_picture(path: Path, shape: Shape, digit: bool) -> np.ndarray:
    """The picture upright, without transparency, in the net's colours and size; its border fills what it lacks."""
    image_module, ops = _pillow()
    if shape[2] not in (1, 3):
        raise ValueError(f"the net takes images of {shape[2]} channels, and pictures have 1 or 3. Give it a .npy file.")
    with image_module.open(path) as opened:
        image = ops.exif_transpose(opened).convert("RGBA")
    ground = image_module.new("RGBA", image.size, "white")
    image = image_module.alpha_composite(ground, image).convert("L" if shape[2] == 1 else "RGB")
    if digit:
        return as_mnist(np.asarray(image))[..., None]
    border = _border(np.asarray(image))
    size = (shape[1] or image.size[0], shape[0] or image.size[1])
    image = ops.pad(image, size, image_module.Resampling.BOX, color=tuple(int(v) for v in border))
    pixels = np.asarray(image).reshape(size[1], size[0], shape[2])
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
