"""Runs the code of a page. Its ```python blocks run in order, as one script, in a folder that receives their pictures.

A ```text block directly after a ```python block contains the expected output, in which `...` matches anything. A block
that begins with a file name (`# signs.py`) is the text of that file and does not run here. A block after `<!-- needs
cifar10 -->` needs that data set and does not run here either; other tests run it.
"""

import contextlib
import doctest
import io
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from autoconv import utils
from autoconv.programs import jupyter

COMPARED = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


class WrongPageError(Exception):
    """The code of a page failed, or printed something different from the page."""


def pictures(folder: Path) -> list[Path]:
    """Returns the pictures that a page wrote into its folder."""
    return [path for path in folder.iterdir() if path.suffix in (".jpg", ".png", ".svg")]


def run(page: Path, folder: Path) -> dict[str, Any]:
    """Runs the page's blocks in `folder`, which receives the files they write. Returns the names that the blocks
    define.

    Blocks that need a data set are skipped. If a block fails or prints something different, raises WrongPageError with
    its position in the page.
    """
    names: dict[str, Any] = {"__name__": page.stem}
    utils.clear_session()
    with _working_in(folder, page.parent):
        for block in jupyter.blocks(page.read_text(encoding="utf-8")):
            if block.needs or block.file:
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
    """Changes the working directory inside the `with` block. Modules next to the page can be imported; no windows open.
    """
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
