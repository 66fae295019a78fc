"""The phases of `bench.gpu_check`: `PLAN`, in order of importance."""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from autoconv import datasets

from . import accuracy, child, environment, gpu_tests, gpu_threads, rounds, targets, workloads
from .equal_work import TOLERANCE_TF32
from .phases import Absent, Failure, Phase, Run, share
from .process import PeerError
from .targets import OURS, Row

ROUNDS, ROUND_SECONDS = 6, 0.3
READY = 0.6  # fraction of the time for a net after which peers that are not warmed up are left out
SEEDS = (0, 1, 2)
COMPILED = ("torch-cuda-compile",)  # peers that take as long to get ready as all other peers together


def smoke(run: Run, deadline: float) -> Mapping[str, Any]:
    """Runs the checks of gpu_smoke.py, each in a separate process, so that a check has a result even
    if another check crashes.
    """
    checks: dict[str, Any] = {}
    for check in ("tiles", "graph"):
        try:
            checks[check] = child.call("bench.gpu_smoke:run", {"check": check}, _processors(run), deadline)
        except PeerError as error:
            checks[check] = {"wrong": [str(error)]}
        run.add(smoke=checks)
    for tile in checks["tiles"].get("tiles", ()):
        run.say(f"tile {tile['tile']}, {tile['precision']}: {'right' if tile['right'] else 'WRONG'}, "
                f"{', '.join(tile['kernels'])}")
    if graph := checks["graph"].get("graph"):
        run.say(f"the step is {graph['nodes']} kernels, captured as one graph")
    if "gpu_us" in checks["graph"]:
        run.say("{replays} replays of a step, us each: {gpu_us:.1f} on the GPU, {host_us:.1f} on the host to launch "
                "it, {wall_us:.1f} until all are done".format(**checks["graph"]))
    if wrong := [sentence for check in checks.values() for sentence in check["wrong"]]:
        raise Failure(" ".join(wrong), {"smoke": checks})
    return {"smoke": checks}


def compiling(run: Run, deadline: float) -> Mapping[str, Any]:
    """Compiles every kernel that the later phases need, in one process per core."""
    result = child.call("bench.gpu_kernels:prepare", {}, _processors(run), deadline)
    run.say(f"{result['kernels']} kernels compiled in {result['seconds']:.1f} s")
    return {"compiling": result}


def tests(run: Run, deadline: float) -> Mapping[str, Any]:
    """Runs the tests marked `gpu`. Writes pytest's output to a file next to the document."""
    log = run.file.with_suffix(".tests.log")
    results = {"tests": (tests := gpu_tests.run(environment.ROOT / "tests", _processors(run), log, deadline))}
    run.say(f"tests: {tests['passed']} passed, {tests['failed']} failed, {tests.get('skipped', 0)} skipped; "
            f"the rest of what pytest said is in {log}")
    for failure in tests.get("failures", ()):
        run.say(f"{failure['test']}: {failure['text'].strip().rpartition(chr(10))[2]}")
    if "sanitizer" in tests:
        run.say(f"compute-sanitizer: {_describe_sanitizer(tests['sanitizer'])}")
    if tests["status"] != "passed":
        raise Failure(tests["status"], results)
    return results


def _describe_sanitizer(result: dict[str, Any]) -> str:
    if "reason" in result:
        return f"{result['status']}, {result['reason']}"
    return (f"{result['file']}, {result['status']}, exit code {result['exit']}, {len(result['errors'])} lines of its "
            f"own in {result['log']}")


def nets(*rows: Row, among: Callable[[str], bool] = lambda name: True) -> Callable[[Run, float], Mapping[str, Any]]:
    """Returns a function that does a phase's work: it measures these rows of the comparison, each for
    an equal part of the time. It compares autoconv with the installed peers in targets.py that
    `among` selects.
    """
    def work(run: Run, deadline: float) -> Mapping[str, Any]:
        wrong = []
        for i, row in enumerate(rows):
            names = [name for name in targets.rows()[row] if among(name)]
            end = share(deadline, len(rows) - i)
            entry = _compare(run, [OURS, *(name for name in names if _present(run, name))], *row, end)
            run.add_result(entry)
            run.say(_line(entry))
            ours = entry["peers"][OURS]
            if ours["status"] != "timed":
                wrong.append(f"{targets.describe_row(*row)}: autoconv {ours['status']}, {ours['reason']}")
        if wrong:
            raise Failure("; ".join(wrong))
        return {}

    return work


def _compare(run: Run, names: list[str], workload: str, batch_size: int, mode: str, deadline: float) -> dict[str, Any]:
    """Measures one row of the comparison. Each peer has one process for all rounds."""
    steps, now = workloads.batches_on_gpu(workloads.WORKLOADS[workload], batch_size), time.perf_counter()
    plan = rounds.Plan(ROUNDS, ROUNDS, _processors(run), steps, ROUND_SECONDS, TOLERANCE_TF32, start_together=True,
                       deadline=deadline, ready_by=now + READY * (deadline - now))
    entry = rounds.compare(names, workload, batch_size, mode, plan, run.report)
    for name, found in entry["peers"].items():
        run.document["peers"][name].update({key: found[key] for key in ("versions",) if key in found})
    return entry


