"""`autoconv train`: trains a net on a data set, tests it and saves it."""

import platform
import secrets
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click

from ... import __version__, datasets, models, nets, utils
from ... import optimizers as optim
from ...callbacks import History
from ...engine.ranks import Ranks
from ...files.json_text import JsonObject
from ...kernels import device as devices
from ...pictures.results import describe_validation
from . import data, distributed, fine_tuning, lines, options, photos, result_files, resuming, run_states, runs, signals
from .clock import Stopwatch, seconds_since_start
from .lines import echo

SETS = {"model": "lecture", "batch_size": 64, "optimizer": "rmsprop", "epochs": 5}  # defaults for named sets
PHOTOS = {"model": "photos", "batch_size": 32, "optimizer": "adam", "epochs": 10}  # defaults for a folder
RECIPES: dict[str, JsonObject] = {  # option values that replace the defaults, by recipe
    "best": {"model": "best", "epochs": 24, "batch_size": 128, "optimizer": "adam", "lr": 6e-3,
             "schedule": "one-cycle", "label_smoothing": 0.05},
    "careful": {"schedule": "cosine"},
    "fast": {"epochs": 1, "schedule": "one-cycle", "lr": 5e-3},
    "lecture": {"schedule": "constant"},
    "sprint": {"model": "sprint", "epochs": 1, "batch_size": 96, "optimizer": "adam", "lr": 0.012,
               "schedule": "one-cycle", "label_smoothing": 0.1},
}
CIFAR10: dict[str, JsonObject] = {  # option values of recipes that differ for CIFAR-10
    name: {"model": "cifar10", "epochs": epochs, "batch_size": 1000, "optimizer": "muon",
           "lr": None, "schedule": "cosine", "label_smoothing": 0.2, "mirror": True}
    for name, epochs in (("best", 16), ("sprint", 8))
}
MUON = {  # the optimizer's arguments for the net cifar10, found on held-out images
    "learning_rate": 0.17, "momentum": 0.6, "rms_rate": None, "weight_decay": 0.05,
    "adam_lr_ratio": 0.06, "adam_beta_2": 0.95,
}
SCHEDULES = ("cosine", "one-cycle", "constant")


def _defaults(ctx: click.Context, param: click.Parameter, value: Any) -> Any:
    """Sets the other options' defaults for the data set and recipe, which click parses first."""
    chosen = {"dataset": None, "recipe": "careful", **ctx.params, param.name: value}
    defaults = _recipe_defaults(chosen["dataset"], chosen["recipe"])
    ctx.default_map = {**(ctx.default_map or {}), **defaults}
    return value


def _recipe_defaults(dataset: str | Path | None, recipe: str) -> JsonObject:
    data_defaults = PHOTOS if isinstance(dataset, Path) else SETS
    changes = CIFAR10.get(recipe, {}) if dataset == "cifar10" else {}
    return {**data_defaults, **RECIPES[recipe], **changes}


@click.command(cls=resuming.Resumable, help="""
    Train a net on DATASET (digits, mnist, fashion_mnist, cifar10) or on the photos in FOLDER, test the
    net, and print its accuracy and throughput.

    Without DATASET, the net is trained on MNIST if it is on this computer or its download starts within a few seconds,
    and otherwise on the built-in digits. A named data set is never replaced by another.

    FOLDER must contain one folder of pictures per class, or train/ and test/ (or val/) with such folders. Reading
    pictures needs Pillow: pip install 'autoconv[images]'. If a folder has the name of a data set, the data set is used:
    write ./digits for the folder.

    The net lecture-large needs images of 150 x 150 pixels, so smaller images are enlarged.

    Ctrl-C or SIGTERM during training with --out stops after the current step, saves the state in
    RUN, and exits with code 130 or 143. A second signal stops the training at once.
    """)
@click.argument("dataset", required=False, metavar="[DATASET|FOLDER]", type=options.DataArg("dataset", datasets.NAMES),
                is_eager=True, callback=_defaults)
