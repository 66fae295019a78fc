"""States of trainings as files in a folder, `0001-000000938.safetensors`: the training's number, and how many steps.

A file holds arrays and JSON, no code, and a checksum over all of it. It appears at one stroke. Of each training the
last two stay, so that where the newest is damaged the one before is there.
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

KEPT = 2
KEY = "autoconv_training"  # of the metadata's only entry
LONGER = 4  # the JSON of a state may have so many times the values of a model's: it holds the history
_NAME = re.compile(r"(\d{4,})-(\d{9,})\.safetensors")


class OtherFormatError(ValueError):
    """A state that another version of autoconv saved, which this one cannot read. It is no damaged one."""


class Checkpoint(NamedTuple):
    """A file, the training that it is of, and the state in it."""

    path: Path
    training: int
    state: TrainState


def files(folder: Path) -> list[tuple[int, int, Path]]:
    """The checkpoints in a folder: (training, steps, path), the newest first."""
    try:
        found = [(_NAME.fullmatch(path.name), path) for path in folder.iterdir()]
    except OSError:
        return []
    return sorted(((int(match[1]), int(match[2]), path) for match, path in found if match), reverse=True)


def newest(folder: Path, say: Callable[[str], Any]) -> Checkpoint | None:
    """The newest checkpoint of the newest training in a folder, None where there is none. Where it is damaged, that is
    said, and the one before is taken; raises ValueError where that is damaged, too, or it is of another format.
    """
    found, damaged = files(folder), []
    for training, _, path in found:
        if training != found[0][0]:
            break
        try:
            state = read(path)
        except OtherFormatError:
            raise
        except ValueError as error:
            damaged.append(str(error))
            continue
        for text in damaged:
            say(f"{text} The one before is used: {path.name}.")
        return Checkpoint(path, training, state)
    if damaged:
        raise ValueError(f"{' '.join(damaged)} There is none before. Remove {folder} to begin anew.")
    return None


def read(path: Path) -> TrainState:
    """The state in a file. Raises ValueError where it is damaged, OtherFormatError where it is of another format, and
    OSError where it is not there.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    data = regular.read(path)
    try:
        header = json_text.safetensors_header(io.BytesIO(data), LONGER)
        kept = json_text.parse(header["__metadata__"][KEY], LONGER)
        arrays = load(data)
        sound, facts = kept["sha256"] == _checksum(kept["facts"], arrays), json_text.parse(kept["facts"], LONGER)
        known = facts["format"]
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise ValueError(f"The checkpoint {path} is damaged: {type(error).__name__}.") from error
    if not sound:
        raise ValueError(f"The checkpoint {path} is damaged: its checksum is not that of what is in it.")
    if known != FORMAT:
        raise OtherFormatError(f"The checkpoint {path} has the format {known!r}, and this version of autoconv reads "
                               f"{FORMAT}. Use a newer autoconv, or the one that saved it.")
    return TrainState(facts, arrays)


def to_bytes(state: TrainState) -> bytes:
    """The file of a state."""
    from safetensors.numpy import save

    facts = json.dumps({"format": FORMAT, **state.facts})
    arrays = {name: np.asarray(array, array.dtype.newbyteorder("="), "C") for name, array in state.arrays.items()}
    return save(arrays, {KEY: json.dumps({"sha256": _checksum(facts, arrays), "facts": facts})})


def _checksum(facts: str, arrays: dict[str, np.ndarray]) -> str:
    found = hashlib.sha256(facts.encode())
    for name in sorted(arrays):
        array = arrays[name]
        found.update(json.dumps([name, array.dtype.str, array.shape]).encode())
        found.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return found.hexdigest()


def prune(folder: Path, training: int, kept: int = KEPT, others: bool = False) -> None:
    """Removes all but the newest checkpoints of a training; with `others` also those of other trainings."""
    own = [path for number, _, path in files(folder) if number == training]
    old = [path for number, _, path in files(folder) if others and number != training]
    _remove([*own[kept:], *old])


def sweep(folder: Path) -> None:
    """Removes unfinished files of processes that were killed. Whoever calls this holds the folder."""
    _remove(folder.glob(f".*{atomic.SUFFIX}"))


def _remove(paths: Iterable[Path]) -> None:
    for path in paths:
        with contextlib.suppress(OSError):
            path.unlink()


class Writer:
    """Writes states of one training into a folder, in a thread of its own; the training goes on meanwhile.

    Raises OSError where the folder cannot be written, BlockingIOError where another process trains there. A state that
    could not be written is told by `trouble`; those before it stay. A folder that somebody removed is made again.
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
        self._beyond: list[Path] = []  # files that are newer than the state that this training went on from
        self.seconds = 0.0  # of a processor, that writing the last state took
        self._trouble: OSError | None = None
        self._change = interruptible_condition()
        self._waiting: tuple[int, TrainState] | None = None
        self._writing = self._ends = False
        self._thread: threading.Thread | None = None

    def follow(self, found: Checkpoint) -> None:
        """Goes on with the training that a state is of. Newer ones of it, which are damaged, go with the first write.
        """
        self.training = found.training
        own = [path for number, _, path in files(self.folder) if number == found.training]
        self._beyond = own[: own.index(found.path)]

    def write(self, steps: int, state: TrainState) -> None:
        """Has a state written, instead of one that still waits."""
        with self._change:
            self._waiting = steps, state
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="autoconv-checkpoint", daemon=True)
                self._thread.start()
            self._change.notify_all()

    def trouble(self) -> OSError | None:
        """Why the last state could not be written, told once."""
        with self._change:
            trouble, self._trouble = self._trouble, None
        return trouble

    def wait(self) -> None:
        """Waits until all states are written."""
        with self._change:
            self._change.wait_for(lambda: self._waiting is None and not self._writing)

    def close(self) -> None:
        """Lets another process train here, once all is written."""
        with self._change:
            self._ends = True
            self._change.notify_all()
        if self._thread is not None:
            self._thread.join()
        self._hold.close()

    def _enter(self) -> None:
        try:
            self._hold = folders.Hold(self.folder)
        except BlockingIOError as error:
            raise BlockingIOError(0, f"Another process trains in {self.folder}. Wait for it, or name another "
                                  "folder.") from error

    def _work(self) -> None:
        while True:
            with self._change:
                self._change.wait_for(lambda: self._waiting is not None or self._ends)
                if self._waiting is None:
                    return
                (steps, state), self._waiting, self._writing = self._waiting, None, True
            begun, trouble = time.thread_time(), None
            try:
                path = self.folder / f"{self.training:04d}-{steps:09d}.safetensors"
                self._write(path, to_bytes(state))
                _remove(old for old in self._beyond if old != path)
                self._beyond = []
                prune(self.folder, self.training)
            except OSError as error:
                trouble = error
            except Exception as error:  # whatever it is, it is told, and nobody waits for this thread in vain
                trouble = OSError(0, f"{type(error).__name__}: {error}")
            with self._change:
                self._trouble, self._writing = trouble, False
                self.seconds = time.thread_time() - begun
                self._change.notify_all()

    def _write(self, path: Path, data: bytes) -> None:
        """Writes a file; where its folder was removed it is made again."""
        while True:
            if not self._hold.is_there():
                self._hold.close()
                self._enter()
            try:
                return atomic.write(path, data)
            except FileNotFoundError:
                if self._hold.is_there():
                    raise
