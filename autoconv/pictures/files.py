"""Picture files as arrays of pixels, and the other way round. Needs Pillow: the extra `images`."""

import io
from pathlib import Path
from typing import Any

import numpy as np

from ..arguments import extras, names
from ..files import atomic

ONE_IN_16_BITS = 257  # 65535 / 255


def read(path: Path) -> np.ndarray:
    """The picture in a file as pixels 0..255, (H, W, 1) where it is gray, else (H, W, 3); upright, transparent parts
    on white. Raises OSError or ValueError, which name the file, where there is none or it is damaged or too large.
    """
    image_module = _pillow("Image")
    try:
        with image_module.open(path) as opened:
            return _pixels(_pillow("ImageOps").exif_transpose(opened))
    except image_module.UnidentifiedImageError:
        raise ValueError(f"{path} is no picture that Pillow knows.") from None
    except OSError as error:
        raise OSError(f"{path} cannot be read as a picture: {error.strerror or error}.") from error
    except (ValueError, EOFError, SyntaxError, image_module.DecompressionBombError) as error:
        raise ValueError(f"{path} cannot be read as a picture: {error}.") from error


def check_suffix(path: Path) -> None:
    """Raises ValueError where the name of a file does not say which format a picture has that is written there."""
    image_module = _pillow("Image")
    known = {suffix: kind for suffix, kind in image_module.registered_extensions().items() if kind in image_module.SAVE}
    try:
        names.lookup("suffix of a picture", path.suffix.lower(), known)
    except ValueError:
        raise ValueError(f"The name of a picture must end in .png, .jpg or another that Pillow writes. "
                         f"Received: {str(path)!r}.") from None


def write(path: Path, pixels: np.ndarray) -> None:
    """Writes pixels 0..255, (H, W, 1) or (H, W, 3), in the format that the suffix names; at one stroke."""
    check_suffix(path)
    image_module = _pillow("Image")
    data = io.BytesIO()
    image = image_module.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    image.save(data, image_module.registered_extensions()[path.suffix.lower()])
    atomic.write(path, data.getvalue())


def _pixels(image: Any) -> np.ndarray:
    """The pixels of Pillow's image, (H, W, 1) or (H, W, 3)."""
    if image.mode.startswith("I"):  # 16 bits a pixel
        return (np.asarray(image, np.float32) / ONE_IN_16_BITS).clip(0, 255).astype(np.uint8)[..., None]
    if image.mode == "F":
        return np.asarray(image).clip(0, 255).astype(np.uint8)[..., None]
    gray = image.mode in ("1", "L", "LA", "La")
    if image.has_transparency_data:
        ground = _pillow("Image").new("RGBA", image.size, "white")
        image = _pillow("Image").alpha_composite(ground, image.convert("RGBA"))
    pixels = np.asarray(image.convert("L" if gray else "RGB"))
    return pixels[..., None] if gray else pixels


def _pillow(module: str) -> Any:
    return extras.load(f"PIL.{module}", "Pillow", "images", "Reading and writing pictures")
