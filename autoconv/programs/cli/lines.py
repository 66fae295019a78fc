"""Prints the commands' text: wraps it at the terminal's width, and escapes control characters."""

import shutil
import sys
import textwrap

import click

from ...arguments.names import printable

LABEL = 7  # width of the labels "data   " and "net    "


def wrap(text: str) -> str:
    """Wraps the text at the terminal's width. Continuation lines are indented past the label."""
    if not sys.stdout.isatty():
        return text
    columns = max(shutil.get_terminal_size().columns - 1, 2 * LABEL)
    return "\n".join(textwrap.fill(line, columns, subsequent_indent=" " * LABEL,
                                   break_long_words=False, break_on_hyphens=False)
                     for line in text.splitlines())


def echo(text: str, err: bool = False, overwrite: bool = False) -> None:
    """Prints text with control characters escaped. `overwrite` first clears the current line."""
    stream = sys.stderr if err else sys.stdout
    overwrite = overwrite and stream is not None and stream.isatty()
    click.echo("\r\033[K" * overwrite + printable(text, keep="\n"), err=err)
