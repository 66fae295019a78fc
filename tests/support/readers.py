"""Every reader there is, in one table: how to write a sample, how to read it, which traps there are for it.

A new format joins by a row of `READERS`. Files are read in a child process: a reader that crashes, hangs or eats memory
costs one child, is counted, and the next file goes to a new one.

`python readers.py NAMES COUNT` reads COUNT damaged files of each reader (names separated by commas, "" for all).
COUNT may also be `quick` or `long`: the numbers of the reader's row.
"""

import gzip
import json
import multiprocessing
import os
import signal
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

SECONDS, MEGABYTES = 2.0, 256.0  # limits for each file; the megabytes in addition to the file's own size
LAST_SECONDS, LAST_MEGABYTES = 60.0, 2000.0  # at which the child is killed: time by the clock, memory of the process
FOLDER = "here"  # where files are read


def no_traps() -> Iterator[Mutant]:
    return iter(())


class Reader(NamedTuple):
    """One way to read a file.

    sample: the bytes of a sound file; file: its name in a folder; read: reads the file in this folder and uses what it
    read, so that what is read wrong shows; traps: files made to do harm; mutants: how to damage it; quick and long: how
    many damaged files the normal tests and the long run read.
    """

    name: str
    sample: Callable[[], bytes]
    file: str
    read: Callable[[Path], Any]
    traps: Callable[[], Iterator[Mutant]] = no_traps
    mutants: Callable[[bytes, int, int], Iterator[Mutant]] = mutations.mutants
    around: Callable[[Path], None] = lambda folder: None  # what else must lie in the folder
    quick: int = 60
    long: int = 2000


def kernel_file() -> bytes:
    from autoconv.kernels import caching

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, FOLDER, "k.kernel")
        path.parent.mkdir()
        caching.write(path, b"machine code" * 100)
        return path.read_bytes()


def read_kernel(folder: Path) -> None:
    from autoconv.kernels import caching

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
    return checkpoint.to_bytes(TrainState.from_content(content))


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
    return [Reader("onnx", hostile_onnx.sound, hostile_onnx.FILE, hostile_onnx.read, hostile_onnx.traps,
                   hostile_onnx.mutants, quick=150, long=20_000)]


def keras_readers() -> list[Reader]:
    """The readers of Keras's files, if h5py is installed, which writes the samples."""
    try:
        import hostile_hdf5
    except ImportError:
        return []
    return [
        Reader("Keras's .keras", lambda: models.keras_file(".keras"), "m.keras", models.read_keras("m.keras"),
               models.keras_traps, quick=10),
        Reader("Keras's architecture", lambda: models.keras_file(".keras"), "m.keras", models.read_keras("m.keras"),
               mutants=models.keras_configs, quick=150, long=20_000),
        Reader("Keras's .h5", lambda: models.keras_file(".h5"), "m.h5", models.read_keras("m.h5"), hostile_hdf5.traps,
               hostile_hdf5.mutants, quick=150, long=20_000),
        Reader("Keras's .h5 with other letters", lambda: models.keras_file("ä.h5"), "m.h5", models.read_keras("m.h5"),
               mutants=hostile_hdf5.mutants),
        Reader("Keras's .weights.h5", lambda: models.keras_file(".weights.h5"), "m.weights.h5",
               models.read_keras("m.weights.h5"), mutants=hostile_hdf5.mutants),
    ]


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
           models.headers, quick=150, long=20_000),
    Reader("architecture", lambda: models.file_of(models.chain), models.FILE, models.read_model,
           mutants=models.architectures),
    Reader("training", lambda: models.file_of(models.compiled), models.FILE, models.read_model,
           mutants=models.trainings),
    Reader("architecture of a graph", lambda: models.file_of(models.graph), models.FILE, models.read_model,
           mutants=models.architectures),
    Reader("run.json", models.run_text, "run.json", models.evaluate_run, models.run_traps, models.run_mutants,
           models.others_of_run, quick=150, long=20_000),
    Reader("run.json for a report", models.run_text, "run.json", models.report_run, mutants=models.run_mutants,
           around=models.others_of_run, quick=10),
    Reader("history.csv", lambda: models.HISTORY, "history.csv", models.report_run, models.history_traps,
           around=models.others_of_run, quick=10),
    *keras_readers(),
    *(Reader(f"picture {suffix}", lambda kind=kind: images.sample(kind), f"x{suffix}",  # type: ignore[misc]
             images.reading(f"x{suffix}"), images.traps if kind == "PNG" else no_traps)
      for kind, suffix in images.suffixes().items()),
    *onnx_reader(),
    Reader("checkpoint", checkpoint_file, "0001-000000005.safetensors", read_checkpoint, mutants=models.headers),
    Reader("kernel", kernel_file, "k.kernel", read_kernel),
]


def read_carelessly(folder: Path) -> None:
    """What the harness must find: an IndexError, 400 MB, a crash."""
    data = (folder / "x").read_bytes()
    if len(data) > 100:
        bytearray(b"x" * 400_000_000)
    if len(data) < 100:
        os.kill(os.getpid(), signal.SIGSEGV)
    data[sum(data[:64])]


