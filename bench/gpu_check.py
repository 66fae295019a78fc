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
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from autoconv import datasets
from autoconv.backend import device_cuda
from autoconv.backend.cuda.driver import installed_version
from autoconv.backend.device import DeviceError
from autoconv.bench import machine
from autoconv.bench.run import SCHEMA

from . import accuracy, child, environment, gpu_tests, peers, rounds, show, targets, workloads
from .equal_work import TOLERANCE_TF32
from .phases import Phases, Work
from .process import PeerError, Process
from .turns import Report, within

# What each phase may take of eight minutes, in seconds; the last ones get what is left.
LIMITS = {"compiling": 75, "untimed": 110, "ceilings": 25, "net": 45, "kernels": 40, "race": 100}
ROUNDS, ROUND_SECONDS = 6, 0.3
READY = 0.6  # of a net's time: who has not warmed up by then is left out
SEEDS = (0, 1, 2)
RESERVE = 15  # seconds of the minutes that are left to what has begun in time, and to the table
PACKAGES = {"numpy": "numpy", "numba": "numba", "numba-cuda": "numba_cuda", "torch": "torch", "jax": "jax",
            "pytest": "pytest"}
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
    return 0 if sound(document) else 1


def sound(document: dict[str, Any]) -> bool:
    """Whether all phases ended, all tests passed, and autoconv did what it was timed on."""
    return (all(note["status"] in ("done", "absent") for note in document["phases"].values())
            and document.get("tests", {"status": "passed"})["status"] == "passed"
            and all(entry["peers"][targets.OURS]["status"] == "timed" for entry in document["results"]))


def the_gpu() -> dict[str, Any]:
    """The GPU in words. Raises DeviceError where there is none."""
    device_cuda.check(0)
    return device_cuda.describe(0)


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
        "packages": {name: installed_version(name) for name, module in PACKAGES.items() if find_spec(module)},
        "settings": {"minutes": options.minutes, "skip_tests": options.skip_tests, "skip_peers": options.skip_peers,
                     "rounds": ROUNDS, "round_seconds": ROUND_SECONDS},
        "peers": {name: {"label": peers.label(name), "status": "absent" if lacks else "present",
                         **({"reason": f"not installed: {', '.join(lacks)}"} if lacks else {})}
                  for name, lacks in lacking.items()},
        "results": [], "kernels": [],
    }


