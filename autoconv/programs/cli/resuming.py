"""Resumes training (`train --out RUN --resume`), and compares the options with those of the run."""

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

# Options that may differ from those saved in the run, because they do not change the trained net.
FREE = ("out", "json_file", "quiet", "threads", "strict", "resume", "checkpoint_every", "distributed", "timeout")
PER_RANK = ("device", "data_dir", "threads")  # options whose values may differ between ranks
RESULT_KEYS = {  # keys in run.json, by option; used for runs without a saved state
    "dataset": "dataset", "lr": "learning_rate", "source": "from", "image_size": "image_size", "data_dir": "data_dir",
    **{name: name for name in ("model", "epochs", "batch_size", "optimizer", "recipe", "schedule", "label_smoothing",
                               "augment", "mirror", "seed", "limit", "validation_split", "validate", "unfreeze_after",
                               "unfreeze_lr", "preprocessing")}}
RESUMES = f"{__name__}.resumes"  # key in click's Context.meta: whether --resume was given
RANKS = f"{__name__}.ranks"  # key in click's Context.meta: the ranks that train together


class Standing(NamedTuple):
    """The progress of a run: its finished epochs, and the finished steps of the next epoch."""

    epoch: int
    step: int


class Resumable(click.Command):
    """A click command that trains. With --resume, missing options have the run's values."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        in_group = "--distributed" in args
        try:
            return super().parse_args(ctx, args)
        except click.ClickException as error:
            if in_group:
                distributed.fail_together(error.exit_code)
            raise

    def invoke(self, ctx: click.Context) -> Any:
        params = ctx.params
        with distributed.join_ranks(params["distributed"], params["timeout"]) as ranks:
            ctx.meta[RANKS] = ranks
            options = ranks.exchange(arguments(params))
            own = {name: params[name] for name in PER_RANK if _is_given(ctx, name)}
            ctx.params = params = {**distributed.run_once(ranks, self._merge, ctx, options), **own}
            if ranks.rank:  # only the first rank prints and writes
                params.update(quiet=True, json_file=None)
            return super().invoke(ctx)

    def _merge(self, ctx: click.Context, ranks: list[JsonObject]) -> JsonObject:
        """Returns the options to train with, completed from the run if it is resumed. `ranks` holds
        the options of each rank. Raises a UsageError if the ranks' options differ.
        """
        params = ctx.params
        for rank, name in ((rank, name) for rank, its in enumerate(ranks) for name in its if name not in PER_RANK):
            if ranks[rank][name] != ranks[0][name]:
                raise click.UsageError(f"All processes need the same options. Rank 0 has {name}={ranks[0][name]}, but "
                                       f"rank {rank} has {ranks[rank][name]}.")
        for name, value in (("--resume", params["resume"]), ("--checkpoint-every", _is_given(ctx, "checkpoint_every"))):
            if value and params["out"] is None:
                raise click.UsageError(f"{name} needs a run folder. Pass it with --out RUN.")
        out = params["out"]
        resume = params.pop("resume")
        ctx.meta[RESUMES] = resume
        params["resume"] = _adopt_options(ctx, out) if resume else None
        if resume and params["resume"] is None and not (params["quiet"] or params["json_file"] == result_files.STDOUT):
            echo(f"resume {out} contains no training yet, so a new one starts")
        found = checkpoint.files(out / runs.CHECKPOINTS) if not resume and out is not None else None
        if found and _results(out).get("checkpoint") != found[0][2].stem:
            echo(f"note: {out} contains an unfinished training, which --resume would continue. "
                 "Without --resume, a new training starts and replaces it.", err=True)
        if params["batch_size"] < len(ranks):
            raise click.UsageError("--batch-size is divided among all processes, so it must be at "
                                   "least the number of processes. Received: --batch-size "
                                   f"{params['batch_size']} with {len(ranks)} processes.")
        return params


def _adopt_options(ctx: click.Context, out: Path) -> Standing | None:
    """Sets missing options to the run's values. Ends the program if the run is already complete."""
    with contextlib.suppress(OSError):
        folders.finish(out, runs.FILES)
    results = _results(out)
    try:
        backup = checkpoint.newest(out / runs.CHECKPOINTS, warnings.warn)
    except (OSError, ValueError) as error:
        if not results or results.get("checkpoint") not in [path.stem for *_, path in checkpoint.files(
                out / runs.CHECKPOINTS)][:1]:
            raise click.ClickException(str(error)) from error
        backup = None  # the run is finished, so the state is not needed
    if backup is None:
        if results:  # a finished run of an earlier version, or one whose states were removed
            data = {"dataset": results["folder"]} if "folder" in results else {"image_size": None}
            entries = {**results, **data}
            original = {option: entries[name] for option, name in RESULT_KEYS.items() if name in entries}
            _refuse_changes(ctx, out, original, False)
            _end(ctx, out, results)
        return None
    try:
        arguments = {"validate": 0.0, "mirror": False, **backup.state.metadata["belongs_to"]["arguments"]}
        (epoch, step) = backup.state.position
        epochs = int(arguments["epochs"])
    except (KeyError, TypeError, ValueError) as error:
        raise click.ClickException(f"{backup.path} was not written by `autoconv train`. Use another folder.") from error
    _refuse_changes(ctx, out, arguments, True)
    if _is_given(ctx, "epochs"):
        epochs = max(ctx.params["epochs"], epochs)
    if epoch >= epochs and results.get("checkpoint") == backup.path.stem:
        _end(ctx, out, results)
    for param in ctx.command.params:
        if param.name in arguments and param.name not in FREE and not _is_given(ctx, param.name):
            value = arguments[param.name]
            ctx.params[param.name] = param.type_cast_value(ctx, tuple(value) if isinstance(value, list) else value)
    ctx.params["epochs"] = epochs
    return Standing(epoch, step)


