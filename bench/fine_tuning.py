"""Measures fine-tuning: `python -m bench.fine_tuning [--peers keras torch]`, one process per framework
and seed, in rotation.

MobileNetV2 for images of 96 x 96 pixels first learns waves in 12 directions, with autoconv. Then
`autoconv train photos/ --from net.safetensors` and the other frameworks (fine_tuning_peers.py) fine-tune
the net, from the same weights, on pictures of stars.

The first epoch with the frozen body includes the time in which autoconv computes the body's outputs. A
framework's first epochs also include compiling, so the medians are taken over the later epochs.
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
from typing import Any

import numpy as np

from autoconv import utils
from autoconv.programs.bench import machine

from . import environment, photos, show
from .fine_tuning_peers import ALL_RATE, BATCH_SIZE, CLASSES, FRAMEWORKS, HEAD_RATE, SIZE, WORKLOAD


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser("python -m bench.fine_tuning", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default, text in (
        ("--pictures", 5000, "number of training pictures; a fifth as many are test pictures"),
        ("--head-epochs", 5, "number of epochs with the frozen body, at least 2"),
        ("--all-epochs", 3, "number of epochs that train all layers, at least 2"),
        ("--body-epochs", 10, "number of epochs that train the body on waves"),
        ("--seeds", 3, "number of seeds: 0, 1, ..."),
        ("--threads", machine.processors(), "number of threads"),
    ):
        parser.add_argument(name, type=int, default=default, help=f"{text}; default: %(default)s")
    parser.add_argument("--peers", nargs="*", choices=FRAMEWORKS, default=[],
                        help="other frameworks to train, if they are installed; default: none")
    options = parser.parse_args(argv)
    missing = [name for name in options.peers if not find_spec(name)]
    names = ["autoconv", *(name for name in options.peers if name not in missing)]
    epochs = options.head_epochs, options.all_epochs
    say = show.Progress()
    with tempfile.TemporaryDirectory() as folder:
        say("the body learns waves")
        make_stars(Path(folder, "photos"), options.pictures // CLASSES)
        train_body(Path(folder), options.body_epochs)
        run("autoconv", 0, options.threads, Path(folder), 1, 1)  # an untimed run that compiles the kernels
        runs: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
        for seed in range(options.seeds):
            for name in names:
                say(f"{name}, seed {seed}")
                runs[name].append(run(name, seed, options.threads, Path(folder), *epochs))
        say.clear()
    print(table(runs, options.pictures, options.threads, options.head_epochs))
    if missing:
        print(f"not installed: {', '.join(missing)}. pip install -e '.[peers]'")


def make_stars(folder: Path, count: int) -> None:
    """Writes JPEG files of stars: 2 to 6 points, in reddish and bluish colours, give 10 classes with `count`
    training and `count` // 5 test files each.
    """
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:SIZE, :SIZE]
    for c in range(CLASSES):
        for part, total in (("train", count), ("test", count // 5)):
            (folder / part / f"class_{c}").mkdir(parents=True)
            for i in range(total):
                size = rng.uniform(0.3, 0.45) * SIZE
                dx, dy = (axis - rng.uniform(size, SIZE - size) for axis in (x, y))
                angle = np.arctan2(dy, dx) + rng.uniform(0, 2 * np.pi)
                inside = np.hypot(dx, dy) < size * (0.6 + 0.4 * np.cos((c // 2 + 2) * angle))
                color = rng.uniform(60, 200, 3) + 55 * np.array([[1, 0, -1], [-1, 0, 1]][c % 2])
                image = np.where(inside[..., None], color, rng.uniform(0, 255, 3))
                image += rng.normal(0, 25, image.shape)
                utils.save_img(folder / part / f"class_{c}" / f"{i:04d}.jpg", image.clip(0, 255), scale=False)


def train_body(folder: Path, epochs: int) -> None:
    """Trains the net on waves. Writes net.safetensors, and weights.npz with the same weights."""
    from .peers.autoconv import Autoconv

    (folder / "waves").mkdir()
    photos.make(folder / "waves", SIZE)
    peer = Autoconv(WORKLOAD, machine.processors(), "train", 0)
    peer.net.fit(utils.image_dataset_from_directory(folder / "waves", label_mode="categorical", seed=0, verbose=False,
                                                    image_size=(SIZE, SIZE)), epochs=epochs, verbose=0)
    peer.net.save(folder / "net.safetensors")
    np.savez(folder / "weights.npz", *peer.weights())


def run(name: str, seed: int, threads: int, folder: Path, head_epochs: int, all_epochs: int) -> dict[str, Any]:
    """Fine-tunes once in a separate process. Raises CalledProcessError if the process fails."""
    numbers = list(map(str, (head_epochs, all_epochs)))
    if name == "autoconv":
        command = ["autoconv", "train", str(folder / "photos"), "--from", str(folder / "net.safetensors"),
                   "--seed", str(seed), "--batch-size", str(BATCH_SIZE), "--schedule", "constant",
                   "--lr", str(HEAD_RATE), "--unfreeze-lr", str(ALL_RATE), "--epochs", str(head_epochs + all_epochs),
                   "--unfreeze-after", str(head_epochs), "--validate", "0", "--json", "-"]
    else:
        command = ["bench.fine_tuning_peers", name, str(seed), str(threads), str(folder), *numbers, str(time.time())]
    process = subprocess.run([sys.executable, "-m", *command], env=environment.clean(threads), check=True, text=True,
                             stdout=subprocess.PIPE)
    return json.loads(process.stdout)


def table(runs_by_name: dict[str, list[dict[str, Any]]], pictures: int, threads: int, head_epochs: int) -> str:
    """Returns a table with one line per framework: medians of the seconds, and the mean, least and
    greatest accuracy.
    """
    lines = [f"{pictures:,} pictures, {threads} threads, {len(runs_by_name['autoconv'])} seeds each; seconds per epoch",
             f"{'':10}{'frozen: first':>15}{'later':>8}{'all layers: later':>20}{'whole process':>16}   accuracy"]
    for name, runs in runs_by_name.items():
        seconds = np.array([run["epoch_seconds"] for run in runs])
        values = (np.median(seconds[:, 0] + [run["compile_s"] for run in runs]), np.median(seconds[:, 1:head_epochs]),
                  np.median(seconds[:, head_epochs + 1 :]), np.median([run["total_s"] for run in runs]))
        accuracy = np.array([run["test_accuracy"] for run in runs])
        lines.append(f"{name:10}{values[0]:15.2f}{values[1]:8.2f}{values[2]:20.2f}{values[3]:16.1f}   "
                     f"{accuracy.mean():.4f} ({accuracy.min():.4f} .. {accuracy.max():.4f})")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
