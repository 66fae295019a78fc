"""`autoconv evaluate`: a run tested again."""

from pathlib import Path

import click

from .. import datasets, utils
from . import data, files, options, runs


@click.command()
@click.argument("run", type=options.FILE)
@click.argument("dataset", required=False, metavar="[DATASET]", type=options.Name("dataset", datasets.NAMES))
@options.device_options
@options.data_options
@options.json_option
@options.quiet_option
def evaluate(run: Path, dataset: str | None, device: str, threads: int | None, data_dir: Path | None,
             limit: int | None, json_file: Path | None, quiet: bool) -> None:
    """Test the net of RUN, the folder that `autoconv train --out RUN` wrote.

    Without DATASET, --data-dir and --limit it gets the images that it was tested on at the end of its training, and the
    numbers are the same.
    """
    target = options.use_device(device, threads)
    files.check_writable(json_file)
    silent = json_file == files.STDOUT
    model, trained = runs.restored(run, target)
    if dataset is None and data_dir is None:
        dataset, data_dir = trained["dataset"], trained["data_dir"] and Path(trained["data_dir"])
        limit = trained["limit"] if limit is None else limit
    images = data.load(dataset or trained["dataset"], data_dir, limit)
    if not quiet and not silent:
        click.echo(f"data   {images.described()}")
    try:
        targets = utils.to_categorical(images.y_test, len(trained["classes"]))
        x = data.as_taken(images.x_test, trained["model"])
        tested = model.evaluate(x, targets, trained["batch_size"], verbose=0, return_dict=True)
    except ValueError as error:
        raise click.ClickException(f"The net in {run} cannot be tested on this set. {error}") from error
    if json_file is not None:
        files.write_json(json_file, {
            "run": str(run), "dataset": images.name, "test_images": len(x), "device": target.name,
            "test_accuracy": tested["accuracy"], "test_loss": tested["loss"],
        })
    if not silent:
        click.echo(f"test accuracy {tested['accuracy']:.4f}, test loss {tested['loss']:.4f}")
