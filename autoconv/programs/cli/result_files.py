"""Writes results as JSON files. An interrupted write leaves the previous file unchanged."""

import json
import math
from pathlib import Path
from typing import Any

import click

from ...files import atomic

STDOUT = Path("-")


def check_writable(path: Path | None) -> None:
    """Raises a ClickException if `path` cannot be written. Called before the work starts."""
    if path is None or path == STDOUT:
        return
    if path.is_dir():
        raise click.ClickException(f"{path} is a folder. Pass a file name instead.")
    try:
        atomic.check_writable(path)
    except OSError as error:
        raise click.ClickException(f"{path} cannot be written: {error.strerror}.") from error


def write_json(path: Path, results: Any) -> None:
    """Writes the results to `path`, or to stdout for "-". NaN and infinity become null."""
    text = json.dumps(_plain(results), indent=2, allow_nan=False)
    if path == STDOUT:
        click.echo(text.replace("\x7f", "\\u007f"))  # json.dumps does not escape the DEL character
        return
    atomic.write(path, text + "\n")


def _plain(value: Any) -> Any:
    """Returns `value` with NaN and infinity replaced by None, because JSON has neither."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
