"""Options and option types that several commands share."""

import math
import os
import re
from collections.abc import Callable
from functools import reduce
from pathlib import Path
from typing import Any

import click

from ...arguments import names
from ...kernels import device as devices

FILE = click.Path(path_type=Path)
UNITS = {"s": 1, "m": 60, "h": 3600}  # seconds per unit of time


class Name(click.Choice):
    """Parses one of several names. The usage error for an unknown name suggests the closest name."""

    hint = ""  # extra text for the error about an unknown name

    def __init__(self, kind: str, choices: Any) -> None:
        super().__init__(list(choices))
        self.kind = kind

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return names.lookup(self.kind, value, {name: name for name in self.choices})
        except ValueError as error:
            self.fail(f"{error}{self.hint}", param, ctx)


class DataArg(Name):
    """Parses a data set's name or a folder. A name has priority: ./name means the folder."""

    hint = " There is no folder with that name either."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, Path) or value in self.choices:
            return value
        if Path(value).is_dir():
            return Path(value)
        if set(value) & {os.sep, "/", "."}:
            self.fail(f"There is no folder {value!r}.", param, ctx)
        return super().convert(value, param, ctx)


class Size(click.ParamType):
    """Parses a number of pixels, or HEIGHTxWIDTH, into (height, width)."""

    name = "size"
    largest = 10_000

    def convert(self, value: Any, param: click.Parameter | None,
                ctx: click.Context | None) -> tuple[int, int]:
        if isinstance(value, tuple):
            return value
        match = re.fullmatch(r"(\d{1,9})(?:x(\d{1,9}))?", value)
        height, width = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
        if not height or not width:
            self.fail(f"{value!r} is not a valid image size. Examples: 180x180 (height x width), or 180 for both.",
                      param, ctx)
        if max(height, width) > self.largest:
            self.fail(f"{value!r} is too large: a side may have at most {self.largest:,} pixels.", param, ctx)
        return height, width


class Every(click.ParamType):
    """Parses a saving interval: a time, such as 5m, or a number of steps, such as 500steps."""

    name = "every"

    def convert(self, value: Any, param: click.Parameter | None,
                ctx: click.Context | None) -> tuple[str, int]:
        if isinstance(value, tuple):
            return value  # type: ignore[return-value]
        match = re.fullmatch(r"(\d{1,9}) ?(s|m|h|steps?)", value)
        if not match or not int(match[1]):
            self.fail(f"{value!r} is not a time or a number of steps. Examples: 5m, 30s, 1h, 500steps.", param, ctx)
        return "seconds" if match[2] in UNITS else "steps", int(match[1]) * UNITS.get(match[2], 1)


class Duration(click.ParamType):
    """Parses a duration such as 30s, 10m or 2h into seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None,
                ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        match = re.fullmatch(r"(\d{1,9}) ?(s|m|h)", value)
        if not match or not int(match[1]):
            self.fail(f"{value!r} is not a time. Examples: 10m, 30s, 1h.", param, ctx)
        return float(int(match[1]) * UNITS[match[2]])


def check_finite(ctx: click.Context, param: click.Parameter, value: float | None) -> float | None:
    """Returns `value`. Raises BadParameter for NaN and infinity, which FloatRange accepts."""
    if value is not None and not math.isfinite(value):
        raise click.BadParameter(f"{value} is not a finite number.")
    return value


def device_options(command: Callable) -> Callable:
    """Adds the options --device and --threads, which are the arguments of `use_device`."""
    return _decorate(
        command,
        click.option("--device", metavar="auto|cpu|cuda|cuda:N", default="auto",
                     help="Device for the computation. auto selects the CPU; a GPU must be named, "
                          "and needs the extra cuda."),
        click.option("--threads", type=click.IntRange(min=1), metavar="N", show_default="all processors",
                     help="Number of CPU threads. The results do not depend on this number."),
    )


def data_options(command: Callable) -> Callable:
    """Adds the options --data-dir and --limit, which are arguments of `data.load`."""
    return _decorate(
        command,
        click.option("--data-dir", type=FILE, metavar="FOLDER",
                     help="Read the data only from this folder. The folder can contain any data "
                          "set in MNIST's format."),
        click.option("--limit", type=click.IntRange(min=1), metavar="N",
                     help="Use only the first N training and the first N test images."),
    )


def json_option(command: Callable) -> Callable:
    """Adds the option --json, a path for `result_files.write_json`."""
    return click.option("--json", "json_file", type=click.Path(path_type=Path, allow_dash=True),
                        metavar="FILE", help="Write the results to FILE as JSON. If FILE is -, only "
                        "the JSON is written to the standard output.")(command)


def quiet_option(command: Callable) -> Callable:
    """Adds the option --quiet."""
    return click.option("--quiet", "-q", is_flag=True, help="Print only the results.")(command)


def mirror_option(command: Callable) -> Callable:
    """Adds the option --mirror."""
    return click.option("--mirror/--no-mirror", help="In the test, average the net's outputs for "
                        "each image and for its mirror image.")(command)


def use_device(name: str, threads: int | None) -> devices.Device:
    """Returns the named device, after setting the number of CPU threads if `threads` is given. Must
    be called before the first kernel runs.
    """
    try:
        device = devices.get(name)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--device") from error
    if threads is not None:
        try:
            devices.set_num_threads(threads)
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint="--threads") from error
    return device


def _decorate(command: Callable, *options: Callable) -> Callable:
    """Adds options to a command. --help lists them in the given order."""
    return reduce(lambda decorated, option: option(decorated), reversed(options), command)
