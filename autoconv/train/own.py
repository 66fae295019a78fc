"""Implements Keras's steps as functions. The functions are also methods of `Model`, which a class may override.

A step is recorded (step.py) if none of its methods is overridden; otherwise it runs through Python.
"""

from collections.abc import Mapping, Sequence
from inspect import Parameter, signature
from typing import Any

import numpy as np

from ..engine.ranks import ALONE, Ranks
from ..engine.symbolic import flatten
from ..engine.tensor import Tensor
from ..metrics import Mean, Metric
from ..utils import unpack_x_y_sample_weight
from . import compiled
from .running import Running, output_names
from .sums import flat, plain, results
from .user_arrays import Model


def train_step(model: Model, data: Any) -> dict[str, Any]:
    """Runs one training step on the batch `data`: x, (x, y) or (x, y, sample_weight) as tensors. Returns the logs.

    A custom train_step calls the model, `compute_loss`, `loss.backward()` and
    `optimizer.apply([w.grad for w in weights], weights)`, and then sets each `grad` to None. A
    custom train_step may also change the data and call this method.
    """
    x, y, sample_weight = unpack_x_y_sample_weight(data)
    y_pred = model(x, training=True)
    loss = _tracked_loss(model, "train", x, y, y_pred, sample_weight)
    weights = model.trainable_weights
    if weights and loss.requires_grad:
        model.optimizer.scale_loss(loss).backward()
        model.optimizer.apply([weight.grad for weight in weights], weights)
        for weight in weights:
            weight.grad = None
    return model.compute_metrics(x, y, y_pred, sample_weight)


def test_step(model: Model, data: Any) -> dict[str, Any]:
    """Runs one evaluation step on the batch `data` and returns the logs; see `train_step`."""
    x, y, sample_weight = unpack_x_y_sample_weight(data)
    y_pred = model(x, training=False)
    _tracked_loss(model, "test", x, y, y_pred, sample_weight)
    return model.compute_metrics(x, y, y_pred, sample_weight)


def predict_step(model: Model, data: Any) -> Any:
    """Returns the model's outputs for x in the batch `data`; ignores y and sample_weight."""
    return model(unpack_x_y_sample_weight(data)[0], training=False)


def compute_loss(model: Model, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None,
                 training: bool = True) -> Tensor:
    """Returns a batch's total loss as one number: compile()'s losses plus the losses of layers and
    regularizers. Raises ValueError if the model has no loss.
    """
    outputs = flatten(y_pred) if y_pred is not None else []
    targets, weights = _split(y, len(outputs)), _split(sample_weight, len(outputs))
    trainer, goals, parts = model._trainer, [], []
    running: Running = trainer.running
    if model.loss is not None:  # `running.goals` is empty before the first training
        goals = running.goals or compiled.goals(compiled.check_loss(model.loss), trainer.loss_weights,
                                                output_names(model, len(outputs)))
    for goal in goals:
        part = goal.loss(targets[goal.output], outputs[goal.output], weights[goal.output])
        if len(goals) > 1:
            _own_sums(model).mean(goal.name).update_state(part.detach(), len(outputs[goal.output]))
        parts.append(part * goal.weight)
    parts += [loss.sum() for loss in model.losses]
    if not parts:
        raise ValueError("The model needs a loss. Pass one to compile(), such as loss='mse', "
                         "override compute_loss(), or call add_loss() in a layer.")
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


def _tracked_loss(model: Model, kind: str, x: Any, y: Any, y_pred: Any, sample_weight: Any) -> Tensor:
    """Calls `compute_loss`, with `training` if the method accepts it, and adds the result to the mean loss."""
    parameters = signature(model.compute_loss).parameters
    takes_training = "training" in parameters or any(p.kind is Parameter.VAR_KEYWORD for p in parameters.values())
    loss = model.compute_loss(x=x, y=y, y_pred=y_pred, sample_weight=sample_weight,
                              **({"training": kind == "train"} if takes_training else {}))
    _own_sums(model, kind).mean("loss").update_state(loss.detach(), sample_weight=len(flatten(y_pred)[0]))
    return loss


def _own_sums(model: Model, kind: str | None = None) -> "OwnSums":
    """Returns the sums of this kind of step, by default of the kind that ran last. Recorded steps
    have sums of another class. For these steps, returns a new object, whose values are discarded.
    """
    running: Running = model._trainer.running
    sums = running.sums.setdefault(kind or running.kind, OwnSums(model))
    return sums if isinstance(sums, OwnSums) else OwnSums(model)


