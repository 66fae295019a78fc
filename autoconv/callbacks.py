"""Callbacks: what is called at the stages of fit, with Keras's names. `logs` holds the loss and the metrics so far."""

import csv
import math
import sys
import warnings
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TextIO

from .arguments import names
from .files import atomic

Logs = dict[str, float]


class Callback:
    """The base of a callback of your own: override the stages you need. `self.model` is the model that is trained.

    An epoch counts from 0, a batch too. What `on_epoch_end` puts into `logs` later callbacks and the history see.
    """

    model: Any = None
    params: Mapping[str, Any] = {}

    def set_model(self, model: Any) -> None:
        self.model = model

    def set_params(self, params: Mapping[str, Any]) -> None:
        """`params`: epochs, steps (batches in an epoch), verbose."""
        self.params = params

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Before the first epoch."""

    def on_train_end(self, logs: Logs | None = None) -> None:
        """After the last epoch, also when training was stopped."""

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Before an epoch."""

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """After an epoch and its validation."""

    def on_train_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Before a training step."""

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """After a training step; `logs` are the means over the epoch so far."""

    def on_test_begin(self, logs: Logs | None = None) -> None:
        """Before an evaluation."""

    def on_test_end(self, logs: Logs | None = None) -> None:
        """After an evaluation."""

    def get_state(self) -> dict[str, Any]:
        """What it must remember where training goes on in a later process: plain data and arrays, by names. Asked for
        after each stage from the first `on_epoch_begin` on.
        """
        return {}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Takes what `get_state` gave; called where training goes on, after `on_train_begin`, and in the middle of an
        epoch after `on_epoch_begin`.
        """


class CallbackList:
    """Calls a stage of those callbacks that override it, so that the others cost nothing."""

    def __init__(self, given: Any, model: Any, params: Mapping[str, Any], *ours: Callback) -> None:
        self.callbacks = [*_listed(given), *ours]
        self._listeners: dict[str, list[Callable]] = {}
        for c in self.callbacks:
            c.set_model(model)
            c.set_params(params)

    def listeners(self, stage: str) -> list[Callable]:
        """The methods of that name that are not the base's own."""
        if stage not in self._listeners:
            methods = [getattr(c, stage) for c in self.callbacks]
            base = getattr(Callback, stage)
            self._listeners[stage] = [m for m in methods if getattr(m, "__func__", None) is not base]
        return self._listeners[stage]

    def call(self, stage: str, *args: Any) -> None:
        for method in self.listeners(stage):
            method(*args)


class History(Callback):
    """What fit returns: `history` holds a list over the epochs for the loss and every metric, `epoch` their numbers."""

    def __init__(self) -> None:
        self.history: dict[str, list[float]] = {}
        self.epoch: list[int] = []

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        self.epoch.append(epoch)
        for name, value in (logs or {}).items():
            self.history.setdefault(name, []).append(value)

    def get_state(self) -> dict[str, Any]:
        return {"epoch": list(self.epoch), "history": {name: list(values) for name, values in self.history.items()}}

    def set_state(self, state: Mapping[str, Any]) -> None:
        self.epoch, self.history = list(state["epoch"]), {name: list(v) for name, v in state["history"].items()}


