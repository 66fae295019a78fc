"""Lines for people, broken between words where a terminal ends."""

import shutil
import sys
import textwrap

LABEL = 7  # characters of the labels "data   " and "net    "


def fitted(text: str) -> str:
    """The text as the terminal takes it: what follows a break stands under the words after the label."""
    if not sys.stdout.isatty():
        return text
    columns = max(shutil.get_terminal_size().columns - 1, 2 * LABEL)
    return "\n".join(
        textwrap.fill(line, columns, subsequent_indent=" " * LABEL, break_long_words=False, break_on_hyphens=False)
        for line in text.splitlines())


def printable(text: str) -> str:
    """A name from a file or a folder, as it may be printed: no control characters, nothing that UTF-8 does not have."""
    known = text.encode("utf-8", "replace").decode()
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in known)
