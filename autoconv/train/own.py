"""Steps that a class of a user's own overrides, as in Keras: `OwnSteps` has what they begin with and call.

A step with none of them is recorded (step.py); one with such a method runs through Python.
"""

from collections.abc import Mapping, Sequence
from inspect import Parameter, signature
from typing import Any

import numpy as np

from ..metrics import Metric
from ..ranks import ALONE, Ranks
from ..symbolic import flatten
from ..tensor import Tensor
from ..utils import unpack_x_y_sample_weight
from . import compiled
from .compiled import Goal
from .running import Running, output_names
from .sums import flat, plain, results

_IN = {"train": ("train_step", "compute_loss", "compute_metrics"), "test": ("test_step", "compute_loss",
                                                                            "compute_metrics"),
       "predict": ("predict_step",)}


def overridden(model: Any, kind: str) -> str | None:
    """The first method that a model's class overrides of those that a step of this kind runs. A model without a loss
    runs them as well: layers may add one.
    """
    found = next((name for name in _IN[kind] if getattr(type(model), name) is not getattr(OwnSteps, name)), None)
    return found or ("compute_loss" if kind != "predict" and model.loss is None else None)


class OwnSteps:
    """The part of a `Trainer` that a class may override."""

    # What the trainer brings.
    optimizer: Any
    loss: Any
    losses: list[Tensor]
    trainable_weights: list[Any]
    metrics: list[Metric]
    _held_metrics: Any
    _loss_weights: Any
    _metrics_wanted: Any
    _weighted_wanted: Any
    _running: Any

    def train_step(self, data: Any) -> dict[str, Any]:
        """One step on the batch `data`: x, (x, y) or (x, y, sample_weight), of tensors. Returns what to log.

        Your own: call the model and `compute_loss`, then `loss.backward()`, then `optimizer.apply([w.grad for w in
        weights], weights)`, and set each `grad` to None; or change the data and call this one.
        """
        x, y, sample_weight = unpack_x_y_sample_weight(data)
        y_pred = self(x, training=True)  # type: ignore[operator]
        loss = self._computed_loss(x, y, y_pred, sample_weight, training=True)
        self._track("train", loss, y_pred)
        weights = self.trainable_weights
        if weights and loss.requires_grad:
            self.optimizer.scale_loss(loss).backward()
            self.optimizer.apply([weight.grad for weight in weights], weights)
            for weight in weights:
                weight.grad = None
        return self.compute_metrics(x, y, y_pred, sample_weight)

    def test_step(self, data: Any) -> dict[str, Any]:
        """One step of an evaluation, as `train_step` is one of training."""
        x, y, sample_weight = unpack_x_y_sample_weight(data)
        y_pred = self(x, training=False)  # type: ignore[operator]
        loss = self._computed_loss(x, y, y_pred, sample_weight, training=False)
        self._track("test", loss, y_pred)
        return self.compute_metrics(x, y, y_pred, sample_weight)

    def predict_step(self, data: Any) -> Any:
        """The outputs for the batch `data`, of which y and sample_weight are left out."""
        return self(unpack_x_y_sample_weight(data)[0], training=False)  # type: ignore[operator]

    def compute_loss(self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None,
                     training: bool = True) -> Tensor:
        """The loss of a batch as one number: what compile() was given for the outputs, and what layers and regularizers
        add. Raises ValueError where there is none of these.
        """
        outputs = flatten(y_pred) if y_pred is not None else []
        targets, weights = _each(y, len(outputs)), _each(sample_weight, len(outputs))
        goals, parts = self._goals(len(outputs)), []
        for goal in goals:
            part = goal.loss(targets[goal.output], outputs[goal.output], weights[goal.output])
            if len(goals) > 1:
                running: Running = self._running()
                running.tracker(running.now, goal.name).update_state(part.detach(), len(outputs[goal.output]))
            parts.append(part * goal.weight)
        parts += [each.sum() for each in self.losses]
        if not parts:
            raise ValueError("A step needs a loss: pass one, compile(loss='mse'), override compute_loss(), or "
                             "have a layer call add_loss().")
        total = parts[0]
        for part in parts[1:]:
            total = total + part
        return total

    def _computed_loss(self, x: Any, y: Any, y_pred: Any, sample_weight: Any, training: bool) -> Tensor:
        """What `compute_loss` returns; one of a user's may have no argument `training`."""
        wanted = signature(self.compute_loss).parameters
        told = "training" in wanted or any(each.kind is Parameter.VAR_KEYWORD for each in wanted.values())
        return self.compute_loss(x=x, y=y, y_pred=y_pred, sample_weight=sample_weight,
                                 **({"training": training} if told else {}))

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> dict[str, Any]:
        """Adds a batch to the metrics that compile() was given. Returns `get_metrics_result()`."""
        CompiledMetrics(self._running()).update_state(y, y_pred, sample_weight)
        return self.get_metrics_result()

    def get_metrics_result(self) -> dict[str, Any]:
        """The loss and the metrics so far, of what ran last: training or evaluation."""
        running: Running = self._running()
        sums = running.sums.get(running.now)
        if sums is not None and not isinstance(sums, OwnSums):
            return sums.read_logs()
        return results(self.metrics)

    def reset_metrics(self) -> None:
        """Starts the loss and all metrics anew."""
        running: Running = self._running()
        for sums in running.sums.values():
            if not isinstance(sums, OwnSums):
                sums.reset()
        for kind in ("train", "test"):
            for mean in running.loss_trackers(kind):
                mean.reset_state()
            for score in running.scores.get(kind, []):
                score.metric.reset_state()
        for metric in self.metrics:
            metric.reset_state()

    def _compiled_metrics(self) -> list[Metric]:
        """The mean of the loss, one metric with all those that compile() was given, and the means of the outputs'
        losses if there are several.
        """
        if self.optimizer is None:
            return []
        running: Running = self._running()
        total, *several = running.loss_trackers(running.now)
        if not isinstance(running.sums.get(running.now), OwnSums):
            several = [running.tracker(running.now, name) for name in running.loss_names]
        given = [CompiledMetrics(running)] if self._metrics_wanted or self._weighted_wanted else []
        return [total, *given, *several]

    @property
    def metrics_names(self) -> list[str]:
        """The names of `metrics`. What `evaluate` returns has those of `evaluate(..., return_dict=True)`."""
        return [metric.name for metric in self.metrics]

    def _listed(self, logs: Mapping[str, Any]) -> Any:
        """Returns the values of `logs` in Keras's order: first what `metrics` names, then the rest by name. A single
        value is returned without a list.
        """
        if len(logs) == 1:
            return next(iter(logs.values()))
        names = [name for metric in self.metrics
                 for name in (metric.listed if isinstance(metric, CompiledMetrics) else [metric.name])]
        first = [name for name in dict.fromkeys(names) if name in logs]
        return [logs[name] for name in (*first, *sorted(logs.keys() - set(first)))]

    def _track(self, kind: str, loss: Tensor, y_pred: Any) -> None:
        samples = len(flatten(y_pred)[0])
        self._running().tracker(kind).update_state(loss.detach(), sample_weight=samples)

    def _goals(self, count: int) -> Sequence[Goal]:
        """The losses of the outputs, also of a model that has not been trained yet."""
        if self.loss is None:
            return []
        return self._running().goals or compiled.goals(compiled.check_loss(self.loss), self._loss_weights,
                                                       output_names(self, count))


