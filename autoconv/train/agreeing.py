"""Synchronizes the settings, the initial weights and rank 0's callback decisions among ranks that train together."""

import platform
import sys
import zlib
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from ..callbacks import STAGES, Callback, CallbackList
from ..engine.ranks import ALONE, Ranks
from . import settings, state
from .user_arrays import Model


def versions() -> dict[str, str]:
    """Returns the versions of Python and of the packages that training results depend on."""
    from importlib.metadata import version  # a slow import, because it loads the email package

    return {"python": platform.python_version(), "autoconv": sys.modules["autoconv"].__version__,
            **{package: version(package) for package in ("numpy", "numba", "llvmlite")}}


def share_random(ranks: Ranks) -> None:
    """Copies rank 0's random state to all ranks."""
    if ranks.size > 1:
        state.restore_process(ranks.broadcast(state.copy_process()))


def share_model(model: Model, ranks: Ranks) -> None:
    """Copies the weights, optimizer slots and random state of rank 0's model to all ranks."""
    if ranks.size > 1:
        states = ranks.broadcast((state.copy_model(model), state.copy_random(model)) if ranks.rank == 0 else None)
        if ranks.rank:
            state.restore_model(model, states[0])
            state.restore_random(model, states[1])


def join(model: Model, arguments: Mapping[str, Any]) -> None:
    """Starts the same training run on all ranks of a model, with rank 0's weights. Raises ValueError
    on all ranks if a rank's settings differ from rank 0's; the error names the rank and the setting.
    """
    first, *rest = model.ranks.exchange({
        "version": versions(), **settings.settings(model, {}), "architecture": settings.architecture(model),
        **arguments, "begins": zlib.crc32(repr(arguments.get("begins")).encode())})
    for number, received in enumerate(rest, 1):
        for name, expected, actual in settings.differences(first, received):
            raise ValueError(f"Ranks that train together need the same data, arguments and versions. Rank 0 has {name} "
                             f"= {expected!r}. Rank {number} has {actual!r}.")
    share_model(model, model.ranks)
    running = model._trainer.running
    running.key = model.ranks.broadcast(running.key)


STOPS = {"train": "stop_training", "test": "stop_evaluating", "predict": "stop_predicting"}  # flags that callbacks set


def checksum(model: Model) -> int:
    """Returns a CRC-32 checksum over all weights of a model."""
    result = 0
    for weight in model.weights:
        result = zlib.crc32(np.ascontiguousarray(weight.numpy()).view(np.uint8).data, result)
    return result


def check_weights(model: Model, ranks: Ranks) -> None:
    """Raises RuntimeError if the ranks' weights differ in any bit."""
    checksums = ranks.exchange(checksum(model))
    wrong = [number for number, value in enumerate(checksums) if value != checksums[0]]
    if wrong:
        raise RuntimeError("All ranks must have the same weights after each step. The weights of rank "
                           f"{', '.join(map(str, wrong))} differ from rank 0's. Change weights only in a callback's "
                           "on_epoch_begin or on_epoch_end. fit then copies the weights to all ranks.")


class SharedCallbacks(CallbackList):
    """Runs rank 0's callbacks on rank 0 only, while its model is detached from the other ranks. All
    ranks then apply the callbacks' decisions: stop flags, the learning rate, logs, and weights
    changed outside the batch methods. The callbacks in `ours` run on every rank.
    """

    def __init__(self, callbacks: Any, model: Model, params: Mapping[str, Any], ranks: Ranks, *ours: Callback) -> None:
        super().__init__([*CallbackList(None if ranks.rank else callbacks).callbacks, *ours], model=model, **params)
        self._local = CallbackList(self.callbacks, model=model, **params)
        self._model = model
        self._ranks = ranks
        self._stages = ranks.broadcast({name for name in STAGES if self._local.listeners(name)})

    def listeners(self, stage: str) -> list[Callable]:
        return [partial(self.call, stage)] if stage in self._stages else []

    def call(self, stage: str, *args: Any) -> None:
        if stage in self._stages:
            decisions = self._ranks.run_on_first(self._decide, stage, args)
            if self._ranks.rank:
                self._follow(decisions, args[-1])
                self._local.call(stage, *args)

    def _decide(self, stage: str, args: tuple) -> dict[str, Any]:
        model, in_batch = self._model, "_batch_" in stage
        rate, old_sum = _rate(model), None if in_batch else checksum(model)
        model._trainer.ranks = ALONE  # inside callbacks, the model does not use other ranks
        try:
            self._local.call(stage, *args)
        finally:
            model._trainer.ranks = self._ranks
        has_changed = not in_batch and checksum(model) != old_sum
        return {"logs": args[-1], "stop": {name: getattr(model, name) for name in STOPS.values()},
                "rate": _rate(model) if _rate(model) != rate else None,
                "weights": state.copy_model(model)["weights"] if has_changed else None}

    def _follow(self, decisions: Mapping[str, Any], logs: dict[str, float]) -> None:
        logs.clear()
        logs.update(decisions["logs"])
        for name, stops in decisions["stop"].items():
            setattr(self._model, name, stops)
        if decisions["rate"] is not None:
            self._model.optimizer.learning_rate = decisions["rate"]
        for name, weight in self._model.named_weights().items() if decisions["weights"] is not None else ():
            weight.assign(decisions["weights"][name])


def make_hooks(model: Model, hooks: Any, params: Mapping[str, Any], *ours: Callback) -> CallbackList:
    """Returns a model's callbacks as one list. With several ranks, ignores the `hooks` of all ranks but rank 0."""
    if model.ranks.size > 1:
        return SharedCallbacks(hooks, model, params, model.ranks, *ours)
    return CallbackList([*CallbackList(hooks).callbacks, *ours], model=model, **params)


def _rate(model: Model) -> float | None:
    """Returns the optimizer's learning rate; None without an optimizer or with a schedule."""
    return None if model.optimizer is None or model.optimizer.is_scheduled else float(
        model.optimizer.learning_rate)
