"""`Saving` saves training states as a `BackupAndRestore` callback specifies, and finds the state to resume from."""

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
    """Locks the folder of a `BackupAndRestore` callback until `close`. With several `ranks`, only rank 0 does this.
    `state(belongs_to)` copies the training state (None on other ranks), and `steps()` returns the number of completed
    steps. The constructor raises the same errors as `Writer`. All ranks must call all methods except `find`.
    """

    def __init__(self, backup: BackupAndRestore, state: Callable[[Mapping[str, Any]], TrainState | None],
                 steps: Callable[[], int], ranks: Ranks = ALONE) -> None:
        self._backup, self._state, self._steps, self._ranks = backup, state, steps, ranks
        self._writer: Writer | None = None  # None except on rank 0
        self._unsaved_steps, self._cost = 0, 0.0  # steps since the last save; estimated seconds per save
        self._is_checked = False
        ranks.run_on_first(self._open)

    def _open(self) -> None:
        self._writer = Writer(self._backup.backup_dir)

    def find(self) -> Checkpoint | None:
        """Returns the checkpoint to resume from, or None. Only rank 0 calls this method."""
        checkpoint = None if self._backup.anew else newest(self._backup.backup_dir, warn)
        if checkpoint is not None and self._writer is not None:
            self._writer.follow(checkpoint)
        return checkpoint

    def begin(self) -> None:
        """Stores the training run's number in the callback."""
        if self._writer is not None:
            self._backup.training = self._writer.training

    def check(self, get_states: Callable[[], Mapping[str, Any]]) -> None:
        """Raises TypeError before the first step if the state of a callback or iterable cannot be saved."""
        if not self._is_checked:
            self._ranks.run_on_first(lambda: TrainState.from_content(get_states()) and None)
            self._is_checked = True

    def save_after_step(self) -> None:
        """Saves the training state after a step if a save is due or was requested."""
        self._unsaved_steps += 1
        self._save_if_due(self._writer is not None and self._backup.is_due(self._unsaved_steps, self._cost))

    def save_after_epoch(self, last: bool) -> None:
        """Saves the training state after an epoch if a save is due or was requested, or the epoch is the last."""
        self._save_if_due(last or (self._writer is not None and self._backup.is_due_at_epoch_end(self._cost)))

    def finish(self) -> None:
        """Waits until all states are written. Warns if the last write failed."""
        if self._writer is not None:
            self._writer.wait()
            self._report_error()

    def clear(self) -> None:
        """Removes all saved states after training, unless the callback keeps them."""
        if self._backup.delete_checkpoint and self._writer is not None:
            prune(self._writer.folder, self._writer.training, count=0, all_trainings=True)

    def close(self) -> None:
        """Releases the folder. Clears a stop request, which must not stop the next run."""
        self._backup.stop_requested = False
        if self._writer is not None:
            self._writer.close()

    def _save_if_due(self, due: bool) -> None:
        """Saves if a save is due on any rank. Raises KeyboardInterrupt on all ranks if one received a stop request."""
        stop = self._backup.stop_requested
        if self._ranks.size > 1:
            due, stop = np.any(self._ranks.gather(np.array([due, stop], np.float64)), axis=0)
        if due or stop:
            self._save(stop)

    def _save(self, stop: bool) -> None:
        """Copies the state, which a thread then writes. With `stop`, raises KeyboardInterrupt after the write."""
        start = time.perf_counter()
        self._report_error()
        state = self._state(self._backup.belongs_to)
        if self._writer is not None and state is not None:
            self._writer.write(self._steps(), state)
            self._cost = self._writer.seconds + time.perf_counter() - start
        self._unsaved_steps = 0
        if stop:
            self.finish()
            self._ranks.exchange(None)  # a barrier: no rank ends before the state is written
            raise KeyboardInterrupt

    def _report_error(self) -> None:
        error = None if self._writer is None else self._writer.take_error()
        if isinstance(error, BlockingIOError):  # the folder was removed and now belongs to another process
            raise error
        if error is not None:
            warn(f"The training's state could not be saved in {self._backup.backup_dir}: {error.strerror}. States "
                 "that were saved before stay, and training goes on.", RuntimeWarning)


def find_backup(callbacks: Iterable[Callback]) -> BackupAndRestore | None:
    """Returns the `BackupAndRestore` callback, or None. Raises ValueError if there are several of them."""
    backups = [callback for callback in callbacks if isinstance(callback, BackupAndRestore)]
    if len(backups) > 1:
        raise ValueError("fit accepts only one BackupAndRestore callback. Received: callbacks for the folders "
                         f"{' and '.join(str(backup.backup_dir) for backup in backups)}. Pass only one of the "
                         "callbacks.")
    return backups[0] if backups else None


def load_newest(folder: str | PathLike[str]) -> Checkpoint:
    """Returns the newest checkpoint in a folder. Raises FileNotFoundError if there is none."""
    checkpoint = newest(Path(folder), warn)
    if checkpoint is None:
        raise FileNotFoundError(f"{folder} contains no checkpoint. To start a new training run, leave out `resume`. "
                                "To save checkpoints, pass callbacks.BackupAndRestore(backup_dir).")
    return checkpoint


@contextmanager
def translate_errors(checkpoint: Checkpoint) -> Iterator[None]:
    """Converts errors about missing entries in the `with` block to ValueErrors with the file's name."""
    try:
        yield
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise ValueError(f"The training state in the checkpoint {checkpoint.path} is incomplete or "
                         f"invalid: {error!r}. Start again in another folder.") from error
