"""`Loop`: the one loop of fit, evaluate and predict. The next batch, a step on it, callbacks.

`Fitting`: one call of `fit`, epoch by epoch; from its start, or from the state that another one was saved in.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from os import PathLike
from typing import Any

from ..callbacks import BackupAndRestore, CallbackList, Logs
from ..engine.ranks import ALONE, Ranks
from . import settings, state
from .agreeing import STOPS, check_weights
from .checkpoint import Checkpoint
from .progress import Progress, warn_of_nan
from .saved_states import Saving, state_in, usable
from .source import Source
from .state import TrainState
from .step import Step
from .stream import Epochs, Stream, warn_of_end
from .user_arrays import Batch
from .workspace import Work


class Loop:
    """Goes through the batches of epochs. done: how many steps of the epoch were done. It keeps no step: the memory of
    one must be free when fit ends.
    """

    def __init__(self, trainer: Any, work: Work, hooks: CallbackList) -> None:
        self._trainer, self._work = trainer, work
        self._begin = hooks.listeners(f"on_{work.kind}_batch_begin")
        self._end = hooks.listeners(f"on_{work.kind}_batch_end")
        self.done = 0

    def run(self, epochs: Epochs, logs: Callable[[], Mapping[str, Any]], number: int = 0, line: Progress | None = None,
            shown: Callable[[], Logs] = dict, take: Callable[[Step, Batch], None] = Step.run,
            after: Callable[[], None] | None = None) -> None:
        """Goes through the rest of an epoch. logs: returns what callbacks get at the end of a batch. line: shows the
        progress, with the values `shown()`. take: runs a step on a batch. after: is called after each step.
        """
        trainer, work, stop = self._trainer, self._work, STOPS[self._work.kind]
        one_by_one = bool(self._begin or self._end or after) or getattr(trainer, stop)
        for batch in epochs.epoch(number, self.done, one_by_one):
            for method in self._begin:
                method(self.done, {})
            if batch.source is None and work.sums is not None:
                trainer.running.check_targets(trainer.model, batch.data)
            take(trainer.step_for(work, batch), batch)
            self.done += len(batch.numbers)
            if self._end:
                values = logs()
                for method in self._end:
                    method(self.done - 1, values)
            if line is not None:
                line.update(self.done, shown)
            if getattr(trainer, stop):
                break
            if after is not None:
                after()


class Fitting:
    """What a call of `fit` consists of while it runs.

    tests: what validation is made on, by `validate(hooks)` in those epochs, counted from 1, that `validates` says.
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

    @contextmanager
    def saved(self, backup: BackupAndRestore | None, resume: str | PathLike[str] | None) -> Iterator[Checkpoint | None]:
        """Saves the training in the block as `backup` says. Gives the state to go on from, if any."""
        if backup is None and resume is None:
            yield None
            return
        self._common = self._described()
        if backup is not None:
            self._saving = Saving(backup, self._state, lambda: int(self._trainer.optimizer.iterations), self._ranks)
        try:
            found = self._ranks.on_first(self._find, resume)
            if self._saving is not None:
                self._saving.begin()
            yield found
        finally:
            if self._saving is not None:
                self._saving.close()

    def run(self, verbose: int, line: Progress, found: Checkpoint | None) -> None:
        """Trains up to the last epoch, or until something stops it. line: the progress that came before. found: the
        state to go on from.
        """
        trainer, hooks, saving, loop = self._trainer, self._hooks, self._saving, self._loop
        hooks.call("on_train_begin", {})
        if found is not None:
            self._go_on(found)
        while self._epoch < self._epochs and not trainer.stop_training:
            if not loop.done:
                if not self._passes.ready(self._epoch):
                    warn_of_end()
                    break
                hooks.call("on_epoch_begin", self._epoch, {})
                self._sums.reset()
            if saving is not None:
                saving.check(self._held)
            title = f"Epoch {self._epoch + 1}/{self._epochs}"
            line = Progress(self._passes.steps, verbose, title, line, loop.done)
            # The line shows this rank's part of the sums, which are asked for only if they are shown.
            loop.run(self._passes, partial(self._so_far, self._ranks), self._epoch, line, self._so_far,
                     after=None if saving is None else saving.after_step)
            self._logs = self._so_far(self._ranks)
            if self._validate is not None and self._validates(self._epoch + 1):
                self._logs.update({f"val_{name}": value for name, value in self._validate(hooks).items()})
            line.finish(self._logs)
            if self._ranks.size > 1:
                check_weights(self._model, self._ranks)
            hooks.call("on_epoch_end", self._epoch, self._logs)
            self._epoch, loop.done = self._epoch + 1, 0
            if saving is not None:
                saving.after_epoch(last=self._epoch == self._epochs or trainer.stop_training)
        if saving is not None:
            saving.finish()
        trainer.optimizer.finalize_variable_values()
        hooks.call("on_train_end", self._logs)
        if saving is not None:
            saving.clear()

    def _so_far(self, ranks: Ranks = ALONE) -> Logs:
        bad, logs = self._sums.read(ranks), self._sums.logs()
        if bad is not None and not self._running.nan_seen:
            self._running.nan_seen = True
            if not self._ranks.rank:
                warn_of_nan(logs["loss"], self._epoch, bad)
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

    def _find(self, resume: str | PathLike[str] | None) -> Checkpoint | None:
        """The state to go on from, if any. Raises ValueError, before anything changes, if it is not of this training.
        """
        found = self._saving.find() if resume is None and self._saving is not None else None
        if resume is not None:
            found = state_in(resume)
        if found is not None:
            self._check(found)
        return found

    def _check(self, found: Checkpoint) -> None:
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
            self._epoch, self._loop.done = int(position["epoch"]), int(position["done"])
            self._logs = dict(kept["logs"])
        if self._loop.done:
            self._hooks.call("on_epoch_begin", self._epoch, {})
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
        return {"position": {"epoch": self._epoch, "done": self._loop.done, "passes": self._passes.get_state(),
                             "tests": tests},
                "sums": self._sums.get_state(), "callbacks": state.of_callbacks(self._hooks)}
