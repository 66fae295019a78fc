"""Implements `fit`, `evaluate` and `predict`. The common `Loop` reads the next batch, runs a step on
it and calls callbacks. `Fitting` is one call of `fit`, started anew or resumed from a saved state.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import callbacks as built_in
from ..arguments.keywords import refuse
from ..arguments.shapes import check_count
from ..callbacks import BackupAndRestore, Callback, CallbackList, History, Logs
from ..engine.ranks import ALONE, Ranks
from . import settings, state
from .agreeing import STOPS, check_weights, join, make_hooks, share_random
from .checkpoint import Checkpoint
from .diagnosis import LOWER_RATE, Diagnosis
from .feeding import make_source, prepare_data, training_and_validation
from .outputs import Outputs
from .own import find_override, order_values
from .progress import Progress, check_verbose, warn
from .saved_states import Saving, find_backup, load_newest, translate_errors
from .source import Source
from .state import TrainState
from .step import Step
from .stream import Epochs, Stream, warn_of_end
from .user_arrays import Batch, Data, validates_in
from .workspace import Work

if TYPE_CHECKING:
    from .trainer import Trainer


def fit(
    self: "Trainer", x: Any = None, y: Any = None, batch_size: int | None = None, epochs: int = 1,
    verbose: str | int = "auto", callbacks: Iterable[Callback] | Callback | None = None,
    validation_split: float = 0.0, validation_data: Any = None, shuffle: bool = True,
    class_weight: Mapping[int, float] | None = None, sample_weight: Any = None, initial_epoch: int = 0,
    steps_per_epoch: int | None = None, validation_steps: int | None = None,
    validation_batch_size: int | None = None, validation_freq: int | Iterable[int] = 1,
    resume: str | PathLike[str] | None = None, **unknown: Any,
) -> History:
    """Trains for `epochs - initial_epoch` passes over x (N, ...) and y (N, ...). Returns the `History`.

    x may also be an iterable of batches (x, y) or (x, y, sample_weight): an image dataset, a generator, or a
    sequence such as Keras's PyDataset. validation_data is (x, y), (x, y, sample_weight) or such an iterable.
    batch_size is the number of samples per batch of arrays, 32 by default. steps_per_epoch and
    validation_steps limit the number of batches per epoch and per validation. validation_split is the fraction
    of the samples, at the end of the arrays, that is used only for validation. Validation runs every
    validation_freq epochs, or in the epochs that validation_freq lists. With shuffle, each epoch has a new
    order of the samples, or of a sequence's batches. class_weight is a dict {class: weight}, and sample_weight
    an array (N,). Several inputs or outputs are passed as a list, or as a dict by name. Warns once, with the
    likeliest cause, if the loss becomes NaN, infinite or very large, or if an epoch ends with a model that is
    no better than a guess. After an interrupt, the weights are those of the last complete step. With an
    initial_epoch, fit continues the last training run and its shuffling order. resume is a folder in which
    `callbacks.BackupAndRestore` saved a training state; training then continues from that state bit for bit.
    """
    refuse(self.model, "fit", unknown)
    self._check_compiled("fit")
    verbose = 0 if self.ranks.rank else check_verbose(verbose)
    check_count("epochs", epochs, 0)
    check_count("initial_epoch", initial_epoch, 0)
    validates = validates_in(validation_freq)
    if not initial_epoch:
        self.running.key = None
    share_random(self.ranks)
    data, validation = training_and_validation(
        self.model, x, y, sample_weight, class_weight, validation_split, validation_data,
        shuffle=shuffle, number=initial_epoch, draw=self.running.training)
    self._settle(data.like)
    source = make_source(self.model, data, batch_size, shuffle)
    tests = None
    if validation is not None:
        self.running.check_targets(self.model, validation.like)
        tests = make_source(self.model, validation, validation_batch_size or batch_size, stage=True)
    work = _begin_training(self, source, tests, epochs=epochs, initial_epoch=initial_epoch,
                           steps_per_epoch=steps_per_epoch, shuffle=shuffle)
    line = self._prepare(work, source, verbose)
    passes = Epochs(source, steps_per_epoch, "steps_per_epoch")
    history = History()
    self.history = history
    self.stop_training = False
    backup = find_backup(CallbackList(callbacks).callbacks)
    hooks = make_hooks(self.model, callbacks, {"epochs": epochs, "steps": passes.steps, "verbose": verbose}, history)
    self.running.validates = tests is not None or any(  # a user's callback may add val_loss to the logs
        type(each) not in vars(built_in).values() or isinstance(each, built_in.LambdaCallback)
        for each in CallbackList(callbacks).callbacks)
    order = self.running.training()
    if shuffle and isinstance(source, Source):
        source.key = order
    validate = None if tests is None else partial(evaluate_source, self, tests, validation_steps)
    fitting = Fitting(self, work, passes, hooks, range(initial_epoch, epochs), tests, validate, validates)
    try:
        with fitting.save(backup, resume) as checkpoint:
            fitting.run(verbose, line, checkpoint)
    finally:  # also after an interrupt, because the steps hold much memory
        steps = self.running.steps
        steps.forget("train", *(() if self.model.device.keeps_steps else ("test",)))
        steps.detach("test")
    return history


def _begin_training(
    trainer: "Trainer", source: Source | Stream, tests: Source | Stream | None, **arguments: Any,
) -> Work:
    """Creates the optimizer's slots, synchronizes the ranks, and frees memory that an earlier `evaluate` used."""
    work = trainer._work("train", trainer.optimizer)
    trainer._build_optimizer()
    if trainer.ranks.size > 1:
        if work.own_method is not None:
            raise ValueError("Training on several processes does not support custom steps. Received: "
                             f"{type(trainer.model).__name__} with a custom {work.own_method}.")
        join(trainer.model, {**arguments, "data": source.identity(), "begins": source.get_state(),
                          "validation_data": None if tests is None else tests.identity()})
    if tests is None and not trainer.model.device.keeps_steps:
        trainer.running.steps.forget("test")  # training may need the memory of evaluation steps
    trainer.running.nan_seen = False
    trainer.running.kind = "train"
    return work


