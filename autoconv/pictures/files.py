"""Picture files as arrays of pixels, and the other way round. Needs Pillow: the extra `images`."""

import io
from pathlib import Path

import numpy as np

from ..arguments import names
from ..files import atomic
from ..utils import pixels as decoding

GRAY = ("1", "L", "LA", "La", "I", "F")  # Pillow's modes; those of 16 bits begin with I


def read(path: Path) -> np.ndarray:
    """The picture in a file as pixels 0..255, (H, W, 1) where it is gray, else (H, W, 3); upright, transparent parts
    on white. Raises UnreadableImage, which names the file, where there is none or it is damaged or too large.
    """
    pillow = decoding.pillow_image()
    with decoding.naming(path), pillow.open(path) as image:
        upright = decoding.undone(image, decoding.orientation(image))
        gray = upright.mode in GRAY or upright.mode.startswith("I;")
        found = np.asarray(decoding.in_colors(upright, "grayscale" if gray else "rgb"))
        return found[..., None] if gray else found


def check_suffix(path: Path) -> None:
    """Raises ValueError where the name of a file does not say which format a picture has that is written there."""
    pillow = decoding.pillow_image()
    known = {suffix: kind for suffix, kind in pillow.registered_extensions().items() if kind in pillow.SAVE}
    try:
        names.lookup("suffix of a picture", path.suffix.lower(), known)
    except ValueError:
        raise ValueError(f"The name of a picture must end in .png, .jpg or another that Pillow writes. "
                         f"Received: {str(path)!r}.") from None


def write(path: Path, pixels: np.ndarray) -> None:
    """Writes pixels 0..255, (H, W, 1) or (H, W, 3), in the format that the suffix names; at one stroke."""
    check_suffix(path)
    pillow = decoding.pillow_image()
    data = io.BytesIO()
    image = pillow.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    image.save(data, pillow.registered_extensions()[path.suffix.lower()])
    atomic.write(path, data.getvalue())
