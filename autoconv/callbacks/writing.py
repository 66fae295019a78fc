"""Callbacks that write what happened: rows of a CSV file."""

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..files import atomic, regular
from .callback import Callback, Logs


class CSVLogger(Callback):
    """Writes a row an epoch to a CSV file: the epoch and all values, "NA" for those that an epoch has not: the columns
    val_loss and its like are there from the beginning, as a later epoch may be validated. Each row is on the disk when
    its epoch ends. append: goes on in a file.
    """

    def __init__(self, filename: str | Path, separator: str = ",", append: bool = False) -> None:
        self.filename, self.separator, self.append = Path(filename), separator, append
        self._columns: list[str] = []

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self._columns = []
        if self.append and self.filename.is_file():
            rows = io.StringIO(regular.read(self.filename).decode(), newline="")
            self._columns = next(csv.reader(rows, delimiter=self.separator), [])
        else:
            self.filename.write_text("")

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        values: dict[str, Any] = {"epoch": epoch, **(logs or {})}
        if not self._columns:
            names = sorted(logs or {})
            later = [] if any(name.startswith("val_") for name in names) else [f"val_{name}" for name in names]
            self._columns = ["epoch", *names, *later]
            self._write(self._columns)
        self._write([_cell(values.get(name, "NA")) for name in self._columns])

    def _write(self, row: list[Any]) -> None:
        with open(self.filename, "a", newline="", encoding="utf-8") as file:
            csv.writer(file, delimiter=self.separator).writerow(row)

    def get_state(self) -> dict[str, Any]:
        written = regular.read(self.filename).decode() if self.filename.is_file() else ""
        return {"columns": list(self._columns), "written": written}

    def set_state(self, state: Mapping[str, Any]) -> None:
        self._columns = list(state["columns"])
        atomic.write(self.filename, state["written"])  # rows that were written later come again


def _cell(value: Any) -> Any:
    """Several numbers as one cell, as Keras writes them."""
    several = np.ndim(value) > 0 and not isinstance(value, str)
    return f'"[{", ".join(map(str, value))}]"' if several else value
