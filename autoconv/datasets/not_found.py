"""Exceptions for data sets that are missing and for data files that are damaged."""

from pathlib import Path


class DatasetNotFound(FileNotFoundError):  # noqa: N818 - the name states the error
    """A data set was not found. The message lists the places searched and commands that help."""


class DatasetCorrupt(ValueError):  # noqa: N818 - the name states the error
    """A data file violates a rule of its format, and no data were loaded from it.

    The message names the file, the rule, the violation and the remedy. `file` is the file's path.
    """

    def __init__(self, file: Path, rule: str, contents: str, remedy: str = "") -> None:
        remedy = remedy or "Replace the file with a fresh copy, or delete the file."
        super().__init__(f"{file}: {rule}. Received: {contents}. {remedy}")
        self.file = file