def check(phases: Phases, options: argparse.Namespace) -> None:
    """All phases: first what is not timed, then what matters most."""
    document, threads = phases.document, phases.document["threads"]
    names = [name for name, peer in document["peers"].items()
             if peer["status"] == "present" and (name == targets.OURS or not options.skip_peers)]

    phases.run("compiling", LIMITS["compiling"], lambda until: {
        "compiling": child.call("bench.gpu_kernels:prepare", {}, threads, until)})
    untimed: dict[str, Work] = {
        "accuracy": lambda until: {"accuracy": five_epochs(threads, until)},
        "caches": lambda until: {"caches": fill_caches(names, threads, until)},
    }
    if not options.skip_tests:
        untimed["tests"] = lambda until: {
            "tests": gpu_tests.run(environment.ROOT / "tests", max(1, threads // 4), until)}
    phases.together(LIMITS["untimed"], untimed)
    phases.run("ceilings", LIMITS["ceilings"], lambda until: {
        "ceilings": child.call("bench.gpu_ceilings:measure", {}, threads, until)})
    for row, against in targets.rows().items():
        able = [name for name in names if name == targets.OURS or name in against]
        phases.run(targets.named(*row), LIMITS["net"],
                   lambda until, row=row, able=able: net(document, able, *row, phases.report, until))
    phases.run("kernels", LIMITS["kernels"], lambda until: {"kernels": kernels(document, until)})
    if datasets.where("mnist"):
        phases.run("race", LIMITS["race"], lambda until: race(document, names, phases.report, until))
    else:
        phases.keep("race", {"status": "absent", "reason": "no MNIST here (AUTOCONV_DATA names its folder)"}, {})


def fill_caches(names: list[str], threads: int, until: float) -> list[str]:
    """Other frameworks compile what they will run and keep it on disk. Returns who was ready in time for which net."""
    wanted = [(name, *row) for row, against in targets.rows().items() for name in against
              if name in COMPILED and name in names]
    with ThreadPoolExecutor(max(1, threads // 4)) as pool:
        done = list(pool.map(lambda job: _warmed(*job, threads, until), wanted))
    return [" ".join(map(str, job)) for job, warmed in zip(wanted, done) if warmed]


def _warmed(name: str, workload: str, batch_size: int, mode: str, threads: int, until: float) -> bool:
    """Starts a peer as the comparison will, and ends it after its warm-up. What fails here fails there again."""
    if time.perf_counter() >= until:
        return False
    steps = workloads.batches_on_gpu(workloads.WORKLOADS[workload], batch_size)
    job = {"factory": peers.PEERS[name].factory, "workload": workload, "batch_size": batch_size, "mode": mode,
           "steps": steps, "threads": threads, "seed": workloads.SEED}
    try:
        with Process(job) as process:
            process.answer(within(math.inf, until))
            process.ask("warm-up", within(math.inf, until))
    except PeerError:
        return False
    return True


def net(
    document: dict[str, Any], names: list[str], workload: str, batch_size: int, mode: str, report: Report, until: float
) -> dict[str, Any]:
    """One row of the comparison, each peer in a process of its own for all rounds."""
    steps, now = workloads.batches_on_gpu(workloads.WORKLOADS[workload], batch_size), time.perf_counter()
    plan = rounds.Plan(ROUNDS, ROUNDS, document["threads"], steps, ROUND_SECONDS, TOLERANCE_TF32, at_once=True,
                       until=until, ready_by=now + READY * (until - now))
    entry = rounds.compare(names, workload, batch_size, mode, plan, report)
    for name, found in entry["peers"].items():
        document["peers"][name].update({key: found[key] for key in ("versions",) if key in found})
    return {"results": [*document["results"], entry]}


def kernels(document: dict[str, Any], until: float) -> list[dict[str, Any]]:
    """The shares of the ceilings that were measured before."""
    if "ceilings" not in document:
        raise RuntimeError("The card's ceilings were not measured, so there is nothing to compare kernels with.")
    found = document["ceilings"]
    timed = list(dict.fromkeys(row[:2] for row in targets.rows()))
    given = {"nets": timed, "flops": found["tf32_flops"]["median"], "bandwidth": found["bytes_per_s"]["median"],
             "l2_bytes": found["l2_bytes"]}
    return child.call("bench.gpu_kernels:measure", given, document["threads"], until)


def five_epochs(threads: int, until: float) -> dict[str, Any]:
    """`autoconv train` with its defaults for each seed, all at once. Raises RuntimeError where one fails."""
    dataset = "mnist" if datasets.where("mnist") else "digits"
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(len(SEEDS)) as pool:
        def train(seed: int) -> dict[str, Any]:
            file = Path(folder) / f"{seed}.json"
            done = subprocess.run(
                [sys.executable, "-m", "autoconv", "train", dataset, "--device", "cuda", "--seed", str(seed), "--quiet",
                 "--json", str(file)], env=environment.clean(threads), capture_output=True, text=True,
                timeout=max(1.0, until - time.perf_counter()))
            if done.returncode:
                raise RuntimeError(f"autoconv train, seed {seed}: {done.stderr[-2000:]}")
            return json.loads(file.read_text())

        runs = list(pool.map(train, SEEDS))
    return {"dataset": dataset, "seeds": list(SEEDS), "epochs": runs[0]["epochs"],
            "test_accuracy": [run["test_accuracy"] for run in runs]}


def race(document: dict[str, Any], names: list[str], report: Report, until: float) -> dict[str, Any]:
    """From the start of a process to 99.0% of MNIST's test images, with kernels that were compiled before."""
    able = [name for name in names if name == targets.OURS or name in targets.TORCH]
    found = accuracy.measure(able, len(SEEDS), document["threads"], report, until)
    return {"results": [*document["results"], found]}


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
