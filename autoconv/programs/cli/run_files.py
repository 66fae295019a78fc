"""Checks the contents of a run's files before use, because a user may have edited them."""

import csv
import json
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath
from typing import Any

from ... import datasets, nets
from ...arguments import names
from ...files import json_text, regular
from ...files.json_text import JsonObject
from ...models import Model

FINE_TUNED = "fine-tuned"  # value of "model" in the run.json of `train --from`; its net receives pixels 0..255
LARGEST_SIDE = 10_000  # maximum height and width of images in pixels, as for --image-size

Check = tuple[Callable[[Any], bool], str]  # a test of a value, and a description of valid values


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and "\0" not in value


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < 1e300


def _list_check(check: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and all(map(check, value))


def _whole(least: int, most: int = 2**31) -> Check:
    return lambda value: type(value) is int and least <= value <= most, f"a whole number from {least} to {most}"


def _or_null(check: Check) -> Check:
    return lambda value: value is None or check[0](value), f"{check[1]}, or null"


def _is_subpath(value: Any) -> bool:
    """Returns whether `value` is a relative path that stays inside its folder."""
    return _is_text(value) and not PurePosixPath(value).is_absolute() and ".." not in PurePosixPath(value).parts


_TEXT: Check = (_is_text, "a string")
_NUMBER: Check = (_is_number, "a number")
_TEXTS: Check = (_list_check(_is_text), "a list of strings")
_COUNT = _whole(0)
_REQUIRED: dict[str, Check] = {"model": _TEXT, "dataset": _TEXT, "data_dir": _or_null(_TEXT),
                               "limit": _or_null(_whole(1)),
                               "classes": (lambda value: _TEXTS[0](value) and bool(value),
                                           "a list of names"), "batch_size": _whole(1)}
_FOLDER: dict[str, Check] = {
    "folder": _TEXT, "seed": _whole(0, 2**32 - 1),
    "image_size": (lambda value: _list_check(_whole(1, LARGEST_SIDE)[0])(value) and len(value) == 2,
                   "a list of two sizes in pixels")}
_SPLIT: dict[str, Check] = {  # needed by runs of version 0.1, which do not list their held-out files
    "train_images": _COUNT, "skipped": _TEXTS,
    "validation_split": _or_null((lambda value: _is_number(value) and 0 < value < 1, "a number between 0 and 1")),
}
_OPTIONAL: dict[str, Check] = {
    "takes": _TEXT, "channels": (lambda value: value in (1, 3), "1 or 3"),
    "train_images": _COUNT, "test_images": _COUNT, "validation_images": _COUNT, "skipped": _TEXTS,
    "held_out": (lambda value: isinstance(value, dict) and _is_subpath(value.get("in")) and _list_check(_is_subpath)(
        value.get("files")), "an object with a folder 'in' and a list 'files' of paths in it"),
    "epoch_seconds": (_list_check(_is_number), "a list of numbers"),
    "versions": (lambda value: isinstance(value, dict) and all(map(_is_text, value.values())), "an object of strings"),
    **{name: _or_null(_NUMBER) for name in ("train_images_per_s", "ms_per_step", "time_to_first_step_s", "compile_s",
                                            "total_s")},
}


def results(file: Path) -> JsonObject:
    """Reads a run.json. Raises OSError if the file cannot be read, and ValueError if its contents
    are invalid.
    """
    try:
        found = json_text.parse(regular.read_file(file))
    except ValueError as error:
        raise ValueError(f"{file.name} is not valid JSON: {error}") from error
    if not isinstance(found, dict):
        raise ValueError(f"{file.name} must contain a JSON object. Received: {type(found).__name__}")
    required = _REQUIRED
    if "folder" in found:
        required = {**required, **_FOLDER, **({} if "held_out" in found else _SPLIT)}
    missing = [name for name in required if name not in found]
    if missing:
        raise ValueError(f"{file.name} lacks these entries: {', '.join(missing)}")
    for name, (check, valid) in {**_OPTIONAL, **required}.items():
        if name in found and not check(found[name]):
            raise ValueError(f"{name} in {file.name} must be {valid}. Received: {json.dumps(found[name])[:80]}")
    names.lookup("net", found["model"], {**nets.NETS, FINE_TUNED: None})
    if "folder" not in found:
        names.lookup("dataset", found["dataset"], dict.fromkeys(datasets.NAMES))
    classes = found["classes"]
    if "held_out" in found and not all(PurePosixPath(name).parts[:1] and PurePosixPath(name).parts[0] in classes
                                       for name in found["held_out"]["files"]):
        raise ValueError(f"each held-out file in {file.name} must be in the folder of one of the "
                         f"classes {', '.join(classes)}")
    return found


def check_net(net: Model, classes: list[str]) -> None:
    """Raises ValueError unless the net accepts one picture and returns one number per class."""
    shape = net.input_shape
    outputs = net.output_shape
    if not isinstance(shape, tuple) or len(shape) != 4 or outputs != (None, len(classes)):
        raise ValueError("the net must have the input shape (None, height, width, channels) and "
                         f"the output shape (None, {len(classes)}), with one number per class. "
                         f"Received: input shape {shape}, output shape {outputs}")


def history(lines: Iterable[str]) -> dict[str, list[float]]:
    """Returns the columns of a history.csv by name, without `epoch`. Raises ValueError if the file
    is invalid.
    """
    try:
        head, *rows = [row for row in csv.reader(lines, strict=True) if row] or [[]]
    except csv.Error as error:
        raise ValueError(str(error)) from error
    if len(set(head)) < len(head) or any(len(row) != len(head) for row in rows):
        raise ValueError("each row must have one value for each column name in the first row, and "
                         "all column names must be different")
    columns = {name: [float(row[i]) for row in rows] for i, name in enumerate(head)}
    columns.pop("epoch", None)
    return columns
