"""`Callback`, the stages at which its methods are called, and `CallbackList`, which combines several callbacks."""

import sys
from collections.abc import Callable, Iterable, Mapping
from functools import partialmethod
from typing import Any, ClassVar, TextIO

from ..arguments import names

Logs = dict[str, float]


class Callback:
    """Base class of custom callbacks: override the stages you need. `self.model` is the trained model.

    Epochs and batches count from 0. Values that `on_epoch_end` adds to `logs` are passed to later
    callbacks and to the history. `on_batch_begin` and `on_batch_end` are shorter names for
    `on_train_batch_begin` and `on_train_batch_end`.
    """

    model: Any = None
    params: Mapping[str, Any] | None = None

    def set_model(self, model: Any) -> None:
        self.model = model

    def set_params(self, params: Mapping[str, Any]) -> None:
        """Sets `params`: epochs, steps (batches per epoch), verbose."""
        self.params = params

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Called before the first epoch."""

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Called after the last epoch, also if training was stopped."""

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Called before an epoch."""

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Called after an epoch and its validation."""

    def on_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Called before a training step."""

    def on_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Called after a training step."""

    def on_train_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Called before a training step."""
        self.on_batch_begin(batch, logs)

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Called after a training step; `logs` are the epoch's means up to this step."""
        self.on_batch_end(batch, logs)

    def on_test_begin(self, logs: Logs | None = None) -> None:
        """Called before an evaluation."""

    def on_test_end(self, logs: Logs | None = None) -> None:
        """Called after an evaluation."""

    def on_test_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Called before a batch of an evaluation or validation."""

    def on_test_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Called after a batch of an evaluation; `logs` are the means up to this batch."""

    def on_predict_begin(self, logs: Logs | None = None) -> None:
        """Called before a prediction."""

    def on_predict_end(self, logs: Logs | None = None) -> None:
        """Called after a prediction."""

    def on_predict_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Called before a batch of a prediction."""

    def on_predict_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Called after a batch of a prediction; `logs["outputs"]` contains the batch's outputs."""

    def get_state(self) -> dict[str, Any]:
        """Returns the plain data and arrays, by name, with which training can resume in another
        process. May be called after any stage from the first `on_epoch_begin` on.
        """
        return {}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Restores a state returned by `get_state`. Called when training resumes: after
        `on_train_begin`, or within an epoch after `on_epoch_begin`.
        """


_SHORT = {"on_train_batch_begin": "on_batch_begin", "on_train_batch_end": "on_batch_end"}
STAGES = tuple(name for name in vars(Callback) if name.startswith("on_") and name not in _SHORT.values())


class CallbackList(Callback):
    """Combines several callbacks: `hooks.on_epoch_end(0, {"loss": 1.0})` calls that stage of each
    callback.

    callbacks: one callback or a list. add_history: whether to add a `History` if there is none.
    model and params, such as `epochs=3`, are set for each callback. A stage calls only the
    callbacks that override it, so that the other callbacks take no time.
    """

    fixed_arguments: ClassVar[dict[str, Any]] = {"add_progbar": False}  # arguments accepted only with this value

    def __init__(self, callbacks: Any = None, add_history: bool = False, add_progbar: bool = False, model: Any = None,
                 **params: Any) -> None:
        if add_progbar:
            raise ValueError("add_progbar must be False, because fit, evaluate and predict show "
                             f"their own progress bars (verbose=1). Received: {add_progbar!r}.")
        self.callbacks = _list_callbacks(callbacks)
        if add_history and not any(isinstance(each, History) for each in self.callbacks):
            self.callbacks.append(History())
        self._listeners: dict[str, list[Callable]] = {}
        if model is not None:
            self.set_model(model)
        self.set_params(params)

    def set_model(self, model: Any) -> None:
        """Sets the model of all callbacks. The model's `history` is set to the History callback, if any."""
        super().set_model(model)
        for each in self.callbacks:
            each.set_model(model)
            if isinstance(each, History):
                model.history = each

    def set_params(self, params: Mapping[str, Any]) -> None:
        """Sets `params` for all callbacks, unless it is empty."""
        super().set_params(params)
        for each in self.callbacks if params else ():
            each.set_params(params)

    def listeners(self, stage: str) -> list[Callable]:
        """Returns the methods of all callbacks that override a stage, also under the stage's shorter name."""
        if stage not in self._listeners:
            stage_names = [stage, *(_SHORT[each] for each in [stage] if each in _SHORT)]
            self._listeners[stage] = [
                getattr(each, stage) for each in self.callbacks
                if any(getattr(getattr(each, name), "__func__", None) is not getattr(Callback, name)
                       for name in stage_names)]
        return self._listeners[stage]

    def listens(self, event: str) -> bool:
        """Returns whether a callback overrides the begin or end stage of `event`, such as "on_test_batch"."""
        return bool(self.listeners(f"{event}_begin") or self.listeners(f"{event}_end"))

    def call(self, stage: str, *args: Any) -> None:
        for method in self.listeners(stage):
            method(*args)

    def _forward(self, *args: Any, stage: str, logs: Logs | None = None) -> None:
        """Calls a stage with the logs, and with the number of the epoch or batch if the stage has one."""
        count = 1 if "epoch" in stage or "batch" in stage else 0
        arguments = [*args, logs][: count + 1]
        self.call(stage, *arguments[:count], arguments[count] or {})


