"""Reads and writes runs. A run is a folder with model.safetensors, history.csv and run.json."""

import contextlib
import csv
import io
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import click

from ... import losses, models, nets
from ...files import atomic, folders, regular
from ...files.json_text import JsonObject
from ...kernels.device import Device
from ...layers import Average, Input, Rescaling
from ...metrics import Metric
from ...models import Model, Sequential
from ...ops.arranging import flip
from . import run_files
from .result_files import write_json

MODEL, HISTORY, RESULTS = "model.safetensors", "history.csv", "run.json"
CHECKPOINTS = "checkpoints"  # name of a run's subfolder with the states for `train --resume`
FILES = (MODEL, HISTORY, RESULTS)
PIXELS = "pixels 0..255"  # value of "takes" in run.json if the model's first layer scales pixels


class Run(NamedTuple):
    """A trained net and the contents of its run.json."""

    net: Model
    results: JsonObject


@contextmanager
def reserve(out: Path | None) -> Iterator[Path | None]:
    """Yields a temporary folder for the run, or None without `out`. If the `with` block succeeds,
    the folder's files replace the run in `out` in one step. If the block fails, they are removed.

    Raises a ClickException before the block if `out` cannot be written or contains other files.
    """
    if out is None:
        yield None
        return
    with contextlib.ExitStack() as stack:
        with convert_errors(out):
            _check(out)
            folder = stack.enter_context(folders.replacing(out, FILES))
        yield folder
        with convert_errors(out):
            stack.pop_all().close()


def write(folder: Path, net: Model, history: dict[str, list[float]], results: JsonObject) -> None:
    """Writes the three files of a run."""
    net.save(folder / MODEL)
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["epoch", *sorted(history)])
    for epoch, values in enumerate(zip(*(history[name] for name in sorted(history)))):
        writer.writerow([epoch, *values])
    atomic.write(folder / HISTORY, text.getvalue())
    write_json(folder / RESULTS, results)


def read_run(folder: Path) -> Run:
    """Reads a run, even if a process is replacing it. Raises a ClickException if reading fails."""
    with contextlib.suppress(OSError):  # the folder may be read-only
        folders.finish(folder, FILES)
    for _ in range(folders.ATTEMPTS):
        before = folders.stamp(folder, FILES)
        try:
            run = _read_once(folder)
        except click.ClickException:
            if folders.stamp(folder, FILES) == before:
                raise
            continue
        if folders.stamp(folder, FILES) == before:
            return run
    raise click.ClickException(f"The run in {folder} cannot be read, because other processes keep replacing the run.")


def _read_once(folder: Path) -> Run:
    if not os.path.lexists(folder):
        raise click.ClickException(f"There is no file or folder {folder}. Pass a folder that `autoconv train --out "
                                   "RUN` wrote.")
    if folder.is_file():
        raise click.ClickException(f"{folder} is a file, but a run must be a folder. Pass a folder "
                                   "that `autoconv train --out RUN` wrote. Only `autoconv predict`, "
                                   "`autoconv summary` and `autoconv train --from` also accept model files.")
    model = folders.place(folder, MODEL)
    file = folders.place(folder, RESULTS)
    if not (model.is_file() and file.is_file()) and (folder / CHECKPOINTS).is_dir():
        raise click.ClickException(f"The training run in {folder} is not finished. Continue it "
                                   f"with `autoconv train --out {folder} --resume`.")
    if not (model.is_file() and file.is_file()):
        raise click.ClickException(f"{folder} is not a run, because the folder lacks {MODEL} or {RESULTS}. Pass a "
                                   "folder that `autoconv train --out RUN` wrote.")
    try:
        results = run_files.results(file)
        net = models.load_model(model, compile=False)
        run_files.check_net(net, results["classes"])
        return Run(net, results)
    except (OSError, ValueError) as error:
        raise click.ClickException(f"The run in {folder} cannot be read: {error}") from error


def history(folder: Path) -> dict[str, list[float]]:
    """Reads a run's history: for the loss and every metric, a list of values per epoch."""
    try:
        text = regular.read_file(folders.place(folder, HISTORY)).decode()
        return run_files.history(io.StringIO(text, newline=""))
    except (OSError, ValueError) as error:
        raise click.ClickException(f"The file {HISTORY} of the run in {folder} cannot be read: {error}") from error


def compile_net(net: Model, name: str, optimizer: Any = "rmsprop", label_smoothing: float = 0.0,
                extra_metrics: Sequence[Metric] = ()) -> None:
    """Compiles the net whose entry "model" in run.json is `name` with the loss of `autoconv train`,
    the accuracy, and the extra metrics.
    """
    from_logits = name != run_files.FINE_TUNED and nets.NETS[name].from_logits
    loss = losses.CategoricalCrossentropy(from_logits, label_smoothing)
    net.compile(optimizer, loss, metrics=["accuracy", *extra_metrics])


def with_mirror_images(net: Model) -> Model:
    """Returns a model that averages the net's outputs for an image and for its mirror image."""
    images = Input(net.input_shape[1:])
    mirrored = Model(images, Average()([net(images), net(flip(images, axis=2))]))
    return mirrored.to(net.device.name).distribute(net.ranks)


def load_run(folder: Path, device: Device) -> tuple[Model, JsonObject]:
    """Returns a run's model for pixels 0..255, on `device`, and the contents of its run.json."""
    net, results = read_run(folder)
    divide_by = 1 if results["model"] == run_files.FINE_TUNED else nets.NETS[results["model"]].divide_by
    if results.get("takes") != PIXELS and divide_by != 1:
        net = Sequential([Input(net.input_shape[1:]), Rescaling(1 / divide_by), *net.layers])
    net.to(device.name)
    compile_net(net, results["model"])
    return net, results


@contextmanager
def convert_errors(out: Path) -> Iterator[None]:
    """Raises an OSError in the `with` block as a ClickException that names the value of --out."""
    try:
        yield
    except OSError as error:
        raise click.ClickException(f"--out {out} cannot be written: {error.strerror}.") from error


def _check(out: Path) -> None:
    """Raises a ClickException or an OSError if a run cannot be written to `out`."""
    states = out / CHECKPOINTS
    if states.exists() and not states.is_dir():
        raise click.ClickException(f"A run saves its checkpoints in a folder {CHECKPOINTS}/. Received: {states}, "
                                   "which is a file. Remove the file, or pass another folder as --out.")
    if out.is_dir():
        folders.sweep(out.resolve())
        folders.finish(out, FILES)
        if {path.name for path in out.iterdir()} - {CHECKPOINTS} and not (out / RESULTS).is_file():
            raise click.ClickException(f"--out must be a new folder, an empty folder or a run. Received: {out}, which "
                                       "contains other files. Choose another folder.")
    elif out.exists():
        raise NotADirectoryError(0, "the path is a file, not a folder")
