"""Measures training while other programs keep processors busy, for several frameworks: `python -m
bench.busy`.

Each framework trains alone, then next to one and next to two busy programs, all in the same
process. Busy programs compute endlessly, on the processors to which the frameworks are confined.
Each round starts new processes. When this command ends, the busy programs end as well.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from autoconv.engine.costs import stats
from autoconv.engine.costs.tables import table
from autoconv.programs.bench import machine

from . import environment, peers, show, workloads
from .equal_work import Reference, check_trained
from .process import Process
from .turns import ROUND, STARTING

USUAL = ("autoconv", "torch", "torch-channels-last", "keras", "keras-50", "jax")
LOADS = (0, 1, 2)
AWAKE = 0.5  # seconds that the busy programs run before a measurement
# work in a pass, relative to a round of `bench.compare`; seconds per measurement on an idle machine
EFFORT, SECONDS = 0.5, 2.0

# seconds per step in each round, keyed by the number of busy programs
Times = dict[int, list[float]]


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0, or 1 if a framework failed or computed a wrong result."""
    parser = argparse.ArgumentParser("python -m bench.busy", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workload", default="lecture", choices=workloads.WORKLOADS,
                        help="net to train; default: %(default)s")
    parser.add_argument("--rounds", type=int, default=6, help="number of rounds; default: %(default)s")
    parser.add_argument("--threads", type=int, default=machine.processors(),
                        help="number of threads; default: %(default)s")
    parser.add_argument("--peers", nargs="*", choices=list(peers.list_peers("cpu")), metavar="PEER",
                        help=f"frameworks; default: the installed ones of {', '.join(USUAL)}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all rounds to FILE")
    options, say = parser.parse_args(argv), show.Progress()
    names = options.peers or [name for name in USUAL if not peers.missing(name)]
    result = measure(names, options.workload, options.rounds, options.threads, say)
    say.clear()
    print(format_table(result))
    for line in show.remarks([result]):
        print(line)
    if options.json is not None:
        document = {"machine": machine.describe(), "threads": options.threads,
                    "command": show.command(sys.argv[1:] if argv is None else argv), "results": [result]}
        options.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return 0 if all(found["status"] == "timed" for found in result["peers"].values()) else 1


def measure(names: Sequence[str], workload: str, rounds: int, threads: int, report: show.Progress) -> dict[str, Any]:
    """Returns each framework's images per second for each number of busy programs, and its slowdown
    relative to training alone.
    """
    net = workloads.WORKLOADS[workload]
    batch_size = net.batch_sizes[0]
    reference = Reference(net, batch_size)
    times: dict[str, Times] = {name: {load: [] for load in LOADS} for name in names}
    results: dict[str, dict[str, Any]] = {}
    for i in range(rounds):
        for name in [n for n in names if n not in results]:
            report(f"busy {workload}: round {i + 1}/{rounds}, {name}")
            try:
                one_round(name, reference, threads, times[name], i)
            except RuntimeError as error:
                results[name] = {"status": "failed", "reason": str(error)}
    for name in names:
        results[name] = results.get(name) or {
            "status": "timed", "seconds": times[name],
            "images_per_s": {load: stats.spread([batch_size / s for s in seconds])
                             for load, seconds in times[name].items()},
            "slower": {load: stats.ratio(seconds, times[name][0]) for load, seconds in times[name].items() if load}}
    return {"workload": workload, "batch_size": batch_size, "mode": "busy",
            "peers": {name: results[name] for name in names}}


def one_round(name: str, reference: Reference, threads: int, times: Times, number: int) -> None:
    """Adds one measurement per number of busy programs to `times`. Raises RuntimeError if the
    framework fails.
    """
    batch_size = reference.workload.batch_sizes[0]
    job = {"factory": peers.PEERS[name].factory, "workload": reference.workload.name, "batch_size": batch_size,
           "mode": "train", "steps": workloads.steps(reference.workload, batch_size, "train", EFFORT),
           "seconds": SECONDS, "threads": threads, "seed": workloads.SEED}
    with Process(job) as process:
        reference.check(name, process.answer(STARTING))
        check_trained(name, process.ask("warm-up", STARTING), "train")
        for load in (*LOADS[number % len(LOADS):], *LOADS[:number % len(LOADS)]):
            with busy(load, threads):
                times[load].append(process.ask("round", ROUND)["seconds"])


@contextmanager
def busy(count: int, threads: int) -> Iterator[list[subprocess.Popen]]:
    """Runs `count` busy programs during the `with` block, on the processors to which frameworks with
    `threads` threads are confined.
    """
    programs: list[subprocess.Popen] = []
    try:
        for _ in range(count):
            programs.append(subprocess.Popen([sys.executable, "-m", "bench.busy_program", str(threads)],
                                             env=environment.clean(1)))
        time.sleep(AWAKE if count else 0)
        yield programs
    finally:
        for program in programs:
            program.kill()
            program.wait()


def format_table(result: dict[str, Any]) -> str:
    """Returns a table with one line per framework."""
    rows = []
    for name, f in result["peers"].items():
        if f["status"] != "timed":
            rows.append([peers.label(name), f["status"], "", "", "", ""])
            continue
        rows.append([peers.label(name), *(f"{f['images_per_s'][load]['median']:,.0f}" for load in LOADS),
                     *(f"{f['slower'][load]['median']:.2f}" for load in LOADS[1:])])
    return table([f"{result['workload']}, training, images/s", "alone", "beside 1", "beside 2", "x time: 1", "2"], rows)


if __name__ == "__main__":
    sys.exit(main())
