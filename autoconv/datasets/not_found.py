"""What can be wrong with a dataset: it isn't there, or a file of it is damaged."""

from pathlib import Path


class DatasetNotFound(FileNotFoundError):  # noqa: N818 - the name says what happened
    """No place holds the whole set; the message lists the places, and what to type instead."""


class DatasetCorrupt(ValueError):  # noqa: N818 - likewise
    """A data file breaks a rule of its format; nothing of it was loaded.

    The message names the file, the rule, what was found and the remedy; `file` is the file's path.
    """

    def __init__(self, file: Path, rule: str, found: str, remedy: str = "") -> None:
        remedy = remedy or "Replace the file by a fresh copy, or delete it."
        super().__init__(f"{file}: {rule}; found {found}. {remedy}")
        self.file = file
