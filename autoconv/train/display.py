"""Displays for progress lines: a terminal, a notebook cell, or consecutive lines of plain text."""

import importlib
import os
import shutil
from collections.abc import Callable
from typing import Any, TextIO

KERNEL = "JPY_PARENT_PID"  # environment variable set in a notebook kernel and its child processes
NO_LIMIT = 10_000  # characters per line if no limit applies: in files and on notebook pages


class Plain:
    """A display that writes only complete lines, for files, pipes and verbose=2."""

    live = False  # whether the current line can be replaced
    titles_above = False  # whether a title is written on a separate line above the progress line

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def columns(self) -> int:
        """Returns the maximum width of a line in characters."""
        return NO_LIMIT

    def show(self, text: str) -> None:
        """Shows an unfinished line; does nothing if the display cannot replace lines."""

    def keep(self, text: str, lasting: bool = True) -> None:
        """Writes a finished line. With `lasting=False`, a notebook does not keep this line."""
        self._write(text + "\n")

    def can_write(self, text: str) -> bool:
        """Whether the output's encoding supports all characters of `text`."""
        try:
            text.encode(getattr(self.stream, "encoding", None) or "utf-8")
        except UnicodeEncodeError:
            return False
        return True

    def _write(self, text: str) -> None:
        self.stream.write(text)
        self.stream.flush()


class Terminal(Plain):
    """A display for terminals, which overwrites the current line after a carriage return."""

    live = titles_above = True
    _width = 0  # length in characters of the shown line, which the next line must overwrite

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
    """A display that updates one output of a notebook cell in place. The page keeps one line per epoch."""

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
    """Returns the display for an output stream. With `live=False`, the display writes only complete
    lines.

    A notebook's `!command` also writes only complete lines. The command's stream looks like a
    terminal, but the page keeps all output.
    """
    if live and type(stream).__module__.startswith("ipykernel"):
        return Cell(stream)
    if live and bool(getattr(stream, "isatty", bool)()) and KERNEL not in os.environ:
        return Terminal(stream)
    return Plain(stream)
