"""`python -m bench.compare_refs BASE HEAD`: compares two versions of autoconv on this machine, in
alternating rounds.

BASE and HEAD are git names of commits; `.` is the working tree. Both are timed by this checkout's
harness, in separate processes, in the order A B B A. Whole steps are timed only through `fit` and
`predict_on_batch`, which both versions have. Each measurement yields a ratio: HEAD's time divided
by BASE's. The exit code is 1 if the whole interval of a ratio is above 1 + tolerance, or if the
versions compute different results.
"""

import argparse
import io
import json
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from autoconv.arguments import names
from autoconv.engine.costs import stats
from autoconv.engine.costs.tables import interval_head, table
from autoconv.programs.bench import machine
from autoconv.programs.bench.suite import SUITE

from . import environment, peers, show, workloads
from .environment import ROOT
from .equal_work import Reference
from .process import Process
from .turns import STARTING, run_rounds

# allowed slowdown of a step; a kernel may slow down twice as much, because shorter times are
# noisier
TOLERANCE = 0.10
KERNELS = "bench.kernels_worker"
WORKLOADS = ("lecture", "lecture-dropout", "lecture-bn")
# a worker's mode and its batch size
MODES = {"train": ("train", None), "infer": ("infer", None), "infer-1": ("infer", 1)}
ROUNDS_OF_A_PROCESS = 3


def main(argv: Sequence[str] | None = None) -> int:
    options, say = _arguments(argv), show.Progress()
    ratios: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as folder:
        refs = {"base": options.base, "head": options.head}
        trees = {side: unpack(ref, Path(folder) / side) for side, ref in refs.items()}
        for workload in options.workload:
            for mode in options.mode:
                ratios[f"{workload} {mode}"] = compare(trees, workload, mode, options, say)
            if options.kernels:
                ratios |= compare_kernels(trees, workload, options, say)
    say.clear()
    slower = verdict(ratios, options.tolerance)
    print(_table(ratios, options))
    if options.json is not None:
        document = {"machine": machine.describe(), "base": options.base, "head": options.head,
                    "tolerance": options.tolerance, "slower": slower, "ratios": ratios}
        options.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    for name in slower:
        ratio = ratios[name]
        print(f"SLOWER: {name} takes {ratio['low']:.2f} to {ratio['high']:.2f} times as long as before")
    print(f"{len(slower)} of {len(ratios)} measurements are slower than the tolerance allows")
    return 1 if slower else 0


def verdict(ratios: dict[str, dict[str, Any]], tolerance: float) -> list[str]:
    """Returns the names of the measurements whose whole interval exceeds 1 + `tolerance`. For
    kernels, the tolerance is doubled.
    """
    return [name for name, r in ratios.items() if r["low"] > 1 + tolerance * (2 if r["kernel"] else 1)]


def unpack(ref: str, target: Path) -> Path:
    """Copies the package `autoconv` of a commit, or of the working tree for ".", to a new folder.
    Returns the folder.
    """
    target.mkdir()
    if ref == ".":
        listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "autoconv"], cwd=ROOT, check=True,
                                capture_output=True, text=True).stdout.splitlines()
        for name in filter(lambda n: (ROOT / n).is_file(), listed):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            (target / name).write_bytes((ROOT / name).read_bytes())
        return target
    archive = subprocess.run(["git", "archive", ref, "autoconv"], cwd=ROOT, capture_output=True)
    if archive.returncode:
        raise SystemExit(f"git does not know {ref!r}: {archive.stderr.decode().strip()}. Fetch it, "
                         "or pass another name.")
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files:
        files.extraction_filter = getattr(tarfile, "data_filter", None)  # since Python 3.11.4
        files.extractall(target)
    return target


def compare(
    trees: dict[str, Path], workload: str, mode: str, options: argparse.Namespace, say: Callable[[str], None]
) -> dict[str, Any]:
    """Returns the ratio of HEAD's time to BASE's for a step of a net."""
    net, (worker_mode, batch_size) = workloads.WORKLOADS[workload], MODES[mode]
    batch_size = batch_size or net.batch_sizes[0]
    job = {"factory": peers.PEERS["autoconv"].factory, "workload": workload, "batch_size": batch_size,
           "mode": worker_mode, "steps": workloads.steps(net, batch_size, worker_mode, options.effort),
           "threads": options.threads, "seed": workloads.SEED}
    reference = Reference(net, batch_size)

    def check(side: str, ready: dict[str, Any]) -> None:
        reference.check(side, ready)
        _check_code(trees[side], ready["code"])

    times = _rounds(trees, job, options.rounds, f"{workload} {mode}", check, say)
    return {**stats.ratio(times["head"], times["base"], ROUNDS_OF_A_PROCESS), "kernel": False, "seconds": times}


