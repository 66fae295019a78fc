"""Callbacks that save the model, or the whole state of a training run."""

import os
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from string import Formatter
from typing import Any

from ..arguments import extras
from ..arguments.shapes import check_count
from ..files import atomic, suffixes
from .callback import Callback, Logs, say
from .watching import MonitorCallback


class ModelCheckpoint(MonitorCallback):
    """Saves the model at the end of each epoch. With `save_best_only`, saves it only if the
    monitored value is better than all earlier ones.

    `filepath` may contain placeholders, as in "{epoch:02d}-{val_loss:.3f}.safetensors"; in these,
    epochs and batches count from 1. Missing folders are created. save_weights_only: whether to call
    `model.save_weights` instead of `model.save`. save_freq: "epoch", or the number of batches
    between two saves. initial_value_threshold: a value that the first monitored value must beat. If
    the monitored value is missing, the model is saved with a warning.

    Raises ValueError for an unknown suffix or an invalid placeholder. Before the first step, `fit`
    raises OSError if no file can be written, ExtraError if h5py is missing, and ValueError if the model
    cannot be saved, or if a placeholder such as {val_loss} needs validation data that `fit` lacks.
    """

    _state_names = ("best", "_batches", "_epoch")

    def __init__(
        self, filepath: str | Path, monitor: str = "val_loss", verbose: int = 0, save_best_only: bool = False,
        save_weights_only: bool = False, mode: str = "auto", save_freq: str | int = "epoch",
        initial_value_threshold: float | None = None,
    ) -> None:
        super().__init__(monitor, mode)
        if save_freq != "epoch":
            check_count("save_freq", save_freq, 1, "'epoch' or ")
        self.filepath, self.verbose = os.fspath(filepath), verbose
        try:
            self._example = Path(self.filepath.format_map(defaultdict(float, epoch=1, batch=1)))
        except (ValueError, TypeError, AttributeError, LookupError) as error:
            raise ValueError("filepath must be a path whose placeholders have a name and a valid format, such as "
                             f"{{epoch:02d}} or {{val_loss:.3f}}. Received: filepath={self.filepath!r} "
                             f"({error}).") from None
        suffixes.check(self._example, save_weights_only)
        self.save_best_only = save_best_only
        self.save_weights_only = save_weights_only
        self.save_freq = save_freq
        self.best, self._batches, self._epoch = initial_value_threshold, 0, 0

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Raises an error before the first step if the first save would fail."""
        path = self._example
        if "{" not in self.filepath:
            _check_is_no_folder(path)
        if path.suffix != ".safetensors":
            extras.load("h5py", "h5py", "keras", f"ModelCheckpoint({self.filepath!r})")
        try:
            while not path.parent.exists():
                path = path.parent  # the first missing folder
            atomic.check_writable(path)
        except OSError as error:
            raise type(error)(f"ModelCheckpoint cannot write its file {self.filepath!r}: "
                              f"{error.strerror}. Choose a file in a writable folder.") from error
        validated = {"val_loss", *(f"val_{score.name}" for score in self._scores())}
        fields = validated.intersection(field for _, field, _, _ in Formatter().parse(self.filepath) if field)
        if fields and not self.model._trainer.running.validates:
            raise ValueError(f"filepath contains {', '.join(sorted(fields))}, but fit has no validation data. "
                             f"Received: filepath={self.filepath!r}. Pass validation_data or validation_split to "
                             "fit, or use another placeholder, such as {epoch} or {loss}.")
        if not self.save_weights_only:
            self.model.check_savable(self._example)

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        if self.save_freq != "epoch":
            self._batches += 1
            if self._batches % int(self.save_freq) == 0:
                self._save(logs, batch=batch + 1)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        self._epoch = epoch
        if self.save_freq == "epoch":
            self._save(logs)

    def _save(self, logs: Logs | None, **counts: int) -> None:
        value = self.get_monitor_value(logs) if self.save_best_only else None
        best = "None" if self.best is None else f"{self.best:.5f}"
        if value is not None:
            if not self.is_better(value, self.best):
                self._say(f"{self.monitor} did not improve from {best}")
                return
            self.best = value
        try:
            path = Path(self.filepath.format(epoch=self._epoch + 1, **counts, **(logs or {})))
        except KeyError as error:
            raise KeyError(f"filepath contains the field {error}, which is not in the logs. "
                           f"Received: filepath={self.filepath!r}. The available fields are "
                           f"{', '.join(['epoch', *counts, *(logs or {})])}.") from None
        self._say(f"saving model to {path}" if value is None else
                  f"{self.monitor} improved from {best} to {value:.5f}, saving model to {path}")
        _check_is_no_folder(path)
        (self.model.save_weights if self.save_weights_only else self.model.save)(path)
        self._say(f"finished saving model to {path}")

    def _say(self, text: str) -> None:
        if self.verbose:
            say(f"\nEpoch {self._epoch + 1}: {text}")


def _check_is_no_folder(path: Path) -> None:
    if path.is_dir():
        raise IsADirectoryError("Please specify a non-directory filepath for ModelCheckpoint. "
                                f"Filepath used is an existing directory: {path}")


class BackupAndRestore(Callback):
    """Saves the whole state of `fit` in the folder `backup_dir`. If the same script runs again,
    training resumes from this state, with bit-identical results. The state is saved at the end of each
    epoch, or every `save_freq` steps if that is a number; with `double_checkpoint`, at both times.

    The last two states are kept. If one is damaged, the previous one is used, with a warning. If a
    state cannot be written, training continues, also with a warning. At the end of `fit` all states
    are removed. With delete_checkpoint=False they are kept, and a later `fit` with more epochs, or
    `fit(resume=backup_dir)`, resumes from them.

    Before anything changes, `fit` raises ValueError if the layers, the settings of `compile` or the
    data differ from the state's, or if the data is a generator, whose position is unknown. It
    raises BlockingIOError if another process is training in the folder.
    """

    stop_requested = False  # if True, fit saves after the current step and raises KeyboardInterrupt
    belongs_to: Mapping[str, Any] = {}  # plain data stored with each state
    training = 0  # the training run's number in the folder, set when fit begins
    anew = False  # whether to begin a new training run in the folder, next to existing states

    def __init__(self, backup_dir: str | Path, save_freq: str | int = "epoch", double_checkpoint: bool = False,
                 delete_checkpoint: bool = True) -> None:
        if not backup_dir:
            raise ValueError("Empty `backup_dir` argument passed.")
        if save_freq != "epoch":
            check_count("save_freq", save_freq, 1, "'epoch' or ")
        self.backup_dir, self.save_freq = Path(backup_dir), save_freq
        self.double_checkpoint, self.delete_checkpoint = double_checkpoint, delete_checkpoint

    def is_due(self, steps: int, cost: float) -> bool:
        """Returns whether to save, `steps` steps after the last save, which took `cost` seconds."""
        return self.save_freq != "epoch" and steps >= int(self.save_freq)

    def is_due_at_epoch_end(self, cost: float) -> bool:
        """Returns whether to save at the end of an epoch other than the last. cost: as in `is_due`."""
        return self.save_freq == "epoch" or self.double_checkpoint
