"""Which picture files a name stands for, and pictures as text."""

from pathlib import Path

import click
import numpy as np

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".npy", ".png", ".ppm", ".tif", ".tiff", ".webp")
INK = " .:-=+*#%@"


def files_in(path: Path) -> list[Path]:
    """The file itself, or all pictures in a folder and its folders, by their names. An empty folder is refused."""
    if not path.is_dir():
        return [path]
    found = sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
    if not found:
        raise click.ClickException(f"There is no picture in the folder {path}. Pictures end in {', '.join(SUFFIXES)}.")
    return found


def drawn(pixels: np.ndarray) -> str:
    """A picture (H, W, C) as text: two characters a pixel, the denser the brighter; at most 40 pixels wide."""
    step = -(-pixels.shape[1] // 40)
    gray = pixels[::step, ::step].mean(-1)
    return "\n".join("".join(2 * INK[int(value * len(INK) / 256)] for value in row).rstrip() for row in gray)
