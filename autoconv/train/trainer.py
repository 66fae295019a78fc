"""`Trainer` trains, evaluates and runs a model, with Keras's methods and defaults."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import MethodType
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar

import numpy as np

from .. import optimizers as optim
from ..arguments.keywords import refuse
from ..arguments.shapes import check_count
from ..callbacks import History
from ..engine.ranks import ALONE, Ranks
from ..engine.versions import contents
from ..files.json_text import JsonObject
from ..kernels.locks import kernel_lock
from . import compiled, fitting
from .agreeing import share_model, share_random
from .compiled import Goal, Score
from .feeding import build_model, check_arrays, check_inputs
from .own import OwnSums, find_override, order_values
from .progress import Progress, warn
from .running import Running
from .source import Source
from .step import Step
from .stream import Stream
from .sums import Sums
from .user_arrays import Batch, Data, Model, sample_weights
from .workspace import Work

P = ParamSpec("P")
Result = TypeVar("Result")


class TrainerMethod(Generic[P, Result]):
    """Exposes a trainer's method on its model, so that `model.fit` is the method of the model's trainer."""

    def __init__(self, method: Callable[Concatenate["Trainer", P], Result]) -> None:
        self._method = method

    def __get__(self, model: Any, owner: type) -> Callable[P, Result]:
        return self._method if model is None else MethodType(self._method, model._trainer)  # type: ignore[return-value]


def trainer_attribute(name: str) -> Any:
    """Returns a property that exposes a trainer's attribute on its model."""
    return property(lambda model: getattr(model._trainer, name),
                    lambda model, value: setattr(model._trainer, name, value))


