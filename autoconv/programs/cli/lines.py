"""Lines for people, broken between words where a terminal ends. What commands print goes through `echo`."""

import shutil
import sys
import textwrap

import click

from ...arguments.names import printable

LABEL = 7  # characters of the labels "data   " and "net    "


def fitted(text: str) -> str:
    """The text as the terminal takes it: what follows a break stands under the words after the label."""
    if not sys.stdout.isatty():
        return text
    columns = max(shutil.get_terminal_size().columns - 1, 2 * LABEL)
    return "\n".join(
        textwrap.fill(line, columns, subsequent_indent=" " * LABEL, break_long_words=False, break_on_hyphens=False)
        for line in text.splitlines())


def echo(text: str, err: bool = False, over: bool = False) -> None:
    """Prints lines, in which words from files, folders and errors cannot steer the terminal;
    `over`: in the place of the line that shows progress, if there is one.
    """
    stream = sys.stderr if err else sys.stdout
    over = over and stream is not None and stream.isatty()
    click.echo("\r\033[K" * over + printable(text, keep="\n"), err=err)
