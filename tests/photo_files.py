"""Folders of small pictures for tests, made by Pillow."""

from pathlib import Path

import numpy as np
from PIL import Image

COLORS = {"blue": (30, 60, 220), "green": (40, 200, 60), "red": (220, 50, 40)}
BROKEN = ("cut.jpg", "empty.png", "huge.png", "text.jpg")
ODD = ("a.gif", "a.webp", "cmyk.jpg", "deep.png", "exif.jpg", "palette.png")


def make(folder: Path, each: int = 12, size: tuple[int, int] = (20, 24), classes=tuple(COLORS)) -> Path:
    """A folder for each colour with `each` noisy pictures (height, width) of it, as JPEG and PNG in turns."""
    rng = np.random.default_rng(0)
    for name in classes:
        (folder / name).mkdir(parents=True)
        for i in range(each):
            pixels = (rng.normal(0, 20, (*size, 3)) + COLORS[name]).clip(0, 255).astype("uint8")
            Image.fromarray(pixels).save(folder / name / f"{i:02d}.{'jpg' if i % 2 else 'png'}")
    return folder


def add_odd(folder: Path) -> None:
    """Pictures of less common kinds, all red above and blue below."""
    image = halves()
    image.save(folder / "a.gif")
    image.save(folder / "a.webp", quality=100)
    image.convert("CMYK").save(folder / "cmyk.jpg", quality=100)
    image.quantize(8).save(folder / "palette.png")
    Image.fromarray((np.asarray(image.convert("L"), np.uint16) << 8) + 7).save(folder / "deep.png")
    turned = Image.Exif()
    turned[0x0112] = 6  # to be turned by 90 degrees clockwise
    image.transpose(Image.Transpose.ROTATE_90).save(folder / "exif.jpg", exif=turned, quality=100)


def add_broken(folder: Path) -> None:
    """Files that are no pictures, cut off, empty, or far too large."""
    whole = next(folder.glob("*.jpg")).read_bytes()
    (folder / "cut.jpg").write_bytes(whole[: len(whole) * 2 // 3])
    (folder / "empty.png").write_bytes(b"")
    (folder / "text.jpg").write_text("no picture")
    Image.new("1", (16_000, 12_000)).save(folder / "huge.png")


def halves() -> Image.Image:
    """32 x 24 pixels, red above and blue below."""
    pixels = np.zeros((24, 32, 3), "uint8")
    pixels[:12], pixels[12:] = (250, 0, 0), (0, 0, 250)
    return Image.fromarray(pixels)