def _rounds(
    trees: dict[str, Path], job: dict[str, Any], rounds: int, label: str, check: Callable, say: Callable[[str], None],
    module: str = "bench.worker",
) -> dict[str, list[Any]]:
    """Returns the times of the rounds of BASE and of HEAD. If one of them fails, ends the program."""
    def start(side: str) -> Process:
        return Process(job, environment.first(trees[side]), module)

    def ready(side: str, process: Process) -> None:
        check(side, process.answer(STARTING))
        process.ask("warm-up", STARTING)

    times, failed = run_rounds(trees, start, ready, rounds, ROUNDS_OF_A_PROCESS, label, say)
    for side, error in failed.items():
        raise SystemExit(f"{side}: {error}")
    return {side: [answer["seconds"] for answer in answers] for side, answers in times.items()}


def compare_kernels(
    trees: dict[str, Path], workload: str, options: argparse.Namespace, say: Callable[[str], None]
) -> dict[str, dict[str, Any]]:
    """Returns the ratio of HEAD's time to BASE's for every kernel of a net that both versions have.
    Returns {} for nets that are not in SUITE, or if a version cannot time kernels.
    """
    if workload not in SUITE:
        return {}
    old = [side for side, tree in trees.items() if not any(tree.rglob("programs/bench/cases.py"))]
    if old:
        print(f"kernels of {workload}: not compared, {' and '.join(old)} cannot time them", file=sys.stderr)
        return {}
    job = {"workload": workload, "threads": options.threads}
    times = _rounds(trees, job, options.rounds, f"{workload} kernels",
                    lambda side, ready: _check_code(trees[side], ready["code"]), say, KERNELS)
    common = [name for name in times["base"][0] if name in times["head"][0]]
    result = {}
    for name in common:
        sides = {side: [seconds[name] for seconds in rounds] for side, rounds in times.items()}
        result[f"{workload} {name}"] = {**stats.ratio(sides["head"], sides["base"], ROUNDS_OF_A_PROCESS),
                                        "kernel": True, "seconds": sides}
    return result


def _check_code(tree: Path, code: str) -> None:
    if Path(code).resolve() != (tree / "autoconv").resolve():
        raise SystemExit(f"autoconv was loaded from {code} instead of {tree}. Uninstall the other "
                         "version, or run this in an environment without it.")


def _table(ratios: dict[str, dict[str, Any]], options: argparse.Namespace) -> str:
    rows = [[name, f"{r['median']:.3f}", f"{r['low']:.3f} .. {r['high']:.3f}" if r["confidence"] else ""]
            for name, r in ratios.items()]
    sure = interval_head(next(iter(ratios.values())))
    return table([f"time of {options.head} by that of {options.base}", "ratio", sure], rows)


def _names_parser(kind: str, choices: Iterable[str]) -> Callable[[str], list[str]]:
    """Returns a function that parses comma-separated names and rejects unknown ones."""
    def parse(text: str) -> list[str]:
        try:
            return [names.lookup(kind, word.strip(), {k: k for k in choices}) for word in text.split(",")]
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return parse


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m bench.compare_refs", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base", help="git revision to compare with, or . for the working tree")
    parser.add_argument("head", help="git revision to check, or . for the working tree")
    parser.add_argument("--workload", default=",".join(WORKLOADS), type=_names_parser("workload", workloads.WORKLOADS),
                        help="nets, separated by commas: " + ", ".join(workloads.WORKLOADS) + "; default: %(default)s")
    parser.add_argument("--mode", default=",".join(MODES), type=_names_parser("mode", MODES),
                        help="comma-separated: " + ", ".join(MODES) + "; default: all. infer-1: one image at a time")
    parser.add_argument("--rounds", type=int, default=18, help="default: %(default)s")
    parser.add_argument("--threads", type=int, default=machine.processors(), help="default: %(default)s")
    parser.add_argument("--effort", type=float, default=0.5, help="length of a round; default: %(default)s")
    parser.add_argument("--tolerance", type=float, default=TOLERANCE, help="default: %(default)s")
    parser.add_argument("--no-kernels", dest="kernels", action="store_false", help="compare only whole steps")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all rounds to FILE")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
