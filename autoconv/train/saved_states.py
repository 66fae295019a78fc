"""`Saving`: has the states of a training written, as its `BackupAndRestore` says, and finds the one to go on from."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from ..callbacks import BackupAndRestore, Callback
from ..engine.ranks import ALONE, Ranks
from .checkpoint import Checkpoint, Writer, newest, prune
from .progress import warn
from .state import TrainState


class Saving:
    """Holds the folder of a `BackupAndRestore` until `close`; of several `ranks` the first does. state: copies the
    training's, of which `belongs_to` is a part, None on other ranks; steps: how many were done. Raises what `Writer`
    does. All ranks call all methods.
    """

    def __init__(self, backup: BackupAndRestore, state: Callable[[Mapping[str, Any]], TrainState | None],
                 steps: Callable[[], int], ranks: Ranks = ALONE) -> None:
        self._backup, self._state, self._steps, self._ranks = backup, state, steps, ranks
        self._writer: Writer | None = None  # on the first rank
        self._unsaved, self._cost = 0, 0.0  # steps since the last state was saved; the seconds that that took
        self._checked = False
        ranks.on_first(self._open)

    def _open(self) -> None:
        self._writer = Writer(self._backup.backup_dir)

    def find(self) -> Checkpoint | None:
        """The state in the folder that this training goes on from, if any. Called on the first rank."""
        found = None if self._backup.anew else newest(self._backup.backup_dir, warn)
        if found is not None and self._writer is not None:
            self._writer.follow(found)
        return found

    def begin(self) -> None:
        """Tells the callback the training's number."""
        if self._writer is not None:
            self._backup.training = self._writer.training

    def check(self, held: Callable[[], Mapping[str, Any]]) -> None:
        """Raises TypeError, before the first step, where what callbacks and iterables hold cannot be saved."""
        if not self._checked:
            self._ranks.on_first(lambda: TrainState.of(held()) and None)
            self._checked = True

    def after_step(self) -> None:
        """Saves where it is time, or where it was asked for."""
        self._unsaved += 1
        self._save_where(self._writer is not None and self._backup.is_due(self._unsaved, self._cost))

    def after_epoch(self, last: bool) -> None:
        """Saves where it is time, or where it was asked for, and after the last epoch."""
        self._save_where(last or (self._writer is not None and self._backup.is_due_at_epoch_end(self._cost)))

    def finish(self) -> None:
        """Waits until all is written."""
        if self._writer is not None:
            self._writer.wait()
            self._tell()

    def clear(self) -> None:
        """After the training: removes all states, unless the callback says otherwise."""
        if self._backup.delete_checkpoint and self._writer is not None:
            prune(self._writer.folder, self._writer.training, kept=0, others=True)

    def close(self) -> None:
        """Leaves the folder to others. Who asked to stop meant this training, and not the next one."""
        self._backup.stop_requested = False
        if self._writer is not None:
            self._writer.close()

    def _save_where(self, due: bool) -> None:
        """Saves where one rank says so. Raises KeyboardInterrupt, on all, where one was asked to stop."""
        stop = self._backup.stop_requested
        if self._ranks.size > 1:
            due, stop = np.any(self._ranks.gather(np.array([due, stop], np.float64)), axis=0)
        if due or stop:
            self._save(stop)

    def _save(self, stop: bool) -> None:
        """Copies the state, which a thread then writes. Raises KeyboardInterrupt to `stop`, after it is written."""
        begun = time.perf_counter()
        self._tell()
        state = self._state(self._backup.belongs_to)
        if self._writer is not None and state is not None:
            self._writer.write(self._steps(), state)
            self._cost = self._writer.seconds + time.perf_counter() - begun
        self._unsaved = 0
        if stop:
            self.finish()
            self._ranks.exchange(None)  # no rank ends before it is written
            raise KeyboardInterrupt

    def _tell(self) -> None:
        trouble = None if self._writer is None else self._writer.trouble()
        if isinstance(trouble, BlockingIOError):  # the folder was removed, and is another process's now
            raise trouble
        if trouble is not None:
            warn(f"The training's state could not be saved in {self._backup.backup_dir}: {trouble.strerror}. States "
                 "that were saved before stay, and training goes on.", RuntimeWarning)


def only_backup(callbacks: Iterable[Callback]) -> BackupAndRestore | None:
    """The `BackupAndRestore` among callbacks, if any. Raises ValueError for several."""
    backups = [callback for callback in callbacks if isinstance(callback, BackupAndRestore)]
    if len(backups) > 1:
        raise ValueError("A training is saved in one folder. Received several BackupAndRestore, for "
                         f"{' and '.join(str(backup.backup_dir) for backup in backups)}. Pass one of them.")
    return backups[0] if backups else None


def state_in(folder: str | PathLike[str]) -> Checkpoint:
    """The newest state in a folder. Raises FileNotFoundError where there is none."""
    found = newest(Path(folder), warn)
    if found is None:
        raise FileNotFoundError(f"There is no state of a training in {folder}. Leave out `resume` to begin one; "
                                "callbacks.BackupAndRestore(backup_dir) saves states.")
    return found


@contextmanager
def usable(found: Checkpoint) -> Iterator[None]:
    """Within it, what a state lacks is a ValueError that names its file."""
    try:
        yield
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise ValueError(f"The state in {found.path} cannot be used: {error!r}.") from error
