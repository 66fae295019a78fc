"""Generates the files of docs/ that are stored in the repository: three pages and the pictures."""

from pathlib import Path

import numpy as np

from autoconv.programs import jupyter
from docsite import commands, keras_names, keras_table

DOCS = Path(__file__).resolve().parents[1] / "docs"
GRID, GREYS = 6, 13  # cells per direction, and their allowed mean difference (of 255)


def texts() -> dict[Path, str]:
    """Returns the generated pages by path."""
    return {DOCS / "keras.md": keras_table.page(), DOCS / "keras-names.md": keras_names.page(),
            DOCS / "commands.md": commands.page()}


def same_text(path: Path, text: str) -> bool:
    """Whether a page exists and contains the text. Whitespace is ignored: versions of click break lines differently."""
    return path.exists() and path.read_text(encoding="utf-8").split() == text.split()


def same_picture(one: Path, other: Path) -> bool:
    """Whether two files show the same picture. SVG files are text and must be equal.

    For other formats, the sizes and the means of 6 x 6 cells must be nearly equal. The pictures may differ slightly,
    because versions of Matplotlib draw letters differently, and because rounding on other processors can change a net's
    mistakes. Different pictures differ by 17 or more.
    """
    if not (one.exists() and other.exists()):
        return False
    if one.suffix == ".svg":
        return one.read_text(encoding="utf-8") == other.read_text(encoding="utf-8")
    (size, ours), (other_size, theirs) = _cells(one), _cells(other)
    return np.allclose(size, other_size, rtol=0.02) and float(np.abs(ours - theirs).mean()) < GREYS


def shown(page: Path) -> list[str]:
    """Returns the file names of the pictures that a page shows."""
    return jupyter.PICTURE.findall(page.read_text(encoding="utf-8"))


def left_over() -> list[Path]:
    """Returns the pictures that no page shows."""
    wanted = {page.parent / "pictures" / name for page in DOCS.rglob("*.md") for name in shown(page)}
    return [path for path in DOCS.rglob("pictures/*") if path not in wanted]


def _cells(file: Path) -> tuple[tuple[int, int], np.ndarray]:
    """Returns the size of a picture and the means of its cells in three channels."""
    from PIL import Image

    with Image.open(file) as image:
        return image.size, np.asarray(image.convert("RGB").resize((GRID, GRID), Image.Resampling.BOX), float)
