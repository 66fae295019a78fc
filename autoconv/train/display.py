"""Where lines of progress are shown: on a terminal, in the cell of a notebook, or one after the other as plain text."""

import importlib
import shutil
from collections.abc import Callable
from typing import Any, TextIO

NO_LIMIT = 10_000  # characters in a line of a file, or of a page, which breaks it itself


class Plain:
    """Lines as they stay: a file, a pipe, a terminal with verbose=2."""

    live = False  # whether the current line can be replaced
    titles_above = False  # whether a title stands on a line of its own

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def columns(self) -> int:
        """How many characters a line has."""
        return NO_LIMIT

    def show(self, text: str) -> None:
        """The current line, as it is now."""

    def keep(self, text: str, lasting: bool = True) -> None:
        """The current line, as it stays, and the next one follows it. `lasting=False`: a notebook needs it no more."""
        self._write(text + "\n")

    def can_write(self, text: str) -> bool:
        """Whether the output's encoding has these characters."""
        try:
            text.encode(getattr(self.stream, "encoding", None) or "utf-8")
        except UnicodeEncodeError:
            return False
        return True

    def _write(self, text: str) -> None:
        self.stream.write(text)
        self.stream.flush()


class Terminal(Plain):
    """A line that is written over, from a carriage return on."""

    live = titles_above = True
    _width = 0  # characters that must be covered

    def columns(self) -> int:
        return shutil.get_terminal_size().columns

    def show(self, text: str) -> None:
        self._write("\r" + text.ljust(self._width))
        self._width = len(text)

    def keep(self, text: str, lasting: bool = True) -> None:
        first, *more = text.split("\n")
        self._write("\n".join([("\r" if self._width else "") + first.ljust(self._width), *more]) + "\n")
        self._width = 0


class Cell(Plain):
    """One output of a notebook's cell, which is updated: a page has one line an epoch, whatever happened in between."""

    live = True

    def __init__(self, stream: TextIO, display: Callable[..., Any] | None = None) -> None:
        super().__init__(stream)
        self._display = display or importlib.import_module("IPython.display").display
        self._lines: list[str] = []
        self._handle: Any = None

    def show(self, text: str) -> None:
        self._draw([*self._lines, text])

    def keep(self, text: str, lasting: bool = True) -> None:
        self._lines += [text] * lasting
        self._draw(self._lines)

    def _draw(self, lines: list[str]) -> None:
        content = {"text/plain": "\n".join(lines)}
        if self._handle is not None:
            self._handle.update(content, raw=True)
        elif lines:
            self._handle = self._display(content, raw=True, display_id=True)


def open_display(stream: TextIO, live: bool = True) -> Plain:
    """The display for this output; `live=False` asks for lines as they stay."""
    if live and type(stream).__module__.startswith("ipykernel"):
        return Cell(stream)
    if live and bool(getattr(stream, "isatty", bool)()):
        return Terminal(stream)
    return Plain(stream)
