"""`Callback`, the stages at which it is called, and the list of callbacks that a training has."""

import sys
from collections.abc import Callable, Iterable, Mapping
from functools import partialmethod
from typing import Any, ClassVar, TextIO

from ..arguments import names

Logs = dict[str, float]


class Callback:
    """The base of a callback of your own: override the stages you need. `self.model` is the model that is trained.

    An epoch counts from 0, a batch too. What `on_epoch_end` puts into `logs` later callbacks and the history see.
    `on_batch_begin` and `on_batch_end` are shorter names of `on_train_batch_begin` and `on_train_batch_end`.
    """

    model: Any = None
    params: Mapping[str, Any] | None = None

    def set_model(self, model: Any) -> None:
        self.model = model

    def set_params(self, params: Mapping[str, Any]) -> None:
        """`params`: epochs, steps (batches in an epoch), verbose."""
        self.params = params

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Before the first epoch."""

    def on_train_end(self, logs: Logs | None = None) -> None:
        """After the last epoch, also when training was stopped."""

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Before an epoch."""

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """After an epoch and its validation."""

    def on_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Before a training step."""

    def on_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """After a training step."""

    def on_train_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Before a training step."""
        self.on_batch_begin(batch, logs)

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """After a training step; `logs` are the means over the epoch so far."""
        self.on_batch_end(batch, logs)

    def on_test_begin(self, logs: Logs | None = None) -> None:
        """Before an evaluation."""

    def on_test_end(self, logs: Logs | None = None) -> None:
        """After an evaluation."""

    def on_test_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Before a batch of an evaluation, also of a validation."""

    def on_test_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """After a batch of an evaluation; `logs` are the means so far."""

    def on_predict_begin(self, logs: Logs | None = None) -> None:
        """Before a prediction."""

    def on_predict_end(self, logs: Logs | None = None) -> None:
        """After a prediction."""

    def on_predict_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Before a batch of a prediction."""

    def on_predict_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """After a batch of a prediction; `logs["outputs"]` are its outputs."""

    def get_state(self) -> dict[str, Any]:
        """What it must remember where training goes on in a later process: plain data and arrays, by names. Asked for
        after each stage from the first `on_epoch_begin` on.
        """
        return {}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Takes what `get_state` gave; called where training goes on, after `on_train_begin`, and in the middle of an
        epoch after `on_epoch_begin`.
        """


_SHORT = {"on_train_batch_begin": "on_batch_begin", "on_train_batch_end": "on_batch_end"}
STAGES = tuple(name for name in vars(Callback) if name.startswith("on_") and name not in _SHORT.values())


class CallbackList(Callback):
    """Several callbacks as one: each stage of it is that stage of all of them, `hooks.on_epoch_end(0, {"loss": 1.0})`.

    callbacks: a list, or one. add_history: with a `History`, where none is among them. model and params, such as
    `epochs=3`, are theirs. A stage is called of those callbacks alone that override it: the others cost nothing.
    """

    unsupported: ClassVar[dict[str, Any]] = {"add_progbar": False}  # arguments that are accepted with this value only

    def __init__(self, callbacks: Any = None, add_history: bool = False, add_progbar: bool = False, model: Any = None,
                 **params: Any) -> None:
        if add_progbar:
            raise ValueError("add_progbar must be False: fit, evaluate and predict show their progress themselves "
                             f"(verbose=1). Received: {add_progbar!r}.")
        self.callbacks = _listed(callbacks)
        if add_history and not any(isinstance(each, History) for each in self.callbacks):
            self.callbacks.append(History())
        self._listeners: dict[str, list[Callable]] = {}
        if model is not None:
            self.set_model(model)
        self.set_params(params)

    def set_model(self, model: Any) -> None:
        """Gives all of them the model, whose `history` is that of the History among them."""
        super().set_model(model)
        for each in self.callbacks:
            each.set_model(model)
            if isinstance(each, History):
                model.history = each

    def set_params(self, params: Mapping[str, Any]) -> None:
        """Gives all of them these parameters, if there are any."""
        super().set_params(params)
        for each in self.callbacks if params else ():
            each.set_params(params)

    def listeners(self, stage: str) -> list[Callable]:
        """The methods of that name that are not the base's own, and so for the shorter name."""
        if stage not in self._listeners:
            names_of = [stage, *(_SHORT[each] for each in [stage] if each in _SHORT)]
            self._listeners[stage] = [
                getattr(each, stage) for each in self.callbacks
                if any(getattr(getattr(each, name), "__func__", None) is not getattr(Callback, name)
                       for name in names_of)]
        return self._listeners[stage]

    def listens(self, what: str) -> bool:
        """Whether a callback has a stage at the begin or at the end of this: "on_test_batch"."""
        return bool(self.listeners(f"{what}_begin") or self.listeners(f"{what}_end"))

    def call(self, stage: str, *args: Any) -> None:
        for method in self.listeners(stage):
            method(*args)

    def _forward(self, *args: Any, stage: str, logs: Logs | None = None) -> None:
        """A stage as a method: the number of an epoch or a batch, if it has one, and logs."""
        count = 1 if "epoch" in stage or "batch" in stage else 0
        given = [*args, logs][: count + 1]
        self.call(stage, *given[:count], given[count] or {})


for _stage in STAGES:
    setattr(CallbackList, _stage, partialmethod(CallbackList._forward, stage=_stage))


class History(Callback):
    """What fit returns: `history` holds a list over the epochs for the loss and every metric, `epoch` their numbers."""

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
    """A callback of functions: `LambdaCallback(on_epoch_end=lambda epoch, logs: ...)`, for any stage."""

    def __init__(self, on_epoch_begin: Callable | None = None, on_epoch_end: Callable | None = None,
                 on_train_begin: Callable | None = None, on_train_end: Callable | None = None,
                 on_train_batch_begin: Callable | None = None, on_train_batch_end: Callable | None = None,
                 **stages: Callable | None) -> None:
        first = {"on_epoch_begin": on_epoch_begin, "on_epoch_end": on_epoch_end, "on_train_begin": on_train_begin,
                 "on_train_end": on_train_end, "on_train_batch_begin": on_train_batch_begin,
                 "on_train_batch_end": on_train_batch_end}
        for stage, function in {**first, **stages}.items():
            known = [*STAGES, *_SHORT.values()]
            if stage not in known:
                raise ValueError(f"A callback has no stage {stage!r}. Known: {', '.join(known)}.")
            if function is not None:
                setattr(self, stage, function)


def say(text: str) -> None:
    """What a callback was asked to say (verbose=1)."""
    stream: TextIO | None = sys.stdout
    if stream is not None:
        stream.write(names.printable(text, keep="\n") + "\n")


def _kinds(base: type) -> list[type]:
    """All classes that are derived from one."""
    found: list[type] = base.__subclasses__()
    return [*found, *(kind for each in found for kind in _kinds(each))]


def _listed(given: Any) -> list[Callback]:
    """One callback, several of them, or None, as a list. Raises TypeError for what is none."""
    if given is None:
        return []
    if isinstance(given, CallbackList):
        return list(given.callbacks)
    found = list(given) if isinstance(given, Iterable) and not isinstance(given, str | type) else [given]
    for each in found:
        if not isinstance(each, Callback):
            known = [c.__name__ for c in _kinds(Callback)]
            remedy = f"Pass an object of it: {each.__name__}()." if isinstance(each, type) else (
                f"Pass an object, such as callbacks.EarlyStopping().{names.suggestion(each, known)}")
            raise TypeError("callbacks must be an instance of callbacks.Callback, or a list of such. "
                            f"Received: {each!r}. {remedy}")
    return found
