"""Warns after an epoch if training learns nothing or diverges, and names the likeliest cause."""

import inspect
from collections.abc import Mapping, Sequence
from functools import cached_property
from math import log
from typing import NamedTuple, TypeGuard

import numpy as np

from .. import losses
from ..layers import BatchNormalization, GroupNormalization, LayerNormalization, Normalization, Rescaling
from .own import find_override
from .progress import warn
from .running import output_shapes
from .source import Source
from .stream import Stream
from .user_arrays import Data, Model

FEW_STEPS = 100  # steps of one call of fit before which nothing is said about guessing
CHUNK = 10_000  # samples that the search for NaN reads at once
SCALED = 30  # largest absolute input that counts as scaled
ADAPTING = Rescaling, Normalization, BatchNormalization, LayerNormalization, GroupNormalization
LOWER_RATE = "The usual cause is a learning rate that is too high."
_CATEGORICAL = (losses.CategoricalCrossentropy, losses.SparseCategoricalCrossentropy)


class Guess(NamedTuple):
    """The loss and accuracy of a net that ignores its inputs and returns the best constant, and the lowest loss that
    is possible with these targets.
    """

    loss: float
    lowest: float
    accuracy: float = 0.0

    def is_as_good_as(self, loss: float) -> bool:
        """Whether a net with this loss is no better, apart from half a percent."""
        return loss >= self.loss - 0.005 * (self.loss - self.lowest)