for _stage in STAGES:
    setattr(CallbackList, _stage, partialmethod(CallbackList._forward, stage=_stage))


class History(Callback):
    """The result of `fit`. `history` maps each loss or metric to its values per epoch. `epoch` lists the epochs."""

    def __init__(self) -> None:
        self.history: dict[str, list[float]] = {}
        self.epoch: list[int] = []

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self.epoch = []

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        self.epoch.append(epoch)
        for name, value in (logs or {}).items():
            self.history.setdefault(name, []).append(value)

    def get_state(self) -> dict[str, Any]:
        return {"epoch": list(self.epoch), "history": {name: list(values) for name, values in self.history.items()}}

    def set_state(self, state: Mapping[str, Any]) -> None:
        self.epoch, self.history = list(state["epoch"]), {name: list(v) for name, v in state["history"].items()}


class LambdaCallback(Callback):
    """A callback whose stages are functions: `LambdaCallback(on_epoch_end=lambda epoch, logs: ...)`."""

    def __init__(self, on_epoch_begin: Callable | None = None, on_epoch_end: Callable | None = None,
                 on_train_begin: Callable | None = None, on_train_end: Callable | None = None,
                 on_train_batch_begin: Callable | None = None, on_train_batch_end: Callable | None = None,
                 **stages: Callable | None) -> None:
        functions = {"on_epoch_begin": on_epoch_begin, "on_epoch_end": on_epoch_end, "on_train_begin": on_train_begin,
                     "on_train_end": on_train_end, "on_train_batch_begin": on_train_batch_begin,
                     "on_train_batch_end": on_train_batch_end}
        for stage, function in {**functions, **stages}.items():
            options = [*STAGES, *_SHORT.values()]
            if stage not in options:
                raise ValueError(f"LambdaCallback has no argument {stage!r}. Its arguments are {', '.join(options)}.")
            if function is not None:
                setattr(self, stage, function)


def say(text: str) -> None:
    """Prints a callback's message."""
    stream: TextIO | None = sys.stdout
    if stream is not None:
        stream.write(names.printable(text, keep="\n") + "\n")


def _find_subclasses(base: type) -> list[type]:
    subclasses: list[type] = base.__subclasses__()
    return [*subclasses, *(kind for each in subclasses for kind in _find_subclasses(each))]


def _list_callbacks(callbacks: Any) -> list[Callback]:
    """Returns callbacks as a list: one callback, several or None. Raises TypeError for anything else."""
    if callbacks is None:
        return []
    if isinstance(callbacks, CallbackList):
        return list(callbacks.callbacks)
    is_one = isinstance(callbacks, str | type) or not isinstance(callbacks, Iterable)
    result = [callbacks] if is_one else list(callbacks)
    for each in result:
        if not isinstance(each, Callback):
            classes = [c.__name__ for c in _find_subclasses(Callback)]
            given = each.__name__ if isinstance(each, type) else str(each)
            remedy = f"Pass an instance, such as {given}()." if given in classes else (
                f"Pass an instance, such as callbacks.EarlyStopping().{names.suggestion(given, classes)}")
            raise TypeError("callbacks must be an instance of callbacks.Callback, or a list of "
                            f"such instances. Received: {each!r}. {remedy}")
    return result
