"""Trainings that go on where they stood: `train --out RUN --resume`, and how often RUN's state is saved."""

import contextlib
import json
import re
import time
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import click
from click.core import ParameterSource

from ..callbacks import BackupAndRestore
from ..files import folders
from ..train import checkpoint
from . import files, runs, signals

# What may differ from the run's: it changes no bit of the net.
FREE = ("out", "json_file", "quiet", "threads", "strict", "resume", "checkpoint_every")
BY_RESULTS = {  # options, and what run.json has of each, where a run keeps no state
    "dataset": "dataset", "lr": "learning_rate", "image_size": "image_size", "data_dir": "data_dir",
    **{name: name for name in ("model", "epochs", "batch_size", "optimizer", "recipe", "schedule", "label_smoothing",
                               "augment", "seed", "limit", "validation_split")}}
SHARE = 0.01  # of the training's time: what saving at the ends of epochs may take
WANTED = f"{__name__}.wanted"  # in a context's meta: whether --resume was given
UNITS = {"s": 1, "m": 60, "h": 3600}


class Every(click.ParamType):
    """How often to save: minutes, seconds or hours of training, such as 5m, or a number of steps, such as 500steps."""

    name = "every"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, int]:
        if isinstance(value, tuple):
            return value  # type: ignore[return-value]
        found = re.fullmatch(r"(\d{1,9}) ?(s|m|h|steps?)", value)
        if not found or not int(found[1]):
            self.fail(f"{value!r} is no time or number of steps, such as 5m, 30s, 1h or 500steps.", param, ctx)
        number = int(found[1])
        return ("steps", number) if found[2] not in UNITS else ("seconds", number * UNITS[found[2]])


class States(BackupAndRestore):
    """Saves a run's state: every so often, and at the ends of epochs as far as that costs no time to speak of."""

    def __init__(self, out: Path, every: tuple[str, int], anew: bool, arguments: Mapping[str, Any],
                 stop: signals.Stop) -> None:
        unit, number = every
        super().__init__(out / runs.CHECKPOINTS, number if unit == "steps" else "epoch", delete_checkpoint=False)
        self._seconds = number if unit == "seconds" else None
        self.anew, self.belongs_to, self._stop = anew, {"arguments": arguments}, stop

    def on_train_begin(self, logs: Any = None) -> None:
        self._saved = time.monotonic()
        self._stop.ask = self.ask  # before, there is no step to wait for

    def on_train_end(self, logs: Any = None) -> None:
        self._stop.ask = None
        if self.stop_requested:  # after the last step
            raise KeyboardInterrupt

    def is_due(self, steps: int, cost: float) -> bool:
        due = super().is_due(steps, cost) if self._seconds is None else (
            time.monotonic() - self._saved >= self._seconds)
        return self._noted(due)

    def is_due_at_epoch_end(self, cost: float) -> bool:
        return self._noted(time.monotonic() - self._saved >= cost / SHARE)

    def ask(self) -> None:
        """Has fit save its state after this step, and end."""
        self.stop_requested = True

    def _noted(self, due: bool) -> bool:
        self._saved = time.monotonic() if due else self._saved
        return due


class Standing(NamedTuple):
    """Where the training in a run stands: its epochs done, and steps of the next one."""

    epoch: int
    done: int


class Resumable(click.Command):
    """A command that trains. With --resume its options become the run's, and `resume` its `Standing`, or None where
    nothing is there yet; where the run is finished, it says so and ends.
    """

    def invoke(self, ctx: click.Context) -> Any:
        given = ctx.params
        for name, value in (("--resume", given["resume"]), ("--checkpoint-every", _is_given(ctx, "checkpoint_every"))):
            if value and given["out"] is None:
                raise click.UsageError(f"{name} is about a run that is kept. Name it: --out RUN.")
        out, wanted = given["out"], given.pop("resume")
        ctx.meta[WANTED] = wanted
        given["resume"] = _settle(ctx, out) if wanted else None
        if wanted and given["resume"] is None and not (given["quiet"] or given["json_file"] == files.STDOUT):
            click.echo(f"resume {out} holds no training yet, so one begins")
        if not wanted and out is not None:
            _note_unfinished(out)
        return super().invoke(ctx)


def _settle(ctx: click.Context, out: Path) -> Standing | None:
    """Gives all options the values of the run in `out`. Raises a UsageError, with the name, where one was given another
    value; ends the program where nothing is left to be done.
    """
    with contextlib.suppress(OSError):
        folders.finish(out, runs.FILES)
    results = _results(out)
    try:
        found = checkpoint.newest(out / runs.CHECKPOINTS, warnings.warn)
    except (OSError, ValueError) as error:
        if not results or results.get("checkpoint") not in [path.stem for *_, path in checkpoint.files(
                out / runs.CHECKPOINTS)][:1]:
            raise click.ClickException(str(error)) from error
        found = None  # the run is finished without it
    if found is None:
        if results:  # of an earlier version, or its states were removed
            _refuse_others(ctx, out, _kept_by(results), False)
            _end(ctx, out, results)
        return None
    try:
        arguments, (epoch, done) = found.state.facts["belongs_to"]["arguments"], found.state.position
        epochs = int(arguments["epochs"])
    except (KeyError, TypeError, ValueError) as error:
        raise click.ClickException(f"{found.path} is not of `autoconv train`. Name another folder.") from error
    _refuse_others(ctx, out, arguments, True)
    if _is_given(ctx, "epochs"):
        epochs = max(ctx.params["epochs"], epochs)
    if epoch >= epochs and results.get("checkpoint") == found.path.stem:
        _end(ctx, out, results)
    for param in ctx.command.params:
        if param.name in arguments and param.name not in FREE and not _is_given(ctx, param.name):
            value = arguments[param.name]
            ctx.params[param.name] = param.type_cast_value(ctx, tuple(value) if isinstance(value, list) else value)
    ctx.params["epochs"] = epochs
    return Standing(epoch, done)


