"""What is made in docs/ and lies there for those who read the repository: two pages and the pictures."""

import re
from pathlib import Path

import numpy as np

from docsite import commands, keras_table

DOCS = Path(__file__).resolve().parents[1] / "docs"
SHOWN = re.compile(r"!\[[^\]]+\]\(pictures/([^)]+)\)")
SIDE, GREYS = 12, 10  # pixels of a cell, and by how much two cells may differ in the mean, of 255


def texts() -> dict[Path, str]:
    """The pages that are made, by their path."""
    return {DOCS / "keras.md": keras_table.page(), DOCS / "commands.md": commands.page()}


def same_text(path: Path, text: str) -> bool:
    """Whether a page is there and says that. Versions of click break lines differently, so blanks do not count."""
    return path.exists() and path.read_text(encoding="utf-8").split() == text.split()


def same_picture(one: Path, other: Path) -> bool:
    """Whether two files show the same. SVG is text and must be equal.

    Others must have the same size and nearly the same mean in each cell of 12 x 12 pixels, on the average of all
    cells: processors differ in the last bits of what a net has learned, and the letters' edges differ by version.
    """
    if not (one.exists() and other.exists()):
        return False
    if one.suffix == ".svg":
        return one.read_text(encoding="utf-8") == other.read_text(encoding="utf-8")
    ours, theirs = _cells(one), _cells(other)
    return ours.shape == theirs.shape and float(np.abs(ours - theirs).mean()) < GREYS


def shown(page: Path) -> list[str]:
    """The names of the pictures that a page shows."""
    return SHOWN.findall(page.read_text(encoding="utf-8"))


def left_over() -> list[Path]:
    """The pictures that no page shows."""
    wanted = {page.parent / "pictures" / name for page in DOCS.rglob("*.md") for name in shown(page)}
    return [path for path in DOCS.rglob("pictures/*") if path not in wanted]


def _cells(file: Path) -> np.ndarray:
    """The means of the cells, in three channels."""
    from PIL import Image

    with Image.open(file) as image:
        pixels = np.asarray(image.convert("RGB"), float)
    rows, columns = (size // SIDE for size in pixels.shape[:2])
    return pixels[: rows * SIDE, : columns * SIDE].reshape(rows, SIDE, columns, SIDE, 3).mean(axis=(1, 3))
