"""Folders of small pictures for tests, made by Pillow."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

COLORS = {"blue": (30, 60, 220), "green": (40, 200, 60), "red": (220, 50, 40)}
BROKEN = ("cut.jpg", "empty.png", "huge.png", "text.jpg")
SHAPES = {  # corners in -1..1; each is another one in the mirror, or turned
    "flag": [(-0.6, -1), (0.7, -0.9), (0.7, -0.1), (-0.3, -0.1), (-0.3, 1), (-0.6, 1)],
    "hook": [(-0.5, -1), (-0.1, -1), (-0.1, 0.6), (0.7, 0.6), (0.7, 1), (-0.5, 1)],
    "step": [(-1, 0.9), (-1, 0.2), (-0.2, 0.2), (-0.2, -0.9), (0.3, -0.9), (0.3, 0.9)],
    "wedge": [(-0.9, 1), (0.9, 1), (-0.9, -1)],
}
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


def make_turned(folder: Path, train: int = 20, test: int = 50) -> Path:
    """Four shapes of 32 x 32 pixels, so many pictures of each: upright in train/; in test/ turned by up to 36 degrees,
    half of them mirrored.
    """
    rng = np.random.default_rng(0)
    for part, count in (("train", train), ("test", test)):
        for name, corners in SHAPES.items():
            (folder / part / name).mkdir(parents=True)
            for i in range(count):
                shape = np.array(corners)
                if part == "test":
                    angle = np.deg2rad(rng.uniform(-36, 36))
                    turn = [[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]
                    shape = shape * (rng.choice([-1, 1]), 1) @ turn
                image = Image.new("L", (32, 32), int(rng.integers(20, 60)))
                where = shape * rng.uniform(9, 11) + 16 + rng.uniform(-3, 3, 2)
                ImageDraw.Draw(image).polygon(list(map(tuple, where)), fill=int(rng.integers(170, 230)))
                pixels = (np.asarray(image) + rng.normal(0, 12, (32, 32))).clip(0, 255).astype("uint8")
                Image.fromarray(pixels).save(folder / part / name / f"{i:02d}.png")
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
