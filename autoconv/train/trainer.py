"""`Trainer`: what makes a layer a model that can be fitted, evaluated and asked, with Keras's methods and defaults."""

import math
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from .. import optimizers as optim
from .. import random
from ..backend import device as devices
from ..backend.turns import turn
from ..callbacks import Callback, CallbackList, History
from ..tensor import Parameter, Tensor
from ..versions import contents
from . import compiled
from .data import (
    Data,
    check_count,
    check_data,
    sample_weights,
    split_validation,
    structure,
    validates_in,
    without_batch,
)
from .phases import Reducer, Work, is_recordable
from .progress import Progress, check_verbose, warn_of_nan
from .running import Running
from .source import SHARE, Source
from .step import Step, Steps
from .sums import Sums

Logs = dict[str, float]
Shape = tuple[int | None, ...]


class Trainer:
    """Mixed into a layer, gives it compile, fit, evaluate and predict. All of them run steps (step.py)."""

    # What the layer brings.
    __call__: Callable[..., Tensor]
    build: Callable[[Any], None]
    check_input: Callable[[Any], None]
    built: bool
    trainable_weights: list[Parameter]
    device: devices.Device
    dtype: str

    optimizer: optim.Optimizer | None = None
    loss: Any = None
    history: History | None = None
    stop_training = False
    # Of several processes that train together each sets its number and how many they are, and what sums gradients.
    # `fit` takes this process's part of each batch; its loss and metrics are those of that part. Validation is whole.
    shard: tuple[int, int] = (0, 1)
    reducer: Reducer | None = None
    _loss_weights: Any = None
    _metrics_wanted: Any = None

    def compile(self, optimizer: str | optim.Optimizer = "rmsprop", loss: Any = None, loss_weights: Any = None,
                metrics: Any = None) -> None:
        """Says how to train: an optimizer and a loss, by name or as objects, and metrics to report.

        metrics: a list of names ("accuracy", "mse", ...), metrics, or functions `(y_true, y_pred)` on NumPy arrays.
        For several outputs loss, loss_weights (numbers) and metrics are lists or dicts by the outputs' names; a single
        loss is for each of them. Raises ValueError for unknown names. Training so far is kept in the weights; the
        optimizer starts anew.
        """
        self.loss, self._loss_weights = compiled.check_loss(loss), compiled.check_weights(loss_weights)
        self.optimizer, self._metrics_wanted = optim.get(optimizer), compiled.check_metrics(metrics)
        self._running().steps.forget()
        self._training, self.stop_training = Running(), False

    def to(self, device: str) -> Any:
        """Moves all weights to `device`, in place; what steps hold elsewhere is given back. Returns the model."""
        self._running().steps.forget()
        return super().to(device)  # type: ignore[misc]

    @property
    def metrics_names(self) -> list[str]:
        """The names of what `evaluate` returns, in its order."""
        sums = self._running().sums
        return list(sums["train"].logs()) if sums else compiled.metric_names(self._metrics_wanted)

    def fit(
        self, x: Any = None, y: Any = None, batch_size: int | None = None, epochs: int = 1,
        verbose: str | int = "auto", callbacks: Iterable[Callback] | Callback | None = None,
        validation_split: float = 0.0, validation_data: Sequence | None = None, shuffle: bool = True,
        class_weight: Mapping[int, float] | None = None, sample_weight: Any = None, initial_epoch: int = 0,
        validation_batch_size: int | None = None, validation_freq: int | Iterable[int] = 1,
    ) -> History:
        """Trains for `epochs - initial_epoch` passes over x (N, ...) and y (N, ...). Returns the `History`.

        batch_size: 32 by default. validation_split: that share of the samples, the last ones, is only evaluated;
        validation_data: (x, y) or (x, y, sample_weight) instead; every validation_freq epochs, or in those it lists.
        shuffle: a new order each epoch. class_weight: {class: weight}; sample_weight: (N,). Several inputs or outputs
        come as a list or a dict by names. All arguments are checked before anything runs. Warns when the loss becomes
        NaN or infinite. An interrupt leaves the weights as the last whole step left them.
        """
        self._check_compiled("fit")
        verbose = check_verbose(verbose)
        for name, value in (("epochs", epochs), ("initial_epoch", initial_epoch)):
            check_count(name, value, 0)
        validates = validates_in(validation_freq)
        data, validation = self._training_and_validation(x, y, sample_weight, class_weight, validation_split,
                                                         validation_data)
        form = self._build_for(x, data)
        self._start(data)
        if validation is not None:
            self._check_targets(validation)
        source = self._source(data, batch_size, shuffle, self.shard)
        tests = None if validation is None else self._source(validation, validation_batch_size or batch_size)
        work = self._work("train", self.optimizer)
        self._build_optimizer()
        line = self._prepare(work, data, source, form, verbose)

        self.history, self.stop_training, self._running().nan_seen = History(), False, False
        given = [callbacks] if isinstance(callbacks, Callback) else list(callbacks or ())
        params = {"epochs": epochs, "steps": len(source), "verbose": verbose}
        hooks, order = CallbackList([*given, self.history], self, params), random.stream()
        try:
            hooks.call("on_train_begin", {})
            logs: Logs = {}
            for epoch in range(initial_epoch, epochs):
                hooks.call("on_epoch_begin", epoch, {})
                line = Progress(len(source), verbose, f"Epoch {epoch + 1}/{epochs}", line)
                if shuffle:
                    source.shuffle(order, epoch)
                logs = self._pass(work, data, source, form, hooks, line, epoch)
                if tests is not None and validates(epoch + 1):
                    tested = self._test(validation, tests, form, hooks)  # type: ignore[arg-type]
                    logs.update({f"val_{name}": value for name, value in tested.items()})
                line.finish(logs)
                hooks.call("on_epoch_end", epoch, logs)
                if self.stop_training:
                    break
            hooks.call("on_train_end", logs)
        finally:  # also where it was interrupted: much memory, and the next training may need other sizes
            self._running().steps.forget("train", "test")
        return self.history

    def evaluate(
        self, x: Any = None, y: Any = None, batch_size: int | None = None, verbose: str | int = "auto",
        sample_weight: Any = None, callbacks: Iterable[Callback] | None = None, return_dict: bool = False,
    ) -> Any:
        """The loss over x and y, with metrics `[loss, metric, ...]` (see `metrics_names`), or a dict of them."""
        self._check_compiled("evaluate")
        data = self._check_data(x, y, sample_weight)
        form = self._build_for(x, data)
        self._start(data)
        source = self._source(data, batch_size)
        before = self._prepare(self._work("test"), data, source, form, verbose)
        hooks = CallbackList(callbacks or (), self, {"steps": len(source), "verbose": check_verbose(verbose)})
        line, running = Progress(len(source), verbose, before=before), self._running()
        try:
            with running.lock:
                logs = self._test(data, source, form, hooks, line)
        finally:
            running.steps.detach("test")
        line.finish(logs)
        return _returned(logs, return_dict)

    def predict(self, x: Any, batch_size: int | None = None, verbose: str | int = "auto") -> Any:
        """The outputs for x (N, ...), batch by batch: an array (N, ...), or a list or dict of them, as the model has
        them. Needs no compile().
        """
        data = check_data(x, names=self._names("input_names"))
        form, work = self._build_for(x, data), Work("predict")
        source = Source(data.x, self._dtypes(len(data.x)), batch_size, self.device)
        before = self._prepare(work, data, source, form, verbose)
        line, sink = Progress(len(source), verbose, before=before), None
        for i in range(len(source)):
            step = self._step(work, data, source.seek(i), form)
            with turn:
                step.run(source, sink)
                if sink is None:  # now the outputs' shapes are known
                    sink = self._sink(step, len(data))
                    step.attach(source, sink)
            line.update(i + 1, dict)
        line.finish({})
        self._running().steps.detach("predict")
        return step.put_together([self.device.numpy(rows) for rows in sink])  # type: ignore[union-attr]

    def predict_on_batch(self, x: Any) -> Any:
        """The outputs for one batch x (N, ...) at once: the shortest way to an answer. Needs no compile()."""
        if isinstance(x, np.ndarray):
            known = self._running().steps.find("predict", x.shape, self.device)
            if known is not None:
                return known.run_on([x])
        data = check_data(x, names=self._names("input_names"))
        form = self._build_for(x, data)
        key = (x.shape, self.device) if isinstance(x, np.ndarray) else (form, *(a.shape for a in data.x), self.device)
        step = self._running().steps.of("predict", key, self._maker(Work("predict"), data, len(data), form))
        _prepare_alone(step)
        return step.run_on(data.x)

    def train_on_batch(
        self, x: Any, y: Any = None, sample_weight: Any = None, class_weight: Mapping[int, float] | None = None,
        return_dict: bool = False,
    ) -> Any:
        """One step on one batch. Returns this batch's loss, with metrics `[loss, metric, ...]`, or a dict of them."""
        self._check_compiled("train_on_batch")
        data = self._check_data(x, y, sample_weights(y, sample_weight, class_weight))
        return self._on_batch("train", x, data, return_dict)

    def test_on_batch(self, x: Any, y: Any = None, sample_weight: Any = None, return_dict: bool = False) -> Any:
        """The loss of one batch, with metrics `[loss, metric, ...]`, or a dict of them. Nothing is trained."""
        self._check_compiled("test_on_batch")
        return self._on_batch("test", x, self._check_data(x, y, sample_weight), return_dict)

    def recording_report(self) -> dict[str, dict[str, str | None]]:
        """Of each kind of step that ran ("train", "test", "predict") its phases: None where a phase was recorded, and
        is replayed as its kernels alone, else why it runs through Python.
        """
        return {kind: dict(reasons) for kind, reasons in self._running().steps.reasons.items()}

    # One pass over the data, one step.

    def _on_batch(self, kind: str, x: Any, data: Data, return_dict: bool) -> Any:
        form = self._build_for(x, data)
        self._start(data)
        if kind == "train":
            self._build_optimizer()
        step = self._step(self._work(kind, self.optimizer if kind == "train" else None), data, len(data), form)
        self._running().sums[kind].reset()
        _prepare_alone(step)
        step.run_on([*data.x, *data.y, *data.weights])
        sums = self._running().sums[kind]
        sums.drain()
        return _returned(sums.logs(), return_dict)

    def _pass(self, work: Work, data: Data, source: Source, form: Callable, hooks: CallbackList,
              line: Progress | None, epoch: int | None = None) -> Logs:
        """All steps over a data set, in training (of an epoch) or evaluation; the means over it."""
        running, sums = self._running(), work.sums
        sums.reset()  # type: ignore[union-attr]
        begin, end = ([], []) if epoch is None else (hooks.listeners("on_train_batch_begin"),
                                                     hooks.listeners("on_train_batch_end"))

        def so_far() -> Logs:
            bad, logs = sums.drain(), sums.logs()  # type: ignore[union-attr]
            if bad is not None and epoch is not None and not running.nan_seen:
                running.nan_seen = True
                warn_of_nan(logs["loss"], epoch, bad)
            return logs

        for i in range(len(source)):
            for method in begin:
                method(i, {})
            if work.optimizer is not None:
                self._check_unchanged(work)
            n = source.seek(i)
            self._step(work, data, n, form, source.shards).run(source)
            if end:
                logs = so_far()
                for method in end:
                    method(i, logs)
            if line is not None:
                line.update(i + 1, so_far)
            if epoch is not None and self.stop_training:
                break
        return so_far()

    def _check_unchanged(self, work: Work) -> None:
        """Raises RuntimeError where a callback brought another loss or optimizer while fit runs."""
        if work.sums is not self._running().sums.get("train") or work.optimizer is not self.optimizer:
            raise RuntimeError("The model was compiled anew, or got another optimizer or loss, while fit ran. Do that "
                               "between two calls of fit.")

    def _test(self, data: Data, source: Source, form: Callable, hooks: CallbackList,
              line: Progress | None = None) -> Logs:
        """The means over a data set that is not trained on."""
        hooks.call("on_test_begin", {})
        logs = self._pass(self._work("test"), data, source, form, hooks, line)
        hooks.call("on_test_end", logs)
        return logs

    def _step(self, work: Work, data: Data, n: int, form: Callable, shards: float = 1.0) -> Step:
        """The step for batches of n samples of this data, of which the whole batch has `shards` times as many."""
        trains = work.optimizer is not None and work.optimizer.built
        key = (n, *(a.shape[1:] for a in data.x), *((a is None, a is not None and a.shape[1:]) for a in data.y),
               *(a is None for a in data.weights), self.device, form, trains, shards)
        return self._running().steps.of(work.kind, key, self._maker(work, data, n, form))

    def _maker(self, work: Work, data: Data, n: int, form: Callable) -> Callable[[], Step]:
        """What makes a step for batches of n samples of this data."""

        def make() -> Step:
            x = [((n, *a.shape[1:]), dtype) for a, dtype in zip(data.x, self._dtypes(len(data.x)))]
            y: list[Any] = [None] * len(data.y)
            weights: list[Any] = [None] * len(data.y)
            for goal in work.goals:
                of = goal.output
                if is_recordable(goal.loss):
                    y[of] = ((n, *data.y[of].shape[1:]), goal.loss.target_dtype(self.dtype))
                if data.weights[of] is not None:
                    weights[of] = ((n,), np.dtype(self.dtype))
            return Step(self, work, x, y, weights, form)

        return make

    def _work(self, kind: str, optimizer: Any = None) -> Work:
        running = self._running()
        return Work(kind, running.goals, running.scores, running.sums[kind], optimizer, self.reducer)

    def _sink(self, step: Step, samples: int) -> list[Any]:
        """Arrays for the predictions of a data set: on a GPU there, where they fit."""
        outputs = step.outputs()
        for output in outputs:
            if not output.shape or len(output) != step.samples:
                raise ValueError(f"predict() needs one row of output a sample. Received shape {tuple(output.shape)} "
                                 f"for {step.samples} samples: call the model on the data.")
        shapes = [(samples, *a.shape[1:]) for a in outputs]
        size = sum(math.prod(shape) * a.dtype.itemsize for shape, a in zip(shapes, outputs))
        if self.device.is_gpu and size > SHARE * self.device.memory_left():  # type: ignore[attr-defined]
            return [np.empty(shape, a.dtype) for shape, a in zip(shapes, outputs)]
        return [self.device.fresh(shape, a.dtype) for shape, a in zip(shapes, outputs)]

    # What comes before the first step.

    def _running(self) -> Running:
        if "_training" not in vars(self):
            self._training = Running()
        return self._training

    def _check_compiled(self, method: str) -> None:
        if self.optimizer is None:
            raise ValueError(f"Call compile() before {method}(), e.g. model.compile('adam', "
                             "'sparse_categorical_crossentropy', metrics=['accuracy']).")
        if self.loss is None:
            raise ValueError(f"{method}() needs a loss: model.compile(..., loss='sparse_categorical_crossentropy').")

    def _names(self, what: str) -> list[str] | None:
        """The names of the model's inputs or outputs, where they are known."""
        return getattr(self, what, None)

    def _check_data(self, x: Any, y: Any, sample_weight: Any) -> Data:
        if y is None:
            raise ValueError("y is missing: the targets are passed as an array of their own. Received: y=None.")
        return check_data(x, y, sample_weight, self._names("input_names"), self._names("output_names"))

    def _training_and_validation(self, x: Any, y: Any, sample_weight: Any, class_weight: Any, share: float,
                                 given: Sequence | None) -> tuple[Data, Data | None]:
        """Both data sets. Class weights count in training alone."""
        if given is not None and (not isinstance(given, tuple | list) or len(given) not in (2, 3)):
            raise ValueError("validation_data must be (x, y) or (x, y, sample_weight). "
                             f"Received: {type(given).__name__} of length {len(given)}.")
        data = self._check_data(x, y, sample_weights(y, sample_weight, class_weight))
        if given is not None:
            return data, self._check_data(given[0], given[1], given[2] if len(given) == 3 else None)
        if not share:
            return data, None
        data, validation = split_validation(data, share)
        return data, validation if class_weight is None else Data(
            validation.x, validation.y, [None] * len(validation.weights))

    def _build_for(self, x: Any, data: Data) -> Callable[[list[Any]], Any]:
        """Builds a model that is not built, and asks whether the data fit. Returns the form in which it takes them."""
        form = structure(x, self._names("input_names"))
        shapes = form([a.shape for a in data.x])
        if not self.built:
            self.build(without_batch(shapes))
        self.check_input(shapes)
        return form

    def _dtypes(self, count: int) -> list[np.dtype]:
        """The dtypes that a model's inputs are converted to."""
        return [np.dtype(self.dtype)] * count

    def _start(self, data: Data) -> None:
        """Losses and metrics for this data, after a look at the targets; sums that start anew."""
        running, shapes = self._running(), self._output_shapes(data)
        names = self._names("output_names") or [f"output_{i + 1}" for i in range(len(shapes))]
        self._settle_compiled()
        made_for = contents([self.device, self.optimizer, self.loss, self._loss_weights, self._metrics_wanted,
                             self.reducer, self.shard])
        if running.made_for != made_for:
            if len(data.y) != len(shapes):
                raise ValueError(f"y must have {len(shapes)} arrays, one an output. Received: {len(data.y)}.")
            running.goals = compiled.goals(self.loss, self._loss_weights, names)
            targets = [shape if a is None else a.shape for a, shape in zip(data.y, shapes)]
            running.scores = compiled.scores(self._metrics_wanted, names, targets, shapes)
            running.steps.forget()
            running.sums = {kind: Sums(self.device, running.goals, running.scores) for kind in ("train", "test")}
            running.steps, running.made_for = Steps(), made_for
        self._check_targets(data)

    def _check_targets(self, data: Data) -> None:
        """Raises ValueError where targets do not go with the outputs and their losses."""
        shapes = self._output_shapes(data)
        for goal in self._running().goals:
            if data.y[goal.output] is None:
                raise ValueError(f"y has no targets for the output number {goal.output}, which has a loss.")
            goal.loss.check_targets(data.y[goal.output], shapes[goal.output])
        for score in self._running().scores:
            if data.y[score.output] is None:
                raise ValueError(f"y has no targets for the output number {score.output}, which has a metric.")

    def _settle_compiled(self) -> None:
        """A loss or an optimizer that was set by its name, after `compile`, as an object."""
        if not isinstance(self.optimizer, optim.Optimizer):
            self.optimizer = optim.get(self.optimizer)  # type: ignore[arg-type]
        settled = compiled.check_loss(self.loss)
        if contents(settled) != contents(self.loss):
            self.loss = settled

    def _output_shapes(self, data: Data) -> list[Shape]:
        """The shapes of the outputs; of a class with a call of its own, which takes other sizes too, the last axis."""
        found = self.output_shape  # type: ignore[attr-defined]
        if self._names("output_names") is None and isinstance(found, tuple) and not isinstance(found[-1], tuple):
            found = (None,) * (len(found) - 1) + found[-1:]
        if isinstance(found, Mapping):
            return list(found.values())
        return list(found) if found and isinstance(found[0], tuple | list) else [found]

    def _source(self, data: Data, batch_size: int | None, shuffled: bool = False,
                shard: tuple[int, int] = (0, 1)) -> Source:
        """The data as batches."""
        targets: list[Any] = [np.dtype(self.dtype)] * len(data.y)
        for goal in self._running().goals:
            targets[goal.output] = goal.loss.target_dtype(self.dtype)
        dtypes = [*self._dtypes(len(data.x)), *targets, *(np.dtype(self.dtype) for _ in data.weights)]
        return Source([*data.x, *data.y, *data.weights], dtypes, batch_size, self.device, shuffled, *shard)

    def _build_optimizer(self) -> None:
        parameters = self.trainable_weights
        if parameters:
            self.optimizer.build(parameters)  # type: ignore[union-attr]
        else:
            warnings.warn("The model has no trainable weights, so nothing is trained.", stacklevel=3)

    def _prepare(self, work: Work, data: Data, source: Source, form: Callable,
                 verbose: str | int) -> Progress:
        """Compiles, once a machine, what the first step would otherwise have to wait for, and says so."""
        n, line = source.seek(0), Progress(0, verbose)
        self._step(work, data, n, form, source.shards).prepare(source, line.compiling)
        return line


def _prepare_alone(step: Step) -> None:
    """Compiles what a step without a line of its own needs, at its first run; says so on a terminal alone."""
    if not step.ran:
        line = Progress(0)
        step.prepare(None, line.compiling if line.live else lambda done, total: None)


def _returned(logs: Logs, return_dict: bool) -> Any:
    return logs if return_dict else list(logs.values()) if len(logs) > 1 else logs["loss"]