class EarlyStopping(Callback):
    """Stops training when `monitor` has not improved by more than `min_delta` for `patience` epochs.

    mode: "min", "max", or "auto" (max for names that end in "acc" or "accuracy"). `baseline` is a value that has to be
    beaten. `restore_best_weights` puts back the weights of the best epoch. Epochs before `start_from_epoch` do not
    count. Warns when there is no such value, e.g. val_loss without validation data.
    """

    _changing = ("wait", "stopped_epoch", "best_epoch", "best", "best_weights")

    def __init__(
        self, monitor: str = "val_loss", min_delta: float = 0, patience: int = 0, verbose: int = 0, mode: str = "auto",
        baseline: float | None = None, restore_best_weights: bool = False, start_from_epoch: int = 0,
    ) -> None:
        self.monitor, self.patience, self.verbose, self.baseline = monitor, patience, verbose, baseline
        self.restore_best_weights, self.start_from_epoch = restore_best_weights, start_from_epoch
        self.min_delta, self._sign = abs(min_delta), _sign(mode, monitor)

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self.wait = self.stopped_epoch = self.best_epoch = 0
        self.best = -self._sign * math.inf
        self.best_weights: list | None = None

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        value = _monitored(self, self.monitor, logs)
        if value is None or epoch < self.start_from_epoch:
            return
        better = self._better(value, self.best)
        if self.restore_best_weights and (better or self.best_weights is None):
            self.best_weights = self.model.get_weights()
        self.wait += 1
        if better:
            self.best, self.best_epoch = value, epoch
            if self.baseline is None or self._better(value, self.baseline):
                self.wait = 0
        elif self.wait >= self.patience and epoch > 0:
            self.stopped_epoch, self.model.stop_training = epoch, True

    def on_train_end(self, logs: Logs | None = None) -> None:
        if self.stopped_epoch and self.verbose:
            _say(f"Epoch {self.stopped_epoch + 1}: early stopping")
        if self.best_weights is not None:
            self.model.set_weights(self.best_weights)

    def get_state(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self._changing}

    def set_state(self, state: Mapping[str, Any]) -> None:
        for name in self._changing:
            setattr(self, name, state[name])

    def _better(self, value: float, than: float) -> bool:
        return self._sign * (value - than) > self.min_delta


class ModelCheckpoint(Callback):
    """Saves the model at the end of each epoch, with `save_best_only` when `monitor` is better than ever before.

    Names of values in `filepath` are filled in: "{epoch:02d}-{val_loss:.3f}.safetensors"; there epochs count from 1.
    save_weights_only: `model.save_weights` instead of `model.save`. mode: as for `EarlyStopping`.
    """

    def __init__(
        self, filepath: str | Path, monitor: str = "val_loss", verbose: int = 0, save_best_only: bool = False,
        save_weights_only: bool = False, mode: str = "auto",
    ) -> None:
        self.filepath, self.monitor, self.verbose, self._sign = filepath, monitor, verbose, _sign(mode, monitor)
        self.save_best_only, self.save_weights_only = save_best_only, save_weights_only
        self.best = -self._sign * math.inf

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if self.save_best_only:
            value = _monitored(self, self.monitor, logs)
            if value is None or not self._sign * (value - self.best) > 0:
                return
            self.best = value
        path = str(self.filepath).format(epoch=epoch + 1, **(logs or {}))
        (self.model.save_weights if self.save_weights_only else self.model.save)(path)
        if self.verbose:
            _say(f"Epoch {epoch + 1}: saved {path}")

    def get_state(self) -> dict[str, Any]:
        return {"best": self.best}

    def set_state(self, state: Mapping[str, Any]) -> None:
        self.best = state["best"]


class BackupAndRestore(Callback):
    """Saves the whole state of `fit` in the folder `backup_dir`, and goes on from there bit for bit when the same
    script runs again: at the end of each epoch, or with a number as `save_freq` after so many steps each time, with
    `double_checkpoint` at both.

    The last two states stay. A damaged one is noticed, and the one before is used, with a warning. Where a state cannot
    be written that is a warning, too, and training goes on. At the end of `fit` all are removed, unless
    delete_checkpoint is False: then a later `fit` with more epochs, or `fit(resume=backup_dir)`, goes on from there.
    Where the layers, compile's settings or the data are not those of the state, `fit` raises ValueError before anything
    changes; also for generators, whose position nobody knows. Only one process may train in a folder (BlockingIOError).
    """

    stop_requested = False  # as by a signal: fit then saves after the step that runs, and raises KeyboardInterrupt
    belongs_to: Mapping[str, Any] = {}  # plain data, which is kept with each state
    training = 0  # its number in the folder, once fit has begun
    anew = False  # whether to begin another training in the folder, beside the states of the one that stands there

    def __init__(self, backup_dir: str | Path, save_freq: str | int = "epoch", double_checkpoint: bool = False,
                 delete_checkpoint: bool = True) -> None:
        if save_freq != "epoch" and (isinstance(save_freq, bool | str) or not hasattr(save_freq, "__index__")
                                     or save_freq < 1):
            raise ValueError("save_freq must be 'epoch' or a number of steps, at least 1. "
                             f"Received: {save_freq!r}.")
        self.backup_dir, self.save_freq = Path(backup_dir), save_freq
        self.double_checkpoint, self.delete_checkpoint = double_checkpoint, delete_checkpoint

    def is_due(self, steps: int, cost: float) -> bool:
        """Whether to save after a step; `steps`: how many there were since the last state, `cost`: the seconds that
        that one took."""
        return self.save_freq != "epoch" and steps >= int(self.save_freq)

    def is_due_at_epoch_end(self, cost: float) -> bool:
        """Whether to save at the end of an epoch that is not the last."""
        return self.save_freq == "epoch" or self.double_checkpoint


