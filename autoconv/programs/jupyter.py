"""Converts the pages of docs/ that contain code to Jupyter notebooks.

A page's ```python blocks become code cells. A ```text block directly after one becomes that cell's
output. For each picture that a page shows, a cell displays the file that the code before it wrote.
"""

import base64
import json
import posixpath
import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ..files import atomic

FENCE = re.compile(
    r"^(?P<indent> *)```(?P<language>\w+)[^\n]*\n(?P<text>.*?)^(?P=indent)```[ \t]*$",
    re.DOTALL | re.MULTILINE)
FILE = re.compile(r"# ([\w/]+\.py)\b.*\n")
NEEDS = re.compile(r"<!-- needs (\w+) -->\n$")
PICTURE = re.compile(r"^!\[[^\]]*\]\(pictures/([^)\s]+)\)$", re.MULTILINE)
LINK = re.compile(r"(?<!!)\[([^\]]+)\]\((?!https?:)([^)#\s]*)(?:#[^)]*)?\)")
INSTALL = '''\
# This notebook is the page {page} of autoconv's documentation. This cell installs what it needs.
# In Colab, insert the address of autoconv's repository: "autoconv[...] @ git+ADDRESS".
%pip install --quiet "autoconv[images,keras,plots,sklearn]"
'''
SETUP = '''\
%matplotlib agg
from IPython import display  # displays the picture files that the cells below write
'''


@dataclass
class Block:
    """A ```python block of a page. `line` is the line at which its code begins. `printed` is the
    output that the page shows, if any. `file` is set if the block is the text of that file.
    `needs` names the data set without which the block does not run. The block with its output has
    the position `start` to `end` in the page's text.
    """

    source: str
    line: int
    start: int
    end: int
    printed: str | None
    file: str | None
    needs: str | None


def blocks(text: str) -> list[Block]:
    """Returns the ```python blocks of a page in order."""
    found: list[Block] = []
    for fence in FENCE.finditer(text):
        content = textwrap.dedent(fence["text"])
        if fence["language"] == "python":
            needs = NEEDS.search(text[: fence.start()])
            file = FILE.match(content)
            line = text.count("\n", 0, fence.start()) + 2
            start = needs.start() if needs else fence.start()
            found.append(Block(content, line, start, fence.end(), printed=None,
                               file=file and file[1], needs=needs and needs[1]))
        elif fence["language"] == "text" and found and not found[-1].file and (
                found[-1].printed is None):
            last = found[-1]
            if not text[last.end : fence.start()].strip():
                last.printed = content
                last.end = fence.end()
    return found


def pages(folder: Path) -> list[Path]:
    """Returns the pages in a folder and its subfolders that contain code to run, sorted."""
    return [path for path in sorted(folder.rglob("*.md"))
            if any(block.file is None for block in blocks(path.read_text(encoding="utf-8")))]


@cache
def pages_of_notebooks() -> tuple[Path, ...]:
    """Returns the pages that become notebooks: their code needs only the installed package."""
    return tuple(page for page in pages(docs_folder())
                 if not re.search(r"^from bench ", page.read_text(encoding="utf-8"), re.MULTILINE))


def docs_folder() -> Path:
    """Returns the folder of the pages: `_docs` in a wheel, else `docs` of the checkout."""
    here = Path(__file__).resolve().parent
    places = here / "_docs", here.parents[1] / "docs"
    for place in places:
        if (place / "first-steps.md").is_file():
            return place
    raise FileNotFoundError(f"The package lacks its documentation: neither {places[0]} nor "
                            f"{places[1]} contains first-steps.md. Reinstall autoconv.")


def notebook(page: Path) -> dict:
    """Converts a page to a notebook in Jupyter's format 4.4. The first cell installs autoconv."""
    text = page.read_text(encoding="utf-8")
    position = 0
    cells = [_code_cell(INSTALL.format(page=page.name), "install"), _code_cell(SETUP)]
    for block in blocks(text):
        cells += _text_and_pictures(text[position : block.start], page)
        cell = _code_cell(f"%%writefile {block.file}\n" * bool(block.file) + block.source,
                          f"needs-{block.needs}" if block.needs else None)
        if block.printed is not None:
            cell["outputs"] = [{"output_type": "stream", "name": "stdout", "text": block.printed}]
        cells.append(cell)
        position = block.end
    cells += _text_and_pictures(text[position:], page)
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return {"nbformat": 4, "nbformat_minor": 4, "metadata": {"kernelspec": kernel}, "cells": cells}


def write(folder: Path) -> Iterator[tuple[Path, bool]]:
    """Writes all notebooks below `folder`. Yields each path, and whether it was written. Existing
    files are left unchanged, because they may contain a reader's work.
    """
    for page in pages_of_notebooks():
        path = folder / page.relative_to(docs_folder()).with_suffix(".ipynb")
        is_new = not path.exists()
        if is_new:
            path.parent.mkdir(parents=True, exist_ok=True)
            atomic.write(path, to_json(page))
        yield path, is_new


def to_json(page: Path) -> str:
    """Converts a page to the text of an .ipynb file."""
    return json.dumps(notebook(page), indent=1, ensure_ascii=False) + "\n"


def _text_and_pictures(text: str, page: Path) -> Iterator[dict]:
    for number, part in enumerate(PICTURE.split(text)):
        if number % 2:  # between two texts is the name of a picture
            yield _picture_cell(page.parent / "pictures" / part)
        elif part.strip():
            source = _link_notebooks(part.strip(), page)
            yield {"cell_type": "markdown", "metadata": {}, "source": source}


def _picture_cell(picture: Path) -> dict:
    """A cell that displays a picture file, and contains the picture as it is on the page."""
    if picture.suffix == ".svg":
        cell = _code_cell(f'display.SVG("{picture.name}")')
        data = {"image/svg+xml": picture.read_text(encoding="utf-8")}
    else:
        cell = _code_cell(f'display.Image("{picture.name}")')
        kind = "image/png" if picture.suffix == ".png" else "image/jpeg"
        data = {kind: base64.b64encode(picture.read_bytes()).decode()}
    cell["outputs"] = [
        {"output_type": "execute_result", "data": data, "metadata": {}, "execution_count": None}]
    return cell


def _link_notebooks(text: str, page: Path) -> str:
    """Changes links to pages with a notebook into links to it, and other links within the project
    into plain text.
    """
    def change(link: re.Match[str]) -> str:
        if (page.parent / link[2]).resolve() not in pages_of_notebooks():
            return link[1]
        return f"[{link[1]}]({posixpath.splitext(link[2])[0]}.ipynb)"

    return LINK.sub(change, text)


def _code_cell(source: str, tag: str | None = None) -> dict:
    metadata = {"tags": [tag]} if tag else {}
    return {"cell_type": "code", "metadata": metadata, "source": source.strip("\n"),
            "execution_count": None, "outputs": []}
