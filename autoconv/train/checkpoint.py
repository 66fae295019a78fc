"""Saves training states as files in a folder. A file name such as `0001-000000938.safetensors`
contains the training run's number and the step count.

A file contains arrays, JSON and a checksum over both, but no code. Files are replaced atomically.
The last two files of each training run are kept, in case the newest file is damaged.
"""

import contextlib
import hashlib
import io
import json
import re
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..files import atomic, folders, json_text, regular
from ..kernels.locks import interruptible_condition
from .state import FORMAT, TrainState

MAX_FILES = 2
KEY = "autoconv_training"  # key of the only entry in a file's metadata
LONGER = 4  # factor of the JSON size limit relative to a model's, because a training state has a history
_NAME = re.compile(r"(\d{4,})-(\d{9,})\.safetensors")


class OtherFormatError(ValueError):
    """A checkpoint that is not damaged has a format that this version of autoconv cannot read."""


class Checkpoint(NamedTuple):
    """A checkpoint file's path, the number of its training run, and the saved state."""

    path: Path
    training: int
    state: TrainState


def files(folder: Path) -> list[tuple[int, int, Path]]:
    """Returns (run number, step count, path) for every checkpoint in a folder, newest first."""
    try:
        matches = [(_NAME.fullmatch(path.name), path) for path in folder.iterdir()]
    except OSError:
        return []
    return sorted(((int(match[1]), int(match[2]), path) for match, path in matches if match), reverse=True)


def newest(folder: Path, report: Callable[[str], Any]) -> Checkpoint | None:
    """Returns the newest checkpoint of the newest training run in a folder; None without
    checkpoints. If a file is damaged, `report` receives a message, and the previous file is read.
    Raises ValueError if all of the run's files are damaged or if a file has another format.
    """
    candidates, errors = files(folder), []
    for training, _, path in candidates:
        if training != candidates[0][0]:
            break
        try:
            state = read(path)
        except OtherFormatError:
            raise
        except ValueError as error:
            errors.append(str(error))
            continue
        for text in errors:
            report(f"{text} The one before is used: {path.name}.")
        return Checkpoint(path, training, state)
    if errors:
        raise ValueError(f"{' '.join(errors)} No undamaged checkpoint of this training run "
                         f"remains. Remove {folder} to start again.")
    return None


def read(path: Path) -> TrainState:
    """Returns the training state in a file. Raises OSError if the file cannot be read, ValueError
    if it is damaged, and OtherFormatError if it has another format.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    data = regular.read_file(path)
    try:
        header = json_text.safetensors_header(io.BytesIO(data), LONGER)
        entry = json_text.parse(header["__metadata__"][KEY], LONGER)
        arrays = load(data)
        metadata = json_text.parse(entry["facts"], LONGER)
        is_sound = entry["sha256"] == _checksum(entry["facts"], arrays)
        version = metadata["format"]
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise ValueError(f"The checkpoint {path} is damaged. Reading the file raised "
                         f"{type(error).__name__}.") from error
    if not is_sound:
        raise ValueError(f"The checkpoint {path} is damaged: its checksum does not match its contents.")
    if version != FORMAT:
        raise OtherFormatError(f"The checkpoint {path} has the format {version!r}, but this version of autoconv reads "
                               f"only the format {FORMAT}. Use the version of autoconv that saved the checkpoint.")
    return TrainState(metadata, arrays)


def to_bytes(state: TrainState) -> bytes:
    """Returns the contents of a checkpoint file for a training state."""
    from safetensors.numpy import save

    text = json.dumps({"format": FORMAT, **state.metadata})
    arrays = {name: np.asarray(array, array.dtype.newbyteorder("="), "C") for name, array in state.arrays.items()}
    return save(arrays, {KEY: json.dumps({"sha256": _checksum(text, arrays), "facts": text})})


def _checksum(metadata: str, arrays: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256(metadata.encode())
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(json.dumps([name, array.dtype.str, array.shape]).encode())
        digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def prune(folder: Path, training: int, count: int = MAX_FILES, all_trainings: bool = False) -> None:
    """Removes all but the newest `count` files of a run. With `all_trainings`, also removes all files of other runs."""
    newest_first = [path for number, _, path in files(folder) if number == training]
    foreign = [path for number, _, path in files(folder) if all_trainings and number != training]
    _remove([*newest_first[count:], *foreign])


def sweep(folder: Path) -> None:
    """Removes unfinished files that killed processes left behind. The caller must hold the folder's lock."""
    _remove(folder.glob(f".*{atomic.SUFFIX}"))


