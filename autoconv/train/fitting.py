"""`Fitting`: one call of `fit`, epoch by epoch; from its start, or from the state that another one was saved in."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any

from ..callbacks import BackupAndRestore, CallbackList, Logs
from . import settings, state
from .checkpoint import Checkpoint, Writer, newest, prune
from .phases import Work
from .progress import Progress, warn, warn_of_nan
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
        self._model, self._running, self._work, self._passes, self._hooks = model, model._running(), work, passes, hooks
        self._tests, self._validate, self._validates = tests, validate, validates
        self._epochs, self.epoch, self.done, self._logs = epochs.stop, epochs.start, 0, Logs()
        self._begin, self._end = (hooks.listeners(f"on_train_batch_{when}") for when in ("begin", "end"))
        self._backup = next((c for c in hooks.callbacks if isinstance(c, BackupAndRestore)), None)
        self._writer: Writer | None = None
        self._settings: dict[str, Any] = {}
        self._architecture: dict[str, Any] = {}
        self._unsaved, self._cost = 0, 0.0  # steps since the last state was saved; the seconds that that took

    def run(self, verbose: int, line: Progress, resume: str | PathLike[str] | None) -> None:
        """Trains up to the last epoch, or until something stops it. `line`: the progress that came before."""
        found = self._open(resume)
        try:
            self._hooks.call("on_train_begin", {})
            if found is not None:
                with _usable(found):
                    self._go_on(found.state)
            while self.epoch < self._epochs and not self._model.stop_training:
                if not self.done:
                    if not self._passes.ready(self.epoch):
                        warn_of_end()
                        break
                    self._hooks.call("on_epoch_begin", self.epoch, {})
                title = f"Epoch {self.epoch + 1}/{self._epochs}"
                line = Progress(self._passes.steps, verbose, title, line, self.done)
                self._logs = self._epoch(line)
                if self._validate is not None and self._validates(self.epoch + 1):
                    self._logs.update({f"val_{name}": value for name, value in self._validate(self._hooks).items()})
                line.finish(self._logs)
                self._hooks.call("on_epoch_end", self.epoch, self._logs)
                self.epoch, self.done = self.epoch + 1, 0
                self._save_at_epoch_end()
            if self._writer is not None:
                self._writer.wait()
                self._tell()
            self._hooks.call("on_train_end", self._logs)
            if self._writer is not None and self._backup is not None and self._backup.delete_checkpoint:
                prune(self._writer.folder, self._writer.training, kept=0, others=True)
        finally:
            if self._writer is not None:
                self._writer.close()

    def _epoch(self, line: Progress) -> Logs:
        """The steps of an epoch, or those that are left of it; the means over all of it."""
        running, source = self._running, self._passes.source
        if not self.done:
            self._work.sums.reset()  # type: ignore[union-attr]
        for n in self._passes.epoch(self.epoch, self.done):
            for method in self._begin:
                method(self.done, {})
            self._model._check_unchanged(self._work)
            if source.varies:
                running.check_targets(self._model, source.like)
            source.run(self._model._step(self._work, source.like, n, source.shards))
            self.done += 1
            if self._end:
                logs = self._so_far()
                for method in self._end:
                    method(self.done - 1, logs)
            line.update(self.done, self._so_far)
            if self._model.stop_training:
                break
            if self._backup is not None:
                self._unsaved += 1
                if self._backup.stop_requested or self._backup.is_due(self._unsaved, self._cost):
                    self._save()
        return self._so_far()

    def _so_far(self) -> Logs:
        bad, logs = self._work.sums.read(), self._work.sums.logs()  # type: ignore[union-attr]
        if bad is not None and not self._running.nan_seen:
            self._running.nan_seen = True
            warn_of_nan(logs["loss"], self.epoch, bad)
        return logs

    # Saving, and going on.

    def _open(self, resume: str | PathLike[str] | None) -> Checkpoint | None:
        """Looks for a state to go on from, and holds the folder for those to come."""
        if self._backup is None and resume is None:
            return None
        for source in (self._passes.source, self._tests):
            if isinstance(source, Stream):
                source.check_position()
        source = self._passes.source
        if isinstance(source, Stream) and isinstance(self._tests, Stream):
            source.check_apart(self._tests)
        self._settings = settings.settings(self._model, {
            **source.identity(), "shuffled": source.key is not None, "steps_per_epoch": self._passes.fixed,
            "validation": None if self._tests is None else self._tests.identity()})
        self._architecture = settings.architecture(self._model)
        backup, found = self._backup, None
        if backup is not None:
            self._writer = Writer(backup.backup_dir)
        try:
            if resume is not None:
                found = newest(Path(resume), warn)
                if found is None:
                    raise FileNotFoundError(f"There is no state of a training in {resume}. Leave out `resume` to begin "
                                            "one; callbacks.BackupAndRestore(backup_dir) saves states.")
            elif backup is not None and not backup.anew:
                found = newest(backup.backup_dir, warn)
                if found is not None:
                    self._writer.training = found.training  # type: ignore[union-attr]
            if found is not None:
                self._check(found)
            if backup is not None:
                backup.training = self._writer.training  # type: ignore[union-attr]
        except BaseException:
            if self._writer is not None:
                self._writer.close()
            raise
        return found

    def _check(self, found: Checkpoint) -> None:
        """Raises ValueError, before anything changes, where a state is not one of this training."""
        with _usable(found):
            kept = found.state.content()
            settings.check_settings(kept["settings"], self._settings, self._epochs != kept["epochs"])
            state.check_model(self._model, kept["model"])
            settings.check_settings(kept["architecture"], self._architecture)
            state.check_callbacks(self._hooks, kept["callbacks"])

    def _go_on(self, found: TrainState) -> None:
        """Puts a state back. What callbacks did at the beginning, to the model or to random numbers, counts for none.
        """
        kept = found.content()
        position = kept["position"]
        self.epoch, self.done, self._logs = int(position["epoch"]), int(position["done"]), dict(kept["logs"])
        if self.done:
            self._hooks.call("on_epoch_begin", self.epoch, {})
        state.put_into_model(self._model, kept["model"])
        running, source = self._running, self._passes.source
        running.key = None if kept["key"] is None else (int(kept["key"][0]), int(kept["key"][1]))
        if source.key is not None:
            source.key = running.key
        self._passes.set_state(position["passes"])
        if self._tests is not None:
            self._tests.set_state(position["tests"])
        self._work.sums.set_state(kept["sums"])  # type: ignore[union-attr]
        self._model.stop_training, running.nan_seen = bool(kept["stopped"]), bool(kept["nan_seen"])
        state.put_into_callbacks(self._hooks, kept["callbacks"])
        state.put_into_random(self._model, kept["random"])

    def _state(self) -> TrainState:
        """All of it, copied."""
        backup: Any = self._backup
        tests = None if self._tests is None else self._tests.get_state()
        return TrainState.of({
            "model": state.of_model(self._model), "random": state.of_random(self._model), "key": self._running.key,
            "position": {"epoch": self.epoch, "done": self.done, "passes": self._passes.get_state(), "tests": tests},
            "sums": self._work.sums.get_state(), "logs": self._logs,  # type: ignore[union-attr]
            "callbacks": state.of_callbacks(self._hooks), "stopped": self._model.stop_training,
            "nan_seen": self._running.nan_seen, "epochs": self._epochs, "settings": self._settings,
            "architecture": self._architecture, "belongs_to": backup.belongs_to})

    def _save_at_epoch_end(self) -> None:
        backup = self._backup
        if backup is not None:
            last = self.epoch == self._epochs or self._model.stop_training
            if last or backup.stop_requested or backup.is_due_at_epoch_end(self._cost):
                self._save()

    def _save(self) -> None:
        """Copies the state, which a thread then writes. Raises KeyboardInterrupt where that was asked for, after it is
        written.
        """
        begun, writer = time.perf_counter(), self._writer
        assert writer is not None
        self._tell()
        writer.write(self._model.optimizer.iterations, self._state())
        self._unsaved, self._cost = 0, writer.seconds + time.perf_counter() - begun
        if self._backup.stop_requested:  # type: ignore[union-attr]
            writer.wait()
            self._tell()
            raise KeyboardInterrupt

    def _tell(self) -> None:
        trouble = self._writer.trouble()  # type: ignore[union-attr]
        if trouble is not None:
            warn(f"The training's state could not be saved in {self._writer.folder}: "  # type: ignore[union-attr]
                 f"{trouble.strerror}. States that were saved before stay, and training goes on.", RuntimeWarning)


@contextmanager
def _usable(found: Checkpoint) -> Iterator[None]:
    """Within it, what a state lacks is a ValueError that names its file."""
    try:
        yield
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise ValueError(f"The state in {found.path} cannot be used: {error!r}.") from error
