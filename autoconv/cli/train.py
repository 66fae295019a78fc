"""`autoconv train`: a net trained on a set, tested, and kept."""

import math
import platform
import secrets
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click

from .. import __version__, datasets, models, nets, utils
from .. import optimizers as optim
from ..backend import device as devices
from . import data, files, options, runs
from .clock import Stopwatch, since_start

RECIPES = {  # the defaults of the options below
    "best": {"model": "best", "epochs": 16, "batch_size": 128, "optimizer": "adam", "lr": 6e-3,
             "schedule": "one-cycle"},
    "careful": {"epochs": 5, "schedule": "cosine"},
    "fast": {"epochs": 1, "schedule": "one-cycle", "lr": 5e-3},
    "lecture": {"epochs": 5, "schedule": "constant"},
}
SCHEDULES = ("cosine", "one-cycle", "constant")


def _finite(ctx: click.Context, param: click.Parameter, value: float | None) -> float | None:
    """A range lets NaN through, and infinity."""
    if value is not None and not math.isfinite(value):
        raise click.BadParameter(f"{value} is not a finite number.")
    return value


def _recipe(ctx: click.Context, param: click.Parameter, value: str) -> str:
    """Makes the recipe's settings the defaults of the options that are read after it."""
    ctx.default_map = {**(ctx.default_map or {}), **RECIPES[value]}
    return value


@click.command()
@click.argument("dataset", required=False, metavar="[DATASET]", type=options.Name("dataset", datasets.NAMES))
@click.option("--recipe", type=options.Name("recipe", RECIPES), default="careful", is_eager=True, callback=_recipe,
              help="What the options below are by default: fast trains one epoch along one cycle of the learning rate, "
              "lecture is careful with the lectures' constant rate, best takes some minutes for the highest accuracy: "
              "a deeper net that sees each digit turned, moved and zoomed anew.")
@click.option("--model", type=options.Name("net", nets.NETS), default="lecture", show_default="lecture; best if best",
              help="Which of the built-in nets.")
@click.option("--epochs", type=click.IntRange(min=1), show_default="5; 1 if fast, 16 if best",
              help="How often to go through the training images.")
@click.option("--batch-size", type=click.IntRange(min=1), default=64, show_default="64; 128 if best",
              help="How many images a step takes.")
@click.option("--optimizer", type=options.Name("optimizer", optim.BY_NAME), default="rmsprop",
              show_default="rmsprop; adam if best")
@click.option("--lr", type=click.FloatRange(min=0, min_open=True), callback=_finite,
              show_default="the optimizer's own; 0.005 if fast, 0.006 if best",
              help="The learning rate, at its highest.")
@click.option("--schedule", type=options.Name("schedule", SCHEDULES), show_default="cosine; one-cycle if fast or best",
              help="How the learning rate goes on: cosine lowers it to 0 by the last step, one-cycle raises it before, "
              "constant is the lectures'.")
@options.device_options
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), show_default="a new one, which is printed",
              help="Makes the run repeatable bit for bit.")
@options.data_options
@click.option("--out", type=options.FILE, metavar="RUN",
              help="Write model.safetensors, run.json and history.csv to this folder; a run that is there is replaced.")
@options.json_option
@options.quiet_option
def train(dataset: str | None, device: str, threads: int | None, out: Path | None, json_file: Path | None, quiet: bool,
          data_dir: Path | None, limit: int | None, **how: Any) -> None:
    """Train a net on DATASET (digits, mnist, fashion_mnist, cifar10), test it, print its accuracy and throughput.

    Without DATASET that is MNIST where it is on this computer or can be reached within a few seconds, else the built-in
    digits. A set that is named is never replaced by another.

    lecture-large takes images of 150 x 150 pixels, so smaller ones are enlarged.
    """
    target = options.use_device(device, threads)
    files.check_writable(json_file)
    silent = json_file == files.STDOUT
    with runs.reserve(out) as folder:
        chosen, why = (dataset, "") if dataset else data.choose(data_dir)
        images = data.load(chosen, data_dir, limit)
        _say(quiet or silent, f"data   {images.described()}" + (f"\n       {why}" if why else ""))
        net, history, results = fit(images, target, verbose=0 if quiet or silent else 1, **how)
        results.update(limit=limit, data_dir=None if data_dir is None else str(data_dir.absolute()))
        if folder is not None:
            runs.write(folder, net, history, results)
    if json_file is not None:
        files.write_json(json_file, results)
    _say(silent, _summed_up(results))
    for what, path in (("run", out), ("results", json_file)):
        _say(silent or path is None, f"wrote the {what} to {path}")


