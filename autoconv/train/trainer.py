"""`Trainer`: what makes a layer a model that can be fitted, evaluated and asked, with Keras's methods and defaults."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from os import PathLike
from typing import Any

import numpy as np

from .. import optimizers as optim
from ..arguments.keywords import known_only
from ..backend.locks import kernel_lock
from ..callbacks import Callback, CallbackList, History, Logs
from ..ranks import ALONE, Ranks
from ..tensor import Tensor
from ..variable import Variable
from . import compile_config, compiled
from .agreeing import hooks_of, join, share_model, share_random
from .compiled import Goal, Score
from .data import Data, check_count, sample_weights, validates_in
from .feeding import Feeding
from .fitting import Fitting
from .outputs import Outputs
from .own import OwnSteps, OwnSums, overridden
from .phases import Work, is_recordable
from .progress import Progress, check_verbose, warn
from .running import Running
from .saving import only_backup
from .source import Source
from .step import Step
from .stream import Epochs, Stream
from .sums import Sums

STEPS = ("make_train_function", "make_test_function", "make_predict_function")  # which Keras lets a class override


class Trainer(Feeding, OwnSteps):
    """Mixed into a layer, gives it compile, fit, evaluate and predict. All of them run steps (step.py)."""

    # What the layer brings.
    __call__: Callable[..., Tensor]
    trainable_weights: list[Variable]

    optimizer: optim.Optimizer | None = None
    loss: Any = None
    history: History | None = None
    stop_training = stop_evaluating = stop_predicting = False  # set by callbacks, to end after this batch
    ranks: Ranks = ALONE  # the processes that train it together: see `distribute`
    run_eagerly, jit_compile, steps_per_execution = False, True, 1
    _loss_weights: Any = None
    _metrics_wanted: Any = None
    _weighted_wanted: Any = None

    @known_only
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
        own = next((name for name in STEPS if hasattr(type(self), name)), None)
        if own is not None:
            raise TypeError(f"{type(self).__name__} must not define {own}(): define train_step, test_step or "
                            "predict_step, which is called on each batch.")
        check_count("steps_per_execution", steps_per_execution, 1)
        self.loss, self._loss_weights = compiled.check_loss(loss), compiled.check_weights(loss_weights)
        self.steps_per_execution = steps_per_execution
        if run_eagerly and jit_compile is True:
            warn("If `run_eagerly` is True, then `jit_compile` cannot also be True. Disabling `jit_compile`.")
            jit_compile = False
        self.jit_compile = not run_eagerly if jit_compile == "auto" else bool(jit_compile)
        self.optimizer, self._metrics_wanted = optim.get(optimizer), compiled.check_metrics(metrics)
        self._weighted_wanted, self.run_eagerly = compiled.check_metrics(weighted_metrics), bool(run_eagerly)
        self._running().steps.forget()
        self._training, self.stop_training = Running(), False

    def get_compile_config(self) -> dict[str, Any] | None:
        """What compile() was given, as plain data; None where it was not called. Raises ValueError for what has no
        name, such as a lambda.
        """
        return compile_config.to_config(self)

    def compile_from_config(self, config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None) -> None:
        """Calls compile() as `get_compile_config` says; custom_objects maps names to classes and functions of yours."""
        self.compile(**compile_config.from_config(config, custom_objects))

    def to(self, device: str) -> Any:
        """Moves all weights to `device`, in place; what steps hold elsewhere is given back. Returns the model."""
        self._running().steps.forget()
        return super().to(device)  # type: ignore[misc]

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
        self._running().steps.forget()
        self.ranks = ranks
        return self

    @property
    def compiled(self) -> bool:
        """Whether compile() was called."""
        return self.optimizer is not None

    @known_only
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
        verbose = check_verbose(verbose)
        for name, value in (("epochs", epochs), ("initial_epoch", initial_epoch)):
            check_count(name, value, 0)
        validates, ranks = validates_in(validation_freq), self.ranks
        verbose = 0 if ranks.rank else verbose
        if not initial_epoch:
            self._running().key = None
        share_random(ranks)
        data, validation = self._training_and_validation(
            x, y, sample_weight, class_weight, validation_split, validation_data,
            shuffle=shuffle, number=initial_epoch, draw=self._running().training)
        self._start(data.like)
        if validation is not None:
            self._running().check_targets(self, validation.like)
        source = self._source(data, batch_size, shuffle)
        tests = None if validation is None else self._source(validation, validation_batch_size or batch_size,
                                                             staged=True)
        work = self._work("train", self.optimizer)
        self._build_optimizer()
        if ranks.size > 1 and work.own is not None:
            raise ValueError(f"Several processes share the steps that autoconv makes. Received: {type(self).__name__} "
                             f"with a {work.own} of its own.")
        if ranks.size > 1:
            join(self, {"epochs": epochs, "initial_epoch": initial_epoch, "steps_per_epoch": steps_per_epoch,
                        "shuffle": shuffle, "data": source.identity(), "begins": source.get_state(),
                        "validation_data": None if tests is None else tests.identity()})
        if validation is None and not self.device.keeps_steps:
            self._running().steps.forget("test")  # of an earlier `evaluate`: as much memory as training will need
        line = self._prepare(work, source, verbose)
        passes = Epochs(source, steps_per_epoch, "steps_per_epoch")

        vars(self)["history"] = history = History()  # no change of the model: what was recorded of it holds
        if self.stop_training:
            self.stop_training = False
        running = self._running()
        running.nan_seen, running.now = False, "train"
        backup = only_backup(CallbackList(callbacks).callbacks)
        hooks = hooks_of(self, callbacks, {"epochs": epochs, "steps": passes.steps, "verbose": verbose}, history)
        order = self._running().training()
        if shuffle and isinstance(source, Source):
            source.key = order
        validate = None if tests is None else partial(self._test, tests, validation_steps)
        training = Fitting(self, work, passes, hooks, range(initial_epoch, epochs), tests, validate, validates)
        try:
            training.run(verbose, line, resume, backup)
        finally:  # also where it was interrupted: much memory, and the next training may need other sizes
            steps = self._running().steps
            steps.forget("train", *(() if self.device.keeps_steps else ("test",)))
            steps.detach("test")
        return history

    @known_only
    def evaluate(
        self, x: Any = None, y: Any = None, batch_size: int | None = None, verbose: str | int = "auto",
        sample_weight: Any = None, steps: int | None = None,
        callbacks: Iterable[Callback] | Callback | None = None, return_dict: bool = False,
    ) -> Any:
        """The loss over x and y, or the batches (x, y) of an iterable, with metrics `[loss, metric, ...]`, or a
        dict of them by name. steps: how many batches, by default all.
        """
        self._check_compiled("evaluate")
        data = self._given(x, y, sample_weight)
        self._start(data.like)
        source = self._source(data, batch_size, staged=True)
        verbose = 0 if self.ranks.rank else verbose
        before = self._prepare(self._work("test"), source, verbose)
        count = Epochs(source, steps).steps
        hooks = hooks_of(self, callbacks, {"verbose": check_verbose(verbose), "epochs": 1, "steps": count})
        line, running = Progress(count, verbose, before=before), self._running()
        try:
            logs = self._test(source, steps, hooks, line)
        finally:
            running.steps.detach("test")
        line.finish(logs)
        return logs if return_dict else self._listed(logs)

    @known_only
    def predict(self, x: Any, batch_size: int | None = None, verbose: str | int = "auto", steps: int | None = None,
                callbacks: Iterable[Callback] | Callback | None = None) -> Any:
        """The outputs for x (N, ...), batch by batch: an array (N, ...), or a list or dict of them, as the model has
        them. x may be an iterable of batches x, (x, y) or (x, y, sample_weight), of which x is taken; steps: how many.
        Needs no compile().
        """
        data = self._given(x, targets=False)
        everyone, work = self.ranks, Work("predict", own=overridden(self, "predict"))
        is_shared = isinstance(data, Data) and steps is None and len(data) >= everyone.size > 1
        if is_shared:
            start, n, *_ = everyone.part(len(data))  # type: ignore[arg-type]
            data, verbose = data.rows(start, start + n), 0 if everyone.rank else verbose  # type: ignore[union-attr]
        source = data if isinstance(data, Stream) else Source(data, self._dtypes(len(data.x)), batch_size, self.device,
                                                              staged=True)
        before = self._prepare(work, source, verbose)
        passes, outputs = Epochs(source, steps), Outputs(self.device, source.samples)
        line = Progress(passes.steps, verbose, before=before)
        hooks = hooks_of(self, callbacks, {"verbose": check_verbose(verbose), "epochs": 1, "steps": passes.steps})
        vars(self)["stop_predicting"] = False  # no change of the model: what was recorded of it holds
        hooks.call("on_predict_begin", {})
        done = 0
        for n, tickets in passes.epoch(0, one_by_one=hooks.listens("on_predict_batch") or self.stop_predicting):
            hooks.call("on_predict_batch_begin", done, {})
            step = self._step(work, source.like, n)
            with kernel_lock:
                outputs.take(source, step, tickets)
            done += len(tickets)
            if hooks.listeners("on_predict_batch_end"):
                hooks.call("on_predict_batch_end", done - 1, {"outputs": step.put_together(outputs.last())})
            line.update(done, dict)
            if self.stop_predicting:
                break
        hooks.call("on_predict_end", {})
        line.finish({})
        self._running().steps.detach("predict")
        found = outputs.all()
        if is_shared:
            found = [np.concatenate(parts) for parts in zip(*everyone.exchange(found))]
        return step.put_together(found)

    def predict_on_batch(self, x: Any) -> Any:
        """The outputs for one batch x (N, ...) at once: the shortest way to an answer. Needs no compile()."""
        if isinstance(x, np.ndarray):
            known = self._running().steps.find("predict", x.shape, self.device)
            if known is not None:
                return known.run_on([x])
        data = self._check_inputs(x)
        self._build_for(data)
        key = (x.shape, self.device) if isinstance(x, np.ndarray) else (
            data.form, *(a.shape for a in data.x), self.device)
        work = Work("predict", own=overridden(self, "predict"))
        step = self._running().steps.of("predict", key, self._maker(work, data, len(data)))
        step.prepare_alone()
        return step.run_on(data.x)

    @known_only
    def train_on_batch(
        self, x: Any, y: Any = None, sample_weight: Any = None, class_weight: Mapping[int, float] | None = None,
        return_dict: bool = False,
    ) -> Any:
        """One step on one batch. Returns this batch's loss, with metrics `[loss, metric, ...]`, or a dict of them."""
        self._check_compiled("train_on_batch")
        data = self._check_data(x, y, sample_weights(y, sample_weight, class_weight))
        return self._on_batch("train", data, return_dict)

    @known_only
    def test_on_batch(self, x: Any, y: Any = None, sample_weight: Any = None, return_dict: bool = False) -> Any:
        """The loss of one batch, with metrics `[loss, metric, ...]`, or a dict of them. Nothing is trained."""
        self._check_compiled("test_on_batch")
        return self._on_batch("test", self._check_data(x, y, sample_weight), return_dict)

    def recording_report(self) -> dict[str, dict[str, str | None]]:
        """Of each kind of step that ran ("train", "test", "predict") its phases: None where a phase was recorded, and
        is replayed as its kernels alone, else why it runs through Python.
        """
        return {kind: dict(reasons) for kind, reasons in self._running().steps.reasons.items()}

    def graph_report(self) -> dict[str, dict[str, Any]]:
        """On a GPU, of each kind of step ("train", "test", "predict") that was repeated: whether all its CUDA graphs
        could be `captured`, how many `graphs` there are, how many kernels (`nodes`) the largest has, and the `reason`
        where one could not be: its kernels are then launched one by one.
        """
        found = {kind: graphs.describe() for kind, graphs in self._running().steps.graphs.items()}
        return {kind: described for kind, described in found.items() if described is not None}

    # One pass over the data, one step.

    def _on_batch(self, kind: str, data: Data, return_dict: bool) -> Any:
        self._build_for(data)
        self._start(data)
        if kind == "train":
            begins = not self.optimizer.built  # type: ignore[union-attr]
            self._build_optimizer()
            if begins:
                share_random(self.ranks)
                share_model(self, self.ranks)
        work = self._work(kind, self.optimizer if kind == "train" else None)
        before, n, shards, duplicated = self.ranks.part(len(data))
        data = data.rows(before, before + n)
        step, sums = self._step(work, data, n, shards), self._running().sums[kind]
        self._running().now = kind
        sums.reset()
        step.prepare_alone()
        step.run_on([*data.x, *data.y, *data.weights], before, duplicated)
        logs = sums.read_logs(self.ranks)
        return logs if return_dict else self._listed(logs)

    def _check_unchanged(self, work: Work) -> None:
        """Raises RuntimeError where a callback brought another loss or optimizer while fit runs."""
        if work.sums is not self._running().sums.get("train") or work.optimizer is not self.optimizer:
            raise RuntimeError("The model was compiled anew, or got another optimizer or loss, while fit ran. Do that "
                               "between two calls of fit.")

    def _test(self, source: Source | Stream, steps: int | None, hooks: CallbackList,
              line: Progress | None = None) -> Logs:
        """The means over a data set that is not trained on."""
        passes = Epochs(source, steps, "validation_steps" if line is None else "steps")
        if not passes.ready(0):
            raise ValueError("The iterable to evaluate on has no batches left. Pass one that can be iterated again, or "
                             "the number of steps to take of it each time.")
        running = self._running()
        with running.lock:
            vars(self)["stop_evaluating"] = False  # no change of the model: what was recorded of it holds
            hooks.call("on_test_begin", {})
            work, sums = self._work("test"), running.sums["test"]
            before, running.now = running.now, "test"
            sums.reset()
            done = 0
            for n, tickets in passes.epoch(0, one_by_one=hooks.listens("on_test_batch") or self.stop_evaluating):
                hooks.call("on_test_batch_begin", done, {})
                if source.varies:
                    running.check_targets(self, source.like)
                source.run(self._step(work, source.like, n, source.shards), tickets)
                done += len(tickets)
                if hooks.listeners("on_test_batch_end"):
                    hooks.call("on_test_batch_end", done - 1, sums.read_logs(self.ranks))
                if line is not None:
                    line.update(done, sums.read_logs)
                if self.stop_evaluating:
                    break
            logs = sums.read_logs(self.ranks)
            hooks.call("on_test_end", logs)
            if line is None:  # fit goes on
                running.now = before
        return logs

    def _step(self, work: Work, data: Data, n: int, shards: float = 1.0) -> Step:
        """The step for batches of n samples of this data, of which the whole batch has `shards` times as many."""
        trains = work.optimizer is not None and work.optimizer.built
        key = (n, *(a.shape[1:] for a in data.x),
               *((a is None, a is not None and a.shape[1:]) for a in (*data.y, *data.weights)),
               self.device, data.form, trains, shards, work.ranks)
        return self._running().steps.of(work.kind, key, self._maker(work, data, n, shards))

    def _maker(self, work: Work, data: Data, n: int, shards: float = 1.0) -> Callable[[], Step]:
        """What makes a step for batches of n samples of this data."""

        def make() -> Step:
            x = [((n, *a.shape[1:]), dtype) for a, dtype in zip(data.x, self._dtypes(len(data.x)))]
            y: list[Any] = [None] * len(data.y)
            weights: list[Any] = [None] * len(data.y)
            for goal in work.goals if work.own is None else ():
                of = goal.output
                if is_recordable(goal.loss):
                    y[of] = ((n, *data.y[of].shape[1:]), goal.loss.target_dtype(self.dtype))
                if data.weights[of] is not None:
                    weights[of] = ((n, *data.weights[of].shape[1:]), np.dtype(self.dtype))
            return Step(self, work, x, y, weights, data.form, shards)

        return make

    def _work(self, kind: str, optimizer: Any = None) -> Work:
        running = self._running()
        return Work(kind, running.goals, running.scores[kind], running.sums[kind], optimizer, self.ranks,
                    overridden(self, kind))

    def _sums(self, kind: str, goals: Sequence[Goal], scores: Sequence[Score]) -> Sums | OwnSums:
        """Where the losses and metrics of steps of this kind are added up."""
        return Sums(self.device, goals, scores, self._held_metrics) if overridden(self, kind) is None else OwnSums(self)

    # What comes before the first step.

    def _running(self) -> Running:
        if "_training" not in vars(self):
            self._training = Running()
        return self._training

    def _check_compiled(self, method: str) -> None:
        if self.optimizer is None:
            raise ValueError(f"Call compile() before {method}(), e.g. model.compile('adam', "
                             "'sparse_categorical_crossentropy', metrics=['accuracy']).")

    def _build_optimizer(self) -> None:
        parameters = self.trainable_weights
        if parameters:
            with kernel_lock:  # it moves the weights: no step is recorded meanwhile
                self.optimizer.train(parameters)  # type: ignore[union-attr]
        elif self._can_be_called():
            warn("The model has no trainable weights, so nothing is trained.")

    def _prepare(self, work: Work, source: Source | Stream, verbose: str | int) -> Progress:
        """Compiles, once a machine, what the first step would otherwise have to wait for, and says so."""
        n, line = len(source.like) if isinstance(source, Stream) else source.seek(0), Progress(0, verbose)
        step = self._step(work, source.like, n, source.shards)
        for turn_to in (True, False):
            if turn_to == self.ranks.prepares:
                step.prepare(None if isinstance(source, Stream) else source, line.compiling)
            self.ranks.exchange(None)  # the others find on disk what one rank of each machine compiled
        return line
