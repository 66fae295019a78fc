"""`autoconv evaluate`: tests the net of a run again."""

from pathlib import Path
from typing import NamedTuple, cast

import click

from ... import datasets, metrics, utils
from ...files.json_text import JsonObject
from . import confusion_table, data, lines, options, photos, result_files, runs
from .lines import echo


@click.command()
@click.argument("run", type=options.FILE)
@click.argument("dataset", required=False, metavar="[DATASET|FOLDER]", type=options.DataArg("dataset", datasets.NAMES))
@options.device_options
@options.data_options
@options.json_option
@options.quiet_option
def evaluate(run: Path, dataset: str | Path | None, device: str, threads: int | None,
             data_dir: Path | None, limit: int | None, json_file: Path | None, quiet: bool) -> None:
    """Test the net of RUN, the folder that `autoconv train --out RUN` wrote, on DATASET or on the photos in FOLDER.

    Without DATASET, FOLDER, --data-dir and --limit, the net is tested on the same images as at the end of its training,
    with the same results. Prints the accuracy, the precision and recall of each class, and the confusion matrix.
    """
    target = options.use_device(device, threads)
    result_files.check_writable(json_file)
    silent = json_file == result_files.STDOUT
    model, trained = runs.restored(run, target)
    tests = _tests(trained, dataset, data_dir, limit, cast(tuple[int, int, int], model.input_shape[1:]))
    if not quiet and not silent:
        echo(lines.fitted(f"data   {tests.described}"))
    try:
        counts = metrics.MeanIoU(len(trained["classes"]), sparse_y_true=False, sparse_y_pred=False)
        runs.compile_net(model, trained["model"], counted=[counts])
        tested = model.evaluate(**tests.feed, verbose=0, return_dict=True)
        table = confusion_table.Confusion(trained["classes"], counts.total_cm.numpy())
    except ValueError as error:
        raise click.ClickException(f"The net in {run} cannot be tested on this set. {error}") from error
    if json_file is not None:
        result_files.write_json(json_file, {"run": str(run), "dataset": tests.name,
                                            "test_images": tests.images(), "device": target.name,
                                            "test_accuracy": tested["accuracy"],
                                            "test_loss": tested["loss"], "skipped": tests.skipped(),
                                            **table.as_json()})
    if not silent:
        echo(f"test accuracy {tested['accuracy']:.4f}, test loss {tested['loss']:.4f}")
    if not quiet and not silent:
        echo("\n".join(table.lines()))
    photos.say_skipped(tests.skipped(), f"{tests.images():,} test pictures remain")


class _Tests(NamedTuple):
    """A test set: its name, its description, and the arguments of `Model.evaluate`."""

    name: str
    described: str
    feed: JsonObject

    def images(self) -> int:
        x = self.feed["x"]
        return photos.counted(x) if isinstance(x, utils.ImageDataset) else len(x)

    def skipped(self) -> list[str]:
        x = self.feed["x"]
        return photos.skipped(x) if isinstance(x, utils.ImageDataset) else []


def _tests(trained: JsonObject, dataset: str | Path | None, data_dir: Path | None,
           limit: int | None, shape: tuple[int, int, int]) -> _Tests:
    """Returns the named test set, or else the set that the run was tested on."""
    classes = trained["classes"]
    same = dataset is None and data_dir is None
    if isinstance(dataset, Path) or (same and "folder" in trained):
        if limit is not None or data_dir is not None:
            raise click.UsageError("--limit and --data-dir apply only to named data sets. Leave them "
                                   "out to test on a folder of photos.")
        found = photos.whole(dataset, shape, classes) if isinstance(dataset, Path) else photos.held_out(trained)
        found.batch_size = trained["batch_size"]
        name = str(dataset or trained["dataset"])
        size = " x ".join(map(str, found.image_shape))
        return _Tests(name, f"{name}, {len(found.file_paths):,} test images, resized to {size}", {"x": found})
    if same:
        dataset = trained["dataset"]
        data_dir = trained["data_dir"] and Path(trained["data_dir"])
        limit = trained["limit"] if limit is None else limit
    images = data.load(str(dataset or trained["dataset"]), data_dir, limit)
    return _Tests(images.name, images.described(), {
        "x": data.as_taken(images.x_test, trained["model"]), "batch_size": trained["batch_size"],
        "y": utils.to_categorical(images.y_test, max(len(classes), len(images.classes)))})
