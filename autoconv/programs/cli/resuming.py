"""Continues a training (`train --out RUN --resume`), and checks its options against the run's."""

import contextlib
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import click
from click.core import ParameterSource

from ...files import folders, json_text, regular
from ...files.json_text import JsonObject
from ...train import checkpoint
from . import distributed, result_files, run_states, runs, signals
from .lines import echo

# Options that may differ from the run's, because they do not change the trained net.
FREE = ("out", "json_file", "quiet", "threads", "strict", "resume", "checkpoint_every", "distributed", "timeout")
OF_A_MACHINE = ("device", "data_dir", "threads")  # options that may differ between ranks
BY_RESULTS = {  # options and their keys in run.json, for runs without a saved state
    "dataset": "dataset", "lr": "learning_rate", "image_size": "image_size", "data_dir": "data_dir",
    **{name: name for name in ("model", "epochs", "batch_size", "optimizer", "recipe", "schedule", "label_smoothing",
                               "augment", "seed", "limit", "validation_split")}}
WANTED = f"{__name__}.wanted"  # key in a context's meta: whether --resume was given
RANKS = f"{__name__}.ranks"  # key in a context's meta: the ranks that train


class Standing(NamedTuple):
    """Progress of a run's training: epochs done, and steps done of the next epoch."""

    epoch: int
    done: int


class Resumable(click.Command):
    """A command that trains. With --resume, options that are not given default to the run's."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        wanted = "--distributed" in args
        try:
            return super().parse_args(ctx, args)
        except click.ClickException as error:
            if wanted:
                distributed.fail_together(error.exit_code)
            raise

    def invoke(self, ctx: click.Context) -> Any:
        given = ctx.params
        with distributed.joined(given["distributed"], given["timeout"]) as ranks:
            ctx.meta[RANKS] = ranks
            every = ranks.exchange(arguments(given))
            own = {name: given[name] for name in OF_A_MACHINE if _is_given(ctx, name)}
            ctx.params = given = {**distributed.on_first(ranks, self._settled, ctx, every), **own}
            if ranks.rank:  # only the first rank prints and writes
                given.update(quiet=True, json_file=None)
            return super().invoke(ctx)

    def _settled(self, ctx: click.Context, every: list[JsonObject]) -> JsonObject:
        """Returns the given options merged with the run's. every: the options of each rank."""
        given = ctx.params
        for rank, name in ((rank, name) for rank, its in enumerate(every) for name in its if name not in OF_A_MACHINE):
            if every[rank][name] != every[0][name]:
                raise click.UsageError(f"All processes need the same options. Rank 0 has {name}={every[0][name]}, but "
                                       f"rank {rank} has {every[rank][name]}.")
        for name, value in (("--resume", given["resume"]), ("--checkpoint-every", _is_given(ctx, "checkpoint_every"))):
            if value and given["out"] is None:
                raise click.UsageError(f"{name} needs a run folder. Pass it with --out RUN.")
        out = given["out"]
        wanted = given.pop("resume")
        ctx.meta[WANTED] = wanted
        given["resume"] = _settle(ctx, out) if wanted else None
        if wanted and given["resume"] is None and not (given["quiet"] or given["json_file"] == result_files.STDOUT):
            echo(f"resume {out} contains no training yet, so a new one starts")
        found = checkpoint.files(out / runs.CHECKPOINTS) if not wanted and out is not None else None
        if found and _results(out).get("checkpoint") != found[0][2].stem:
            echo(f"note: {out} contains an unfinished training, which --resume would continue. "
                 "Without --resume, a new training starts and replaces it.", err=True)
        if given["batch_size"] < len(every):
            raise click.UsageError("--batch-size is divided among all processes, so it must be at least their number. "
                                   f"Received: --batch-size {given['batch_size']} with {len(every)} processes.")
        return given


