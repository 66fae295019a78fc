"""Runs the tests marked `gpu` in a separate process, with the installed pytest plugins."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from . import environment

PLUGINS = {"xdist": "pytest-xdist", "pytest_timeout": "pytest-timeout", "hypothesis": "hypothesis"}
SHOWN = 3  # number of failures whose text is kept in the result
# The project's pytest settings that are used. The others belong to plugins that may be missing.
SETTINGS = ("filterwarnings", "markers", "pythonpath")
# Deprecation warnings are not errors, because this machine may have other versions of packages.
LET_PASS = (DeprecationWarning, PendingDeprecationWarning, FutureWarning)
LET_PASS_SAYING = ".*deprecat"  # message of deprecation warnings that have a package's own class
STUCK = 60  # seconds after which a test's stack is printed
SANITIZER = "compute-sanitizer"
ITS_LINE = re.compile("={9} (?!.*=$)")  # compute-sanitizer's lines; pytest's lines also end in "="
LEAST = 5.0  # minimum seconds left before the deadline to start the sanitizer


def run(tests: Path, processors: int, log: Path, deadline: float) -> dict[str, Any]:
    """Runs the tests until `deadline`, a time of time.perf_counter. Returns the numbers of tests that
    passed, failed and were skipped, with the text of the first failures.

    Writes pytest's output to `log` while the tests run. The first file with a failure runs again
    under NVIDIA's compute-sanitizer, if that is on the PATH and time is left. The sanitizer's output
    is written to a file next to the log. Raises ModuleNotFoundError if pytest is not installed, and
    RuntimeError if pytest produced no result.
    """
    if find_spec("pytest") is None:
        raise ModuleNotFoundError("The tests need pytest, which is not installed here.")
    files = [str(file) for file in sorted(tests.rglob("test_*.py")) if "mark.gpu" in file.read_text(encoding="utf-8")]
    workers = max(1, processors // 2) if find_spec("xdist") is not None else 1
    threads = max(1, processors // workers)
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        pytest = _pytest(Path(folder), tests.parent)
        command = [*pytest, "--junitxml", str(report), *_spread(workers), *files]
        completed, _ = _run_limited(command, threads, log, deadline)
        found: dict[str, Any] = {
            "workers": workers, "threads": threads, "log": log.name,
            "missing_plugins": [name for module, name in PLUGINS.items() if find_spec(module) is None]}
        output = log.read_text(encoding="utf-8", errors="replace")
        if not completed:
            return found | {"status": "not ended in time", **_count_progress(output)}
        if not report.exists():
            raise RuntimeError(f"pytest produced no result: {output[-2000:]}")
        found |= _count_results(report)
        if found["failures"]:
            found["sanitizer"] = _run_sanitizer([*pytest, "-x"], tests.parent, found["failures"][0]["file"], threads,
                                                log.with_suffix(".sanitizer.log"), deadline)
    return found


def _pytest(folder: Path, root: Path) -> list[str]:
    """Returns the pytest command without the files to test."""
    settings = folder / "pytest.ini"
    settings.write_text(_settings(root), encoding="utf-8")
    return [sys.executable, "-m", "pytest", "-v", "-m", "gpu", "-c", str(settings), "--rootdir", str(root),
            "-p", "no:cacheprovider", "-p", "no:benchmark", "-o", "junit_family=xunit1",
            "-o", f"faulthandler_timeout={STUCK}"]


def _spread(workers: int) -> list[str]:
    return ["-n", str(workers)] if workers > 1 else []


def _settings(root: Path) -> str:
    """Returns pytest's settings from pyproject.toml as the text of a configuration file."""
    project = tomllib.loads((environment.ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    options = project["tool"]["pytest"]["ini_options"]
    options["filterwarnings"] += [*(f"default::{each.__name__}" for each in LET_PASS), f"default:{LET_PASS_SAYING}"]
    # absolute, because pytest would resolve them relative to the new file
    options["pythonpath"] = [str(root / folder) for folder in options["pythonpath"]]
    return "\n".join(["[pytest]", *(f"{name} =\n    " + "\n    ".join(options[name]) for name in SETTINGS)])


def _run_limited(command: list[str], threads: int, log: Path, deadline: float) -> tuple[bool, int]:
    """Runs a command and writes its output to `log`. Returns whether the command ended before the
    deadline, and its exit code. The command has its own session, so that its workers end with it.
    """
    with open(log, "w", encoding="utf-8") as out:
        process = subprocess.Popen(command, env=environment.clean(threads), stdout=out, stderr=subprocess.STDOUT,
                                   start_new_session=True)
        try:
            return True, process.wait(timeout=max(1.0, deadline - time.perf_counter()))
        except subprocess.TimeoutExpired:
            return False, -1
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def _count_progress(output: str) -> dict[str, Any]:
    """Returns the numbers of tests in the output of a pytest that was ended before its summary."""
    return {"passed": len(re.findall(r"\bPASSED\b", output)),
            "failed": len(re.findall(r"\b(?:FAILED|ERROR)\b", output)), "output": output[-2000:]}


def _count_results(report: Path) -> dict[str, Any]:
    cases = list(ElementTree.parse(report).iter("testcase"))
    wrong = [(case, problem) for case in cases for problem in case if problem.tag in ("failure", "error")]
    skipped = sum(case.find("skipped") is not None for case in cases)
    return {
        "status": "failed" if wrong or len(cases) == skipped else "passed",
        "passed": len(cases) - len({id(case) for case, _ in wrong}) - skipped,
        "failed": len({id(case) for case, _ in wrong}), "skipped": skipped,
        "failures": [{"test": f"{case.get('classname')}::{case.get('name')}", "file": case.get("file"),
                      "text": (problem.text or "")[-3000:]} for case, problem in wrong[:SHOWN]],
    }


def _run_sanitizer(
    pytest: list[str], root: Path, file: str | None, threads: int, log: Path, deadline: float
) -> dict[str, Any]:
    """Runs a file's tests under compute-sanitizer up to the first failure. Returns the incorrect
    memory accesses that the sanitizer reports.
    """
    program = shutil.which(SANITIZER)
    if program is None or file is None or deadline - time.perf_counter() < LEAST:
        reason = "is not on the PATH" if program is None else "has no file" if file is None else "found no time left"
        return {"status": "not run", "reason": f"{SANITIZER} {reason}"}
    command = [program, "--target-processes", "all", *pytest, str(root / file)]
    completed, code = _run_limited(command, threads, log, deadline)
    output = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return {"status": "ended" if completed else "not ended in time", "exit": code, "file": file, "log": log.name,
            "errors": [line for line in output if ITS_LINE.match(line)][:40]}