class Trainer:
    """Trains, evaluates and runs its model, with Keras's methods and defaults. All of its methods
    run steps (step.py). Only this class holds compile()'s arguments and results.
    """

    def __init__(self, model: Model) -> None:
        self.model = model
        self.optimizer: optim.Optimizer | None = None
        self.loss: Any = None
        self.loss_weights: Any = None
        self.metrics: Any = None
        self.weighted_metrics: Any = None
        self.run_eagerly, self.jit_compile, self.steps_per_execution = False, True, 1
        self.remat = False
        self.history: History | None = None
        self.stop_training = False  # callbacks set these three flags to end after the current batch
        self.stop_evaluating = self.stop_predicting = False
        self.ranks: Ranks = ALONE  # the processes that train the model together, see `distribute`
        self.running = Running()

    def compile(self, optimizer: str | optim.Optimizer = "rmsprop", loss: Any = None, loss_weights: Any = None,
                metrics: Any = None, weighted_metrics: Any = None, run_eagerly: bool = False,
                steps_per_execution: int = 1, jit_compile: str | bool = "auto", auto_scale_loss: bool = True,
                remat: bool = False, **unknown: Any) -> None:
        """Configures training with an optimizer, a loss and metrics, which are given by name or as objects.

        metrics is a list of names ("accuracy", "mse", ...), metrics, or functions `(y_true, y_pred)` of NumPy arrays.
        weighted_metrics are metrics that use the sample weights. For several outputs, loss, loss_weights (numbers)
        and metrics are lists, or dicts by the outputs' names; a single loss applies to each output. With run_eagerly,
        steps run through Python and are never recorded. With remat (rematerialization), training takes less memory and
        more time: most layers' results are computed again in the backward pass. steps_per_execution, jit_compile and
        auto_scale_loss have no effect: all steps are compiled and use 32-bit numbers. Raises ValueError for unknown
        names, and TypeError for a class with its own make_train_function. The weights keep their trained values; the
        optimizer starts anew.
        """
        refuse(self.model, "compile", unknown)
        for kind in ("train", "test", "predict"):
            if hasattr(type(self.model), f"make_{kind}_function"):  # a method that Keras lets a class override
                raise TypeError(f"{type(self.model).__name__} must not define make_{kind}_function(), "
                                f"because autoconv does not call this method. Define {kind}_step() "
                                "instead, which is called on each batch.")
        check_count("steps_per_execution", steps_per_execution, 1)
        self.loss, self.loss_weights = compiled.check_loss(loss), compiled.check_weights(loss_weights)
        self.steps_per_execution = steps_per_execution
        if run_eagerly and jit_compile is True:
            warn("If `run_eagerly` is True, then `jit_compile` cannot also be True. Disabling `jit_compile`.")
            jit_compile = False
        self.jit_compile = not run_eagerly if jit_compile == "auto" else bool(jit_compile)
        self.optimizer, self.run_eagerly = optim.get(optimizer), bool(run_eagerly)
        for layer in self.model._walk():  # the model and its nested models
            if hasattr(layer, "_trainer"):
                layer._trainer.remat = bool(remat)
        self.metrics, self.weighted_metrics = map(compiled.check_metrics, (metrics, weighted_metrics))
        self.running.steps.forget()
        self.running, self.stop_training = Running(), False

    def get_compile_config(self) -> JsonObject | None:
        """Returns compile()'s arguments as plain data. Returns None if compile() was not called, and for a class
        that overrides compile() but not compile_from_config(). Raises ValueError for objects without a name.
        """
        is_own = self._has_own_compile and type(self.model).compile_from_config is Trainer.compile_from_config
        return None if is_own else compiled.to_config(self)

    def compile_from_config(self, config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None) -> None:
        """Calls compile() with a config. `custom_objects` maps names to classes and functions."""
        self.model.compile(**compiled.from_config(config, custom_objects))

    def distribute(self, ranks: Ranks) -> Any:
        """Makes `fit`, `evaluate` and `predict` share their work with other processes, such as
        `parallel.MPI()`. Returns the model. All processes must make the same calls with the same
        data; batch_size counts all ranks together.

        `fit` first copies rank 0's weights and random state to all ranks. Callbacks run only on rank 0,
        where they show, log and save; their decisions apply to all ranks. `fit` raises ValueError if
        ranks differ in data, arguments or versions. Raises TypeError for objects that are not ranks.
        """
        if not isinstance(ranks, Ranks):
            raise TypeError("The argument of distribute() must be a parallel.MPI object, as in "
                            f"model.distribute(parallel.MPI()). Received: {ranks!r}.")
        self.running.steps.forget()
        self.ranks = ranks
        return self.model

    fit = fitting.fit
    evaluate = fitting.evaluate
    predict = fitting.predict

    # Methods for a single batch.

    def predict_on_batch(self, x: Any) -> Any:
        """Returns the outputs for one batch x (N, ...), with the least overhead. The model need not be compiled."""
        model = self.model
        if isinstance(x, np.ndarray):
            step = self.running.steps.find("predict", x.shape, model.device)
            if step is not None:
                return step.predict([x])
        data = check_inputs(model, x)
        build_model(model, data)
        key = (x.shape,) if isinstance(x, np.ndarray) else (data.form, *(a.shape for a in data.x))
        work = Work("predict", own_method=find_override(model, "predict"))
        step = self.running.steps.get("predict", (*key, model.device), partial(Step, model, work, data, len(data)))
        step.prepare_alone()
        return step.predict(data.x)

    def train_on_batch(
        self, x: Any, y: Any = None, sample_weight: Any = None, class_weight: Mapping[int, float] | None = None,
        return_dict: bool = False, **unknown: Any,
    ) -> Any:
        """Trains for one step. Returns the loss, or `[loss, metric, ...]` if there are metrics, or a dict by name."""
        refuse(self.model, "train_on_batch", unknown)
        self._check_compiled("train_on_batch")
        data = check_arrays(self.model, x, y, sample_weights(y, sample_weight, class_weight))
        return self._run_batch("train", data, return_dict)

    def test_on_batch(self, x: Any, y: Any = None, sample_weight: Any = None, return_dict: bool = False,
                      **unknown: Any) -> Any:
        """Evaluates one batch. Returns the loss, or `[loss, metric, ...]` if there are metrics, or a dict by name."""
        refuse(self.model, "test_on_batch", unknown)
        self._check_compiled("test_on_batch")
        return self._run_batch("test", check_arrays(self.model, x, y, sample_weight), return_dict)

    def recording_report(self) -> dict[str, dict[str, str | None]]:
        """Returns the phases of each kind of step that ran ("train", "test", "predict"). A phase's value is
        None if it was recorded and is replayed as kernels only, else the reason why it runs through Python.
        """
        return {kind: dict(reasons) for kind, reasons in self.running.steps.reasons.items()}

    def graph_report(self) -> dict[str, dict[str, Any]]:
        """Returns a report on the CUDA graphs of each kind of step ("train", "test", "predict") replayed on a GPU.
        `captured` is true if all graphs were captured, `graphs` is their number, and `nodes` the number of kernels
        in the largest graph. If a capture failed, `reason` says why; the kernels are then launched one by one.
        """
        reports = {kind: graphs.describe() for kind, graphs in self.running.steps.graphs.items()}
        return {kind: report for kind, report in reports.items() if report is not None}

    def _run_batch(self, kind: str, data: Data, return_dict: bool) -> Any:
        build_model(self.model, data)
        self._settle(data)
        if kind == "train":
            begins = not self.optimizer.built  # type: ignore[union-attr]
            self._build_optimizer()
            if begins:
                share_random(self.ranks)
                share_model(self.model, self.ranks)
        work = self._work(kind, self.optimizer if kind == "train" else None)
        sums = self.running.sums[kind]
        part = self.ranks.part(len(data))
        batch = Batch(None, data.rows(part.start, part.start + part.samples), part)
        step = self.get_step(work, batch)
        self.running.kind = kind
        sums.reset()
        step.prepare_alone()
        step.run(batch)
        logs = sums.read_logs(self.ranks)
        return logs if return_dict else order_values(self.model, logs)

    # The steps and their sums.

    def get_step(self, work: Work, batch: Batch) -> Step:
        """Returns the step for batches with the shapes of `batch`. Raises RuntimeError if a
        callback set another loss or optimizer while fit runs.
        """
        data, part, model = batch.data, batch.part, self.model
        if work.kind == "train" and (work.sums is not self.running.sums.get("train")
                                     or work.optimizer is not self.optimizer):
            raise RuntimeError("The model was compiled again, or its optimizer or loss was replaced, while fit was "
                               "running. Make such changes only between two calls of fit.")
        trains = work.optimizer is not None and work.optimizer.built
        key = (part.samples, *(a.shape[1:] for a in data.x),
               *((a is None, a is not None and a.shape[1:]) for a in (*data.y, *data.weights)),
               model.device, data.form, work.own_method is not None and data.is_tuple, trains, part.shards, work.ranks)
        return self.running.steps.get(work.kind, key, partial(Step, model, work, data, part.samples, part.shards))

    def _work(self, kind: str, optimizer: Any = None) -> Work:
        running = self.running
        return Work(kind, running.goals, running.scores[kind], running.sums[kind], optimizer, self.ranks,
                    find_override(self.model, kind))

    def get_sums(self, kind: str, goals: Sequence[Goal], scores: Sequence[Score]) -> Sums | OwnSums:
        """Creates the sums of losses and metrics for this kind of step."""
        if find_override(self.model, kind) is not None:
            return OwnSums(self.model)
        return Sums(self.model.device, goals, scores, self.model._list_metrics)

    # Preparation of the first step.

    def _settle(self, data: Data) -> None:
        """Prepares losses and metrics for this data and checks the targets. A loss or optimizer
        that was set by name after `compile` becomes an object.
        """
        if not isinstance(self.optimizer, optim.Optimizer):
            self.optimizer = optim.get(self.optimizer)  # type: ignore[arg-type]
        loss = compiled.check_loss(self.loss)
        if contents(loss) != contents(self.loss):
            self.loss = loss
        self.running.settle(self.model, data)

    def _check_compiled(self, method: str) -> None:
        if self.optimizer is None:
            example = (f". The method compile() of {type(self.model).__name__} must call super().compile()."
                       if self._has_own_compile else
                       ", e.g. model.compile('adam', 'sparse_categorical_crossentropy', metrics=['accuracy']).")
            raise ValueError(f"Call compile() before {method}(){example}")

    @property
    def _has_own_compile(self) -> bool:
        """Whether the model's class overrides `compile`, whose arguments may then be several optimizers."""
        return type(self.model).compile is not Trainer.compile

    def _build_optimizer(self) -> None:
        if self._has_own_compile and find_override(self.model, "train") == "train_step":
            return  # the class may have its own optimizers; otherwise `apply` builds the optimizer
        parameters = self.model.trainable_weights
        if parameters:
            with kernel_lock:  # no step may be recorded while the weights are moved
                self.optimizer.train(parameters)  # type: ignore[union-attr]
            if not self.optimizer.is_scheduled and not float(self.optimizer.learning_rate):  # type: ignore[union-attr]
                warn("The learning rate is 0, so nothing is trained until a callback changes the rate. Set "
                     "optimizer.learning_rate to a positive number.")
        elif self.model._can_be_called():
            warn("The model has no trainable weights, so nothing is trained.")

    def _prepare(self, work: Work, source: Source | Stream, verbose: int) -> Progress:
        """Compiles the first step's kernels, once per machine. Returns the progress line of the compilation."""
        line, step = Progress(0, verbose), self.get_step(work, source.batch())
        for turn_to in (True, False):
            if turn_to == self.ranks.prepares:
                step.prepare(None if isinstance(source, Stream) else source, line.compiling)
            self.ranks.exchange(None)  # the other ranks then load the compiled kernels from disk
        return line
