"""A run of many phases that ends in time and keeps what it found, whatever fails."""

import json
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

LEAST = 3.0  # seconds: with less left nothing is begun

Work = Callable[[float], Mapping[str, Any]]


class Phases:
    """Adds to `document` what each phase finds, and writes it to `file` after each one.

    A phase gets the time when it must have ended, as time.perf_counter counts: its own limit, or the end of all. One
    that fails is noted with its traceback, and the next one runs.
    """

    def __init__(self, document: dict[str, Any], file: Path, seconds: float, report: Callable[[str], None]) -> None:
        self.document, self.file, self.report = document, file, report
        self.begun = time.perf_counter()
        self.end = self.begun + seconds
        self._turn = threading.Lock()
        document["phases"] = {}

    def run(self, name: str, limit: float, work: Work) -> None:
        """`work(until)` returns what the document gets."""
        begun, found = time.perf_counter(), {}
        note: dict[str, Any] = {"status": "done"}
        if self.end - begun < LEAST:
            note = {"status": "skipped", "reason": "no time was left"}
        else:
            self.report(f"{name}: at most {min(limit, self.end - begun):.0f} s")
            try:
                found = work(min(begun + limit, self.end))
            except Exception as error:
                note = {"status": "failed", "reason": f"{type(error).__name__}: {error}",
                        "traceback": traceback.format_exc()}
            note["seconds"] = round(time.perf_counter() - begun, 2)
        self.keep(name, note, found)

    def together(self, limit: float, works: Mapping[str, Work]) -> None:
        """Phases at the same time, of which none times anything."""
        with ThreadPoolExecutor(len(works)) as pool:
            for name, work in works.items():
                pool.submit(self.run, name, limit, work)

    def keep(self, name: str, note: dict[str, Any], found: Mapping[str, Any]) -> None:
        """Notes how a phase went, and writes all there is by now."""
        if note["status"] != "done":
            self.report(f"{name}: {note['status']}, {note['reason']}")
        with self._turn:
            self.document.update(found)
            self.document["phases"][name] = note
            self.document["seconds"] = round(time.perf_counter() - self.begun, 1)
            self.file.write_text(json.dumps(self.document, indent=1) + "\n", encoding="utf-8")
