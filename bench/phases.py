"""Runs many phases within a time limit. The results are kept even if some phases fail."""

import json
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from autoconv.files import atomic

LEAST = 3.0  # minimum seconds until the end of the run for starting a phase


class Failure(RuntimeError):  # noqa: N818 (named after how a phase ended, like Absent)
    """The result of a phase does not pass the phase's checks. Its `results` are kept nevertheless."""

    def __init__(self, reason: str, results: Mapping[str, Any] | None = None) -> None:
        super().__init__(reason)
        self.results = results or {}


class Absent(RuntimeError):  # noqa: N818
    """A phase cannot run because something that it needs is missing, which is not a failure."""


class Phase(NamedTuple):
    """A phase of a run: its name, its time limit in seconds, and the function `work(run, deadline)`.

    `work` must end by `deadline`, a time of time.perf_counter. It must watch the time itself, and call
    code that might hang in a separate process (child.py). Its result is stored in the document.
    `run.add` and `run.add_result` store intermediate results. gate: whether later phases are skipped
    if this phase fails. usual: whether the phase runs if the command names no phases.
    """

    name: str
    limit: float
    work: "Callable[[Run, float], Mapping[str, Any]]"
    gate: bool = False
    usual: bool = True


def share(deadline: float, count: int) -> float:
    """Returns the time of time.perf_counter by which the next of `count` tasks must end, so that all
    have the same time until `deadline`.
    """
    now = time.perf_counter()
    return now + (deadline - now) / count


class Run:
    """Adds the results of each phase to `document`, and writes it to `file` atomically after each
    phase.

    `say` is called with a line per result, `report` with the current activity. `facts` are stored
    with each phase, because the phases of a document may come from different calls.
    """

    def __init__(
        self, document: dict[str, Any], file: Path, seconds: float, say: Callable[[str], None],
        report: Callable[[str], None], facts: Mapping[str, Any] | None = None,
    ) -> None:
        self.document, self.file, self.say, self.report, self._facts = document, file, say, report, dict(facts or {})
        self.end = time.perf_counter() + seconds
        self.phase = ""  # the name of the running phase
        document.setdefault("phases", {})
        document.setdefault("results", [])

    def run_all(self, phases: Iterable[Phase]) -> bool:
        """Runs phases in order. Returns False if a phase failed or if there was no time for it."""
        stopped, succeeded = "", True
        for phase in phases:
            note = self._note(phase, f"{stopped} failed") if stopped else self.run_phase(phase)
            succeeded &= note["status"] in ("done", "absent")
            if phase.gate and note["status"] == "failed":
                stopped = phase.name
        return succeeded

    def run_phase(self, phase: Phase) -> dict[str, Any]:
        """Runs a phase, and returns its status with details. The phase's results from an earlier
        call are deleted first.
        """
        start = time.perf_counter()
        if self.end - start < LEAST:
            return self._note(phase, "no time was left")
        self._forget(phase.name)
        self.phase, seconds, results = phase.name, min(phase.limit, self.end - start), {}
        note: dict[str, Any] = {"status": "done", "limit": round(seconds, 1)}
        self.report(f"{phase.name}: at most {seconds:.0f} s")
        try:
            results = phase.work(self, start + seconds)
        except Failure as error:
            note |= {"status": "failed", "reason": str(error)}
            results = error.results
        except Absent as error:
            note |= {"status": "absent", "reason": str(error)}
        except Exception as error:
            note |= {"status": "failed", "reason": f"{type(error).__name__}: {error}",
                     "traceback": traceback.format_exc()}
        note["seconds"] = round(time.perf_counter() - start, 2)
        self.document["phases"][phase.name] = note | self._facts
        self.add(**results)
        reason = f", {note['reason']}" if "reason" in note else ""
        self.say(f"{phase.name}: {note['status']} after {note['seconds']:.1f} s{reason}")
        return note

    def add(self, **results: Any) -> None:
        """Stores results in the document under the given names."""
        self.document.update(results)
        for name in results:
            self.document.setdefault("found_by", {})[name] = self.phase
        self._write()

    def add_result(self, result: dict[str, Any]) -> None:
        """Appends a result of this phase to the document's list of results."""
        self.document["results"].append(result | {"phase": self.phase})
        self._write()

    def _forget(self, phase: str) -> None:
        """Deletes a phase's results from an earlier call, because the phase may fail this time."""
        self.document["results"] = [each for each in self.document["results"] if each.get("phase") != phase]
        for name, by in self.document.get("found_by", {}).items():
            if by == phase:
                self.document[name] = type(self.document[name])()

    def _note(self, phase: Phase, reason: str) -> dict[str, Any]:
        """Stores that a phase does not run, unless an earlier call has stored its outcome."""
        note = {"status": "skipped", "reason": reason}
        self.document["phases"].setdefault(phase.name, note)
        self._write()
        self.say(f"{phase.name}: skipped, {reason}")
        return note

    def _write(self) -> None:
        atomic.write(self.file, json.dumps(self.document, indent=1, default=str) + "\n")