class Diagnosis:
    """Judges the losses of one call of `fit`, which trains a model on `source` and validates it on `tests`.

    It warns at most once. The data are inspected only if the losses are suspicious.
    """

    def __init__(self, model: Model, source: Source | Stream, tests: Source | Stream | None) -> None:
        self._model = model
        self._source = source
        self._tests = tests
        self._trainer = model._trainer
        self._start = int(self._trainer.optimizer.iterations)
        self._has_warned = False

    def check(self, epoch: int, history: Mapping[str, list[float]]) -> None:
        """Warns if the losses up to `epoch`, counted from 1, show that training fails."""
        running = self._trainer.running
        is_explained = self._has_warned or running.nan_seen or running.outputs_fit is False
        if is_explained or not history.get("loss"):
            return
        message = self._find_failure(history) or self._find_odd_labels(history)
        if message:
            self._has_warned = True
            warn(f"After epoch {epoch}: {message}")

    def find_cause(self) -> str:
        """Returns the likeliest cause of a failure and its remedy, or "" if x, y and the learning rate show none."""
        if self._nan_message:
            return self._nan_message
        rate = self._find_rate()
        optimizer = type(self._trainer.optimizer).__name__
        argument = inspect.signature(type(self._trainer.optimizer).__init__).parameters.get("learning_rate")
        usual = getattr(argument, "default", None)  # no number if a user's optimizer has no default
        times = rate / usual if isinstance(usual, float) else 1.0
        if times > 20:
            return (f"The likeliest cause is the learning rate {rate:g}, which is {times:,.0f} times the default of "
                    f"{optimizer}. Try {usual:g}.")
        largest = self._largest
        if largest > SCALED and not any(isinstance(layer, ADAPTING) for layer in self._model._walk()):
            remedy = ("Divide x by 255, or add layers.Rescaling(1 / 255) as the first layer." if largest == 255 else
                      "Scale x to values of about 1, for example with layers.Normalization.")
            return f"The likeliest cause is that x contains values up to {largest:.4g}. {remedy}"
        if times < 1e-3:
            return (f"The likeliest cause is the learning rate {rate:g}, which is far below the default of "
                    f"{optimizer}. Try {usual:g}.")
        targets = _find_largest(self._data.y)
        if targets > SCALED and not isinstance(self._loss, _CATEGORICAL):
            return (f"The likeliest cause is that y contains values up to {targets:.4g}. Divide y by a constant, so "
                    "that its values are about 1.")
        return ""

    def _find_rate(self) -> float:
        """Returns the highest learning rate since the start of fit, at ten steps of a schedule."""
        optimizer = self._trainer.optimizer
        if not optimizer.is_scheduled:
            return float(optimizer.learning_rate)
        steps = np.linspace(self._start, int(optimizer.iterations), 10).astype(int)
        return max(float(optimizer._schedule(int(step))) for step in steps)

    def _find_failure(self, history: Mapping[str, list[float]]) -> str:
        """Returns a message if the loss exploded, rises, or is no better than guessing; otherwise ""."""
        values = history["loss"]
        last = values[-1]
        if last > max(1000 * values[0], 1) and values[0] > 0 and (self._guess is None or last > self._guess.loss):
            return f"the loss rose from {values[0]:.4g} to {last:.4g}. {self.find_cause() or LOWER_RATE}"
        is_class = isinstance(self._loss, (*_CATEGORICAL, losses.BinaryCrossentropy))
        may_learn = len(values) == 1 or last < 0.999 * values[-2]  # within the epoch, or since the one before
        is_low = is_class and last < min(0.5 * log(self._classes), 0.9 * max(values))
        steps = int(self._trainer.optimizer.iterations) - self._start
        if steps < FEW_STEPS or is_low or self._guess is None:
            return ""
        guess = self._guess
        if len(values) > 2 and last > 1.05 * values[-2] > 1.05**2 * values[-3] and last > 1.05 * guess.loss:
            return (f"the loss has risen for two epochs to {last:.4g}, and is now worse than that of a constant "
                    f"prediction, {guess.loss:.4g}. {self.find_cause() or LOWER_RATE}")
        accuracy = history.get("accuracy", [None])[-1]
        if not all(map(guess.is_as_good_as, values[-2:])) or (not is_class and len(values) < 3) or (
                accuracy is not None and accuracy > guess.accuracy + 0.1 * (1 - guess.accuracy)):
            return ""
        if may_learn and (accuracy is None or guess.accuracy > 0.8 or not self.find_cause()):
            return ""
        return (f"the net is no better than one that ignores x. Its loss is {last:.4g}, that of a constant prediction "
                f"{guess.loss:.4g}. " + (self.find_cause() or "x, y and the learning rate show no cause. Check that "
                                         "y[i] belongs to x[i], and try another learning rate."))

    def _find_odd_labels(self, history: Mapping[str, list[float]]) -> str:
        """Returns a message if all labels are equal, or if most validation labels do not occur in training."""
        accuracy, tested = (history.get(name, [None])[-1] for name in ("accuracy", "val_accuracy"))
        if accuracy is None or not isinstance(self._loss, _CATEGORICAL) or not isinstance(self._source, Source):
            return ""
        tests = self._tests if tested is not None and tested < 0.5 * accuracy > 0.25 else None
        if tests is None and (accuracy < 0.9 or len(history["accuracy"]) > 3):
            return ""
        labels = _labels(self._data.y[0], self._loss)
        if labels.min() == labels.max():
            return f"all labels in y are the class {labels[0]}, so there is nothing to learn. Check y."
        if not isinstance(tests, Source):
            return ""
        test_labels = _labels(tests.data.y[0], self._loss)
        unseen = ~np.isin(test_labels, labels)
        if unseen.mean() < 0.3:
            return ""
        classes = ", ".join(map(str, np.unique(test_labels[unseen])[:5]))
        return (f"val_accuracy is {tested:.4f}, because {unseen.mean():.0%} of the validation samples have classes "
                f"that no training sample has: {classes}. Shuffle x and y together before you split them. "
                "(validation_split takes the last samples.)")

    @cached_property
    def _largest(self) -> float:
        return _find_largest(self._data.x)

    @cached_property
    def _nan_message(self) -> str:
        """A message that names the first sample with a NaN or infinite number, or ""."""
        for name, arrays in (("x", self._data.x), ("y", self._data.y), ("sample_weight", self._data.weights)):
            for array in arrays:
                if not _is_array(array) or array.dtype.kind != "f":
                    continue
                for start in range(0, len(array), CHUNK):
                    rows = array[start : start + CHUNK]
                    bad = ~np.isfinite(rows.reshape(len(rows), -1)).all(1)
                    if bad.any():
                        first = "" if isinstance(self._source, Source) else " of the first batch"
                        return (f"The cause is a NaN or infinite number in {name}, first in sample "
                                f"{start + int(bad.argmax())}{first}. Remove or repair such samples.")
        return ""

    @property
    def _data(self) -> Data:
        """The training data, or the first batch of a stream."""
        return self._source.data if isinstance(self._source, Source) else self._source.like

    @property
    def _loss(self) -> losses.Loss | None:
        """The loss of a model with only one loss; None for other models and for custom training steps."""
        goals = self._trainer.running.goals
        if find_override(self._model, "train") or len(goals) != 1 or len(self._data.y) != 1 or goals[0].weight != 1:
            return None
        return goals[0].loss

    @property
    def _classes(self) -> int:
        return int(output_shapes(self._model)[0][-1] or 2) if isinstance(self._loss, _CATEGORICAL) else 2

    @cached_property
    def _guess(self) -> Guess | None:
        """The results of a constant prediction; None if these are unknown, as for a user's loss."""
        y = self._data.y[0]
        loss = self._loss
        is_weighted = any(weight is not None for weight in self._data.weights)
        if not _is_array(y) or is_weighted or loss is None or loss.reduction == "sum" or self._model.losses:
            return None
        targets = _some(y)
        is_stream = isinstance(self._source, Stream)  # only the first batch is known, so all classes count as equal
        if type(loss) is losses.SparseCategoricalCrossentropy:
            if loss.ignore_class is not None:  # type: ignore[attr-defined]
                return None
            mean = np.bincount(targets.astype(np.int64).reshape(-1)) / targets.size
            guess = Guess(_entropy(mean).sum(), 0.0, float(mean.max()))
        elif type(loss) is losses.CategoricalCrossentropy:
            smoothing = loss.label_smoothing  # type: ignore[attr-defined]
            targets = targets.reshape(-1, targets.shape[-1]) * (1 - smoothing) + smoothing / targets.shape[-1]
            mean = targets.mean(0)
            guess = Guess(_entropy(mean).sum(), _entropy(targets).sum(1).mean(), float(mean.max()))
        elif type(loss) is losses.BinaryCrossentropy:
            targets = targets * (1 - loss.label_smoothing) + loss.label_smoothing / 2  # type: ignore[attr-defined]
            mean = targets.mean(0)
            guess = Guess((_entropy(mean) + _entropy(1 - mean)).mean(),
                          (_entropy(targets) + _entropy(1 - targets)).mean(), float(np.maximum(mean, 1 - mean).mean()))
        elif type(loss) is losses.MeanSquaredError and not is_stream:
            guess = Guess(float(targets.var(0).mean()), 0.0)
        elif type(loss) is losses.MeanAbsoluteError and not is_stream:
            guess = Guess(float(np.abs(targets - np.median(targets, 0)).mean()), 0.0)
        else:
            return None
        if is_stream:
            guess = Guess(log(self._classes), guess.lowest, 1 / self._classes)
        return guess if guess.loss - guess.lowest > 1e-3 * guess.loss else None


def _some(array: np.ndarray) -> np.ndarray:
    """Returns samples at regular distances: at most about 100,000 samples and 10 million numbers."""
    return array[:: max(1, len(array) // 100_000, array.size // 10_000_000)]


def _find_largest(arrays: Sequence[object]) -> float:
    """Returns the largest absolute value in some samples."""
    some = [_some(array) for array in arrays if _is_array(array)]
    return max((max(float(array.max()), -float(array.min())) for array in some), default=0.0)


def _is_array(array: object) -> TypeGuard[np.ndarray]:
    return isinstance(array, np.ndarray) and array.size > 0


def _labels(y: np.ndarray, loss: losses.Loss) -> np.ndarray:
    """Returns the labels of one-hot targets (N, ..., C), or of labels of any shape, for a categorical loss."""
    some = _some(np.asarray(y))
    return (some if isinstance(loss, losses.SparseCategoricalCrossentropy) else some.argmax(-1)).reshape(-1)


def _entropy(p: np.ndarray) -> np.ndarray:
    """Returns -p log p, which is 0 for p = 0."""
    return -p * np.log(np.maximum(p, 1e-30))