def evaluate(
    self: "Trainer", x: Any = None, y: Any = None, batch_size: int | None = None, verbose: str | int = "auto",
    sample_weight: Any = None, steps: int | None = None,
    callbacks: Iterable[Callback] | Callback | None = None, return_dict: bool = False, **unknown: Any,
) -> Any:
    """Returns the loss over x and y, or over an iterable's batches (x, y). With metrics, returns `[loss,
    metric, ...]`, or a dict by name if `return_dict` is true. `steps` is the number of batches, by default all.
    """
    refuse(self.model, "evaluate", unknown)
    self._check_compiled("evaluate")
    data = prepare_data(self.model, x, y, sample_weight)
    self._settle(data.like)
    source = make_source(self.model, data, batch_size, stage=True)
    verbose = 0 if self.ranks.rank else check_verbose(verbose)
    setup_line = self._prepare(self._work("test"), source, verbose)
    count = Epochs(source, steps).steps
    hooks = make_hooks(self.model, callbacks, {"verbose": verbose, "epochs": 1, "steps": count})
    line = Progress(count, verbose, previous=setup_line)
    try:
        logs = evaluate_source(self, source, steps, hooks, line)
    finally:
        self.running.steps.detach("test")
    line.finish(logs)
    return logs if return_dict else order_values(self.model, logs)


def evaluate_source(trainer: "Trainer", source: Source | Stream, steps: int | None,
                    hooks: CallbackList, line: Progress | None = None) -> Logs:
    """Returns the mean loss and metrics over a data source. Without `line`, shows no progress, as in `fit`."""
    name = "validation_steps" if line is None else "steps"
    passes = Epochs(source, steps, name)
    if not passes.ready(0):
        raise ValueError("The iterable for evaluation has no batches left. Pass an iterable that can be iterated "
                         f"again, or limit the batches of each evaluation with `{name}`.")
    running = trainer.running
    with running.lock:
        trainer.stop_evaluating = False
        hooks.call("on_test_begin", {})
        work, sums = trainer._work("test"), running.sums["test"]
        previous, running.kind = running.kind, "test"
        sums.reset()
        Loop(trainer, work, hooks).run(passes, partial(sums.read_logs, trainer.ranks), 0, line, sums.read_logs)
        logs = sums.read_logs(trainer.ranks)
        hooks.call("on_test_end", logs)
        if line is None:  # `fit` called this function and continues
            running.kind = previous
    return logs