def _line(entry: dict[str, Any]) -> str:
    """Returns a line of text for a row of the comparison: autoconv's images per second, and the other
    peers' times divided by autoconv's.
    """
    ours, parts = entry["peers"][OURS], []
    for name, found in entry["peers"].items():
        if found["status"] != "timed":
            parts.append(f"{name} {found['status']}: {found['reason'][:100]}")
        elif name == OURS:
            step = entry["batch_size"] / found["images_per_s"]["median"]
            parts.append(f"{name} {found['images_per_s']['median']:,.0f} images/s, {1e6 * step:,.1f} us a step")
        elif ours["status"] == "timed":
            parts.append(f"{name} {targets.times(found['seconds'], ours['seconds']):.2f} times as long")
        else:
            parts.append(f"{name} {found['images_per_s']['median']:,.0f} images/s")
    return f"{targets.describe_row(entry['workload'], entry['batch_size'], entry['mode'])}: {'; '.join(parts)}"


def kernels(run: Run, deadline: float) -> Mapping[str, Any]:
    """Measures the card's ceilings, and the fraction of them that each convolution reaches."""
    threads = _processors(run)
    ceilings = child.call("bench.gpu_ceilings:measure", {}, threads, deadline)
    run.add(ceilings=ceilings)
    flops, bandwidth = ceilings["tf32_flops"]["median"], ceilings["bytes_per_s"]["median"]
    run.say(f"ceilings: {flops / 1e12:.1f} TFLOP/s in TF32, {bandwidth / 1e12:.2f} TB/s")
    arguments = {"nets": list(dict.fromkeys(row[:2] for row in targets.rows())), "flops": flops, "bandwidth": bandwidth,
                 "l2_bytes": ceilings["l2_bytes"]}
    shares = child.call("bench.gpu_kernels:measure", arguments, threads, deadline)
    for kernel in shares:
        run.say(f"{kernel['workload']}: {kernel['kind']} {kernel['layer']}: {kernel['fraction']['median']:.0%} of "
                f"{kernel['bound']}, {kernel['gflops'] / 1e3:.2f} TFLOP/s")
    return {"ceilings": ceilings, "kernels": shares}


def five_epochs(run: Run, deadline: float) -> Mapping[str, Any]:
    """Runs `autoconv train` with its defaults for each seed, all at the same time. Raises
    RuntimeError if one of these commands fails.
    """
    dataset = "mnist" if datasets.locate("mnist") else "digits"
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(len(SEEDS)) as pool:
        def train(seed: int) -> dict[str, Any]:
            file = Path(folder) / f"{seed}.json"
            done = subprocess.run(
                [sys.executable, "-m", "autoconv", "train", dataset, "--device", "cuda", "--seed", str(seed), "--quiet",
                 "--validate", "0", "--json", str(file)], env=environment.clean(_processors(run)),
                capture_output=True, text=True, timeout=max(1.0, deadline - time.perf_counter()))
            if done.returncode:
                raise RuntimeError(f"autoconv train, seed {seed}: {done.stderr[-2000:]}")
            return json.loads(file.read_text())

        runs = list(pool.map(train, SEEDS))
    scores = [each["test_accuracy"] for each in runs]
    run.say(f"{dataset}, {runs[0]['epochs']} epochs: test accuracy {', '.join(f'{score:.4f}' for score in scores)}")
    return {"accuracy": {"dataset": dataset, "seeds": list(SEEDS), "epochs": runs[0]["epochs"],
                         "test_accuracy": scores}}


def race(run: Run, deadline: float) -> Mapping[str, Any]:
    """Measures the time from the start of a process until its net classifies 99.0% of MNIST's test
    images correctly. The kernels are compiled beforehand.
    """
    if not datasets.locate("mnist"):
        raise Absent("MNIST is missing (set AUTOCONV_DATA to its folder)")
    able = [OURS, *(name for name in targets.TORCH if _present(run, name))]
    entry = accuracy.measure(able, len(SEEDS), _processors(run), run.report, deadline)
    run.add_result(entry)
    for name, found in entry["peers"].items():
        spread = found.get("seconds_to_target")
        run.say(f"to 99.0%: {name} {found.get('reason', 'did not reach it') if spread is None else ''}"
                f"{'' if spread is None else '{:.1f} s, {}'.format(spread['median'], found['reached'])}")
    return {}


def _processors(run: Run) -> int:
    return run.document["threads"]


def _present(run: Run, name: str) -> bool:
    return run.document["peers"].get(name, {}).get("status") == "present"


def _quick(name: str) -> bool:
    return name not in COMPILED


def _row(*row: Any) -> Phase:
    """Returns the phase that measures one row of training, without the peers in COMPILED."""
    return Phase(targets.phase_name(*row), 100, nets(row, among=_quick))


_TRAINING = [row for row in targets.rows() if row[2] == "train"]
_INFERENCE = [row for row in targets.rows() if row[2] == "infer"]
_SMALL, _LARGE = ([_row(*row) for row in _TRAINING if (row[0] == "lecture") == small] for small in (True, False))

PLAN = (  # no phase may exceed the ten minutes of a lent machine
    Phase("smoke", 60, smoke, gate=True),
    Phase("compiling", 75, compiling),
    Phase("tests", 240, tests),
    *_SMALL,
    Phase("kernels", 75, kernels),
    *_LARGE,
    Phase("torch-compile", 320, nets(*_TRAINING, among=lambda name: name in COMPILED)),
    Phase("inference", 160, nets(*_INFERENCE)),
    Phase("accuracy", 90, five_epochs),
    Phase("race", 150, race),
    Phase("threads", 180, gpu_threads.measure, usual=False),
)
