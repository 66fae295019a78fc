"""Measures the time to 99.0% on MNIST: `python -m bench.sprint --seeds 10`, one process per seed,
one after the other.

It runs `autoconv train mnist --recipe sprint`. With --peers, other frameworks train the same net by
the same recipe (sprint_peers.py). The training time is the time of the epoch, including the reading
of batches. The total time is measured from the start of the process to the test's result. It
includes imports, data, loading kernels from the disk cache, training and test.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np

from autoconv.programs.bench import machine

from . import environment, show
from .accuracy import mnist_arrays

PEERS = ("torch", "keras", "jax", "keras-jax")
TARGET = 0.990


class Run(NamedTuple):
    """The test accuracy, the seconds of training, and the seconds from the start of the process to the
    test's result.
    """

    accuracy: float
    training: float
    total: float


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser("python -m bench.sprint", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10, help="number of seeds: 0, 1, ...; default: %(default)s")
    parser.add_argument("--threads", type=int, default=machine.processors(),
                        help="number of threads; default: %(default)s")
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=[],
                        help="other frameworks to train, if they are installed; default: none")
    options = parser.parse_args(argv)
    missing = [name for name in options.peers if not all(map(find_spec, name.split("-")))]
    names = ["autoconv", *(name for name in options.peers if name not in missing)]
    with tempfile.TemporaryDirectory() as folder:
        if len(names) > 1:
            mnist_arrays(Path(folder))
        run("autoconv", 0, options.threads, Path(folder), "--limit", "960")  # an untimed run that compiles the kernels
        runs: dict[str, list[Run]] = {name: [] for name in names}
        say = show.Progress()
        for seed in range(options.seeds):
            for name in names:
                say(f"{name}, seed {seed}")
                runs[name].append(run(name, seed, options.threads, Path(folder)))
        say.clear()
    print(table(runs, options.threads))
    if missing:
        print(f"not installed: {', '.join(missing)}. pip install -e '.[peers]'")
    return 0 if np.mean([r.accuracy for r in runs["autoconv"]]) >= TARGET else 1


def run(name: str, seed: int, threads: int, folder: Path, *options: str) -> Run:
    """Trains once in a separate process. Raises CalledProcessError if the process fails."""
    if name == "autoconv":
        command = ["autoconv", "train", "mnist", "--recipe", "sprint", "--seed", str(seed), *options, "--json", "-"]
    else:
        command = ["bench.sprint_peers", name, str(seed), str(threads), str(folder), str(time.time())]
    process = subprocess.run([sys.executable, "-m", *command], env=environment.clean(threads), check=True, text=True,
                             stdout=subprocess.PIPE)
    results = json.loads(process.stdout)
    return Run(results["test_accuracy"], sum(results["epoch_seconds"]), results["total_s"])


def table(runs_by_name: dict[str, list[Run]], threads: int) -> str:
    """Returns a table with one line per framework. It has the mean and range of the accuracy, and the
    median and range of the seconds.
    """
    seeds = len(runs_by_name["autoconv"])
    lines = [f"MNIST, one epoch, {threads} threads, {seeds} seeds each; seconds: median (least .. most)",
             f"{'':10}  {'accuracy: mean (least .. most)':32}  {'training':22}  whole process"]
    for name, runs in runs_by_name.items():
        accuracy, training, total = np.array(runs).T
        lines.append(f"{name:10}  {f'{accuracy.mean():.4f} ({accuracy.min():.4f} .. {accuracy.max():.4f})':32}  "
                     f"{seconds(training):22}  {seconds(total)}")
    return "\n".join(lines)


def seconds(values: np.ndarray) -> str:
    return f"{np.median(values):.2f} ({values.min():.2f} .. {values.max():.2f})"


if __name__ == "__main__":
    sys.exit(main())