def predict(
    self: "Trainer", x: Any, batch_size: int | None = None, verbose: str | int = "auto",
    steps: int | None = None, callbacks: Iterable[Callback] | Callback | None = None, **unknown: Any,
) -> Any:
    """Returns the outputs for x (N, ...), computed in batches: an array (N, ...), or a list or dict of arrays
    in the model's output structure. x may also be an iterable of batches x, (x, y) or (x, y, sample_weight),
    of which only x is used. `steps` is the number of batches. The model need not be compiled.
    """
    model, ranks = self.model, self.ranks
    refuse(model, "predict", unknown)
    data = prepare_data(model, x, targets=False)
    is_shared = isinstance(data, Data) and steps is None and len(data) >= ranks.size > 1
    if is_shared:
        start, n, *_ = ranks.part(len(data))  # type: ignore[arg-type]
        data = data.rows(start, start + n)  # type: ignore[union-attr]
    verbose = 0 if is_shared and ranks.rank else check_verbose(verbose)
    source = data if isinstance(data, Stream) else Source(data, model._dtypes(len(data.x)), batch_size,
                                                          model.device, is_staged=True)
    work = Work("predict", own_method=find_override(model, "predict"))
    setup_line = self._prepare(work, source, verbose)
    passes, outputs = Epochs(source, steps), Outputs(model.device, source.samples)
    line = Progress(passes.steps, verbose, previous=setup_line)
    hooks = make_hooks(model, callbacks, {"verbose": verbose, "epochs": 1, "steps": passes.steps})
    self.stop_predicting = False
    hooks.call("on_predict_begin", {})
    Loop(self, work, hooks).run(passes, lambda: {"outputs": outputs.copy_last()}, 0, line, take=outputs.take)
    hooks.call("on_predict_end", {})
    line.finish({})
    self.running.steps.detach("predict")
    arrays = outputs.get_arrays()
    if is_shared:
        arrays = [np.concatenate(parts) for parts in zip(*ranks.exchange(arrays))]
    return outputs.restructure(arrays)


class Loop:
    """Runs the batches of epochs. `steps` counts the completed steps of the current epoch. The loop
    keeps no reference to a `Step`, so that a step's memory can be freed when fit ends.
    """

    def __init__(self, trainer: Any, work: Work, hooks: CallbackList) -> None:
        self._trainer, self._work = trainer, work
        self._begin = hooks.listeners(f"on_{work.kind}_batch_begin")
        self._end = hooks.listeners(f"on_{work.kind}_batch_end")
        self.steps = 0

    def run(self, epochs: Epochs, logs: Callable[[], Mapping[str, Any]], number: int = 0, line: Progress | None = None,
            get_values: Callable[[], Logs] = dict, take: Callable[[Step, Batch], None] = Step.run,
            callback: Callable[[], None] | None = None) -> None:
        """Runs the remaining batches of an epoch. `logs()` returns the logs for callbacks at the
        end of a batch. `line` shows the progress with the values of `get_values()`. `take` runs a
        step on a batch. `callback` is called after each step.
        """
        trainer, work, stop = self._trainer, self._work, STOPS[self._work.kind]
        one_by_one = bool(self._begin or self._end or callback) or getattr(trainer, stop)
        for batch in epochs.epoch(number, self.steps, one_by_one):
            for method in self._begin:
                method(self.steps, {})
            if batch.source is None and work.sums is not None:
                trainer.running.check_targets(trainer.model, batch.data)
            take(trainer.get_step(work, batch), batch)
            self.steps += len(batch.numbers)
            if self._end:
                values = logs()
                for method in self._end:
                    method(self.steps - 1, values)
            if line is not None:
                line.update(self.steps, get_values)
            if getattr(trainer, stop):
                break
            if callback is not None:
                callback()