def _note_unfinished(out: Path) -> None:
    """Says where a training that could go on will be replaced."""
    found = checkpoint.files(out / runs.CHECKPOINTS)
    if found and _results(out).get("checkpoint") != found[0][2].stem:
        click.echo(f"note: {out} holds a training that is not finished, which --resume would go on with. This one "
                   "begins anew, and replaces it.", err=True)


def _refuse_others(ctx: click.Context, out: Path, kept: Mapping[str, Any], more_epochs: bool) -> None:
    """Raises a UsageError where an option was given another value than the run has; more_epochs: but for more epochs.
    """
    for param in ctx.command.params:
        name = str(param.name)
        if name in FREE or name not in kept or not _is_given(ctx, name):
            continue
        given, label = plain(name, ctx.params[name]), param.opts[0] if param.opts[0][0] == "-" else "DATASET"
        if given == kept[name]:
            continue
        if name == "epochs":
            if given > kept[name] and more_epochs:
                continue
            why = ("a run can get more epochs, and not fewer" if given < kept[name] else
                   "it keeps no state to go on from: train anew, without --resume")
            raise click.UsageError(f"--epochs {given} with --resume: {out} has --epochs {kept[name]}, and {why}.")
        if kept[name] is None or kept[name] is False:
            was = f"was trained without {label}"
        else:
            was = f"was trained with {label} {kept[name]}"
        raise click.UsageError(f"With --resume all is as it was: {out} {was}. Received: {label} {given}. Leave out "
                               f"{label}, or train anew: without --resume, or with another --out.")


def _end(ctx: click.Context, out: Path, results: dict[str, Any]) -> None:
    """Says that a run is finished, and ends."""
    json_file = ctx.params["json_file"]
    if json_file is not None:
        files.write_json(json_file, results)
    if json_file != files.STDOUT:
        click.echo(f"{out} is finished: {results['epochs']} epochs, test accuracy {results['test_accuracy']:.4f}")
    ctx.exit(0)


def _results(out: Path) -> dict[str, Any]:
    """What run.json says of a run that is finished; nothing where there is none, or it cannot be read."""
    try:
        found = json.loads((out / runs.RESULTS).read_text(encoding="utf-8"))
        finished = isinstance(found["test_accuracy"], int | float) and isinstance(found["epochs"], int)
        return found if finished else {}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return {}


def _kept_by(results: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a run that is finished, as far as run.json has them."""
    of_folder = {"dataset": results["folder"]} if "folder" in results else {"image_size": None}
    known = {**results, **of_folder}
    return {option: known[name] for option, name in BY_RESULTS.items() if name in known}


def _is_given(ctx: click.Context, name: str) -> bool:
    return ctx.get_parameter_source(name) in (ParameterSource.COMMANDLINE, ParameterSource.ENVIRONMENT)


def states(ctx: click.Context, chosen: Mapping[str, Any], stop: signals.Stop) -> States | None:
    """What saves the state of the training that a command is called for, also when it is to stop; `chosen`: options
    that the command chose itself.
    """
    given = {**ctx.params, **chosen}
    if given["out"] is None:
        return None
    anew = not ctx.meta[WANTED]
    return States(given["out"], given["checkpoint_every"], anew, arguments(given), stop)


def arguments(params: Mapping[str, Any]) -> dict[str, Any]:
    """What a run keeps of its options, as plain data."""
    return {name: plain(name, value) for name, value in params.items() if name not in FREE}


def plain(name: str, value: Any) -> Any:
    """An option's value as JSON has it; folders by their whole paths, so that they are the same from anywhere."""
    if isinstance(value, Path):
        return str(value.absolute())
    if name == "device" and value == "auto":
        return "cpu"
    return list(value) if isinstance(value, tuple) else value


def described(standing: Standing, epochs: int, steps: int) -> str:
    """A line that says where a training goes on."""
    if standing.epoch >= epochs:
        return "resume all epochs are done; the test is left"
    where = f", step {standing.done + 1:,} of {steps:,}" if standing.done else ""
    return f"resume epoch {standing.epoch + 1} of {epochs}{where}: goes on from there"


@contextlib.contextmanager
def kept(out: Path | None, states: States | None, stop: signals.Stop) -> Iterator[None]:
    """Within it a first signal has the state saved, and what then is in the run is said. Raises a ClickException where
    the state does not go with the data or the folder.
    """
    if out is None or states is None:
        yield
        return
    try:
        with stop.orderly():
            yield
    except KeyboardInterrupt:
        steps = [steps for number, steps, _ in checkpoint.files(states.backup_dir) if number == states.training]
        if steps:
            click.echo(f"{out} keeps the training up to its step {steps[0]:,}: the same line with --resume goes on.",
                       err=True)
        raise
    except BlockingIOError as error:
        raise click.ClickException(str(error.strerror)) from error
    except ValueError as error:
        raise click.ClickException(f"--out {out}: {error}") from error
    finally:
        tidy(out)


def finish(states: States) -> None:
    """Keeps of the states in a run that is complete only the last one, from which more epochs could go on."""
    checkpoint.prune(states.backup_dir, states.training, kept=1, others=True)
    tidy(states.backup_dir.parent)


def latest(states: States) -> str | None:
    """The name of the newest state of a training."""
    names = [path.stem for number, _, path in checkpoint.files(states.backup_dir) if number == states.training]
    return names[0] if names else None


def tidy(out: Path) -> None:
    """Removes folders that nothing was written into."""
    for folder in (out / runs.CHECKPOINTS, out):
        with contextlib.suppress(OSError):
            folder.rmdir()
