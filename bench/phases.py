"""Runs many phases within a time limit, and keeps all results even if a phase fails."""

import json
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from autoconv.files import atomic

LEAST = 3.0  # minimum remaining seconds for starting a phase


class Failed(RuntimeError):  # noqa: N818 (how a phase ended, as Absent is)
    """A phase ended with a wrong result. `found` is stored nevertheless."""

    def __init__(self, reason: str, found: Mapping[str, Any] | None = None) -> None:
        super().__init__(reason)
        self.found = found or {}


class Absent(RuntimeError):  # noqa: N818
    """A requirement of the phase is missing, which is not an error."""


class Phase(NamedTuple):
    """A part of a run: its name, its time limit in seconds, and the function `work(run, until)`.

    `until` is the time at which the work must have ended, in terms of time.perf_counter. The result of the work goes
    into the document; earlier results can be stored with `run.add` and `run.put`. The work must observe its time limit
    itself, so anything that might hang must run in a separate process (child.py). gate: if this phase fails, no later
    phase runs. usual: the phase runs if no phases are selected by name.
    """

    name: str
    limit: float
    work: "Callable[[Run, float], Mapping[str, Any]]"
    gate: bool = False
    usual: bool = True


def share(until: float, left: int) -> float:
    """Returns when the next of `left` parts must have ended, in terms of time.perf_counter, if all get equal time."""
    now = time.perf_counter()
    return now + (until - now) / left


class Run:
    """Adds the results of each phase to `document`, and writes it to `file` atomically after each phase.

    `say` receives a line for each result, `report` describes the progress. `facts` are stored with each phase, because
    a document can contain phases of several calls with different facts.
    """

    def __init__(
        self, document: dict[str, Any], file: Path, seconds: float, say: Callable[[str], None],
        report: Callable[[str], None], facts: Mapping[str, Any] | None = None,
    ) -> None:
        self.document, self.file, self.say, self.report, self._facts = document, file, say, report, dict(facts or {})
        self.end = time.perf_counter() + seconds
        self.phase = ""  # name of the running phase
        document.setdefault("phases", {})
        document.setdefault("results", [])

    def all(self, phases: Iterable[Phase]) -> bool:
        """Runs the phases in order. Returns whether none failed and all had time to run."""
        stopped, well = "", True
        for phase in phases:
            note = self._note(phase, f"{stopped} failed") if stopped else self.one(phase)
            well &= note["status"] in ("done", "absent")
            if phase.gate and note["status"] == "failed":
                stopped = phase.name
        return well

    def one(self, phase: Phase) -> dict[str, Any]:
        """Runs a phase and returns its status. The phase's results of earlier calls are deleted first."""
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
        """Stores results under these names."""
        self.document.update(found)
        for name in found:
            self.document.setdefault("found_by", {})[name] = self.phase
        self._write()

    def put(self, result: dict[str, Any]) -> None:
        """Adds a result of this phase to the list of results."""
        self.document["results"].append(result | {"phase": self.phase})
        self._write()

    def _forget(self, phase: str) -> None:
        """Deletes this phase's earlier results, because it may fail this time."""
        self.document["results"] = [each for each in self.document["results"] if each.get("phase") != phase]
        for name, by in self.document.get("found_by", {}).items():
            if by == phase:
                self.document[name] = type(self.document[name])()

    def _note(self, phase: Phase, reason: str) -> dict[str, Any]:
        """Records that a phase does not run. The status of an earlier call of the phase remains."""
        note = {"status": "skipped", "reason": reason}
        self.document["phases"].setdefault(phase.name, note)
        self._write()
        self.say(f"{phase.name}: skipped, {reason}")
        return note

    def _write(self) -> None:
        atomic.write(self.file, json.dumps(self.document, indent=1, default=str) + "\n")
