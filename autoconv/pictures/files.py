"""Writes arrays of pixels as picture files. Needs Pillow: the extra `images`."""

import io
from pathlib import Path

import numpy as np

from ..arguments import names
from ..files import atomic
from ..utils.pixels import pillow


def check_suffix(path: Path) -> None:
    """Raises ValueError unless the file's suffix names a format that Pillow writes."""
    image_module = pillow("Image")
    known = {suffix: kind for suffix, kind in image_module.registered_extensions().items() if kind in image_module.SAVE}
    try:
        names.lookup("suffix of a picture", path.suffix.lower(), known)
    except ValueError:
        raise ValueError("The file name of a picture must end in .png, .jpg or the suffix of another format that "
                         f"Pillow can write. Received: {str(path)!r}.") from None


def write(path: Path, pixels: np.ndarray) -> None:
    """Writes pixels 0..255, (H, W, 1) or (H, W, 3), to a file in the format of its suffix."""
    check_suffix(path)
    image_module = pillow("Image")
    data = io.BytesIO()
    image = image_module.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    image.save(data, image_module.registered_extensions()[path.suffix.lower()])
    atomic.write(path, data.getvalue())
