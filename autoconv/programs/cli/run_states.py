"""Saves the states of a run while it is trained, and removes states that are no longer needed."""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from ...callbacks import BackupAndRestore
from ...engine.ranks import ALONE, Ranks
from ...files import folders
from ...files.json_text import JsonObject
from ...train import checkpoint
from . import runs, signals
from .lines import echo

SHARE = 0.01  # maximum fraction of the training time that is spent on saving at the ends of epochs


class RunStates(BackupAndRestore):
    """Saves a run's state at an interval, and at the end of an epoch if that takes little time."""

    def __init__(self, out: Path, every: tuple[str, int], anew: bool, arguments: JsonObject,
                 stop: signals.Stop) -> None:
        unit, number = every
        super().__init__(out / runs.CHECKPOINTS, number if unit == "steps" else "epoch", delete_checkpoint=False)
        self._seconds = number if unit == "seconds" else None
        self.anew = anew
        self.belongs_to = {"arguments": arguments}
        self.earlier_steps = 0  # steps of the head's training in `train --from`, which has its own states
        self._stop = stop

    def on_train_begin(self, logs: Any = None) -> None:
        self._last_save = time.monotonic()
        self._stop.request_stop = self.request_stop  # only now, because no step was running before

    def on_train_end(self, logs: Any = None) -> None:
        self._stop.request_stop = None
        if self.stop_requested:  # the signal arrived during the last step
            raise KeyboardInterrupt

    def is_due(self, steps: int, cost: float) -> bool:
        due = super().is_due(steps, cost) if self._seconds is None else (
            time.monotonic() - self._last_save >= self._seconds)
        return self._record_save(due)

    def is_due_at_epoch_end(self, cost: float) -> bool:
        return self._record_save(time.monotonic() - self._last_save >= cost / SHARE)

    def request_stop(self) -> None:
        """Makes fit save its state after the current step and stop."""
        self.stop_requested = True

    def _record_save(self, due: bool) -> bool:
        self._last_save = time.monotonic() if due else self._last_save
        return due


@contextlib.contextmanager
def save_on_signal(out: Path | None, states: RunStates | None, stop: signals.Stop,
                   ranks: Ranks = ALONE) -> Iterator[None]:
    """Makes the first signal in the `with` block save the state. Raises a ClickException if another
    process is training in `out`, or if a saved state is invalid.
    """
    if out is None or states is None:
        yield
        return
    try:
        with stop.orderly():
            if ranks.rank:  # fit calls the callback only on rank 0, but signals reach all ranks
                stop.request_stop = states.request_stop
            yield
    except KeyboardInterrupt:
        if ranks.rank:
            raise
        steps = [steps for number, steps, _ in checkpoint.files(states.backup_dir) if number == states.training]
        if steps:
            echo(f"{out} contains the training up to step {states.earlier_steps + steps[0]:,}. Run the same command "
                 "with --resume to continue.", err=True)
        raise
    except BlockingIOError as error:
        raise click.ClickException(str(error.strerror)) from error
    except ValueError as error:
        raise click.ClickException(f"Training with --out {out} failed. {error}") from error
    finally:
        if not ranks.rank:
            tidy(out)


def finish(states: RunStates) -> None:
    """Removes all states of a finished run except the last, which --resume needs to add epochs."""
    with contextlib.suppress(OSError), folders.Hold(states.backup_dir):
        checkpoint.prune(states.backup_dir, states.training, count=1, all_trainings=True)
    tidy(states.backup_dir.parent)


def latest(states: RunStates) -> str | None:
    """Returns the name of the newest state that `states` has saved, or None."""
    names = [path.stem for number, _, path in checkpoint.files(states.backup_dir) if number == states.training]
    return names[0] if names else None


def tidy(out: Path) -> None:
    """Removes files that killed processes left in a run, unless a process is training in it."""
    folders.sweep(out.resolve())
    states = out / runs.CHECKPOINTS
    if states.is_dir():
        with contextlib.suppress(OSError), folders.Hold(states):
            checkpoint.sweep(states)
            states.rmdir()
            out.rmdir()