def compute_metrics(model: Model, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> dict[str, Any]:
    """Updates compile()'s metrics with a batch. Returns the result of `get_metrics_result()`."""
    CompiledMetrics(model._trainer.running).update_state(y, y_pred, sample_weight)
    return model.get_metrics_result()


def get_metrics_result(model: Model) -> dict[str, Any]:
    """Returns the current loss and metrics of the last training or evaluation, keyed by name."""
    running: Running = model._trainer.running
    sums = running.sums.get(running.kind)
    if sums is not None and not isinstance(sums, OwnSums):
        return sums.read_logs()
    return results(model.metrics)


def reset_metrics(model: Model) -> None:
    """Resets the mean loss and all metrics."""
    running: Running = model._trainer.running
    metrics: list[Metric] = list(model.metrics)
    for kind, sums in running.sums.items():
        if isinstance(sums, OwnSums):
            metrics += [*sums.means.values(), *(score.metric for score in running.scores.get(kind, []))]
        else:
            sums.reset()
    for metric in metrics:
        metric.reset_state()


def compiled_metrics(model: Model) -> list[Metric]:
    """Returns the mean loss, one metric that wraps all of compile()'s metrics, and, if there are
    several losses, the mean of each. Returns [] before compile().
    """
    trainer = model._trainer
    if trainer.optimizer is None:
        return []
    running: Running = trainer.running
    sums = _own_sums(model)
    total, *means = sums.means.values()
    if sums is not running.sums.get(running.kind):
        means = [sums.mean(name) for name in running.loss_names]
    combined = [CompiledMetrics(running)] if trainer.metrics or trainer.weighted_metrics else []
    return [total, *combined, *means]


def order_values(model: Model, logs: Mapping[str, Any]) -> Any:
    """Returns the values of `logs` as a list in Keras's order: first the values of `model.metrics`,
    then the other values sorted by name. Returns a single value itself, without a list.
    """
    if len(logs) == 1:
        return next(iter(logs.values()))
    orders = model._trainer.running.orders
    if tuple(logs) not in orders:  # once, because `model.metrics` creates objects, which count as changes
        names = [name for metric in model.metrics
                 for name in (metric.leading_names if isinstance(metric, CompiledMetrics) else [metric.name])]
        first = [name for name in dict.fromkeys(names) if name in logs]
        orders[tuple(logs)] = [*first, *sorted(logs.keys() - set(first))]
    return [logs[name] for name in orders[tuple(logs)]]


_IN = {"train": (train_step, compute_loss, compute_metrics), "test": (test_step, compute_loss, compute_metrics),
       "predict": (predict_step,)}


def find_override(model: Model, kind: str) -> str | None:
    """Returns the name of the first method of this kind of step that the model's class overrides, or
    None. Returns "compute_loss" for a model without a compiled loss, because its layers may add losses.
    """
    method = next((step.__name__ for step in _IN[kind] if getattr(type(model), step.__name__) is not step), None)
    return method or ("compute_loss" if kind != "predict" and model.loss is None else None)


class CompiledMetrics(Metric):
    """Wraps the metrics passed to compile() as one metric, as in Keras. The result is a dict by metric name."""

    def __init__(self, running: Running) -> None:  # does not reset the metrics, which the model owns
        self.name, self.dtype = "compile_metrics", "float32"
        self._running = running

    @property
    def scores(self) -> Sequence[compiled.Score]:
        """The metrics with the outputs to which they apply; [] before the model has seen data."""
        return self._running.scores.get(self._running.kind, [])

    @property
    def leading_names(self) -> list[str]:
        """The metric names that precede the outputs' losses in a list; [] if the names start with an output's name."""
        return [] if self._running.has_prefixes else [score.name for score in self.scores]

    @property
    def variables(self) -> list[Any]:
        """The variables of all metrics."""
        return [variable for score in self.scores for variable in score.metric.variables]

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Updates all metrics with a batch. Only weighted metrics use `sample_weight`."""
        outputs = flatten(y_pred)
        targets, weights = _split(y_true, len(outputs)), _split(sample_weight, len(outputs))
        for score in self.scores:
            args = [weights[score.output]] if score.uses_weights and weights[score.output] is not None else []
            score.metric.update_state(targets[score.output], outputs[score.output].detach(), *args)

    def result(self) -> dict[str, Any]:
        """Returns the results of all metrics, keyed by their names in the logs."""
        return {score.name: score.metric.result() for score in self.scores}

    def reset_state(self) -> None:
        """Resets all metrics."""
        for score in self.scores:
            score.metric.reset_state()


class OwnSums:
    """The counterpart of `Sums` for custom steps. The object stores the logs that the step returned last.
    `means` has the mean total loss and, if there are several losses, the mean of each, by name in the logs.
    """

    def __init__(self, model: Model) -> None:
        self._model = model
        self._logs: dict[str, Any] = {}
        self.means = {"loss": Mean("loss")}

    def mean(self, name: str) -> Mean:
        """Returns the running mean of the loss `name`, created at its first use."""
        return self.means.setdefault(name, Mean(name))

    def reset(self) -> None:
        """Clears the logs and resets the model's metrics at the start of an epoch."""
        self._logs = {}
        self._model.reset_metrics()

    def take(self, logs: Any) -> None:
        """Stores the logs that a step returned. Raises ValueError if they are not a dict."""
        if not isinstance(logs, Mapping):
            raise ValueError(f"A custom step must return a dict of logs. Received: {logs!r}.")
        self._logs = dict(logs)

    def logs(self) -> dict[str, Any]:
        """Returns the last step's logs as numbers or arrays."""
        return {name: plain(np.asarray(value)) for name, value in flat(self._logs).items()}

    def read(self, ranks: Ranks = ALONE) -> None:
        """Does nothing, because the logs are already on the host."""

    def read_logs(self, ranks: Ranks = ALONE) -> dict[str, Any]:
        """Returns the last step's logs as numbers or arrays."""
        return self.logs()

    def count(self, samples: int, values: Sequence[int]) -> None:
        """Does nothing, because a custom step counts its own samples."""

    def get_state(self, ranks: Ranks = ALONE) -> dict[str, Any]:
        """Raises ValueError, because the state of a custom step cannot be saved."""
        raise ValueError("Training with a custom train_step or test_step cannot be saved and "
                         "resumed. Leave out the BackupAndRestore callback.")


def _split(value: Any, count: int) -> list[Any]:
    """Returns a list with one entry per output; a single value is used for all outputs."""
    flat = flatten(value)
    return flat if len(flat) == count > 1 or isinstance(value, Mapping) else [value] * max(count, 1)