def _remove(paths: Iterable[Path]) -> None:
    for path in paths:
        with contextlib.suppress(OSError):
            path.unlink()


class Writer:
    """Writes the states of one training run to a folder in a separate thread, while training continues.

    The constructor raises OSError if the folder is not writable, and BlockingIOError if another
    process is training in it. If a write fails, `take_error` returns the error, and earlier files
    remain. If the folder is removed, the next write creates it again.
    """

    def __init__(self, folder: Path, training: int | None = None) -> None:
        self.folder = folder
        self._enter()
        try:
            sweep(folder)
            atomic.check_writable(folder / "checkpoint")
            latest = next((number for number, *_ in files(folder)), 0)
            self.training = latest + 1 if training is None else training
        except BaseException:
            self._hold.close()
            raise
        self._stale_paths: list[Path] = []  # files newer than the checkpoint that training resumed from
        self.seconds = 0.0  # CPU seconds used to write the last state
        self._error: OSError | None = None
        self._change = interruptible_condition()
        self._next: tuple[int, TrainState] | None = None
        self._is_writing = self._is_closing = False
        self._thread: threading.Thread | None = None

    def follow(self, checkpoint: Checkpoint) -> None:
        """Continues a checkpoint's run. The first write removes the run's files that are newer than the checkpoint."""
        self.training = checkpoint.training
        paths = [path for number, _, path in files(self.folder) if number == checkpoint.training]
        self._stale_paths = paths[: paths.index(checkpoint.path)]

    def write(self, steps: int, state: TrainState) -> None:
        """Queues a state for writing. A state that is still in the queue is replaced."""
        with self._change:
            self._next = steps, state
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="autoconv-checkpoint", daemon=True)
                self._thread.start()
            self._change.notify_all()

    def take_error(self) -> OSError | None:
        """Returns the error of the last write, or None, and clears it."""
        with self._change:
            error, self._error = self._error, None
        return error

    def wait(self) -> None:
        """Waits until the queued state is written."""
        with self._change:
            self._change.wait_for(lambda: self._next is None and not self._is_writing)

    def close(self) -> None:
        """Waits until the queued state is written, and releases the folder for other processes."""
        with self._change:
            self._is_closing = True
            self._change.notify_all()
        if self._thread is not None:
            self._thread.join()
        self._hold.close()

    def _enter(self) -> None:
        try:
            self._hold = folders.Hold(self.folder)
        except BlockingIOError as error:
            raise BlockingIOError(0, f"Another process is training in {self.folder}. Wait until it "
                                     "ends, or choose another folder.") from error

    def _work(self) -> None:
        while True:
            with self._change:
                self._change.wait_for(lambda: self._next is not None or self._is_closing)
                if self._next is None:
                    return
                (steps, state), self._next, self._is_writing = self._next, None, True
            start, failure = time.thread_time(), None
            try:
                path = self.folder / f"{self.training:04d}-{steps:09d}.safetensors"
                self._write(path, to_bytes(state))
                _remove(old for old in self._stale_paths if old != path)
                self._stale_paths = []
                prune(self.folder, self.training)
            except OSError as error:
                failure = error
            except Exception as error:  # report any error, because a dead thread would block `wait` forever
                failure = OSError(0, f"{type(error).__name__}: {error}")
            with self._change:
                self._error, self._is_writing = failure, False
                self.seconds = time.thread_time() - start
                self._change.notify_all()

    def _write(self, path: Path, data: bytes) -> None:
        """Writes a file, after creating its folder again if the folder was removed."""
        while True:
            if not self._hold.is_there():
                stale_hold = self._hold  # kept if another process has locked the folder; later writes then fail too
                self._enter()
                stale_hold.close()
            try:
                return atomic.write(path, data)
            except FileNotFoundError:
                if self._hold.is_there():
                    raise
