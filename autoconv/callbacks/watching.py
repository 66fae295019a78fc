"""Callbacks that monitor a value to stop training or change the learning rate."""

import math
import warnings
from collections.abc import Mapping
from typing import Any

from ..arguments import keywords
from .callback import Callback, Logs, say


class MonitorCallback(Callback):
    """Base class of callbacks that monitor a value in the logs, such as "val_loss".

    mode: "min", "max", or "auto" for the direction in which the metric of that name improves.
    """

    _state_names: tuple[str, ...] = ()  # attributes that are restored when training resumes

    def __init__(self, monitor: str, mode: str) -> None:
        if mode not in ("auto", "min", "max"):
            warnings.warn(f"{type(self).__name__}: mode must be 'auto', 'min' or 'max'. Received: "
                          f"{mode!r}. 'auto' is used.", stacklevel=3)
            mode = "auto"
        self.monitor, self.mode = monitor, mode

    def is_better(self, value: float, reference: float | None, margin: float = 0.0) -> bool:
        """Returns whether `value` is better than `reference` by more than `margin`, or `reference` is None."""
        return reference is None or self._sign() * (value - reference) > margin

    def _sign(self) -> int:
        """Returns 1 if larger values are better, -1 if smaller values are. Raises ValueError if this is unknown."""
        name, scores = self.monitor.removeprefix("val_"), self._scores()
        direction = {"max": "up", "min": "down"}.get(self.mode) or {
            score.name: score.metric.direction for score in scores}.get(name)
        if direction is None and name.endswith(("acc", "accuracy")):
            direction = "up"
        if direction is None and not name.endswith("loss"):
            names = ", ".join(["loss", *(score.name for score in scores if score.metric.direction)])
            raise ValueError(f"{type(self).__name__} needs mode='max' or mode='min' to monitor {self.monitor!r}. The "
                             f"mode can be omitted for {names} (also with the prefix val_), and for names that end "
                             "in loss, acc or accuracy.")
        return 1 if direction == "up" else -1

    def _scores(self) -> list[Any]:
        """Returns the trained model's metrics, with their names in the logs."""
        return [] if self.model is None else self.model._trainer.running.scores.get("train", [])

    def get_monitor_value(self, logs: Logs | None) -> float | None:
        """Returns the monitored value. If it is missing from the logs, warns and returns None."""
        if self.monitor not in (logs or {}):
            warnings.warn(f"{type(self).__name__} monitors {self.monitor!r}, which is missing. "
                          f"Known: {', '.join(logs or {})}.", stacklevel=3)
            return None
        return logs[self.monitor]  # type: ignore[index]

    def get_state(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self._state_names}

    def set_state(self, state: Mapping[str, Any]) -> None:
        for name in self._state_names:
            setattr(self, name, state[name])


class EarlyStopping(MonitorCallback):
    """Stops training when `monitor` has not improved by more than `min_delta` for `patience`
    epochs.

    mode: "min", "max", or "auto" for the metric's direction. baseline: a value that an improvement
    must also beat to restart the wait. restore_best_weights: whether to restore the weights of the
    best epoch. start_from_epoch: the first epoch that counts. Warns if the monitored value is
    missing, e.g. val_loss without validation data. `fit` raises ValueError if `monitor` is neither
    the loss nor a metric and the mode is "auto".
    """

    _state_names = ("wait", "stopped_epoch", "best_epoch", "best", "best_weights")
    wait = stopped_epoch = best_epoch = 0
    best: float | None = None
    best_weights: list | None = None

    def __init__(
        self, monitor: str = "val_loss", min_delta: float = 0, patience: int = 0, verbose: int = 0, mode: str = "auto",
        baseline: float | None = None, restore_best_weights: bool = False, start_from_epoch: int = 0,
    ) -> None:
        super().__init__(monitor, mode)
        self.patience, self.verbose, self.baseline = patience, verbose, baseline
        self.restore_best_weights, self.start_from_epoch, self.min_delta = (
            restore_best_weights, start_from_epoch, abs(min_delta))

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self.wait = self.stopped_epoch = self.best_epoch = 0
        self.best = self.best_weights = None
        if self.model is not None:
            self._sign()  # raises before the first step if the monitor is unknown

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        value = self.get_monitor_value(logs)
        if value is None or epoch < self.start_from_epoch:
            return
        better = self.is_better(value, self.best, self.min_delta)
        if self.restore_best_weights and (better or self.best_weights is None):
            self.best_weights = self.model.get_weights()
        self.wait += 1
        if better:
            self.best, self.best_epoch = value, epoch
            if self.baseline is None or self.is_better(value, self.baseline, self.min_delta):
                self.wait = 0
        elif self.wait >= self.patience and epoch > 0:
            self.stopped_epoch, self.model.stop_training = epoch, True

    def on_train_end(self, logs: Logs | None = None) -> None:
        if self.stopped_epoch and self.verbose:
            say(f"Epoch {self.stopped_epoch + 1}: early stopping")
        if self.best_weights is not None:
            if self.verbose:
                say(f"Restoring model weights from the end of the best epoch: {self.best_epoch + 1}.")
            self.model.set_weights(self.best_weights)


