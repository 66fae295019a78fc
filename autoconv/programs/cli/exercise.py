"""`autoconv exercise`: lists exercises, prints a task and checks an answer."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .lines import echo

if TYPE_CHECKING:
    from ..exercises import Sheet

PYTHON_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@click.argument("number", type=click.INT, required=False)
@click.argument("answer", type=PYTHON_FILE, required=False)
@click.option("--from", "source", type=PYTHON_FILE, metavar="FILE",
              show_default="the built-in exercises", help="A Python file with your own exercises.")
@click.pass_context
def exercise(ctx: click.Context, number: int | None, answer: Path | None,
             source: Path | None) -> None:
    """List the exercises, print the task of exercise NUMBER, or check the file ANSWER.

    The exercises belong to five lectures on convolutional nets. An answer is a Python file that
    defines the names that the task lists. The command runs the file. It reports that the answer is
    right, or wrong with a hint. The exit code is 0 for a right answer and 1 for a wrong one.
    """
    from .. import exercises  # imported here because it is slow

    sheets = exercises.sheets(source)
    every = [each for sheet in sheets for each in sheet.exercises]
    command = "autoconv exercise" + (f" --from {shlex.quote(str(source))}" if source else "")
    if number is None:
        _list(sheets)
        echo(f"\n`{command} 1` prints the first task. `{command} 1 answer.py` checks your answer.")
        return
    if not 1 <= number <= len(every):
        raise click.BadParameter(f"NUMBER must be from 1 to {len(every)}. Received: {number}. "
                                 f"`{command}` lists the exercises.", param_hint="NUMBER")
    chosen = every[number - 1]
    if answer is None:
        echo(f"{number}. {chosen.title}\n\n{chosen.task}\n")
        echo(f"Define {' and '.join(chosen.answers)} in a file such as answer.py. Check it with:\n"
             f"{command} {number} answer.py")
        return
    try:
        echo(f"Right. {exercises.check(chosen, answer, source)}".rstrip())
    except exercises.Wrong as hint:
        echo(f"Wrong. {hint}")
        ctx.exit(1)


def _list(sheets: "list[Sheet]") -> None:
    number = 0
    for sheet in sheets:
        echo(sheet.title)
        for each in sheet.exercises:
            number += 1
            echo(f"{number:>4}  {each.title}")