@click.option("--recipe", type=options.Name("recipe", RECIPES), default="careful", is_eager=True, callback=_defaults,
              help="A set of defaults for the options below. careful: the usual defaults; fast: one epoch with a "
              "one-cycle learning rate; lecture: like careful, but with the constant learning rate of the lectures; "
              "best: the highest accuracy in some minutes, with a deeper net and with randomly rotated, moved and "
              "zoomed digits; sprint: 99% accuracy on MNIST in about a second, with a small net. For "
              "cifar10, best and sprint train the net cifar10 for 16 and 8 epochs, with the optimizer "
              "muon, batches of 1000, a cosine learning rate, label smoothing of 0.2 and --mirror.")
@click.option("--model", type=options.Name("net", nets.NETS), help="The built-in net to train.",
              show_default="lecture; photos for a folder; best if best, sprint if sprint")
@fine_tuning.fine_tuning_options
@click.option("--augment", is_flag=True, help="Randomly mirror (except digits), rotate and zoom "
                                              "each image in every epoch.")
@click.option("--epochs", type=click.IntRange(min=1), help="Number of passes over the training images.",
              show_default="5; 10 for a folder; 1 if fast or sprint, 24 if best")
@click.option("--batch-size", type=click.IntRange(min=1), show_default="64; 32 for a folder; 128 if best, 96 if sprint",
              help="Number of images per step.")
@click.option("--optimizer", type=options.Name("optimizer", optim.BY_NAME),
              show_default="rmsprop; adam for a folder, or if best or sprint",
              help="For the net cifar10, muon has a higher rate and less momentum than in Keras.")
@click.option("--lr", type=click.FloatRange(min=0, min_open=True), callback=options.check_finite,
              show_default="the optimizer's own, times 3 with --from; 0.005 if fast, 0.006 if best, 0.012 if sprint",
              help="The highest learning rate during training.")
@click.option("--schedule", type=options.Name("schedule", SCHEDULES),
              show_default="cosine; one-cycle if fast, best or sprint",
              help="Course of the learning rate. cosine: lowers the rate to 0 by the last step; one-cycle: first "
              "raises and then lowers the rate; constant: keeps the rate fixed, as in the lectures.")
@click.option("--label-smoothing", type=click.FloatRange(0, 1, max_open=True), callback=options.check_finite,
              metavar="SHARE", default=0.0, show_default="0; 0.05 if best, 0.1 if sprint",
              help="Fraction of each training target that is spread over all classes, which makes "
                   "the net less overconfident.")
@options.mirror_option
@click.option("--scale-lr", is_flag=True, help="Multiply the learning rate by --batch-size divided by the recipe's "
              "batch size (Goyal et al. 2017). The learning rate rises to this value over the first epochs, at most "
              "five.")
@distributed.distributed_options
@options.device_options
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), show_default="a random one, which is printed",
              help="Seed of all random numbers; the same seed gives the same net, bit for bit.")
@options.data_options
@click.option("--image-size", type=options.Size(), metavar="HEIGHTxWIDTH", show_default="the net's own",
              help="Size to which the pictures of FOLDER are resized.")
@click.option("--validation-split", type=click.FloatRange(0, 1, min_open=True, max_open=True),
              callback=options.check_finite, metavar="SHARE", show_default="0.2",
              help="Fraction of FOLDER's pictures that is held out for the test, if FOLDER has no train/ and test/ "
              "(or val/).")
@click.option("--validate", type=click.FloatRange(0, 1, max_open=True), callback=options.check_finite, metavar="SHARE",
              show_default="0.1 for a folder and for digits, 0 for other data sets",
              help="Fraction of the training images that is held out of the training. After each epoch, the net is "
              "tested on these images, and val_loss and val_accuracy are printed. 0 trains on all training images.")
@click.option("--strict", is_flag=True, help="Stop before training if a picture of FOLDER cannot "
              "be read. Without --strict, such a picture is reported and skipped.")
@click.option("--out", type=options.FILE, metavar="RUN",
              help="Write model.safetensors, run.json and history.csv to the folder RUN. An earlier run in this folder "
              "is replaced when the new run is complete. The state of the training is saved in RUN/checkpoints.")
@click.option("--checkpoint-every", type=options.Every(), metavar="5m|500steps", default="5m",
              help="Interval between two saves of the training's state in RUN: a time (s, m, h) or a number of steps. "
              "The state is also saved at the end of an epoch if saving takes little time.")