CARELESS = Reader("careless", lambda: bytes(100), "x", read_carelessly)  # no row of the table: it tests the harness


# What became of them.


class Outcome(NamedTuple):
    """Of one file: what was done to it, whether it was read, and what is wrong with that."""

    mutant: str
    read: bool
    seconds: float
    megabytes: float
    wrong: str


class Child:
    """A process that reads files, and is replaced by a new one when a file ended it or it was killed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._start()

    def attempt(self, reader: Reader, name: str, data: bytes) -> Outcome:
        self._pipe.send((reader.name, name, data))
        begun, most = time.perf_counter(), 0.0
        while not self._pipe.poll(0.05):
            most, seconds = max(most, memory("VmRSS", self._process.pid)), time.perf_counter() - begun
            if most > LAST_MEGABYTES + len(data) / 2**20 or seconds > LAST_SECONDS:
                self._process.kill()
                self._process.join()
        try:
            return self._pipe.recv()
        except EOFError:
            self._process.join()
            code = self._process.exitcode or 0
            wrong = f"killed: {seconds:.0f} s, {most:.0f} MB" if code == -9 else (
                f"ends the process: {signal.Signals(-code).name if code < 0 else code}")
            self._start()
            return Outcome(name, False, time.perf_counter() - begun, most, wrong)

    def close(self) -> None:
        self._pipe.close()
        self._process.join()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=serve, args=(theirs, self._folder), daemon=True)
        self._process.start()
        theirs.close()


def serve(pipe: Any, folder: Path) -> None:
    """Reads the files that come through the pipe. The first file of each reader is a sound one: what it compiles and
    imports is not counted.
    """
    ready: dict[str, Reader] = {}
    while True:
        try:
            name, mutant, data = pipe.recv()
        except EOFError:
            return
        if name not in ready:
            ready[name] = next(reader for reader in [*READERS, CARELESS] if reader.name == name)
            attempt(ready[name], folder, "sound", ready[name].sample())
        pipe.send(attempt(ready[name], folder, mutant, data))


def tried(reader: Reader, count: int, seed: int = 0) -> Iterator[Outcome]:
    """Reads a sound file, then all traps and so many damaged ones."""
    sample = reader.sample()
    with tempfile.TemporaryDirectory() as folder:
        child = Child(Path(folder, FOLDER))
        sound = child.attempt(reader, "sound", sample)
        if not sound.read or sound.wrong:
            raise AssertionError(f"{reader.name} does not read its own sample: {sound.wrong}")
        for made in (reader.traps(), reader.mutants(sample, count, seed)):
            for number, (name, data) in enumerate(made):
                found = child.attempt(reader, f"{number} {name}", data)
                if not found.wrong and found.seconds > SECONDS:
                    found = found._replace(wrong=f"took {found.seconds:.1f} s")
                if not found.wrong and found.megabytes > MEGABYTES + len(data) / 2**20:
                    found = found._replace(wrong=f"took {found.megabytes:.0f} MB, the file has {len(data):,} bytes")
                yield found
        child.close()


def attempt(reader: Reader, folder: Path, name: str, data: bytes) -> Outcome:
    folder.mkdir(exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    (folder / reader.file).write_bytes(data)
    reader.around(folder)
    before, wrong, read = sorted(folder.iterdir()), "", False
    if sys.platform == "linux":
        Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM
    start, begun = memory("VmRSS"), time.process_time()  # other programs do not count
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
    seconds, used = time.process_time() - begun, memory("VmHWM") - start
    left = sorted(path.name for path in set(folder.iterdir()) - set(before))
    if left:
        wrong = wrong or f"leaves {', '.join(left)}"
    return Outcome(name, read, seconds, used, wrong)


def memory(which: str, process: int | str | None = "self") -> float:
    """The megabytes that a process holds, "VmRSS", or the most that it held, "VmHWM". 0 if the system does not say."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith(which)), 0.0)


def main(names: list[str], count: str, seed: int = 0) -> None:
    """Prints a line of JSON for each reader, and one before each."""
    for reader in READERS:
        if names and reader.name not in names:
            continue
        report({"begins": reader.name})
        begun = time.perf_counter()
        outcomes = list(tried(reader, {"quick": reader.quick, "long": reader.long}.get(count) or int(count), seed))
        wrong = [outcome for outcome in outcomes if outcome.wrong]
        report({
            "name": reader.name, "files": len(outcomes), "read": sum(outcome.read for outcome in outcomes),
            "slowest": round(max(outcome.seconds for outcome in outcomes), 3),
            "largest": round(max(outcome.megabytes for outcome in outcomes), 1),
            "seconds": round(time.perf_counter() - begun, 1), "wrong": len(wrong),
            "first": [(outcome.mutant, outcome.wrong[-1500:]) for outcome in wrong[:5]]})


def report(line: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1].split(",") if sys.argv[1] else [], sys.argv[2])
