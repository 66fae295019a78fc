"""Every reader there is, in one table: how to write a sample, how to read it, which traps there are for it.

A format that comes later joins by a row of `READERS`. `python tests/readers.py NAME COUNT` prints what became of so
many damaged files of each kind, "" for all.
"""

import gzip
import json
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import hostile_data as sets
import hostile_models as models
import hostile_pictures as images
import mutations
import numpy as np
from mutations import ALLOWED, Mutant

SECONDS, MEGABYTES = 2.0, 200.0  # that no file takes, the megabytes above what a sound one does
FOLDER = "here"  # where files are read


def no_traps() -> Iterator[Mutant]:
    return iter(())


class Reader(NamedTuple):
    """One way to read a file.

    sample: the bytes of a sound file; file: its name in a folder; read: reads the file in this folder and uses what it
    read, so that what is read wrong shows; traps: files made to do harm; mutants: how to damage it.
    """

    name: str
    sample: Callable[[], bytes]
    file: str
    read: Callable[[Path], Any]
    traps: Callable[[], Iterator[Mutant]] = no_traps
    mutants: Callable[[bytes, int, int], Iterator[Mutant]] = mutations.mutants
    around: Callable[[Path], None] = lambda folder: None  # what else must lie in the folder
    slow: bool = False  # whether one file takes more than 10 ms, so that the quick test draws fewer


def kernel_file() -> bytes:
    from autoconv.backend import caching

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, FOLDER, "k.kernel")
        path.parent.mkdir()
        caching.write(path, b"machine code" * 100)
        return path.read_bytes()


def read_kernel(folder: Path) -> None:
    from autoconv.backend import caching

    path = folder / "k.kernel"
    whole = path.read_bytes() == kernel_file()
    found = caching.read(path)
    assert (found is not None) == whole, "a damaged kernel would be executed"
    if not whole:
        raise ValueError("refused")


def checkpoint_file() -> bytes:
    from autoconv.train import checkpoint
    from autoconv.train.state import TrainState

    weights = {"dense/kernel": np.arange(24, dtype=np.float32).reshape(4, 6)}
    content = {"position": {"epoch": 1, "done": 5}, "weights": weights, "history": {"loss": [0.5, 0.25]}}
    return checkpoint.to_bytes(TrainState.of(content))


def read_checkpoint(folder: Path) -> None:
    from autoconv.train import checkpoint

    state = checkpoint.read(folder / "0001-000000005.safetensors")
    assert state.position == (1, 5), "a damaged state would be gone on from"
    assert state.content()["weights"]["dense/kernel"].sum() == 276, "a damaged weight would be gone on from"


def onnx_reader() -> list[Reader]:
    """The reader of ONNX files, where the package onnx is installed."""
    try:
        import hostile_onnx
    except ImportError:
        return []
    return [Reader("onnx", hostile_onnx.sound, hostile_onnx.FILE, hostile_onnx.read, hostile_onnx.traps)]


READERS: list[Reader] = [
    Reader("idx", lambda: sets.idx(sets.SMALL), "train-images-idx3-ubyte", sets.read_idx_set, sets.idx_traps,
           around=sets.others_of_idx),
    Reader("idx labels", lambda: sets.idx(sets.LABELS), "train-labels-idx1-ubyte", sets.read_idx_set,
           around=sets.others_of_idx),
    Reader("idx gzipped", lambda: gzip.compress(sets.idx(sets.SMALL)), "train-images-idx3-ubyte.gz", sets.read_idx_set,
           sets.gzip_traps, sets.inside_gzip, sets.others_of_idx),
    Reader("npz", sets.npz_sample, "mnist.npz", sets.read_idx_set, sets.npz_traps),
    Reader("cifar python", sets.cifar_pickle, "test_batch", sets.read_cifar, sets.pickle_traps,
           around=sets.others_of_cifar(sets.cifar_pickle, "")),
    Reader("cifar binary", sets.cifar_binary, "test_batch.bin", sets.read_cifar,
           around=sets.others_of_cifar(sets.cifar_binary, ".bin")),
    Reader("cifar tar", sets.cifar_tar, "cifar-10-python.tar.gz", sets.read_cifar, sets.tar_traps, sets.inside_gzip),
    Reader("npy", sets.npy_sample, "x.npy", sets.read_npy, sets.npy_traps),
    Reader("weights", models.weights_file, models.FILE, models.read_weights, mutants=models.headers),
    Reader("model", lambda: models.file_of(models.chain), models.FILE, models.read_model, models.model_traps,
           models.headers),
    Reader("architecture", lambda: models.file_of(models.chain), models.FILE, models.read_model,
           mutants=models.architectures),
    Reader("training", lambda: models.file_of(models.compiled), models.FILE, models.read_model,
           mutants=models.trainings),
    Reader("architecture of a graph", lambda: models.file_of(models.graph), models.FILE, models.read_model,
           mutants=models.architectures),
    Reader("run.json", models.run_text, "run.json", models.evaluate_run, models.run_traps, models.run_mutants,
           models.others_of_run, slow=True),
    Reader("run.json for a report", models.run_text, "run.json", models.report_run, mutants=models.run_mutants,
           around=models.others_of_run, slow=True),
    Reader("history.csv", lambda: models.HISTORY, "history.csv", models.report_run, models.history_traps,
           around=models.others_of_run, slow=True),
    *(Reader(f"Keras's {suffix}", lambda suffix=suffix: models.keras_file(suffix), f"m{suffix}",  # type: ignore[misc]
             lambda folder, suffix=suffix: models.read_keras(folder / f"m{suffix}"), slow=True)
      for suffix in models.keras_suffixes()),
    *(Reader("Keras's architecture", lambda: models.keras_file(".keras"), "m.keras",
             lambda folder: models.read_keras(folder / "m.keras"), mutants=models.keras_configs, slow=True)
      for suffix in models.keras_suffixes()[:1]),
    *(Reader(f"picture {suffix}", lambda kind=kind: images.sample(kind), f"x{suffix}",  # type: ignore[misc]
             images.reading(f"x{suffix}"), images.traps if kind == "PNG" else no_traps)
      for kind, suffix in images.suffixes().items()),
    *onnx_reader(),
    Reader("checkpoint", checkpoint_file, "0001-000000005.safetensors", read_checkpoint, mutants=models.headers),
    Reader("kernel", kernel_file, "k.kernel", read_kernel),
]


