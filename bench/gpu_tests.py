"""The tests marked `gpu`, run in a process of their own, with whatever pytest plugins there are."""

import os
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

from autoconv.bench import machine

from . import environment

PLUGINS = {"xdist": "pytest-xdist", "pytest_timeout": "pytest-timeout", "pytest_benchmark": "pytest-benchmark",
           "hypothesis": "hypothesis"}
SHOWN = 3  # failures whose text is kept
KEPT = ("filterwarnings", "markers")  # of the project's settings: others are of plugins that may be missing here


def run(tests: Path, workers: int, until: float) -> dict[str, Any]:
    """How many tests passed, failed, did not run; the text of the first failures. Ends when time.perf_counter says so.

    Raises ModuleNotFoundError without pytest, RuntimeError where pytest came to no result.
    """
    if find_spec("pytest") is None:
        raise ModuleNotFoundError("The tests need pytest, which is not installed here.")
    files = [str(file) for file in sorted(tests.glob("test_*.py")) if "mark.gpu" in file.read_text(encoding="utf-8")]
    with tempfile.TemporaryDirectory() as folder:
        settings, report = Path(folder) / "pytest.ini", Path(folder) / "report.xml"
        settings.write_text(_settings(), encoding="utf-8")
        command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-c", str(settings),
                   "--rootdir", str(tests.parent), "-p", "no:cacheprovider", "--junitxml", str(report), *files]
        if find_spec("xdist") is not None and workers > 1:
            command += ["-n", str(workers)]
        said, ended = _ended(command, until)
        lacking = [name for module, name in PLUGINS.items() if find_spec(module) is None]
        if not ended:
            return {"status": "not ended in time", "missing_plugins": lacking, "output": said[-2000:]}
        if not report.exists():
            raise RuntimeError(f"pytest came to no result: {said[-2000:]}")
        return _counted(report) | {"missing_plugins": lacking}


def _settings() -> str:
    """What pytest needs of pyproject.toml, as a file of its own."""
    project = tomllib.loads((environment.ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    given = project["tool"]["pytest"]["ini_options"]
    return "\n".join(["[pytest]", *(f"{name} =\n    " + "\n    ".join(given[name]) for name in KEPT)])


def _ended(command: list[str], until: float) -> tuple[str, bool]:
    """What the command printed, and whether it ended by itself. It takes a session of its own, so that its workers can
    be ended with it.
    """
    process = subprocess.Popen(command, env=environment.clean(machine.processors()), stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT, text=True, start_new_session=True)
    try:
        return process.communicate(timeout=max(1.0, until - time.perf_counter()))[0], True
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        return process.communicate()[0], False


def _counted(report: Path) -> dict[str, Any]:
    cases = list(ElementTree.parse(report).iter("testcase"))
    wrong = [(case, problem) for case in cases for problem in case if problem.tag in ("failure", "error")]
    skipped = sum(case.find("skipped") is not None for case in cases)
    return {
        "status": "failed" if wrong or len(cases) == skipped else "passed",
        "passed": len(cases) - len({id(case) for case, _ in wrong}) - skipped,
        "failed": len({id(case) for case, _ in wrong}), "skipped": skipped,
        "failures": [{"test": f"{case.get('classname')}::{case.get('name')}", "text": (problem.text or "")[-3000:]}
                     for case, problem in wrong[:SHOWN]],
    }