@click.option("--resume", is_flag=True, help="Continue the training in RUN. The result is bit for "
              "bit the same as after uninterrupted training. The same command can be repeated: the command starts "
              "a run if RUN contains none, and reports a finished run as finished. The value of --epochs may be "
              "raised; all other options must have the same values as before.")
@options.json_option
@options.quiet_option
@click.pass_context
def train(ctx: click.Context, dataset: str | Path | None, device: str, threads: int | None, out: Path | None,
          json_file: Path | None, quiet: bool, data_dir: Path | None, limit: int | None, strict: bool,
          image_size: tuple[int, int] | None, validation_split: float | None, seed: int | None, model: str,
          batch_size: int, resume: resuming.Standing | None, checkpoint_every: tuple[str, int], **rest: Any) -> None:
    rest.pop("distributed"), rest.pop("timeout")  # resuming.py has used both to create the ranks
    _check_keys(dataset if isinstance(dataset, Path) else None, {"--data-dir": data_dir, "--limit": limit}, {
        "--image-size": image_size, "--validation-split": validation_split, "--strict": strict or None})
    ranks: Ranks = ctx.meta[resuming.RANKS]
    seed = ranks.broadcast(secrets.randbelow(2**32) if seed is None else seed)
    target = options.use_device(distributed.assign_device(ranks, device), threads or distributed.default_threads(ranks))
    target.import_ahead()
    result_files.check_writable(json_file)
    silent = json_file == result_files.STDOUT or ranks.rank > 0
    target_out = None if ranks.rank else out  # only the first rank writes the run
    model, tuning = fine_tuning.prepare(ctx, rest, model, "model" in RECIPES[rest["recipe"]], target, seed)
    with signals.install_handler() as stop:
        with runs.reserve(target_out) as place:
            images, reason, validate = _data(dataset, data_dir, limit, tuning or model, image_size, validation_split,
                                             rest.pop("validate"), seed, strict, ranks)
            _say(quiet or silent, f"data   {images.describe()}" + (f"\n       {reason}" if reason else ""))
            feeds = images.feeds(model, batch_size)
            states = resuming.saver(ctx, {"dataset": dataset or images.name, "seed": seed, "validate": validate}, stop)
            if resume is not None:
                _say(quiet or silent, resuming.describe(resume, rest["epochs"], -(-images.counts[0] // batch_size)))
            with run_states.save_on_signal(out, states, stop, ranks):
                net, history, results = fit(images, feeds, target, ranks, 0 if quiet or silent
                                            else 1, model, batch_size, seed, states, tuning, **rest)
            folder = None if data_dir is None else str(data_dir.absolute())
            results.update(limit=limit, data_dir=folder, validation_split=validation_split, validate=validate)
            if target_out is not None and states is not None:
                results["checkpoint"] = run_states.latest(states)
                _write(target_out, place, net, history, results)  # the test may fail
        results.update(_evaluate(net, model, images, feeds, ctx.params["mirror"], out))
        if ranks.rank:
            return
        with runs.reserve(target_out) as place:
            _write(target_out, place, net, history, results)
    if states is not None and target_out is not None:
        run_states.finish(states)
    _report(results, images, history, out, json_file, silent, quiet)


def _write(out: Path | None, folder: Path | None, net: models.Model,
           history: dict[str, list[float]], results: JsonObject) -> None:
    """Writes the run into `folder`, if --out was given."""
    if out is not None and folder is not None:
        with runs.convert_errors(out):
            runs.write(folder, net, history, results)


def _report(results: JsonObject, images: data.Images | photos.Photos, history: dict[str, list[float]],
            out: Path | None, json_file: Path | None, silent: bool, quiet: bool) -> None:
    """Prints the results of training and test, and writes them as JSON if --json was given."""
    _say(silent or quiet, describe_validation(history))
    if json_file is not None:
        result_files.write_json(json_file, results)
    _say(silent, f"test accuracy {results['test_accuracy']:.4f}, "
         + (f"{results['mirror_accuracy']:.4f} with mirror images, " if results["mirror"] else "")
         + f"test loss {results['test_loss']:.4f}\n{results['train_images_per_s']:,.0f} images/s, "
         f"{results['ms_per_step']:.2f} ms/step, {results['total_s']:.1f} s in total")
    photos.report_skipped(results["skipped"],
                          f"{data.describe_counts(images.counts, images.validation_count)} remain")
    for what, path in (("run", out), ("results", json_file)):
        _say(silent or path is None, f"wrote the {what} to {path}")


def _data(dataset: str | Path | None, data_dir: Path | None, limit: int | None, net: fine_tuning.FineTuning | str,
          image_size: tuple[int, int] | None, share: float | None, validate: float | None, seed: int, strict: bool,
          ranks: Ranks) -> tuple[data.Images | photos.Photos, str, float]:
    """Returns the data, the reason for choosing them, which is "" if the user named them, and the value of --validate.
    """
    if isinstance(dataset, Path):
        shape = (*(image_size or nets.NETS[net].input_shape[:2]), 3) if isinstance(net, str) else (
            net.image_shape(image_size))
        validate = 0.1 if validate is None else validate
        return photos.load(dataset, shape, share, seed, strict, validate), "", validate
    name, reason = (dataset, "") if dataset else distributed.run_once(ranks, data.choose, data_dir)
    if validate is None:
        validate = 0.1 if name == "digits" else 0.0
    return distributed.run_staggered(ranks, data.load, name, data_dir, limit, validate, seed), reason, validate


def _check_keys(folder: Path | None, set_options: JsonObject, folder_options: JsonObject) -> None:
    """Raises a UsageError for an option that applies only to the other kind of data."""
    for name, value in (folder_options if folder is None else set_options).items():
        if value is not None:
            raise click.UsageError(f"{name} applies only to "
                                   f"{'photo folders' if folder is None else 'named data sets'}. Received: {name} "
                                   f"with {'no folder' if folder is None else folder}. Leave out {name}.")


def fit(images: data.Images | photos.Photos, feeds: data.Feeds, device: devices.Device,
        ranks: Ranks, verbose: int, model: str, batch_size: int, seed: int,
        states: run_states.RunStates | None, tuning: fine_tuning.FineTuning | None, augment: bool, epochs: int,
        optimizer: str, lr: float | None, scale_lr: bool, recipe: str, schedule: str,
        label_smoothing: float, mirror: bool) -> tuple[models.Model, dict[str, list[float]], JsonObject]:
    """Builds and trains a net. Returns the net, its history, and its entries for run.json."""
    utils.set_random_seed(seed)
    try:
        flips = not set(images.classes) <= set("0123456789")  # mirror images of digits are not digits
        classes = len(images.classes)
        net = nets.build_for_pixels(model, feeds.input_shape, classes, augment, flips) if tuning is None else (
            tuning.build(feeds.input_shape, classes, nets.augmentation(flips) if augment else []))
        if tuning is None and (adapt := nets.NETS[model].adapt):
            adapt(net, feeds.sample())
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    dataset = Path(images.name) if isinstance(images, photos.Photos) else images.name
    defaults = _recipe_defaults(dataset, recipe)
    settings = MUON if (model, optimizer) == ("cifar10", "muon") else {}
    base = float(optim.BY_NAME[optimizer](**settings).learning_rate) if lr is None else lr
    base *= fine_tuning.HEAD_RATE if tuning is not None and lr is None else 1
    factor = batch_size / defaults["batch_size"] if scale_lr else 1
    steps = -(-images.counts[0] // batch_size)

    def compile_net(part: models.Model, rate: float, epochs: int) -> None:
        course = _make_schedule(schedule, rate * factor, epochs, steps, rate)
        excluded = {"exclude_layers": [part.layers[-1].name]} if optimizer == "muon" else {}
        chosen = optim.BY_NAME[optimizer](**{**settings, "learning_rate": course, **excluded})
        runs.compile_net(part, model, chosen, label_smoothing)

    net.class_names = tuple(images.classes)
    net.to(device.name).distribute(ranks)
    threads = f"threads: {device.get_num_threads()}, " if device.get_num_threads() else ""
    processes = f"{ranks.size} processes, each with " if ranks.size > 1 and threads else ""
    name = f"{tuning.source} with a new classifier" if tuning else model
    _say(not verbose, f"net    {name}{' with augmentation' if augment else ''}, "
         f"{net.count_params():,} parameters, on {device}, {processes}{threads}seed: {seed}")
    watch = Stopwatch()
    history = History()
    callbacks = [watch, history, *([states] if states else [])]
    first = tuning.train_head(feeds, epochs, partial(compile_net, rate=base), callbacks, verbose) if tuning else 0
    if states is not None:
        states.earlier_steps = first * steps
    rate = base if tuning is None else tuning.unfreeze_lr or base * fine_tuning.BODY_RATE
    compile_net(net, rate, max(1, epochs - first))
    if first < epochs:
        net.fit(**feeds.train, initial_epoch=first, epochs=epochs, verbose=verbose, callbacks=callbacks)
    if ranks.rank:
        return net, history.history, {}  # only the first rank returns results
    train_images = images.counts[0]
    epoch_s = watch.median_epoch(first)
    return net, history.history, {
        "dataset": images.name, "train_images": train_images, "validation_images": images.validation_count,
        "epochs": epochs, "batch_size": batch_size,
        "optimizer": optimizer, "learning_rate": base * factor, "recipe": recipe, "schedule": schedule,
        "label_smoothing": label_smoothing, "model": model, "augment": augment, "mirror": mirror,
        "params": net.count_params(),
        "weights_sha256": net.fingerprint(),
        "classes": list(images.classes), "takes": runs.PIXELS,
        "device": device.name, "threads": devices.get_num_threads(), "ranks": ranks.size, "seed": seed,
        "train_images_per_s": train_images / epoch_s, "ms_per_step": 1e3 * epoch_s / steps,
        "epoch_seconds": watch.epoch_seconds, "time_to_first_step_s": watch.first_step, "compile_s": watch.compile_s,
        "versions": versions(), **({"graph": net.graph_report().get("train")} if device.captures_graphs else {}),
        **({**tuning.run_entries(), "unfreeze_lr": rate * factor} if tuning else {}), **images.run_entries(),
    }


WARM_UP = 5  # maximum number of epochs over which --scale-lr raises the learning rate


def _make_schedule(schedule: str, rate: float, epochs: int, steps: int, start: float) -> Any:
    """Returns a schedule with maximum `rate`, or `rate` itself. steps: steps per epoch; start: first warm-up rate."""
    if schedule == "one-cycle":  # this schedule has its own warm-up
        return optim.schedules.OneCycle(rate, epochs * steps)
    climb = min(WARM_UP * steps, epochs * steps // 2) if rate > start else 0
    after = optim.schedules.CosineDecay(rate, epochs * steps - climb) if schedule == "cosine" else rate
    return optim.schedules.WarmUp(start, after, climb) if climb else after


def _evaluate(net: models.Model, model: str, images: data.Images | photos.Photos,
              feeds: data.Feeds, mirror: bool, out: Path | None) -> JsonObject:
    """Returns the results of testing the net. If the test fails, raises a ClickException that
    states where the net is saved.
    """
    runs.compile_net(net, model, net.optimizer)  # the test loss has no label smoothing
    try:
        scores = net.evaluate(**feeds.test, verbose=0, return_dict=True)
        if mirror:
            mirrored = runs.with_mirror_images(net)
            runs.compile_net(mirrored, model)
            mirror_scores = mirrored.evaluate(**feeds.test, verbose=0, return_dict=True)
    except (OSError, ValueError) as error:
        text = ("was not saved, because --out RUN was not given" if out is None else
                f"is saved in {out}. To test it again, use `autoconv evaluate {out}`")
        raise click.ClickException(f"The net was trained, but it cannot be tested. {error} The net {text}.") from error
    return {"test_images": images.counts[1], "test_accuracy": scores["accuracy"],
            "test_loss": scores["loss"], "total_s": seconds_since_start(),
            **({"mirror_accuracy": mirror_scores["accuracy"]} if mirror else {}), **images.run_entries()}


def versions() -> dict[str, str]:
    """Returns the versions of autoconv, Python and the packages that affect results."""
    return {"autoconv": __version__, "python": platform.python_version(),
            **{package: version(package) for package in ("numpy", "numba", "llvmlite")}}


def _say(silent: bool, text: str) -> None:
    if text and not silent:
        echo(lines.wrap(text))
