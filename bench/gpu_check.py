"""`python -m bench.gpu_check` runs everything that is worth measuring in a few minutes on a GPU: a
smoke test, tests, nets against other frameworks, kernels, accuracy. It writes one JSON file, and
prints a table of the targets.

`--only PHASE ...` runs only these phases. `--out FILE` adds the results to those in FILE, so that
several calls can fill one document.
"""

import argparse
import json
import math
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from autoconv.arguments.names import lookup
from autoconv.kernels.cuda import device as device_cuda
from autoconv.kernels.device import DeviceError
from autoconv.programs.bench import machine
from autoconv.programs.bench.run import SCHEMA

from . import environment, gpu_phases, gpu_smoke, peers, show, targets
from .phases import Phase, Run

RESERVE = 15  # seconds reserved at the end for work that is still running, and for the table
PLAN = gpu_phases.PLAN


def main(argv: Sequence[str] | None = None, plan: Sequence[Phase] = PLAN) -> int:
    """Returns the exit code: 0, or 1 if there is no GPU or if a phase failed."""
    options = arguments(argv, plan)
    versions = gpu_smoke.versions()  # first, because later code might crash
    say("versions: " + ", ".join(f"{name} {version or 'not here'}" for name, version in versions.items()))
    try:
        gpu = describe_gpu()
    except DeviceError as error:
        print(error, file=sys.stderr)
        return 1
    say("GPU: " + ", ".join(f"{name} {value}" for name, value in gpu.items()))
    document, progress = begin_document(options, gpu, versions), show.Progress()
    facts = {"commit": document["calls"][-1]["commit"], "date": document["calls"][-1]["date"]}
    run = Run(document, options.out, 60 * options.minutes - RESERVE, say, progress, facts)
    succeeded = run.run_all(options.only)
    progress.clear()
    conclude(document, options.out, plan)
    return 0 if succeeded else 1


def say(line: str) -> None:
    """Prints a line of results without buffering, so that the line is visible even if this command
    is ended early.
    """
    print(line, flush=True)


def describe_gpu() -> dict[str, Any]:
    """Describes the GPU. Raises DeviceError if there is none."""
    device_cuda.check(0)
    return device_cuda.describe(0)


def arguments(argv: Sequence[str] | None, plan: Sequence[Phase]) -> argparse.Namespace:
    names, usual = {phase.name: phase for phase in plan}, [phase for phase in plan if phase.usual]
    minutes = math.ceil((sum(phase.limit for phase in usual) + RESERVE) / 60)

    def parse_phase(name: str) -> Phase:
        try:
            return lookup("phase", name, names)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    parser = argparse.ArgumentParser("python -m bench.gpu_check", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter, epilog=_list_phases(plan))
    parser.add_argument("--only", nargs="+", type=parse_phase, metavar="PHASE", default=usual,
                        help="run only these phases")
    parser.add_argument("--minutes", type=float, default=minutes,
                        help="time limit for all phases; default: %(default)s")
    parser.add_argument("--skip-peers", action="store_true", help="time only autoconv")
    parser.add_argument("--out", type=Path, metavar="FILE",
                        help="file to write or extend; default: bench/results/DATE-gpu.json")
    options = parser.parse_args(argv)
    if not 0 < options.minutes < math.inf:
        parser.error(f"--minutes must be positive. Received: {options.minutes}")
    options.only = [phase for phase in plan if phase in options.only]
    options.out = options.out or environment.ROOT / "bench" / "results" / f"{time.strftime('%Y-%m-%d')}-gpu.json"
    if not options.out.absolute().parent.is_dir():
        parser.error(f"--out: missing folder {options.out.absolute().parent}")
    options.earlier = earlier(options.out, parser)
    return options


def _list_phases(plan: Sequence[Phase]) -> str:
    """Returns the help text's list of phases, in order."""
    lines = [f"  {p.name:20}{p.limit:4g}{'' if p.usual else '  only with --only'}" for p in plan]
    return "\n".join(["phases, and the seconds that each may take:", *lines])


def earlier(file: Path, parser: argparse.ArgumentParser) -> dict[str, Any]:
    """Returns the document that earlier calls wrote to `file`."""
    if not file.exists():
        return {}
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        parser.error(f"--out: {file} cannot be extended: {error}")
    if not isinstance(document, dict) or document.get("schema") != SCHEMA or "calls" not in document:
        parser.error(f"--out: {file} was not written by this command. Name another file.")
    return document


def begin_document(options: argparse.Namespace, gpu: dict[str, Any], versions: dict[str, Any]) -> dict[str, Any]:
    """Returns the document in which the phases store their results. It describes the machine and the
    peers, and contains the results of earlier calls.
    """
    document = options.earlier
    before = document.get("machine", {}).get("gpu", {}).get("name", gpu["name"])
    if before != gpu["name"]:
        raise SystemExit(f"{options.out} was measured on {before}, but this is {gpu['name']}. Pass "
                         "another file with --out.")
    call = {"only": [phase.name for phase in options.only], "minutes": options.minutes,
            "skip_peers": options.skip_peers, "commit": _commit(),
            "date": time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime())}
    return document | {
        "schema": SCHEMA, "machine": machine.describe() | {"gpu": gpu, "nvidia_smi": _nvidia_smi()},
        "threads": machine.processors(), "device": "cuda", "commit": call["commit"], "versions": versions,
        "settings": {"rounds": gpu_phases.ROUNDS, "round_seconds": gpu_phases.ROUND_SECONDS},
        "peers": {name: _here(name, options.skip_peers) for name in peers.list_peers("cuda")},
        "results": document.get("results", []), "kernels": document.get("kernels", []),
        "calls": [*document.get("calls", ()), call],
    }


def _here(name: str, skip: bool) -> dict[str, Any]:
    """Returns a peer's label and status, with the reason if the peer does not take part."""
    lacking = peers.missing(name)
    if lacking or (skip and name != targets.OURS):
        reason = f"not installed: {', '.join(lacking)}" if lacking else "--skip-peers"
        return {"label": peers.label(name), "status": "absent", "reason": reason}
    return {"label": peers.label(name), "status": "present"}


def conclude(document: dict[str, Any], file: Path, plan: Sequence[Phase]) -> None:
    """Prints the table of targets, the failed phases with their reasons, and a command that runs the
    remaining phases.
    """
    print(targets.format_table(document))
    for name, note in document["phases"].items():
        if "traceback" in note:
            print(f"\n{name} failed\n{note['traceback']}")
    for remark in [*(f"{p['label']}: absent, {p['reason']}" for p in document["peers"].values() if "reason" in p),
                   *show.remarks(document["results"])]:
        print(remark)
    tried = [name for name, note in document["phases"].items() if note["status"] != "skipped"]
    if left := [phase.name for phase in plan if phase.name not in tried]:
        print(f"Not run: {', '.join(left)}. To continue: "
              f"python -m bench.gpu_check --out {file} --only {' '.join(left)}")
    print(f"wrote all rounds to {file}")


def _nvidia_smi() -> str | None:
    """Returns nvidia-smi's report of driver, memory, power and clocks, or None if it fails."""
    fields = "name,driver_version,memory.total,power.limit,clocks.sm,clocks.max.sm,clocks.mem"
    return _run_command(["nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader"])


def _commit() -> str | None:
    return _run_command(["git", "-C", str(environment.ROOT), "describe", "--always", "--dirty", "--abbrev=12"])


def _run_command(command: list[str]) -> str | None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None


if __name__ == "__main__":
    sys.exit(main())
