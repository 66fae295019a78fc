"""Runs many phases within a time limit, and keeps all results even if a phase fails."""

import json
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from autoconv.files import atomic

LEAST = 3.0  # seconds: with less left nothing is begun


class Failed(RuntimeError):  # noqa: N818 (how a phase ended, as Absent is)
    """A phase ended, and what it found is not what it must be. `found` is kept all the same."""

    def __init__(self, reason: str, found: Mapping[str, Any] | None = None) -> None:
        super().__init__(reason)
        self.found = found or {}


class Absent(RuntimeError):  # noqa: N818
    """What a phase needs is not here, which is nobody's fault."""


class Phase(NamedTuple):
    """A part of a run: its name, the seconds that it may take at most, and `work(run, until)`, which does it.

    `until` is when it must have ended, as time.perf_counter counts. What the work returns goes into the document; what
    it has before that, it can keep by `run.add` and `run.put`. The work keeps its time itself: whatever might hang
    belongs into a process of its own (child.py). gate: where this phase fails, none after it runs. usual: it runs where
    no phase was asked for by its name.
    """

    name: str
    limit: float
    work: "Callable[[Run, float], Mapping[str, Any]]"
    gate: bool = False
    usual: bool = True


def share(until: float, left: int) -> float:
    """When the next of so many parts must have ended, as time.perf_counter counts: each has the same time."""
    now = time.perf_counter()
    return now + (until - now) / left


class Run:
    """Adds to `document` what each phase finds, and writes it to `file` after each one, at one stroke.

    `say` gets a line for each result, `report` what is going on. `facts` are noted with each phase: where a document
    holds those of several calls, they may differ.
    """

    def __init__(
        self, document: dict[str, Any], file: Path, seconds: float, say: Callable[[str], None],
        report: Callable[[str], None], facts: Mapping[str, Any] | None = None,
    ) -> None:
        self.document, self.file, self.say, self.report, self._facts = document, file, say, report, dict(facts or {})
        self.end = time.perf_counter() + seconds
        self.phase = ""  # the name of the one that runs
        document.setdefault("phases", {})
        document.setdefault("results", [])

    def all(self, phases: Iterable[Phase]) -> bool:
        """Runs them in their order. Whether none failed or found no time left."""
        stopped, well = "", True
        for phase in phases:
            note = self._note(phase, f"{stopped} failed") if stopped else self.one(phase)
            well &= note["status"] in ("done", "absent")
            if phase.gate and note["status"] == "failed":
                stopped = phase.name
        return well

    def one(self, phase: Phase) -> dict[str, Any]:
        """Runs a phase; the result says how that went. What an earlier call found in it is forgotten first."""
        begun = time.perf_counter()
        if self.end - begun < LEAST:
            return self._note(phase, "no time was left")
        self._forget(phase.name)
        self.phase, seconds, found = phase.name, min(phase.limit, self.end - begun), {}
        note: dict[str, Any] = {"status": "done", "limit": round(seconds, 1)}
        self.report(f"{phase.name}: at most {seconds:.0f} s")
        try:
            found = phase.work(self, begun + seconds)
        except Failed as error:
            note |= {"status": "failed", "reason": str(error)}
            found = error.found
        except Absent as error:
            note |= {"status": "absent", "reason": str(error)}
        except Exception as error:
            note |= {"status": "failed", "reason": f"{type(error).__name__}: {error}",
                     "traceback": traceback.format_exc()}
        note["seconds"] = round(time.perf_counter() - begun, 2)
        self.document["phases"][phase.name] = note | self._facts
        self.add(**found)
        reason = f", {note['reason']}" if "reason" in note else ""
        self.say(f"{phase.name}: {note['status']} after {note['seconds']:.1f} s{reason}")
        return note

    def add(self, **found: Any) -> None:
        """Keeps what was found, under these names."""
        self.document.update(found)
        for name in found:
            self.document.setdefault("found_by", {})[name] = self.phase
        self._write()

    def put(self, result: dict[str, Any]) -> None:
        """Keeps one more of the results, which is this phase's."""
        self.document["results"].append(result | {"phase": self.phase})
        self._write()

    def _forget(self, phase: str) -> None:
        """Empties what this phase found before: it may fail this time."""
        self.document["results"] = [each for each in self.document["results"] if each.get("phase") != phase]
        for name, by in self.document.get("found_by", {}).items():
            if by == phase:
                self.document[name] = type(self.document[name])()

    def _note(self, phase: Phase, reason: str) -> dict[str, Any]:
        """Notes that a phase does not run. How an earlier call of it went stays."""
        note = {"status": "skipped", "reason": reason}
        self.document["phases"].setdefault(phase.name, note)
        self._write()
        self.say(f"{phase.name}: skipped, {reason}")
        return note

    def _write(self) -> None:
        atomic.write(self.file, json.dumps(self.document, indent=1, default=str) + "\n")
