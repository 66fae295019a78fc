"""`Trainer`: fits, evaluates and asks a model, with Keras's methods and defaults."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from operator import attrgetter
from os import PathLike
from typing import Any, Concatenate, ParamSpec, TypeVar

import numpy as np

from .. import optimizers as optim
from ..arguments.keywords import known_only
from ..arguments.shapes import check_count
from ..callbacks import Callback, CallbackList, History, Logs
from ..engine.ranks import ALONE, Ranks
from ..engine.versions import contents
from ..kernels.locks import kernel_lock
from . import compiled
from .agreeing import hooks_of, join, share_model, share_random
from .compiled import Goal, Score
from .feeding import build_for, check_arrays, check_given, check_inputs, source_of, training_and_validation
from .fitting import Fitting, Loop
from .outputs import Outputs
from .own import OwnSums, listed, overridden
from .progress import Progress, check_verbose, warn
from .running import Running
from .saved_states import only_backup
from .source import Source
from .step import Step
from .stream import Epochs, Stream
from .sums import Sums
from .user_arrays import Batch, Data, Model, sample_weights, validates_in
from .workspace import Work

P = ParamSpec("P")
Result = TypeVar("Result")


def of_trainer(method: Callable[Concatenate["Trainer", P], Result]) -> Callable[Concatenate[Any, P], Result]:
    """A method of the trainer as one of the model that has it."""
    return known_only(method, attrgetter("_trainer"))


def held_by_trainer(name: str) -> Any:
    """An attribute of the trainer as one of the model that has it."""
    return property(lambda model: getattr(model._trainer, name),
                    lambda model, value: setattr(model._trainer, name, value))


class Trainer:
    """Trains, evaluates and asks the model that has it, with Keras's methods and defaults. All of them run steps
    (step.py). What compile() was given, and what became of it, is here alone.
    """

    def __init__(self, model: Model) -> None:
        self.model = model
        self.optimizer: optim.Optimizer | None = None
        self.loss: Any = None
        self.loss_weights: Any = None
        self.metrics: Any = None
        self.weighted_metrics: Any = None
        self.run_eagerly, self.jit_compile, self.steps_per_execution = False, True, 1
        self.history: History | None = None
        self.stop_training = False  # this and the next two are set by callbacks, to end after the present batch
        self.stop_evaluating = self.stop_predicting = False
        self.ranks: Ranks = ALONE  # the processes that train it together: see `distribute`
        self.running = Running()

    def compile(self, optimizer: str | optim.Optimizer = "rmsprop", loss: Any = None, loss_weights: Any = None,
                metrics: Any = None, weighted_metrics: Any = None, run_eagerly: bool = False,
                steps_per_execution: int = 1, jit_compile: str | bool = "auto", auto_scale_loss: bool = True) -> None:
        """Says how to train: an optimizer and a loss, by name or as objects, and metrics to report.

        metrics: a list of names ("accuracy", "mse", ...), metrics, or functions `(y_true, y_pred)` on NumPy arrays;
        weighted_metrics: those that count samples by their weights. For several outputs loss, loss_weights (numbers)
        and metrics are lists or dicts by the outputs' names; a single loss is for each of them. run_eagerly: steps run
        through Python, never recorded. steps_per_execution, jit_compile and auto_scale_loss change nothing: all steps
        are compiled, in 32 bits. Raises ValueError for unknown names, TypeError for a class with a make_train_function
        of its own. Training so far is kept in the weights; the optimizer starts anew.
        """
        for kind in ("train", "test", "predict"):
            if hasattr(type(self.model), f"make_{kind}_function"):  # which Keras lets a class override
                raise TypeError(f"{type(self.model).__name__} must not define make_{kind}_function(): define "
                                "train_step, test_step or predict_step, which is called on each batch.")
        check_count("steps_per_execution", steps_per_execution, 1)
        self.loss, self.loss_weights = compiled.check_loss(loss), compiled.check_weights(loss_weights)
        self.steps_per_execution = steps_per_execution
        if run_eagerly and jit_compile is True:
            warn("If `run_eagerly` is True, then `jit_compile` cannot also be True. Disabling `jit_compile`.")
            jit_compile = False
        self.jit_compile = not run_eagerly if jit_compile == "auto" else bool(jit_compile)
        self.optimizer, self.run_eagerly = optim.get(optimizer), bool(run_eagerly)
        self.metrics, self.weighted_metrics = map(compiled.check_metrics, (metrics, weighted_metrics))
        self.running.steps.forget()
        self.running, self.stop_training = Running(), False

    def get_compile_config(self) -> dict[str, Any] | None:
        """What compile() was given, as plain data; None where it was not called. Raises ValueError for what has no
        name, such as a lambda.
        """
        return compiled.to_config(self)

    def compile_from_config(self, config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None) -> None:
        """Calls compile() as `get_compile_config` says; custom_objects maps names to classes and functions of yours."""
        self.model.compile(**compiled.from_config(config, custom_objects))

    def distribute(self, ranks: Ranks) -> Any:
        """Has `fit`, `evaluate` and `predict` share their work with other processes: `parallel.MPI()`. Returns the
        model. Each of them makes the same calls with the same data; batch_size is that of all together.

        Rank 0's weights and random numbers are everyone's when `fit` begins. Its callbacks alone are called, and show,
        log and save; what they decide counts for all. Raises ValueError, in `fit`, where ranks have other data,
        arguments or versions, TypeError for what are no ranks.
        """
        if not isinstance(ranks, Ranks):
            raise TypeError("distribute() takes the processes that train together: model.distribute(parallel.MPI()). "
                            f"Received: {ranks!r}.")
        self.running.steps.forget()
        self.ranks = ranks
        return self.model

    def fit(
        self, x: Any = None, y: Any = None, batch_size: int | None = None, epochs: int = 1,
        verbose: str | int = "auto", callbacks: Iterable[Callback] | Callback | None = None,
        validation_split: float = 0.0, validation_data: Any = None, shuffle: bool = True,
        class_weight: Mapping[int, float] | None = None, sample_weight: Any = None, initial_epoch: int = 0,
        steps_per_epoch: int | None = None, validation_steps: int | None = None,
        validation_batch_size: int | None = None, validation_freq: int | Iterable[int] = 1,
        resume: str | PathLike[str] | None = None,
    ) -> History:
        """Trains for `epochs - initial_epoch` passes over x (N, ...) and y (N, ...). Returns the `History`.

        x may be an iterable of batches instead, (x, y) or (x, y, sample_weight): an image dataset, a generator, a
        sequence such as Keras's PyDataset; so may validation_data, else (x, y) or (x, y, sample_weight).
        batch_size: of arrays, 32 by default. steps_per_epoch, validation_steps: batches of an epoch, by default all.
        validation_split: that share of the samples, the last ones, is only evaluated; every validation_freq epochs, or
        in those it lists. shuffle: a new order each epoch, of samples or of a sequence's batches. class_weight:
        {class: weight}; sample_weight: (N,). Several inputs or outputs come as a list or a dict by names. Warns when
        the loss becomes NaN or infinite. An interrupt leaves the weights as the last whole step left them. With an
        initial_epoch the last training goes on, in the orders that its later epochs would have had. resume: a folder
        where `callbacks.BackupAndRestore` saved the state of a training, which goes on bit for bit.
        """
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
        source = source_of(self.model, data, batch_size, shuffle)
        tests = None
        if validation is not None:
            self.running.check_targets(self.model, validation.like)
            tests = source_of(self.model, validation, validation_batch_size or batch_size, staged=True)
        work = self._begin_training(source, tests, epochs=epochs, initial_epoch=initial_epoch,
                                    steps_per_epoch=steps_per_epoch, shuffle=shuffle)
        line = self._prepare(work, source, verbose)
        passes = Epochs(source, steps_per_epoch, "steps_per_epoch")
        history = self.history = History()
        self.stop_training = False
        backup = only_backup(CallbackList(callbacks).callbacks)
        hooks = hooks_of(self.model, callbacks, {"epochs": epochs, "steps": passes.steps, "verbose": verbose}, history)
        order = self.running.training()
        if shuffle and isinstance(source, Source):
            source.key = order
        validate = None if tests is None else partial(self._test, tests, validation_steps)
        fitting = Fitting(self, work, passes, hooks, range(initial_epoch, epochs), tests, validate, validates)
        try:
            with fitting.saved(backup, resume) as found:
                fitting.run(verbose, line, found)
        finally:  # also if it was interrupted: much memory, and the next training may need other sizes
            steps = self.running.steps
            steps.forget("train", *(() if self.model.device.keeps_steps else ("test",)))
            steps.detach("test")
        return history

    def _begin_training(self, source: Source | Stream, tests: Source | Stream | None, **arguments: Any) -> Work:
        """Makes the optimizer's slots, has several ranks begin alike, and frees what an earlier `evaluate` left."""
        work = self._work("train", self.optimizer)
        self._build_optimizer()
        if self.ranks.size > 1:
            if work.own is not None:
                raise ValueError("Several processes share the steps that autoconv makes. Received: "
                                 f"{type(self.model).__name__} with a {work.own} of its own.")
            join(self.model, {**arguments, "data": source.identity(), "begins": source.get_state(),
                              "validation_data": None if tests is None else tests.identity()})
        if tests is None and not self.model.device.keeps_steps:
            self.running.steps.forget("test")  # as much memory as training will need
        self.running.nan_seen, self.running.now = False, "train"
        return work

    def evaluate(
        self, x: Any = None, y: Any = None, batch_size: int | None = None, verbose: str | int = "auto",
        sample_weight: Any = None, steps: int | None = None,
        callbacks: Iterable[Callback] | Callback | None = None, return_dict: bool = False,
    ) -> Any:
        """The loss over x and y, or the batches (x, y) of an iterable, with metrics `[loss, metric, ...]`, or a
        dict of them by name. steps: how many batches, by default all.
        """
        self._check_compiled("evaluate")
        data = check_given(self.model, x, y, sample_weight)
        self._settle(data.like)
        source = source_of(self.model, data, batch_size, staged=True)
        verbose = 0 if self.ranks.rank else check_verbose(verbose)
        before = self._prepare(self._work("test"), source, verbose)
        count = Epochs(source, steps).steps
        hooks = hooks_of(self.model, callbacks, {"verbose": verbose, "epochs": 1, "steps": count})
        line, running = Progress(count, verbose, before=before), self.running
        try:
            logs = self._test(source, steps, hooks, line)
        finally:
            running.steps.detach("test")
        line.finish(logs)
        return logs if return_dict else listed(self.model, logs)

    def _test(self, source: Source | Stream, steps: int | None, hooks: CallbackList,
              line: Progress | None = None) -> Logs:
        """The means over a data set that is not trained on."""
        passes = Epochs(source, steps, "validation_steps" if line is None else "steps")
        if not passes.ready(0):
            raise ValueError("The iterable to evaluate on has no batches left. Pass one that can be iterated again, or "
                             "the number of steps to take of it each time.")
        running = self.running
        with running.lock:
            self.stop_evaluating = False
            hooks.call("on_test_begin", {})
            work, sums = self._work("test"), running.sums["test"]
            before, running.now = running.now, "test"
            sums.reset()
            Loop(self, work, hooks).run(passes, partial(sums.read_logs, self.ranks), 0, line, sums.read_logs)
            logs = sums.read_logs(self.ranks)
            hooks.call("on_test_end", logs)
            if line is None:  # fit goes on
                running.now = before
        return logs

    def predict(self, x: Any, batch_size: int | None = None, verbose: str | int = "auto", steps: int | None = None,
                callbacks: Iterable[Callback] | Callback | None = None) -> Any:
        """The outputs for x (N, ...), batch by batch: an array (N, ...), or a list or dict of them, as the model has
        them. x may be an iterable of batches x, (x, y) or (x, y, sample_weight), of which x is taken; steps: how many.
        Needs no compile().
        """
        model, everyone = self.model, self.ranks
        data = check_given(model, x, targets=False)
        is_shared = isinstance(data, Data) and steps is None and len(data) >= everyone.size > 1
        if is_shared:
            start, n, *_ = everyone.part(len(data))  # type: ignore[arg-type]
            data = data.rows(start, start + n)  # type: ignore[union-attr]
        verbose = 0 if is_shared and everyone.rank else check_verbose(verbose)
        source = data if isinstance(data, Stream) else Source(data, model._dtypes(len(data.x)), batch_size,
                                                              model.device, staged=True)
        work = Work("predict", own=overridden(model, "predict"))
        before = self._prepare(work, source, verbose)
        passes, outputs = Epochs(source, steps), Outputs(model.device, source.samples)
        line = Progress(passes.steps, verbose, before=before)
        hooks = hooks_of(model, callbacks, {"verbose": verbose, "epochs": 1, "steps": passes.steps})
        self.stop_predicting = False
        hooks.call("on_predict_begin", {})
        Loop(self, work, hooks).run(passes, lambda: {"outputs": outputs.last()}, 0, line, take=outputs.take)
        hooks.call("on_predict_end", {})
        line.finish({})
        self.running.steps.detach("predict")
        found = outputs.all()
        if is_shared:
            found = [np.concatenate(parts) for parts in zip(*everyone.exchange(found))]
        return outputs.put_together(found)

    # One batch.

    def predict_on_batch(self, x: Any) -> Any:
        """The outputs for one batch x (N, ...) at once: the shortest way to an answer. Needs no compile()."""
        model = self.model
        if isinstance(x, np.ndarray):
            known = self.running.steps.find("predict", x.shape, model.device)
            if known is not None:
                return known.run_on([x])
        data = check_inputs(model, x)
        build_for(model, data)
        key = (x.shape,) if isinstance(x, np.ndarray) else (data.form, *(a.shape for a in data.x))
        work = Work("predict", own=overridden(model, "predict"))
        step = self.running.steps.of("predict", (*key, model.device), partial(Step, model, work, data, len(data)))
        step.prepare_alone()
        return step.run_on(data.x)

    def train_on_batch(
        self, x: Any, y: Any = None, sample_weight: Any = None, class_weight: Mapping[int, float] | None = None,
        return_dict: bool = False,
    ) -> Any:
        """One step on one batch. Returns this batch's loss, with metrics `[loss, metric, ...]`, or a dict of them."""
        self._check_compiled("train_on_batch")
        data = check_arrays(self.model, x, y, sample_weights(y, sample_weight, class_weight))
        return self._on_batch("train", data, return_dict)

    def test_on_batch(self, x: Any, y: Any = None, sample_weight: Any = None, return_dict: bool = False) -> Any:
        """The loss of one batch, with metrics `[loss, metric, ...]`, or a dict of them. Nothing is trained."""
        self._check_compiled("test_on_batch")
        return self._on_batch("test", check_arrays(self.model, x, y, sample_weight), return_dict)

    def recording_report(self) -> dict[str, dict[str, str | None]]:
        """Of each kind of step that ran ("train", "test", "predict") its phases: None where a phase was recorded, and
        is replayed as its kernels alone, else why it runs through Python.
        """
        return {kind: dict(reasons) for kind, reasons in self.running.steps.reasons.items()}

    def graph_report(self) -> dict[str, dict[str, Any]]:
        """On a GPU, of each kind of step ("train", "test", "predict") that was repeated: whether all its CUDA graphs
        could be `captured`, how many `graphs` there are, how many kernels (`nodes`) the largest has, and the `reason`
        where one could not be: its kernels are then launched one by one.
        """
        found = {kind: graphs.describe() for kind, graphs in self.running.steps.graphs.items()}
        return {kind: described for kind, described in found.items() if described is not None}

    def _on_batch(self, kind: str, data: Data, return_dict: bool) -> Any:
        build_for(self.model, data)
        self._settle(data)
        if kind == "train":
            begins = not self.optimizer.built  # type: ignore[union-attr]
            self._build_optimizer()
            if begins:
                share_random(self.ranks)
                share_model(self.model, self.ranks)
        work, sums = self._work(kind, self.optimizer if kind == "train" else None), self.running.sums[kind]
        part = self.ranks.part(len(data))
        batch = Batch(None, data.rows(part.before, part.before + part.own), part)
        step = self.step_for(work, batch)
        self.running.now = kind
        sums.reset()
        step.prepare_alone()
        step.run(batch)
        logs = sums.read_logs(self.ranks)
        return logs if return_dict else listed(self.model, logs)

    # The steps, and what comes before the first one.

    def step_for(self, work: Work, batch: Batch) -> Step:
        """The step for batches like this one. Raises RuntimeError if a callback brought another loss or optimizer
        while fit runs.
        """
        data, part, model = batch.data, batch.part, self.model
        if work.kind == "train" and (work.sums is not self.running.sums.get("train")
                                     or work.optimizer is not self.optimizer):
            raise RuntimeError("The model was compiled anew, or got another optimizer or loss, while fit ran. Do that "
                               "between two calls of fit.")
        trains = work.optimizer is not None and work.optimizer.built
        key = (part.own, *(a.shape[1:] for a in data.x),
               *((a is None, a is not None and a.shape[1:]) for a in (*data.y, *data.weights)),
               model.device, data.form, trains, part.shards, work.ranks)
        return self.running.steps.of(work.kind, key, partial(Step, model, work, data, part.own, part.shards))

    def _work(self, kind: str, optimizer: Any = None) -> Work:
        running = self.running
        return Work(kind, running.goals, running.scores[kind], running.sums[kind], optimizer, self.ranks,
                    overridden(self.model, kind))

    def sums_for(self, kind: str, goals: Sequence[Goal], scores: Sequence[Score]) -> Sums | OwnSums:
        """Where the losses and metrics of steps of this kind are added up."""
        if overridden(self.model, kind) is not None:
            return OwnSums(self.model)
        return Sums(self.model.device, goals, scores, self.model._held_metrics)

    # What comes before the first step.

    def _settle(self, data: Data) -> None:
        """Makes losses and metrics for this data, after a look at the targets. What was set after `compile` by its
        name, a loss or an optimizer, becomes an object.
        """
        if not isinstance(self.optimizer, optim.Optimizer):
            self.optimizer = optim.get(self.optimizer)  # type: ignore[arg-type]
        settled = compiled.check_loss(self.loss)
        if contents(settled) != contents(self.loss):
            self.loss = settled
        self.running.settle(self.model, data)

    def _check_compiled(self, method: str) -> None:
        if self.optimizer is None:
            raise ValueError(f"Call compile() before {method}(), e.g. model.compile('adam', "
                             "'sparse_categorical_crossentropy', metrics=['accuracy']).")

    def _build_optimizer(self) -> None:
        parameters = self.model.trainable_weights
        if parameters:
            with kernel_lock:  # it moves the weights: no step is recorded meanwhile
                self.optimizer.train(parameters)  # type: ignore[union-attr]
        elif self.model._can_be_called():
            warn("The model has no trainable weights, so nothing is trained.")

    def _prepare(self, work: Work, source: Source | Stream, verbose: int) -> Progress:
        """Compiles, once a machine, what the first step would otherwise have to wait for, and says so."""
        line, step = Progress(0, verbose), self.step_for(work, source.batch())
        for turn_to in (True, False):
            if turn_to == self.ranks.prepares:
                step.prepare(None if isinstance(source, Stream) else source, line.compiling)
            self.ranks.exchange(None)  # the others find on disk what one rank of each machine compiled
        return line
