"""Which picture files a name stands for, and pictures as text."""

from pathlib import Path

import click
import numpy as np

from ..utils.class_folders import is_picture

INK = " .:-=+*#%@"


def files_in(path: Path) -> list[Path]:
    """The file itself, or all pictures and .npy files in a folder and its folders, by their names. An empty folder is
    refused.
    """
    if not path.is_dir():
        return [path]
    found = sorted(p for p in path.rglob("*") if p.is_file() and (is_picture(p.name) or p.suffix.lower() == ".npy"))
    if not found:
        raise click.ClickException(f"There is no picture in the folder {path}: no .jpg, .png or other, and no .npy.")
    return found


def drawn(pixels: np.ndarray) -> str:
    """A picture (H, W, C) as text: two characters a pixel, the denser the brighter; at most 40 pixels wide."""
    step = -(-pixels.shape[1] // 40)
    gray = pixels[::step, ::step].mean(-1)
    return "\n".join("".join(2 * INK[int(value * len(INK) / 256)] for value in row).rstrip() for row in gray)