class LearningRateScheduler(Callback):
    """Sets the learning rate before each epoch to `schedule(epoch, learning_rate)`, and logs it as "learning_rate"."""

    def __init__(self, schedule: Callable[[int, float], float], verbose: int = 0) -> None:
        self.schedule, self.verbose = schedule, verbose

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        rate = self.schedule(epoch, self.model.optimizer.learning_rate)
        self.model.optimizer.learning_rate = rate
        if self.verbose:
            _say(f"Epoch {epoch + 1}: LearningRateScheduler setting learning rate to {float(rate)}.")

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if logs is not None:
            logs["learning_rate"] = self.model.optimizer.learning_rate


class CSVLogger(Callback):
    """Writes a row an epoch to a CSV file: the epoch and all values. Each row is on the disk when its epoch ends."""

    def __init__(self, filename: str | Path, separator: str = ",", append: bool = False) -> None:
        self.filename, self.separator, self.append = Path(filename), separator, append

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self._header = not (self.append and self.filename.exists() and self.filename.stat().st_size)
        if not self.append:
            self.filename.write_text("")

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        values = {"epoch": epoch, **dict(sorted((logs or {}).items()))}
        with open(self.filename, "a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, values, delimiter=self.separator)
            if self._header:
                writer.writeheader()
                self._header = False
            writer.writerow(values)

    def get_state(self) -> dict[str, Any]:
        written = self.filename.read_bytes().decode() if self.filename.exists() else ""
        return {"header": self._header, "written": written}

    def set_state(self, state: Mapping[str, Any]) -> None:
        self._header = state["header"]
        atomic.write(self.filename, state["written"])  # rows that were written later come again


class LambdaCallback(Callback):
    """A callback of functions: `LambdaCallback(on_epoch_end=lambda epoch, logs: ...)`, for any stage."""

    def __init__(self, **stages: Callable) -> None:
        for stage, function in stages.items():
            if not stage.startswith("on_") or not hasattr(Callback, stage):
                known = [name for name in vars(Callback) if name.startswith("on_")]
                raise ValueError(f"A callback has no stage {stage!r}. Known: {', '.join(known)}.")
            if function is not None:
                setattr(self, stage, function)


def _listed(given: Any) -> list[Callback]:
    """One callback, several of them, or None, as a list. Raises TypeError for what is none."""
    if given is None:
        return []
    found = list(given) if isinstance(given, Iterable) and not isinstance(given, str | type) else [given]
    for each in found:
        if not isinstance(each, Callback):
            known = [c.__name__ for c in Callback.__subclasses__()]
            remedy = f"Pass an object of it: {each.__name__}()." if isinstance(each, type) else (
                f"Pass an object, such as callbacks.EarlyStopping().{names.suggestion(each, known)}")
            raise TypeError("callbacks must be an instance of callbacks.Callback, or a list of such. "
                            f"Received: {each!r}. {remedy}")
    return found


def _sign(mode: str, monitor: str) -> int:
    """1 where larger values of `monitor` are better, -1 where smaller ones are."""
    if mode not in ("auto", "min", "max"):
        raise ValueError(f"mode must be 'auto', 'min' or 'max'. Received: {mode!r}.")
    return 1 if mode == "max" or (mode == "auto" and monitor.endswith(("acc", "accuracy"))) else -1


def _monitored(callback: Callback, name: str, logs: Logs | None) -> float | None:
    """The value that a callback watches, or None and a warning where there is none."""
    if name not in (logs or {}):
        warnings.warn(f"{type(callback).__name__} watches {name!r}, which is not there, so it does nothing. "
                      f"There is: {', '.join(logs or {})}.", stacklevel=3)
        return None
    return logs[name]  # type: ignore[index]


def _say(text: str) -> None:
    stream: TextIO | None = sys.stdout
    if stream is not None:
        stream.write(text + "\n")