# What became of them.


class Outcome(NamedTuple):
    """Of one file: what was done to it, whether it was read, and what is wrong with that."""

    mutant: str
    read: bool
    seconds: float
    megabytes: float
    wrong: str


def tried(reader: Reader, count: int, seed: int = 0) -> Iterator[Outcome]:
    """Reads a sound file, then all traps and so many damaged ones."""
    sample = reader.sample()
    with tempfile.TemporaryDirectory() as folder:
        sound = attempt(reader, Path(folder, FOLDER), "sound", sample)
        if not sound.read:
            raise AssertionError(f"{reader.name} does not read its own sample: {sound.wrong}")
        floor = sound.megabytes
        for number, (name, data) in enumerate([*reader.traps(), *reader.mutants(sample, count, seed)]):
            found = attempt(reader, Path(folder, FOLDER), f"{number} {name}", data)
            found = found._replace(megabytes=max(found.megabytes - floor, 0.0))
            if not found.wrong and found.seconds > SECONDS:
                found = found._replace(wrong=f"took {found.seconds:.1f} s")
            if not found.wrong and found.megabytes > MEGABYTES:
                found = found._replace(wrong=f"took {found.megabytes:.0f} MB")
            yield found


def attempt(reader: Reader, folder: Path, name: str, data: bytes) -> Outcome:
    folder.mkdir(exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    (folder / reader.file).write_bytes(data)
    reader.around(folder)
    before, wrong, read = sorted(folder.iterdir()), "", False
    start, begun = memory(reset=True), time.process_time()  # other programs do not count
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            reader.read(folder)
        read = True
    except ALLOWED as error:
        if not str(error):
            wrong = f"{type(error).__name__} says nothing"
    except Exception:
        wrong = traceback.format_exc()
    seconds, used = time.process_time() - begun, memory() - start
    left = sorted(path.name for path in set(folder.iterdir()) - set(before))
    if left:
        wrong = wrong or f"leaves {', '.join(left)}"
    return Outcome(name, read, seconds, used, wrong)


def memory(reset: bool = False) -> float:
    """The most megabytes that this process held since the last reset; with `reset` those that it holds now."""
    if sys.platform != "linux":
        return 0.0
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    wanted = "VmRSS" if reset else "VmHWM"
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(wanted))
    return int(line.split()[1]) / 1024


def main(names: list[str], count: int, seed: int = 0) -> None:
    """Prints a line of JSON for each reader, and one before each, so that a crash is known by name."""
    for reader in READERS:
        if names and reader.name not in names:
            continue
        sys.stdout.write(json.dumps({"begins": reader.name}) + "\n")
        sys.stdout.flush()
        begun = time.perf_counter()
        outcomes = list(tried(reader, count // 6 if reader.slow and count < 1000 else count, seed))
        wrong = [outcome for outcome in outcomes if outcome.wrong]
        sys.stdout.write(json.dumps({
            "name": reader.name, "files": len(outcomes), "read": sum(outcome.read for outcome in outcomes),
            "slowest": round(max(outcome.seconds for outcome in outcomes), 3),
            "largest": round(max(outcome.megabytes for outcome in outcomes), 1),
            "seconds": round(time.perf_counter() - begun, 1), "wrong": len(wrong),
            "first": [(outcome.mutant, outcome.wrong[-1500:]) for outcome in wrong[:5]]}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1].split(",") if sys.argv[1] else [], int(sys.argv[2]))
