"""A run: the folder with model.safetensors, history.csv and run.json that `train --out` writes and others read."""

import csv
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import click

from .. import losses, models, nets
from ..arguments import names
from ..backend.device import Device
from ..layers import Input, Rescaling
from ..models import Model, Sequential
from .files import write_json

MODEL, HISTORY, RESULTS = "model.safetensors", "history.csv", "run.json"
FILES = (MODEL, HISTORY, RESULTS)
NEEDED = ("model", "dataset", "data_dir", "limit", "classes", "batch_size")  # in run.json, to use the net again


class Run(NamedTuple):
    """A trained net and what its run.json says."""

    net: Model
    results: dict[str, Any]


@contextmanager
def reserve(out: Path | None) -> Iterator[Path | None]:
    """A folder to write the run into. When the block ends well its files go to `out`, otherwise they vanish.

    Raises a ClickException, at the start, where `out` cannot be written or holds something other than a run.
    """
    if out is None:
        yield None
        return
    unfinished = _make_unfinished(out.absolute())
    try:
        yield unfinished
        _move(unfinished, out.absolute())
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def write(folder: Path, net: Model, history: dict[str, list[float]], results: dict[str, Any]) -> None:
    """The three files of a run."""
    net.save(folder / MODEL)
    with open(folder / HISTORY, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["epoch", *sorted(history)])
        for epoch, values in enumerate(zip(*(history[name] for name in sorted(history)))):
            writer.writerow([epoch, *values])
    write_json(folder / RESULTS, results)


def read(folder: Path) -> Run:
    """The run in a folder. Raises a ClickException where there is none or it cannot be read."""
    if not all((folder / name).is_file() for name in (MODEL, RESULTS)):
        raise click.ClickException(f"{folder} is no run: it lacks {MODEL} or {RESULTS}. "
                                   f"`autoconv train --out {folder}` writes one.")
    try:
        results = json.loads((folder / RESULTS).read_text(encoding="utf-8"))
        missing = [name for name in NEEDED if name not in results]
        if missing:
            raise ValueError(f"{RESULTS} lacks {', '.join(missing)}")
        names.lookup("net", results["model"], nets.NETS)
        return Run(models.load_model(folder / MODEL), results)
    except (OSError, TypeError, ValueError) as error:
        raise click.ClickException(f"The run in {folder} cannot be read: {error}") from error


def for_pixels(net: Model, name: str, optimizer: Any = "rmsprop") -> Sequential:
    """The net's own layers behind what turns pixels 0..255 into what they take: so images stay bytes until their step.

    It is compiled, and it shares the net's weights: what trains it trains the net.
    """
    kind = nets.NETS[name]
    scaling = [] if kind.divide_by == 1 else [Rescaling(1 / kind.divide_by)]
    model = Sequential([Input(net.input_shape[1:]), *scaling, *net.layers])
    model.compile(optimizer, losses.CategoricalCrossentropy(from_logits=kind.from_logits), ["accuracy"])
    return model


def restored(folder: Path, device: Device) -> tuple[Sequential, dict[str, Any]]:
    """The model of the run in a folder, for pixels and on a device, and what its run.json says."""
    net, results = read(folder)
    net.to(device.name)
    return for_pixels(net, results["model"]), results


def _make_unfinished(out: Path) -> Path:
    try:
        if out.is_dir() and any(out.iterdir()) and not (out / RESULTS).is_file():
            raise click.ClickException(f"--out {out} is a folder that holds other things than a run. Name a new one.")
        out.parent.mkdir(parents=True, exist_ok=True)
        unfinished = (out if out.is_dir() else out.parent) / f".{out.name}.{os.getpid()}.tmp"
        if out.exists() and not out.is_dir():
            raise NotADirectoryError(0, "it is a file")
        unfinished.mkdir()
    except OSError as error:
        raise click.ClickException(f"--out {out} cannot be written: {error.strerror}.") from error
    return unfinished


def _move(unfinished: Path, out: Path) -> None:
    """A new run appears at one stroke; one that was there is replaced file by file."""
    if not out.exists():
        os.replace(unfinished, out)
        return
    for name in FILES:
        os.replace(unfinished / name, out / name)
