"""Results as JSON files that are whole or not there."""

import json
import math
from pathlib import Path
from typing import Any

import click

from ...files import atomic

STDOUT = Path("-")


def check_writable(path: Path | None) -> None:
    """Raises a ClickException if a file cannot be written at `path`, before the work."""
    if path is None or path == STDOUT:
        return
    if path.is_dir():
        raise click.ClickException(f"{path} is a folder. Name a file in it.")
    try:
        atomic.check_writable(path)
    except OSError as error:
        raise click.ClickException(f"{path} cannot be written: {error.strerror}.") from error


def write_json(path: Path, results: Any) -> None:
    """Writes the results to `path`, or to the standard output for "-". NaN becomes null."""
    text = json.dumps(_plain(results), indent=2, allow_nan=False)
    if path == STDOUT:
        click.echo(text.replace("\x7f", "\\u007f"))  # which JSON does not escape
        return
    atomic.write(path, text + "\n")


def _plain(value: Any) -> Any:
    """JSON has no NaN and no infinity."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
