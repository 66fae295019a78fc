"""The code of a page: its ```python blocks run in order, as one script, in a folder that gets the pictures they write.

A ```text block right after one holds what it prints, where `...` stands for anything. A block that begins with the
name of a file (`# signs.py`) is that file's text, one after `<!-- needs cifar10 -->` needs that data set: other tests
run these.
"""

import contextlib
import doctest
import io
import os
import re
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autoconv import utils

FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\w+)[^\n]*\n(?P<text>.*?)^(?P=indent)```[ \t]*$",
                   re.DOTALL | re.MULTILINE)
OF_A_FILE, NEEDS = re.compile(r"# [\w/]+\.py\b"), re.compile(r"<!-- needs (\w+) -->\n$")
COMPARED = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@dataclass
class Block:
    """One block of Python, the line it begins in, and what it should print, where the page says so."""

    source: str
    line: int
    printed: str | None
    needs: str | None = None  # the data set without which it does not run


class WrongPageError(Exception):
    """A page's code failed, or printed something else than the page says."""


def blocks(text: str) -> list[Block]:
    """The blocks of a page that run, in its order."""
    found, previous = [], None
    for fence in FENCE.finditer(text):
        content = textwrap.dedent(fence["text"])
        if fence["language"] == "python" and not OF_A_FILE.match(content):
            needs = NEEDS.search(text[: fence.start()])
            previous = Block(content, text.count("\n", 0, fence.start()) + 2, None, needs and needs[1])
            found.append(previous)
            end = fence.end()
        elif fence["language"] == "text" and previous is not None and not text[end : fence.start()].strip():
            previous.printed = content
            previous = None
        else:
            previous = None
    return found


def pages(folder: Path) -> list[Path]:
    """The pages below a folder that have code to run."""
    return [path for path in sorted(folder.rglob("*.md")) if blocks(path.read_text(encoding="utf-8"))]


def pictures(folder: Path) -> list[Path]:
    """The pictures that a page wrote into its folder."""
    return [path for path in folder.iterdir() if path.suffix in (".jpg", ".png", ".svg")]


def run(page: Path, folder: Path) -> dict[str, Any]:
    """Runs the page's blocks in `folder`, which gets the files they write. Returns the names they define.

    Those that need a data set are left out. Raises WrongPageError, with the place in the page, where one fails or
    prints something else.
    """
    names: dict[str, Any] = {"__name__": page.stem}
    utils.clear_session()
    with _working_in(folder, page.parent):
        for block in blocks(page.read_text(encoding="utf-8")):
            if block.needs is not None:
                continue
            place = f"{page.name}, line {block.line}"
            out = io.StringIO()
            code = compile("\n" * (block.line - 1) + block.source, str(page), "exec")
            try:
                with contextlib.redirect_stdout(out):
                    exec(code, names)
            except Exception as error:
                raise WrongPageError(f"{place}: {type(error).__name__}: {error}") from error
            printed = out.getvalue()
            if block.printed is not None and not _agree(block.printed, printed):
                raise WrongPageError(f"{place} printed\n{printed}\nThe page says\n{block.printed}")
    return names


def _agree(wanted: str, printed: str) -> bool:
    return doctest.OutputChecker().check_output(wanted, printed, COMPARED)


@contextlib.contextmanager
def _working_in(folder: Path, beside: Path) -> Iterator[None]:
    """The working folder for a while. Modules that lie beside the page can be imported, figures need no window."""
    before, backend = Path.cwd(), os.environ.get("MPLBACKEND")
    os.environ["MPLBACKEND"] = "agg"
    os.chdir(folder)
    sys.path.insert(0, str(beside))
    try:
        yield
    finally:
        os.chdir(before)
        sys.path.remove(str(beside))
        os.environ.pop("MPLBACKEND")
        if backend is not None:
            os.environ["MPLBACKEND"] = backend
        if "matplotlib.pyplot" in sys.modules:
            sys.modules["matplotlib.pyplot"].close("all")
