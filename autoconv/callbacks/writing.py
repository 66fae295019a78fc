"""Callbacks that write what happened: rows of a CSV file."""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..files import atomic
from .base import Callback, Logs


class CSVLogger(Callback):
    """Writes a row an epoch to a CSV file: the epoch and all values, "NA" for those that an epoch has not, such as
    val_loss with validation_freq=2. Each row is on the disk when its epoch ends. append: goes on in a file.
    """

    def __init__(self, filename: str | Path, separator: str = ",", append: bool = False) -> None:
        self.filename, self.separator, self.append = Path(filename), separator, append
        self._columns: list[str] = []

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self._columns = []
        if self.append and self.filename.exists():
            with open(self.filename, newline="", encoding="utf-8") as file:
                self._columns = next(csv.reader(file, delimiter=self.separator), [])
        else:
            self.filename.write_text("")

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        values: dict[str, Any] = {"epoch": epoch, **(logs or {})}
        if not self._columns:
            self._columns = ["epoch", *sorted([*(logs or {}), *self._validated(logs or {})])]
            self._write(self._columns)
        self._write([values.get(name, "NA") for name in self._columns])

    def _validated(self, logs: Logs) -> list[str]:
        """The columns that come with a later epoch's validation."""
        has_some = any(name.startswith("val_") for name in logs)
        return [] if has_some or not self.params.get("validates") else [f"val_{name}" for name in logs
                                                                       if name != "learning_rate"]

    def _write(self, row: list[Any]) -> None:
        with open(self.filename, "a", newline="", encoding="utf-8") as file:
            csv.writer(file, delimiter=self.separator).writerow(row)

    def get_state(self) -> dict[str, Any]:
        written = self.filename.read_bytes().decode() if self.filename.exists() else ""
        return {"columns": list(self._columns), "written": written}

    def set_state(self, state: Mapping[str, Any]) -> None:
        self._columns = list(state["columns"])
        atomic.write(self.filename, state["written"])  # rows that were written later come again
