"""How well decoding keeps up: `photos` trained from JPEG files, against what two separate measurements allow.

    python -m bench.photos [--rounds 5] [--size 180]

Training cannot be faster than the time of a step on arrays in memory plus the processor time of decoding, shared by the
processors: share = (step + decoding / processors) / step from files. Rounds alternate, and the best of each counts, as
others may use the machine.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

from autoconv import get_num_threads, losses, nets, utils
from autoconv.callbacks import LambdaCallback
from autoconv.utils.pixels import Decoding

CLASSES, EACH = 12, 200
EPOCHS, STEPS = 4, 25  # short ones: some of them have the processors for themselves


def make(folder: Path, size: int) -> None:
    """JPEG files of waves in 12 directions, 200 of each."""
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
    """Processor seconds that one thread takes to decode the files."""
    decoding, begun = Decoding((size, size), "rgb", "BILINEAR"), time.thread_time()
    for path in paths:
        decoding.read(path)
    return time.thread_time() - begun


def measure(folder: Path, size: int, rounds: int) -> str:
    dataset = utils.image_dataset_from_directory(folder, image_size=(size, size), seed=0, verbose=False)
    batches = list(dataset)
    x, y = (np.concatenate([batch[i] for batch in batches]) for i in (0, 1))
    net = nets.for_pixels("photos", dataset.image_shape, CLASSES)
    net.compile("adam", losses.SparseCategoricalCrossentropy(from_logits=True))
    seconds: list[float] = []
    clock = LambdaCallback(on_epoch_begin=lambda epoch, logs: seconds.append(time.perf_counter()),
                           on_epoch_end=lambda epoch, logs: seconds.append(time.perf_counter() - seconds.pop()))
    decoding, memory, files = [], [], []
    for _ in range(rounds):
        decoding.append(decoding_time(dataset.file_paths, size))
        for found, given in ((memory, {"x": x, "y": y}), (files, {"x": dataset})):
            seconds.clear()
            net.fit(**given, epochs=EPOCHS, steps_per_epoch=STEPS, verbose=0, callbacks=clock)
            found.append(min(seconds) / STEPS)
    step, cost, reached = 1e3 * min(memory), 1e3 * min(decoding) / len(dataset), 1e3 * min(files)
    bound = step + cost / get_num_threads()
    return (f"{len(x)} JPEG files of {size} x {size}, {get_num_threads()} threads, best of {rounds} rounds\n"
            f"a step from memory     {step:7.1f} ms\n"
            f"decoding its 32 files  {cost:7.1f} ms of processor time\n"
            f"a step from the files  {reached:7.1f} ms; the bound is {bound:.1f} ms: {bound / reached:.1%}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--size", type=int, default=180)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder), given.size)
        print(measure(Path(folder), given.size, given.rounds))


if __name__ == "__main__":
    main()
