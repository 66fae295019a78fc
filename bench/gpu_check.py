"""`python -m bench.gpu_check`: all that a GPU at hand for a few minutes can tell. Tests, ceilings, nets beside other
frameworks, kernels, accuracy; one JSON under bench/results/, and a table of what was to be reached."""

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from autoconv import datasets, device_cuda
from autoconv.bench import machine
from autoconv.bench.run import SCHEMA
from autoconv.device import DeviceError

from . import accuracy, child, environment, gpu_tests, peers, rounds, show, targets, workloads
from .equal_work import TOLERANCE_TF32
from .phases import Phases
from .process import PeerError, Process
from .turns import Report, within

# What each phase may take of eight minutes, in seconds; the last ones get what is left.
LIMITS = {"compiling": 60, "tests": 110, "ceilings": 25, "net": 50, "kernels": 40, "accuracy": 75, "race": 100}
ROUNDS, ROUND_SECONDS = 6, 0.3
SEEDS = (0, 1, 2)
RESERVE = 15  # seconds of the minutes that are left to what has begun in time, and to the table
COMPILED = ("torch-cuda-compile", "jax-cuda", "jax-cuda-50")  # who fills a cache on disk before the nets are timed


def main(given: Sequence[str] | None = None) -> int:
    """The exit code: 0, or 1 where there is no GPU, a test failed, or a phase did not end as it should."""
    options, say = arguments(given), show.Progress()
    try:
        gpu = the_gpu()
    except DeviceError as error:
        print(error, file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as folder:
        os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", folder)  # as the others keep what they compile
        document = described(gpu, options)
        check(Phases(document, options.out, 60 * options.minutes - RESERVE, say), options)
    say.clear()
    print(targets.shown(document))
    for name, note in document["phases"].items():
        if "traceback" in note:
            print(f"\n{name} failed\n{note['traceback']}")
    for remark in [*(f"{p['label']}: absent, {p['reason']}" for p in document["peers"].values() if "reason" in p),
                   *show.remarks(document["results"])]:
        print(remark)
    print(f"wrote all rounds to {options.out}")
    return 0 if all(note["status"] in ("done", "absent") for note in document["phases"].values()) else 1


def the_gpu() -> dict[str, Any]:
    """The GPU in words. Raises DeviceError where there is none; Numba's simulator is none."""
    device_cuda.check(0)
    found = device_cuda.describe(0)
    if "compute_capability" not in found:
        raise DeviceError("Times of Numba's simulator of a GPU mean nothing. Unset NUMBA_ENABLE_CUDASIM.")
    return found


def arguments(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m bench.gpu_check", description=__doc__)
    parser.add_argument("--minutes", type=float, default=8.0, help="after which all has ended; default: %(default)s")
    parser.add_argument("--skip-tests", action="store_true")
    parser.add_argument("--skip-peers", action="store_true", help="time autoconv alone")
    parser.add_argument("--out", type=Path, metavar="FILE", help="default: bench/results/DATE-gpu.json")
    options = parser.parse_args(given)
    if not 0 < options.minutes < math.inf:
        parser.error(f"--minutes must be positive. Received: {options.minutes}")
    options.out = options.out or environment.ROOT / "bench" / "results" / f"{time.strftime('%Y-%m-%d')}-gpu.json"
    if not options.out.absolute().parent.is_dir():
        parser.error(f"--out: there is no folder {options.out.absolute().parent}")
    return options


def described(gpu: dict[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    """The document before the first phase: what it is measured on, and who takes part."""
    lacking = {name: peers.missing(name) for name in peers.on("cuda")}
    return {
        "schema": SCHEMA, "machine": machine.describe() | {"gpu": gpu, "nvidia_smi": _nvidia_smi()},
        "threads": machine.processors(), "device": "cuda", "commit": _commit(),
        "settings": {"minutes": options.minutes, "skip_tests": options.skip_tests, "skip_peers": options.skip_peers,
                     "rounds": ROUNDS, "round_seconds": ROUND_SECONDS},
        "peers": {name: {"label": peers.label(name), "status": "absent" if lacks else "present",
                         **({"reason": f"not installed: {', '.join(lacks)}"} if lacks else {})}
                  for name, lacks in lacking.items()},
        "results": [], "kernels": [],
    }


def check(phases: Phases, options: argparse.Namespace) -> None:
    """All phases, what matters most first."""
    document, threads = phases.document, phases.document["threads"]
    names = [name for name, peer in document["peers"].items()
             if peer["status"] == "present" and (name == targets.OURS or not options.skip_peers)]

    def run(name: str, limit: str, work: Any) -> None:
        phases.run(name, LIMITS[limit], work)

    run("compiling", "compiling", lambda until: document.update(
        compiling=child.call("bench.gpu_kernels:prepare", {}, threads, until)))
    if not options.skip_tests:
        run("tests", "tests", lambda until: tests_and_caches(document, names, until))
    run("ceilings", "ceilings", lambda until: document.update(
        ceilings=child.call("bench.gpu_ceilings:measure", {}, threads, until)))
    for workload, batch_size, mode in targets.rows():
        run(f"{workload}, {mode}, batch {batch_size}", "net",
            lambda until, row=(workload, batch_size, mode): net(document, names, *row, phases.report, until))
    run("kernels", "kernels", lambda until: document.update(kernels=kernels(document, until)))
    run("accuracy", "accuracy", lambda until: document.update(accuracy=five_epochs(until)))
    if datasets.where("mnist"):
        run("race", "race", lambda until: document["results"].append(race(names, threads, phases.report, until)))
    else:
        document["phases"]["race"] = {"status": "absent", "reason": "no MNIST here (AUTOCONV_DATA names its folder)"}
        phases.write()


def tests_and_caches(document: dict[str, Any], names: list[str], until: float) -> None:
    """The tests; beside them other frameworks compile what they will run, as nothing is timed now."""
    processors = document["threads"]
    with ThreadPoolExecutor(max(1, processors // 4)) as threads:
        for name in names:
            for row in targets.rows() if name in COMPILED else ():
                threads.submit(_fill_cache, name, *row, processors, until)
        document["tests"] = gpu_tests.run(environment.ROOT / "tests", max(1, processors // 4), until)
        threads.shutdown(cancel_futures=True)
    if document["tests"]["status"] != "passed":
        raise RuntimeError(f"tests: {document['tests']}")


def _fill_cache(name: str, workload: str, batch_size: int, mode: str, threads: int, until: float) -> None:
    """Starts the peer as the comparison will, and ends it after its warm-up. What fails here fails there again."""
    steps = workloads.batches_on_gpu(workloads.WORKLOADS[workload], batch_size)
    job = {"factory": peers.PEERS[name].factory, "workload": workload, "batch_size": batch_size, "mode": mode,
           "steps": steps, "threads": threads, "seed": workloads.SEED}
    try:
        with Process(job) as process:
            process.answer(within(600, until))
            process.ask("warm-up", within(600, until))
    except PeerError:
        return


def net(document: dict[str, Any], names: list[str], workload: str, batch_size: int, mode: str, report: Report,
        until: float) -> None:
    """One row of the comparison, each peer in a process of its own for all rounds."""
    steps = workloads.batches_on_gpu(workloads.WORKLOADS[workload], batch_size)
    plan = rounds.Plan(ROUNDS, ROUNDS, document["threads"], steps, ROUND_SECONDS, TOLERANCE_TF32, at_once=True,
                       until=until)
    entry = rounds.compare(names, workload, batch_size, mode, plan, report)
    document["results"].append(entry)
    ours = entry["peers"].get(targets.OURS)
    if ours is None or ours["status"] != "timed":
        raise RuntimeError(f"autoconv was not timed: {ours}")


def kernels(document: dict[str, Any], until: float) -> list[dict[str, Any]]:
    """The shares of the ceilings that were measured before."""
    if "ceilings" not in document:
        raise RuntimeError("The card's ceilings were not measured, so there is nothing to compare kernels with.")
    found = document["ceilings"]
    timed = list(dict.fromkeys(row[:2] for row in targets.rows()))
    given = {"nets": timed, "flops": found["tf32_flops"]["median"], "bandwidth": found["bytes_per_s"]["median"],
             "l2_bytes": found["l2_bytes"]}
    return child.call("bench.gpu_kernels:measure", given, document["threads"], until)


def five_epochs(until: float) -> dict[str, Any]:
    """`autoconv train` with its defaults for each seed, all at once: nothing is timed."""
    dataset = "mnist" if datasets.where("mnist") else "digits"
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(len(SEEDS)) as threads:
        def train(seed: int) -> dict[str, Any]:
            file = Path(folder) / f"{seed}.json"
            subprocess.run([sys.executable, "-m", "autoconv", "train", dataset, "--device", "cuda", "--seed", str(seed),
                            "--quiet", "--json", str(file)], env=environment.clean(machine.processors()), check=True,
                           capture_output=True, timeout=max(1.0, until - time.perf_counter()))
            return json.loads(file.read_text())

        runs = list(threads.map(train, SEEDS))
    return {"dataset": dataset, "seeds": list(SEEDS), "epochs": runs[0]["epochs"],
            "test_accuracy": [run["test_accuracy"] for run in runs]}


def race(names: list[str], threads: int, report: Report, until: float) -> dict[str, Any]:
    """From the start of a process to 99.0% of MNIST's test images, with kernels that were compiled before."""
    able = [name for name in names if name == targets.OURS or name in targets.TORCH]
    return accuracy.measure(able, len(SEEDS), threads, report, until)


def _nvidia_smi() -> str | None:
    """Driver, memory, power and clocks as they are now."""
    asked = "name,driver_version,memory.total,power.limit,clocks.sm,clocks.max.sm,clocks.mem"
    return _said(["nvidia-smi", f"--query-gpu={asked}", "--format=csv,noheader"])


def _commit() -> str | None:
    return _said(["git", "-C", str(environment.ROOT), "describe", "--always", "--dirty", "--abbrev=12"])


def _said(command: list[str]) -> str | None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None


if __name__ == "__main__":
    sys.exit(main())