def _settle(ctx: click.Context, out: Path) -> Standing | None:
    """Sets all options to the run's. Ends the program if the run in `out` is already finished."""
    with contextlib.suppress(OSError):
        folders.finish(out, runs.FILES)
    results = _results(out)
    try:
        found = checkpoint.newest(out / runs.CHECKPOINTS, warnings.warn)
    except (OSError, ValueError) as error:
        if not results or results.get("checkpoint") not in [path.stem for *_, path in checkpoint.files(
                out / runs.CHECKPOINTS)][:1]:
            raise click.ClickException(str(error)) from error
        found = None  # the run is finished, so the state is not needed
    if found is None:
        if results:  # a run of an earlier version, or one whose states were removed
            of_folder = {"dataset": results["folder"]} if "folder" in results else {"image_size": None}
            known = {**results, **of_folder}
            kept = {option: known[name] for option, name in BY_RESULTS.items() if name in known}
            _refuse_others(ctx, out, kept, False)
            _end(ctx, out, results)
        return None
    try:
        arguments = found.state.metadata["belongs_to"]["arguments"]
        (epoch, done) = found.state.position
        epochs = int(arguments["epochs"])
    except (KeyError, TypeError, ValueError) as error:
        raise click.ClickException(f"{found.path} was not written by `autoconv train`. Use another folder.") from error
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


def _refuse_others(ctx: click.Context, out: Path, kept: JsonObject, more_epochs: bool) -> None:
    """Raises a UsageError if an option has another value than the run's, except more epochs."""
    for param in ctx.command.params:
        name = str(param.name)
        if name in FREE or name not in kept or not _is_given(ctx, name):
            continue
        given = plain(name, ctx.params[name])
        label = param.opts[0] if param.opts[0][0] == "-" else "DATASET"
        if given == kept[name]:
            continue
        if name == "epochs":
            if given > kept[name] and more_epochs:
                continue
            why = ("epochs can be added, but not removed" if given < kept[name] else
                   "it has no saved state to continue from: leave out --resume to train again")
            raise click.UsageError(f"--epochs {given} with --resume: {out} has --epochs {kept[name]}, and {why}.")
        if kept[name] is None or kept[name] is False:
            was = f"was trained without {label}"
        else:
            was = f"was trained with {label} {_typed(kept[name])}"
        raise click.UsageError(f"With --resume options cannot change: {out} {was}. Received: {label} {_typed(given)}. "
                               f"Leave out {label}, or train a new net: without --resume, or with another --out.")


def _typed(value: Any) -> str:
    """Returns an option's value as it is typed: sizes are 20x24."""
    return "x".join(map(str, value)) if isinstance(value, list) else str(value)


def _end(ctx: click.Context, out: Path, results: JsonObject) -> None:
    """Reports that a run is finished, and ends the program."""
    run_states.tidy(out)
    json_file = ctx.params["json_file"]
    if json_file is not None:
        result_files.write_json(json_file, results)
    if json_file != result_files.STDOUT:
        echo(f"{out} is finished: {results['epochs']} epochs, test accuracy {results['test_accuracy']:.4f}")
    ctx.exit(0)


def _results(out: Path) -> JsonObject:
    """Returns the run.json of a finished run, or {} if it is missing or unreadable."""
    try:
        found = json_text.parse(regular.read_bytes(out / runs.RESULTS))
        finished = isinstance(found["test_accuracy"], int | float) and isinstance(found["epochs"], int)
        return found if finished else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _is_given(ctx: click.Context, name: str) -> bool:
    return ctx.get_parameter_source(name) in (ParameterSource.COMMANDLINE, ParameterSource.ENVIRONMENT)


def saver(ctx: click.Context, chosen: JsonObject,
          stop: signals.Stop) -> run_states.RunStates | None:
    """Returns the callback that saves the state. chosen: options that the command chose itself."""
    given = {**ctx.params, **chosen}
    if given["out"] is None:
        return None
    anew = not ctx.meta.get(WANTED, False)
    return run_states.RunStates(given["out"], given["checkpoint_every"], anew, arguments(given), stop)


def arguments(params: JsonObject) -> JsonObject:
    """Returns the options that are saved in a run's state, as plain data."""
    return {name: plain(name, value) for name, value in params.items() if name not in FREE}


def plain(name: str, value: Any) -> Any:
    """Returns an option's value as JSON data; folders become absolute paths."""
    if isinstance(value, Path):
        return str(value.absolute())
    if name == "device" and value == "auto":
        return "cpu"
    return list(value) if isinstance(value, tuple) else value


def described(standing: Standing, epochs: int, steps: int) -> str:
    """Returns the line that reports from where a training continues."""
    if standing.epoch >= epochs:
        return "resume all epochs are done; only the test remains"
    where = f", step {standing.done + 1:,} of {steps:,}" if standing.done else ""
    if standing.done >= steps:
        where = ", of which all steps are done"
    return f"resume epoch {standing.epoch + 1} of {epochs}{where}: continuing from there"