def _refuse_changes(ctx: click.Context, out: Path, options: JsonObject, extendable: bool) -> None:
    """Raises a UsageError if an option differs from the run's. `extendable` allows more epochs."""
    for param in ctx.command.params:
        name = str(param.name)
        if name in FREE or name not in options or not _is_given(ctx, name):
            continue
        value = plain(name, ctx.params[name])
        label = param.opts[0] if param.opts[0][0] == "-" else "DATASET"
        if value == options[name]:
            continue
        if name == "epochs":
            if value > options[name] and extendable:
                continue
            reason = ("--resume can only add epochs. Leave out --epochs" if value < options[name] else
                      "The run has no saved state to continue from. Leave out --resume to train again")
            raise click.UsageError(f"{out} was trained with --epochs {options[name]}. Received: "
                                   f"--epochs {value}. {reason}.")
        if options[name] is None or options[name] is False:
            text = f"was trained without {label}"
        else:
            text = f"was trained with {label} {_spell(options[name])}"
        raise click.UsageError(f"Options cannot be changed with --resume. {out} {text}. Received: "
                               f"{label} {_spell(value)}. Leave out {label}, or train a new net "
                               "without --resume or with another --out.")


def _spell(value: Any) -> str:
    """Returns an option's value as it is typed on the command line, such as 20x24 for a size."""
    return "x".join(map(str, value)) if isinstance(value, list) else str(value)


def _end(ctx: click.Context, out: Path, results: JsonObject) -> None:
    """Prints that a run is finished, or writes its results as JSON, and ends the program."""
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
        found = json_text.parse(regular.read_file(out / runs.RESULTS))
        finished = isinstance(found["test_accuracy"], int | float) and isinstance(found["epochs"], int)
        return found if finished else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _is_given(ctx: click.Context, name: str) -> bool:
    return ctx.get_parameter_source(name) in (ParameterSource.COMMANDLINE, ParameterSource.ENVIRONMENT)


def saver(ctx: click.Context, overrides: JsonObject,
          stop: signals.Stop) -> run_states.RunStates | None:
    """Returns the callback that saves the run's states, or None without --out. `overrides` holds
    the values of options that the command chose itself, such as the seed.
    """
    params = {**ctx.params, **overrides}
    if params["out"] is None:
        return None
    anew = not ctx.meta.get(RESUMES, False)
    return run_states.RunStates(params["out"], params["checkpoint_every"], anew, arguments(params), stop)


def arguments(params: JsonObject) -> JsonObject:
    """Returns the options that are saved in a run's state, as JSON data."""
    return {name: plain(name, value) for name, value in params.items() if name not in FREE}


def plain(name: str, value: Any) -> Any:
    """Returns an option's value as JSON data. Folders become absolute paths."""
    if isinstance(value, Path):
        return str(value.absolute())
    if name == "device" and value == "auto":
        return "cpu"
    return list(value) if isinstance(value, tuple) else value


def describe(standing: Standing, epochs: int, steps: int) -> str:
    """Returns a line that states the epoch and the step at which training continues."""
    if standing.epoch >= epochs:
        return "resume all epochs are done; only the test remains"
    position = f", step {standing.step + 1:,} of {steps:,}" if standing.step else ""
    if standing.step >= steps:
        position = ", of which all steps are done"
    return f"resume epoch {standing.epoch + 1} of {epochs}{position}: continuing from there"
