"""Reads files of exercises and runs learners' answers."""

import runpy
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

from ...arguments import names
from .marking import Exercise, Wrong

NOTES = sorted(path.stem for path in Path(__file__).parent.glob("note_*.py"))


class Sheet(NamedTuple):
    """The exercises of one file, in the file's order. The title is the first line of the file's
    docstring.
    """

    title: str
    exercises: list[Exercise]


def sheets(path: Path | None = None) -> list[Sheet]:
    """Returns the exercises of the file `path`, or the built-in ones, one sheet per lecture note.

    Raises ValueError if the file contains no exercise, or if it fails, with the line of the error.
    """
    if path is None:
        return [_sheet(vars(import_module(f"{__package__}.{name}"))) for name in NOTES]
    with _errors_in(path), _imports_beside(path):
        sheet = _sheet(runpy.run_path(str(path), run_name="answer"))
    if not sheet.exercises:
        raise ValueError(f"{path} must contain an exercise, which is a function with the decorator "
                         "@exercise(title) of autoconv.programs.exercises.")
    return [sheet._replace(title=sheet.title or path.name)]


def check(exercise: Exercise, answer: Path, source: Path | None = None) -> str:
    """Runs the file `answer` and checks the names that it defines. Returns a text about the right
    answer, which may be empty.

    source: the file of the exercise, if it is not a built-in one. Raises `Wrong` with a hint.
    Raises ValueError if a name is missing or a file fails, with the line of the error.
    """
    files = [answer] if source is None else [answer, source]
    with _errors_in(*files), _imports_beside(*files):
        defined = runpy.run_path(str(answer), run_name="answer")
        missing = [name for name in exercise.answers if name not in defined]
        if not missing:
            return exercise.check(*(defined[name] for name in exercise.answers)) or ""
    own = [name for name in defined if not name.startswith("_")]
    suggestion = names.suggestion(missing[0], own)
    raise ValueError(f"{answer} must define {', '.join(missing)}.{suggestion} It defines: "
                     f"{', '.join(own) or 'nothing'}.")


def _sheet(defined: dict[str, object]) -> Sheet:
    lines = str(defined.get("__doc__") or "").strip().splitlines()
    return Sheet(lines[0].rstrip(".") if lines else "",
                 [value for value in defined.values() if isinstance(value, Exercise)])


@contextmanager
def _imports_beside(*paths: Path) -> Iterator[None]:
    """Lets code import modules from the folders of these files."""
    saved = sys.path.copy()
    sys.path[:0] = [str(path.resolve().parent) for path in paths]
    try:
        yield
    finally:
        sys.path[:] = saved


@contextmanager
def _errors_in(*paths: Path) -> Iterator[None]:
    """Raises each exception as a ValueError that names the last line of these files that ran."""
    try:
        yield
    except Wrong:
        raise
    except (Exception, SystemExit) as error:
        message = f"{type(error).__name__}: {error}"
        lines = [(frame.filename, frame.lineno, frame.line) for frame in
                 traceback.extract_tb(error.__traceback__) if Path(frame.filename) in paths]
        if isinstance(error, SyntaxError) and error.filename and error.lineno:
            message = f"{type(error).__name__}: {error.msg}"
            lines = [(error.filename, error.lineno, (error.text or "").strip())]
        if not lines:
            raise ValueError(f"{paths[0]} cannot be used. {message}") from error
        file, number, line = lines[-1]
        raise ValueError(f"{file}, line {number}: {message}\n    {line}") from error