class CompiledMetrics(Metric):
    """What compile() was given as metrics, as the one that Keras makes of them: its result is a dict by their names."""

    def __init__(self, running: Running) -> None:  # what it holds is theirs, so nothing begins anew here
        self.name, self.dtype = "compile_metrics", "float32"
        self._running = running

    @property
    def scores(self) -> Sequence[compiled.Score]:
        """The metrics with their outputs, once the model has seen data."""
        return self._running.scores.get(self._running.now, [])

    @property
    def listed(self) -> list[str]:
        """The names of the results that a list has before the outputs' losses: none that begin with an output's."""
        return [] if self._running.prefixed else [score.name for score in self.scores]

    @property
    def variables(self) -> list[Any]:
        """The variables of all of them."""
        return [variable for score in self.scores for variable in score.metric.variables]

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Adds a batch: weights count in weighted metrics alone."""
        outputs = flatten(y_pred)
        targets, weights = _each(y_true, len(outputs)), _each(sample_weight, len(outputs))
        for score in self.scores:
            given = [weights[score.output]] if score.weighted and weights[score.output] is not None else []
            score.metric.update_state(targets[score.output], outputs[score.output].detach(), *given)

    def result(self) -> dict[str, Any]:
        """The results by the names that the logs have."""
        return {score.name: score.metric.result() for score in self.scores}

    def reset_state(self) -> None:
        """Starts all of them anew."""
        for score in self.scores:
            score.metric.reset_state()


class OwnSums:
    """What `Sums` is to a recorded step: the logs that a step of a user's own returned last."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._logs: dict[str, Any] = {}

    def reset(self) -> None:
        """Starts an epoch."""
        self._logs = {}
        self._model.reset_metrics()

    def take(self, logs: Any) -> None:
        """Takes what a step returned."""
        if not isinstance(logs, Mapping):
            raise ValueError(f"A step must return a dict of what to log. Received: {logs!r}.")
        self._logs = dict(logs)

    def logs(self) -> dict[str, Any]:
        """What the last step returned, as numbers."""
        return {name: plain(np.asarray(value)) for name, value in flat(self._logs).items()}

    def read(self, ranks: Ranks = ALONE) -> None:
        """The logs are there already."""

    def read_logs(self, ranks: Ranks = ALONE) -> dict[str, Any]:
        """The logs."""
        return self.logs()

    def count(self, samples: int, values: Sequence[int]) -> None:
        """A step of a user's own counts itself."""

    def get_state(self, ranks: Ranks = ALONE) -> dict[str, Any]:
        """What such a step holds nobody else can write down."""
        raise ValueError("A training with steps of a class's own, such as train_step, cannot be saved to go on later: "
                         "leave BackupAndRestore out.")


def _each(given: Any, count: int) -> list[Any]:
    """What was given for the outputs, one item for each."""
    flat = flatten(given)
    return flat if len(flat) == count > 1 or isinstance(given, Mapping) else [given] * max(count, 1)
