"""`Fitting`: one call of `fit`, epoch by epoch; from its start, or from the state that another one was saved in."""

from collections.abc import Callable, Mapping
from os import PathLike
from typing import Any

from ..callbacks import BackupAndRestore, CallbackList, Logs
from ..ranks import ALONE, Ranks
from . import settings, state
from .agreeing import check_weights
from .checkpoint import Checkpoint
from .phases import Work
from .progress import Progress, warn_of_nan
from .saving import Saving, state_in, usable
from .source import Source
from .state import TrainState
from .stream import Epochs, Stream, warn_of_end


class Fitting:
    """What a call of `fit` consists of while it runs.

    tests: what validation is made on, by `validate(hooks)` in those epochs, counted from 1, that `validates` says.
    epoch, done: the epoch that comes or is under way, and how many of its steps were done.
    """

    def __init__(self, model: Any, work: Work, passes: Epochs, hooks: CallbackList, epochs: range,
                 tests: Source | Stream | None, validate: Callable[[CallbackList], Logs] | None,
                 validates: Callable[[int], bool]) -> None:
        self._model, self._running = model, model._trainer.running
        self._work, self._passes, self._hooks = work, passes, hooks
        self._tests, self._validate, self._validates = tests, validate, validates
        self._epochs, self.epoch, self.done, self._logs = epochs.stop, epochs.start, 0, Logs()
        self._begin, self._end = (hooks.listeners(f"on_train_batch_{when}") for when in ("begin", "end"))
        assert work.sums is not None  # training has some
        self._sums, self._ranks = work.sums, work.ranks
        self._saving: Saving | None = None
        self._common: dict[str, Any] = {}

    def run(self, verbose: int, line: Progress, resume: str | PathLike[str] | None,
            backup: BackupAndRestore | None) -> None:
        """Trains up to the last epoch, or until something stops it. `line`: the progress that came before."""
        if backup is None and resume is None:
            self._train(verbose, line)
            return
        self._common = self._described()
        if backup is not None:
            self._saving = Saving(backup, self._state, lambda: int(self._model.optimizer.iterations), self._ranks)
        try:
            found = None
            if resume is not None:
                found = self._ranks.on_first(state_in, resume)
            elif self._saving is not None:
                found = self._saving.find()
            if found is not None:
                self._ranks.on_first(self._check, found)
            if self._saving is not None:
                self._saving.begin()
            self._train(verbose, line, found)
        finally:
            if self._saving is not None:
                self._saving.close()

    def _train(self, verbose: int, line: Progress, found: Checkpoint | None = None) -> None:
        self._hooks.call("on_train_begin", {})
        if found is not None:
            self._go_on(found)
        while self.epoch < self._epochs and not self._model.stop_training:
            if not self.done:
                if not self._passes.ready(self.epoch):
                    warn_of_end()
                    break
                self._hooks.call("on_epoch_begin", self.epoch, {})
            if self._saving is not None:
                self._saving.check(self._held)
            title = f"Epoch {self.epoch + 1}/{self._epochs}"
            line = Progress(self._passes.steps, verbose, title, line, self.done)
            self._logs = self._epoch(line)
            if self._validate is not None and self._validates(self.epoch + 1):
                self._logs.update({f"val_{name}": value for name, value in self._validate(self._hooks).items()})
            line.finish(self._logs)
            if self._ranks.size > 1:
                check_weights(self._model, self._ranks)
            self._hooks.call("on_epoch_end", self.epoch, self._logs)
            self.epoch, self.done = self.epoch + 1, 0
            if self._saving is not None:
                self._saving.after_epoch(last=self.epoch == self._epochs or self._model.stop_training)
        if self._saving is not None:
            self._saving.finish()
        self._model.optimizer.finalize_variable_values()
        self._hooks.call("on_train_end", self._logs)
        if self._saving is not None:
            self._saving.clear()

    def _epoch(self, line: Progress) -> Logs:
        """The steps of an epoch, or those that are left of it; the means over all of it."""
        running, source = self._running, self._passes.source
        if not self.done:
            self._sums.reset()
        one_by_one = self._saving is not None or self._hooks.listens("on_train_batch")
        for n, tickets in self._passes.epoch(self.epoch, self.done, one_by_one):
            for method in self._begin:
                method(self.done, {})
            self._model._trainer.check_unchanged(self._work)
            if source.varies:
                running.check_targets(self._model, source.like)
            source.run(self._model._trainer.step_for(self._work, source.like, n, source.shards), tickets)
            self.done += len(tickets)
            if self._end:
                logs = self._so_far(self._ranks)
                for method in self._end:
                    method(self.done - 1, logs)
            line.update(self.done, self._so_far)  # of this rank's part: it is asked only where it is shown
            if self._model.stop_training:
                break
            if self._saving is not None:
                self._saving.after_step()
        return self._so_far(self._ranks)

    def _so_far(self, ranks: Ranks = ALONE) -> Logs:
        bad, logs = self._sums.read(ranks), self._sums.logs()
        if bad is not None and not self._running.nan_seen:
            self._running.nan_seen = True
            if not self._ranks.rank:
                warn_of_nan(logs["loss"], self.epoch, bad)
        return logs

    # The training's state.

    def _described(self) -> dict[str, Any]:
        """What a training that goes on from this one must have in common with it. Raises ValueError for data whose
        position nobody knows.
        """
        source, tests = self._passes.source, self._tests
        for each in (source, tests):
            if isinstance(each, Stream):
                each.check_position()
        if isinstance(source, Stream) and isinstance(tests, Stream):
            source.check_apart(tests)
        data = {**source.identity(), "shuffled": source.key is not None, "steps_per_epoch": self._passes.fixed,
                "validation": None if tests is None else tests.identity()}
        return {"settings": settings.settings(self._model, data), "architecture": settings.architecture(self._model)}

    def _check(self, found: Checkpoint) -> None:
        """Raises ValueError, before anything changes, where a state is not one of this training."""
        with usable(found):
            kept = found.state.content()
            settings.check_settings(kept["settings"], self._common["settings"], self._epochs != kept["epochs"])
            state.check_model(self._model, kept["model"])
            settings.check_settings(kept["architecture"], self._common["architecture"])
            state.check_callbacks(self._hooks, kept["callbacks"])
            state.check_random(self._model, kept["random"])
            positions = [(self._passes.source, kept["position"]["passes"]["source"])]
            if self._tests is not None:
                positions.append((self._tests, kept["position"]["tests"]))
            before = [(data, data.get_state()) for data, _ in positions]
            try:
                for data, position in positions:
                    data.set_state(position)
            finally:
                for data, position in before:
                    data.set_state(position)

    def _go_on(self, found: Checkpoint) -> None:
        """Puts a state back. What callbacks did at the beginning, to the model or to random numbers, counts for none.
        """
        with usable(found):
            kept = found.state.content()
            position = kept["position"]
            self.epoch, self.done, self._logs = int(position["epoch"]), int(position["done"]), dict(kept["logs"])
        if self.done:
            self._hooks.call("on_epoch_begin", self.epoch, {})
        with usable(found):
            state.put_into_model(self._model, kept["model"])
            running, source = self._running, self._passes.source
            running.key = None if kept["key"] is None else (int(kept["key"][0]), int(kept["key"][1]))
            if source.key is not None:
                source.key = running.key
            self._passes.set_state(position["passes"])
            if self._tests is not None:
                self._tests.set_state(position["tests"])
            self._sums.set_state(kept["sums"], self._ranks.rank == 0)
            self._model.stop_training, running.nan_seen = bool(kept["stopped"]), bool(kept["nan_seen"])
            state.put_into_callbacks(self._hooks, kept["callbacks"])
            state.put_into_random(self._model, kept["random"])

    def _state(self, belongs_to: Mapping[str, Any]) -> TrainState | None:
        """All of it, copied; of several ranks all sums, on the first one."""
        sums = self._sums.get_state(self._ranks)
        return None if self._ranks.rank else TrainState.of({
            "model": state.of_model(self._model), "random": state.of_random(self._model), "key": self._running.key,
            "logs": self._logs, "stopped": self._model.stop_training, "nan_seen": self._running.nan_seen,
            "epochs": self._epochs, **self._held(), "sums": sums, **self._common, "belongs_to": belongs_to})

    def _held(self) -> dict[str, Any]:
        """What the data, metrics and callbacks say themselves of where they stand."""
        tests = None if self._tests is None else self._tests.get_state()
        return {"position": {"epoch": self.epoch, "done": self.done, "passes": self._passes.get_state(),
                             "tests": tests},
                "sums": self._sums.get_state(), "callbacks": state.of_callbacks(self._hooks)}
