"""The command line. Each command has its own module. The other modules here are shared helpers."""

import os
import sys
import warnings
from collections.abc import Callable
from typing import Any

import click

from ... import __version__
from ...arguments import names
from ...arguments.extras import ExtraError
from ...kernels.device import DeviceError
from .. import starting
from .bench import bench
from .demo import demo
from .evaluate import evaluate
from .exercise import exercise
from .explain import explain
from .export import export
from .filter import filter_
from .info import info
from .inspect import inspect
from .lines import echo
from .notebooks import notebooks
from .predict import predict
from .report import report
from .signals import Termination
from .summary import summary
from .train import train
from .verify import verify
from .warmup import warmup

INTERRUPTED = 130  # exit code after Ctrl-C; like TERMINATED, it is 128 + the signal's number
TERMINATED = 143


class Commands(click.Group):
    """The group of all commands. For an error it prints one message, and exits with code 1, or 2
    for wrong usage. After a signal it exits with 128 + the signal's number.
    """

    def invoke(self, ctx: click.Context) -> Any:
        with starting.running(), warnings.catch_warnings():
            warnings.showwarning = _notes()
            warnings.filterwarnings("ignore", "Image size .* decompression bomb")  # a warning of Pillow's
            try:
                return super().invoke(ctx)
            except click.ClickException as error:
                error.message = names.printable(error.message, "\n\t")  # type: ignore[misc]
                raise
            except KeyboardInterrupt as error:
                on_terminal = sys.stdout is not None and sys.stdout.isatty()
                echo("\n" * on_terminal + "Interrupted.", err=True)
                code = TERMINATED if isinstance(error, Termination) else INTERRUPTED
                starting.leave(code)
                ctx.exit(code)
            except BrokenPipeError:
                raise
            except (OSError, ValueError, DeviceError, ExtraError) as error:  # DatasetCorrupt is a ValueError
                _drop_output()
                raise click.ClickException(names.printable(str(error), "\n")) from error
            except MemoryError as error:
                raise click.ClickException(f"There is not enough memory: {error}") from error

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        """Returns the named command. The error for an unknown name suggests the closest name."""
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            ctx.fail(f"No such command: {args[0]!r}.{names.suggestion(args[0], list(self.commands))} "
                     f"Commands: {', '.join(self.commands)}.")
        return super().resolve_command(ctx, args)


def _drop_output() -> None:
    """Discards output to a full disk, which Python would otherwise try to write again at exit."""
    try:
        sys.stdout.flush()
    except OSError:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), sys.stdout.fileno())


def _notes() -> Callable[..., None]:
    """Returns a function that prints each warning once, without its source location."""
    printed: set[str] = set()

    def note(message: Any, *_: Any) -> None:
        if str(message) not in printed:
            printed.add(str(message))
            echo(f"note: {names.printable(str(message))}", err=True)

    return note


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.version_option(__version__, "-V", "--version", prog_name="autoconv")
def main() -> None:
    """Train, test and inspect convolutional networks.

    `autoconv train` without arguments trains the textbook net on handwritten digits.
    """


for _command in (
    train, evaluate, predict, inspect, explain, report, export, filter_, summary, demo, exercise,
    notebooks, info, verify, bench, warmup,
):
    main.add_command(_command)
