"""Measures the time of a recipe: `python -m bench.sprint --seeds 10`, one process per seed, one after
the other.

It runs `autoconv train mnist --recipe sprint`, or the recipes for CIFAR-10 with --dataset cifar10.
With --peers, other frameworks train the same net by the same recipe (sprint_peers.py and
cifar10_peers.py). The training time is the time of the epochs, including the reading of batches. The
total time is measured from the start of the process to the test's result. It includes imports, data,
loading kernels from the disk cache, training and test. A first, untimed run of each framework fills
its caches. The accuracy on CIFAR-10 uses the average outputs for an image and its mirror image.
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

from autoconv import datasets
from autoconv.programs.bench import machine
from autoconv.programs.cli.train import CIFAR10
from autoconv.utils import whitening_filters

from . import cifar10_peers, environment, show
from .accuracy import save_arrays

PEERS = {"mnist": ("torch", "keras", "jax", "keras-jax"), "cifar10": cifar10_peers.NAMES}
TARGETS = {"mnist": 0.990, "cifar10": 0.900}  # mean accuracy below which the command fails
FEW = 2000  # number of images of the untimed runs
PACKAGES = {"torch-compile": ("torch",), "keras-jax": ("keras", "jax")}  # packages of a peer, if not its name


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
    parser.add_argument("--dataset", choices=PEERS, default="mnist", help="data set; default: %(default)s")
    parser.add_argument("--recipe", choices=CIFAR10, default="sprint",
                        help="recipe of `autoconv train cifar10`; default: %(default)s")
    parser.add_argument("--epochs", type=int, help="number of epochs on CIFAR-10; default: the recipe's")
    parser.add_argument("--limit", type=int, help="number of images; default: all")
    parser.add_argument("--seeds", type=int, default=10, help="number of seeds: 0, 1, ...; default: %(default)s")
    parser.add_argument("--threads", type=int, default=machine.processors(),
                        help="number of threads; default: %(default)s")
    parser.add_argument("--peers", nargs="*", default=[], metavar="PEER",
                        help="other frameworks to train, if they are installed; default: none; "
                        + "; ".join(f"for {name}: {', '.join(peers)}" for name, peers in PEERS.items()))
    options = parser.parse_args(argv)
    if unknown := set(options.peers) - set(PEERS[options.dataset]):
        parser.error(f"--peers must be among {', '.join(PEERS[options.dataset])}. Received: {', '.join(unknown)}.")
    is_changed = options.epochs is not None or options.limit is not None
    if options.dataset == "mnist" and (is_changed or options.recipe != "sprint"):
        parser.error("--recipe, --epochs and --limit apply only to --dataset cifar10.")
    epochs = options.epochs or (CIFAR10[options.recipe]["epochs"] if options.dataset == "cifar10" else 1)
    missing = [name for name in options.peers if not all(map(find_spec, PACKAGES.get(name, (name,))))]
    names = ["autoconv", *(name for name in options.peers if name not in missing)]
    with tempfile.TemporaryDirectory() as temporary:
        folder, few = Path(temporary), Path(temporary) / "few"
        if len(names) > 1:
            few.mkdir()
            save(folder, options.dataset, options.limit)
            save(few, options.dataset, FEW)
        command = [options.dataset, "--recipe", options.recipe]
        limit = [] if options.limit is None else ["--limit", str(options.limit)]
        runs: dict[str, list[Run]] = {name: [] for name in names}
        say = show.Progress()
        for name in names:
            run(name, 0, options.threads, few, *command, "--epochs", "1", "--limit", str(FEW))
        for seed in range(options.seeds):
            for name in names:
                say(f"{name}, seed {seed}")
                runs[name].append(run(name, seed, options.threads, folder, *command, "--epochs", str(epochs), *limit))
        say.clear()
    print(table(runs, options.threads, f"{options.dataset}, {epochs} epoch{'s' if epochs > 1 else ''}"))
    if missing:
        print(f"not installed: {', '.join(missing)}. pip install -e '.[peers]'")
    return 0 if is_changed or np.mean([r.accuracy for r in runs["autoconv"]]) >= TARGETS[options.dataset] else 1


def save(folder: Path, dataset: str, limit: int | None) -> None:
    """Saves the first images of a data set and, for CIFAR-10, the net's whitening filters."""
    save_arrays(folder, dataset, limit)
    if dataset == "cifar10":
        (images, _), _ = datasets.load(dataset)
        np.save(folder / "filters", whitening_filters(images[:1000] / 255 * 4 - 2))


def run(name: str, seed: int, threads: int, folder: Path, *options: str) -> Run:
    """Trains once in a separate process. `options` are arguments of `autoconv train`. Raises
    CalledProcessError if the process fails.
    """
    dataset, *_ = options
    if name == "autoconv":
        command = ["autoconv", "train", *options, "--seed", str(seed), "--json", "-"]
    else:
        common = [name, str(seed), str(threads), str(folder), str(time.time())]
        command = (["bench.sprint_peers", *common] if dataset == "mnist" else
                   ["bench.cifar10_peers", *common, options[options.index("--epochs") + 1]])
    process = subprocess.run([sys.executable, "-m", *command], env=environment.clean(threads), check=True, text=True,
                             stdout=subprocess.PIPE)
    results = json.loads(process.stdout)
    accuracy = results.get("mirror_accuracy", results["test_accuracy"])
    return Run(accuracy, sum(results["epoch_seconds"]), results["total_s"])


def table(runs_by_name: dict[str, list[Run]], threads: int, title: str) -> str:
    """Returns a table with one line per framework. It has the mean and range of the accuracy, and the
    median and range of the seconds.
    """
    seeds = len(runs_by_name["autoconv"])
    lines = [f"{title}, {threads} threads, {seeds} seeds each; seconds: median (least .. most)",
             f"{'':13}  {'accuracy: mean (least .. most)':32}  {'training':22}  whole process"]
    for name, runs in runs_by_name.items():
        accuracy, training, total = np.array(runs).T
        lines.append(f"{name:13}  {f'{accuracy.mean():.4f} ({accuracy.min():.4f} .. {accuracy.max():.4f})':32}  "
                     f"{seconds(training):22}  {seconds(total)}")
    return "\n".join(lines)


def seconds(values: np.ndarray) -> str:
    return f"{np.median(values):.2f} ({values.min():.2f} .. {values.max():.2f})"


if __name__ == "__main__":
    sys.exit(main())