class Fitting:
    """A running call of `fit`.

    `tests` is the validation data, on which `validate(hooks)` evaluates the model.
    `validates(epoch)` is true if epoch number `epoch`, counted from 1, ends with a validation.
    """

    def __init__(self, trainer: Any, work: Work, passes: Epochs, hooks: CallbackList, epochs: range,
                 tests: Source | Stream | None, validate: Callable[[CallbackList], Logs] | None,
                 validates: Callable[[int], bool]) -> None:
        self._trainer, self._model, self._running = trainer, trainer.model, trainer.running
        self._passes, self._hooks, self._tests = passes, hooks, tests
        self._validate, self._validates = validate, validates
        self._epochs, self._epoch, self._logs = epochs.stop, epochs.start, Logs()
        self._sums: Any = work.sums
        self._ranks = work.ranks
        self._loop = Loop(trainer, work, hooks)
        self._saving: Saving | None = None
        self._common: dict[str, Any] = {}
        self._diagnosis = Diagnosis(self._model, passes.source, tests)

    @contextmanager
    def save(self, backup: BackupAndRestore | None, resume: str | PathLike[str] | None) -> Iterator[Checkpoint | None]:
        """Lets `run` save training states in the `with` block. Yields the checkpoint to resume from, or None."""
        if backup is None and resume is None:
            yield None
            return
        self._common = self._describe()
        if backup is not None:
            self._saving = Saving(backup, self._state, lambda: int(self._trainer.optimizer.iterations), self._ranks)
        try:
            checkpoint = self._ranks.run_on_first(self._find, resume)
            if self._saving is not None:
                self._saving.begin()
            yield checkpoint
        finally:
            if self._saving is not None:
                self._saving.close()

    def run(self, verbose: int, line: Progress, checkpoint: Checkpoint | None) -> None:
        """Trains until the last epoch or until a callback stops training. `line` is the progress
        line that showed the compilation. `checkpoint` is the saved state to resume from, or None.
        """
        trainer, hooks, saving, loop = self._trainer, self._hooks, self._saving, self._loop
        hooks.call("on_train_begin", {})
        if checkpoint is not None:
            self._restore(checkpoint)
        while self._epoch < self._epochs and not trainer.stop_training:
            if not loop.steps:
                if not self._passes.ready(self._epoch):
                    warn_of_end()
                    break
                hooks.call("on_epoch_begin", self._epoch, {})
                self._sums.reset()
            if saving is not None:
                saving.check(self._get_states)
            title = f"Epoch {self._epoch + 1}/{self._epochs}"
            line = Progress(self._passes.steps, verbose, title, line, loop.steps)
            # The progress line shows this rank's partial sums, which are read only when the line is drawn.
            loop.run(self._passes, partial(self._read_logs, self._ranks), self._epoch, line, self._read_logs,
                     callback=None if saving is None else saving.save_after_step)
            self._logs = self._read_logs(self._ranks)
            if self._validate is not None and self._validates(self._epoch + 1):
                self._logs.update({f"val_{name}": value for name, value in self._validate(hooks).items()})
            line.finish(self._logs)
            if self._ranks.size > 1:
                check_weights(self._model, self._ranks)
            hooks.call("on_epoch_end", self._epoch, self._logs)
            self._diagnosis.check(self._epoch + 1, trainer.history.history)
            self._epoch, loop.steps = self._epoch + 1, 0
            if saving is not None:
                saving.save_after_epoch(last=self._epoch == self._epochs or trainer.stop_training)
        if saving is not None:
            saving.finish()
        trainer.optimizer.finalize_variable_values()
        hooks.call("on_train_end", self._logs)
        if saving is not None:
            saving.clear()

    def _read_logs(self, ranks: Ranks = ALONE) -> Logs:
        nan_step, logs = self._sums.read(ranks), self._sums.logs()
        if nan_step is not None and not self._running.nan_seen:
            self._running.nan_seen = True
            if not self._ranks.rank:
                cause = self._diagnosis.find_cause() or LOWER_RATE
                warn(f"The loss became {logs['loss']} in epoch {self._epoch + 1}, step {nan_step + 1}. {cause}",
                     RuntimeWarning)
        return logs

    # Saving and restoring the training state.

    def _describe(self) -> dict[str, Any]:
        """Returns the settings that a resumed run must share. Raises ValueError for data without a state."""
        source, tests = self._passes.source, self._tests
        for batches in (source, tests):
            if isinstance(batches, Stream):
                batches.check_position()
        if isinstance(source, Stream) and isinstance(tests, Stream):
            source.check_apart(tests)
        data = {**source.identity(), "shuffled": source.key is not None, "steps_per_epoch": self._passes.limit,
                "validation": None if tests is None else tests.identity()}
        return {"settings": settings.settings(self._model, data), "architecture": settings.architecture(self._model)}

    def _find(self, resume: str | PathLike[str] | None) -> Checkpoint | None:
        """Returns the checkpoint to resume from, or None. Raises ValueError, before anything
        changes, if the checkpoint belongs to another training run.
        """
        checkpoint = self._saving.find() if resume is None and self._saving is not None else None
        if resume is not None:
            checkpoint = load_newest(resume)
        if checkpoint is not None:
            self._check(checkpoint)
        return checkpoint

    def _check(self, checkpoint: Checkpoint) -> None:
        with translate_errors(checkpoint):
            content = checkpoint.state.content()
            settings.check_settings(content["settings"], self._common["settings"], self._epochs != content["epochs"])
            state.check_model(self._model, content["model"])
            settings.check_settings(content["architecture"], self._common["architecture"])
            state.check_callbacks(self._hooks, content["callbacks"])
            state.check_random(self._model, content["random"])
            positions = [(self._passes.source, content["position"]["passes"]["source"])]
            if self._tests is not None:
                positions.append((self._tests, content["position"]["tests"]))
            old_states = [(data, data.get_state()) for data, _ in positions]
            try:
                for data, position in positions:
                    data.set_state(position)
            finally:
                for data, position in old_states:
                    data.set_state(position)

    def _restore(self, checkpoint: Checkpoint) -> None:
        """Restores a checkpoint. This overwrites changes that callbacks made to the model or to
        random states in on_train_begin or on_epoch_begin.
        """
        with translate_errors(checkpoint):
            content = checkpoint.state.content()
            position = content["position"]
            self._epoch, self._loop.steps = int(position["epoch"]), int(position["done"])
            self._logs = dict(content["logs"])
        if self._loop.steps:
            self._hooks.call("on_epoch_begin", self._epoch, {})
        with translate_errors(checkpoint):
            state.restore_model(self._model, content["model"])
            running, source = self._running, self._passes.source
            running.key = None if content["key"] is None else (int(content["key"][0]), int(content["key"][1]))
            if source.key is not None:
                source.key = running.key
            self._passes.set_state(position["passes"])
            if self._tests is not None:
                self._tests.set_state(position["tests"])
            self._sums.set_state(content["sums"], self._ranks.rank == 0)
            self._model.stop_training, running.nan_seen = bool(content["stopped"]), bool(content["nan_seen"])
            state.restore_callbacks(self._hooks, content["callbacks"])
            state.restore_random(self._model, content["random"])

    def _state(self, belongs_to: Mapping[str, Any]) -> TrainState | None:
        """Returns a copy of the training state with all ranks' sums; None except on rank 0."""
        sums = self._sums.get_state(self._ranks)
        return None if self._ranks.rank else TrainState.from_content({
            "model": state.copy_model(self._model), "random": state.copy_random(self._model), "key": self._running.key,
            "logs": self._logs, "stopped": self._model.stop_training, "nan_seen": self._running.nan_seen,
            "epochs": self._epochs, **self._get_states(), "sums": sums, **self._common, "belongs_to": belongs_to})

    def _get_states(self) -> dict[str, Any]:
        """Returns the states of the data sources, metric sums and callbacks."""
        tests = None if self._tests is None else self._tests.get_state()
        return {"position": {"epoch": self._epoch, "done": self._loop.steps, "passes": self._passes.get_state(),
                             "tests": tests},
                "sums": self._sums.get_state(), "callbacks": state.copy_callbacks(self._hooks)}
