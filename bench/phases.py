"""A run of many phases that ends in time and keeps what it found, whatever fails."""

import json
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

LEAST = 3.0  # seconds: with less left nothing is begun


class Phases:
    """Adds to `document`, phase by phase, and writes it to `file` after each one.

    A phase gets the time when it must have ended, as time.perf_counter counts: its own limit, or the end of all. One
    that fails is noted with its traceback, and the next one runs.
    """

    def __init__(self, document: dict[str, Any], file: Path, seconds: float, report: Callable[[str], None]) -> None:
        self.document, self.file, self.report = document, file, report
        self.begun = time.perf_counter()
        self.end = self.begun + seconds
        document["phases"] = {}

    def run(self, name: str, limit: float, work: Callable[[float], None]) -> bool:
        """Whether `work(until)` ended as it should."""
        begun, notes = time.perf_counter(), self.document["phases"]
        if self.end - begun < LEAST:
            notes[name] = {"status": "skipped", "reason": "no time was left"}
        else:
            self.report(f"{name}: at most {min(limit, self.end - begun):.0f} s")
            try:
                work(min(begun + limit, self.end))
                notes[name] = {"status": "done"}
            except Exception as error:
                notes[name] = {"status": "failed", "reason": f"{type(error).__name__}: {error}",
                               "traceback": traceback.format_exc()}
            notes[name]["seconds"] = round(time.perf_counter() - begun, 2)
        if notes[name]["status"] != "done":
            self.report(f"{name}: {notes[name]['status']}, {notes[name]['reason']}")
        self.write()
        return notes[name]["status"] == "done"

    def write(self) -> None:
        """The document as it is now."""
        self.document["seconds"] = round(time.perf_counter() - self.begun, 1)
        self.file.write_text(json.dumps(self.document, indent=1) + "\n", encoding="utf-8")