class ReduceLROnPlateau(MonitorCallback):
    """Multiplies the learning rate by `factor` when `monitor` has not improved by more than
    `min_delta` for `patience` epochs. Logs the rate as "learning_rate".

    The `cooldown` epochs after a reduction are not counted. The rate never falls below `min_lr`.
    Raises ValueError for a factor of 1 or more.
    """

    _state_names = ("wait", "cooldown_counter", "best")

    def __init__(
        self, monitor: str = "val_loss", factor: float = 0.1, patience: int = 10, verbose: int = 0, mode: str = "auto",
        min_delta: float = 1e-4, cooldown: int = 0, min_lr: float = 0.0,
    ) -> None:
        super().__init__(monitor, mode)
        if factor >= 1.0:
            raise ValueError(f"ReduceLROnPlateau needs a factor below 1. Received: factor={factor}.")
        self.factor, self.patience, self.verbose = factor, patience, verbose
        self.min_delta, self.cooldown, self.min_lr = min_delta, cooldown, min_lr
        self.wait = self.cooldown_counter = 0
        self.best: float | None = None

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self.wait = self.cooldown_counter = 0
        self.best = None

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        self._sign()  # raises if the monitor is unknown
        optimizer = self.model.optimizer
        value, rate = self.get_monitor_value(logs), float(optimizer.learning_rate)
        if logs is not None:
            logs["learning_rate"] = rate
        if value is None:
            return
        if self.cooldown_counter > 0:
            self.cooldown_counter, self.wait = self.cooldown_counter - 1, 0
        if self.is_better(value, self.best, self.min_delta):
            self.best, self.wait = value, 0
        elif self.cooldown_counter <= 0:
            self.wait += 1
            if self.wait >= self.patience and rate > self.min_lr:
                optimizer.learning_rate = rate = max(rate * self.factor, self.min_lr)
                self.cooldown_counter, self.wait = self.cooldown, 0
                if self.verbose:
                    say(f"\nEpoch {epoch + 1}: ReduceLROnPlateau reducing learning rate to {rate}.")


class TerminateOnNaN(Callback):
    """Stops training after a step with a NaN or infinite loss. raise_error: whether to raise RuntimeError then."""

    def __init__(self, raise_error: bool = False) -> None:
        self.raise_error = raise_error

    def on_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        loss = (logs or {}).get("loss")
        if loss is not None and not math.isfinite(loss):
            if self.raise_error:
                raise RuntimeError(f"NaN or Inf loss encountered at batch {batch}. Loss value: "
                                   f"{loss}. Terminating training immediately.")
            say(f"Batch {batch}: Invalid loss, terminating training")
            self.model.stop_training = True


class LearningRateScheduler(Callback):
    """Sets the learning rate before each epoch to `schedule(epoch, learning_rate)`, or to
    `schedule(epoch)` if the schedule accepts only the epoch. Logs the rate as "learning_rate".
    Raises ValueError if the schedule does not return a float.
    """

    def __init__(self, schedule: Any, verbose: int = 0) -> None:
        if not callable(schedule):
            raise TypeError(f"schedule must be a function of the epoch and the rate. Received: {schedule!r}. For a "
                            "fixed rate, pass learning_rate to the optimizer.")
        self.schedule, self.verbose = schedule, verbose

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        optimizer = self.model.optimizer
        if not hasattr(optimizer, "learning_rate"):
            raise ValueError('The optimizer must have a "learning_rate" to be scheduled. '
                             f"Received: {optimizer!r}.")
        takes_rate = keywords.accepts(self.schedule, 2)
        rate = self.schedule(epoch, float(optimizer.learning_rate)) if takes_rate else self.schedule(epoch)
        if isinstance(rate, int) or not hasattr(rate, "__float__"):
            raise ValueError("The schedule of LearningRateScheduler must return a float. "
                             f"Received: {rate!r} for epoch {epoch}.")
        optimizer.learning_rate = float(rate)
        if self.verbose:
            say(f"\nEpoch {epoch + 1}: LearningRateScheduler setting learning rate to {float(rate)}.")

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if logs is not None:
            logs["learning_rate"] = float(self.model.optimizer.learning_rate)
