"""A callback that writes a log to a CSV file."""

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..files import atomic, regular
from .callback import Callback, Logs


class CSVLogger(Callback):
    """Writes one row per epoch to a CSV file when the epoch ends, with the epoch number and all
    values in the logs. Missing values are written as "NA". The first row already has columns for
    validation values, such as val_loss, because a later epoch may be validated. append: whether to
    continue an existing file.
    """

    def __init__(self, filename: str | Path, separator: str = ",", append: bool = False) -> None:
        self.filename, self.separator, self.append = Path(filename), separator, append
        self._columns: list[str] = []

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self._columns = []
        if self.append and self.filename.is_file():
            rows = io.StringIO(regular.read_file(self.filename).decode(), newline="")
            self._columns = next(csv.reader(rows, delimiter=self.separator), [])
        else:
            self.filename.write_text("")

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        values: dict[str, Any] = {"epoch": epoch, **(logs or {})}
        if not self._columns:
            names = sorted(logs or {})
            val_names = [] if any(name.startswith("val_") for name in names) else [f"val_{name}" for name in names]
            self._columns = ["epoch", *names, *val_names]
            self._write(self._columns)
        row = [values.get(name, "NA") for name in self._columns]
        self._write([f'"[{", ".join(map(str, value))}]"' if np.ndim(value) else value for value in row])  # as in Keras

    def _write(self, row: list[Any]) -> None:
        with open(self.filename, "a", newline="", encoding="utf-8") as file:
            csv.writer(file, delimiter=self.separator).writerow(row)

    def get_state(self) -> dict[str, Any]:
        text = regular.read_file(self.filename).decode() if self.filename.is_file() else ""
        return {"columns": list(self._columns), "written": text}

    def set_state(self, state: Mapping[str, Any]) -> None:
        self._columns = list(state["columns"])
        atomic.write(self.filename, state["written"])  # drops later rows; training writes them again
