"""Measures how much decoding slows down training: trains the net `photos` from JPEG files, and
compares the time per step with its lower limit.

    python -m bench.photos [--rounds 5] [--size 180]

The lower limit is the time of a step on arrays in memory, plus the processor time of decoding divided
by the number of processors. Short epochs from files and from memory alternate, and their medians are
used. Wall-clock times vary on a shared machine. The processor time per step, printed next to them,
varies less.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

from autoconv import get_num_threads, losses, nets, utils
from autoconv.callbacks import Callback
from autoconv.utils.pixels import Decoding

CLASSES, EACH = 12, 200
EPOCHS, STEPS = 5, 15


def make(folder: Path, size: int) -> None:
    """Writes JPEG files of waves in 12 directions: each direction is a class with 200 files."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:size, :size]
    for c in range(CLASSES):
        (folder / f"class_{c:02d}").mkdir()
        for i in range(EACH):
            turn = np.pi * c / CLASSES
            wave = np.sin((x * np.cos(turn) + y * np.sin(turn)) * rng.uniform(0.1, 0.2) + rng.uniform(0, 6))
            image = rng.uniform(40, 215, 3) + 40 * wave[..., None] + rng.normal(0, 6, (size, size, 3))
            utils.save_img(folder / f"class_{c:02d}" / f"{i:03d}.jpg", image.clip(0, 255), scale=False, quality=90)


def decoding_time(paths: list[str], size: int) -> float:
    """Returns the processor seconds in which one thread decodes the files."""
    decoding, start = Decoding((size, size), "rgb", "BILINEAR"), time.thread_time()
    for path in paths:
        decoding.read(path)
    return time.thread_time() - start


class Clock(Callback):
    """Records seconds and processor seconds per step, for each epoch."""

    def __init__(self) -> None:
        self.steps: list[tuple[float, float]] = []

    def on_epoch_begin(self, epoch, logs=None):
        self._start = time.perf_counter(), time.process_time()

    def on_epoch_end(self, epoch, logs=None):
        now = time.perf_counter(), time.process_time()
        self.steps.append(tuple((b - a) / STEPS for a, b in zip(self._start, now)))


def measure(folder: Path, size: int, rounds: int) -> str:
    dataset = utils.image_dataset_from_directory(folder, image_size=(size, size), seed=0, verbose=False)
    batches = list(dataset)
    x, y = (np.concatenate([batch[i] for batch in batches]) for i in (0, 1))
    net = nets.build_for_pixels("photos", dataset.image_shape, CLASSES)
    net.compile("adam", losses.SparseCategoricalCrossentropy(from_logits=True))
    times_by_source: dict[str, list[tuple[float, float]]] = {"memory": [], "files": []}
    decoding = []
    for _ in range(rounds):
        decoding.append(decoding_time(dataset.file_paths, size) / len(dataset))
        for name, data in (("memory", {"x": x, "y": y}), ("files", {"x": dataset})):
            clock = Clock()
            net.fit(**data, epochs=EPOCHS, steps_per_epoch=STEPS, verbose=0, callbacks=clock)
            times_by_source[name] += clock.steps[1:]  # without the first epoch, which records the step
    (step, step_cpu), (seconds, cpu) = (1e3 * np.median(times, axis=0) for times in times_by_source.values())
    cost = 1e3 * min(decoding)
    bound = step + cost / get_num_threads()
    return (f"{len(x)} JPEG files of {size} x {size}, {get_num_threads()} threads\n"
            f"a step from memory     {step:6.1f} ms, {step_cpu:6.1f} ms of processor time\n"
            f"decoding its 32 files             {cost:6.1f} ms of processor time\n"
            f"a step from the files  {seconds:6.1f} ms, {cpu:6.1f} ms of processor time\n"
            f"the bound is {bound:.1f} ms: {bound / seconds:.1%}; by processor time {(step_cpu + cost) / cpu:.1%}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="number of rounds; default: %(default)s")
    parser.add_argument("--size", type=int, default=180, help="height and width of the pictures; default: %(default)s")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder), options.size)
        print(measure(Path(folder), options.size, options.rounds))


if __name__ == "__main__":
    main()