def fit(
    images: data.Images, device: devices.Device, verbose: int, model: str, epochs: int, batch_size: int,
    optimizer: str, lr: float | None, recipe: str, schedule: str, seed: int | None,
) -> tuple[models.Sequential, dict[str, list[float]], dict[str, Any]]:
    """Trains and tests. Returns the net, its history and the results as `--json` has them."""
    seed = secrets.randbelow(2**32) if seed is None else seed
    utils.set_random_seed(seed)
    x_train, x_test = (data.as_taken(x, model) for x in (images.x_train, images.x_test))
    try:
        net = nets.for_pixels(model, x_train.shape[1:], len(images.classes))
    except ValueError as error:
        raise click.ClickException(f"The net {model!r} cannot take these images. {error}") from error
    optimizing = optim.BY_NAME[optimizer](**({} if lr is None else {"learning_rate": lr}))
    highest_rate = optimizing.learning_rate
    if schedule != "constant":
        kind = {"cosine": optim.schedules.CosineDecay, "one-cycle": optim.schedules.OneCycle}[schedule]
        steps = epochs * -(-len(x_train) // batch_size)
        optimizing = optim.BY_NAME[optimizer](learning_rate=kind(highest_rate, steps))
    net.to(device.name)
    runs.compile_net(net, model, optimizing)
    threads = "" if device.is_gpu else f"threads: {devices.get_num_threads()}, "
    _say(not verbose, f"net    {model}, {net.count_params():,} parameters, on {device}, {threads}seed: {seed}")
    watch = Stopwatch()
    y_train, y_test = (utils.to_categorical(y, len(images.classes)) for y in (images.y_train, images.y_test))
    history = net.fit(x_train, y_train, batch_size, epochs, verbose, callbacks=watch)
    tested = net.evaluate(x_test, y_test, batch_size, verbose=0, return_dict=True)
    return net, history.history, {
        "dataset": images.name, "train_images": len(x_train), "test_images": len(x_test), "epochs": epochs,
        "batch_size": batch_size, "optimizer": optimizer, "learning_rate": highest_rate,
        "recipe": recipe, "schedule": schedule, "model": model, "params": net.count_params(),
        "classes": list(images.classes), "takes": runs.PIXELS,
        "device": device.name, "threads": devices.get_num_threads(), "seed": seed,
        "test_accuracy": tested["accuracy"], "test_loss": tested["loss"],
        "train_images_per_s": len(x_train) / watch.median_epoch(),
        "ms_per_step": 1e3 * watch.median_epoch() / -(-len(x_train) // batch_size),
        "epoch_seconds": watch.epoch_seconds, "time_to_first_step_s": watch.first_step, "compile_s": watch.compile_s,
        "total_s": since_start(), "versions": versions(),
    }


def versions() -> dict[str, str]:
    """Of what a result depends on."""
    return {"autoconv": __version__, "python": platform.python_version(),
            **{package: version(package) for package in ("numpy", "numba", "llvmlite")}}


def _summed_up(results: dict[str, Any]) -> str:
    return (
        f"test accuracy {results['test_accuracy']:.4f}, test loss {results['test_loss']:.4f}\n"
        f"{results['train_images_per_s']:,.0f} images/s, {results['ms_per_step']:.2f} ms/step, "
        f"{results['total_s']:.1f} s in all"
    )


def _say(silent: bool, text: str) -> None:
    if not silent:
        click.echo(text)
