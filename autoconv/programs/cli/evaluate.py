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
@options.mirror_option
@options.json_option
@options.quiet_option
def evaluate(run: Path, dataset: str | Path | None, device: str, threads: int | None,
             data_dir: Path | None, limit: int | None, mirror: bool, json_file: Path | None, quiet: bool) -> None:
    """Test the net of RUN, the folder that `autoconv train --out RUN` wrote, on DATASET or on the photos in FOLDER.

    Without DATASET, FOLDER, --data-dir and --limit, the net is tested on the same images as at the end of its training,
    with the same results. The command prints the accuracy, the precision and recall of each class, the confusion
    matrix, and the most frequent mistakes.
    """
    target = options.use_device(device, threads)
    result_files.check_writable(json_file)
    silent = json_file == result_files.STDOUT
    model, results = runs.load_run(run, target)
    tests = _tests(results, dataset, data_dir, limit, cast(tuple[int, int, int], model.input_shape[1:]))
    if not quiet and not silent:
        echo(lines.wrap(f"data   {tests.description}"))
    try:
        counts = metrics.MeanIoU(len(results["classes"]), sparse_y_true=False, sparse_y_pred=False)
        model = runs.with_mirror_images(model) if mirror else model
        runs.compile_net(model, results["model"], extra_metrics=[counts])
        scores = model.evaluate(**tests.feed, verbose=0, return_dict=True)
        table = confusion_table.Confusion(results["classes"], counts.total_cm.numpy())
    except ValueError as error:
        raise click.ClickException(f"The net in {run} cannot be tested on this data set. {error}") from error
    if json_file is not None:
        result_files.write_json(json_file, {"run": str(run), "dataset": tests.name,
                                            "test_images": tests.images(), "device": target.name,
                                            "test_accuracy": scores["accuracy"],
                                            "test_loss": scores["loss"], "mirror": mirror,
                                            "skipped": tests.skipped_files(), **table.to_json()})
    if not silent:
        which = " with mirror images" if mirror else ""
        echo(f"test accuracy {scores['accuracy']:.4f}{which}, test loss {scores['loss']:.4f}")
    if not quiet and not silent:
        echo("\n".join(table.lines()))
    photos.report_skipped(tests.skipped_files(), f"{tests.images():,} test pictures remain")


class _Tests(NamedTuple):
    """A test set: its name, its description, and the arguments of `Model.evaluate`."""

    name: str
    description: str
    feed: JsonObject

    def images(self) -> int:
        x = self.feed["x"]
        return photos.count_readable(x) if isinstance(x, utils.ImageDataset) else len(x)

    def skipped_files(self) -> list[str]:
        x = self.feed["x"]
        return photos.skipped_files(x) if isinstance(x, utils.ImageDataset) else []


def _tests(results: JsonObject, dataset: str | Path | None, data_dir: Path | None,
           limit: int | None, shape: tuple[int, int, int]) -> _Tests:
    """Returns the test set that the options name, or the test set of the run's own training."""
    classes = results["classes"]
    same = dataset is None and data_dir is None
    if isinstance(dataset, Path) or (same and "folder" in results):
        if limit is not None or data_dir is not None:
            raise click.UsageError("--limit and --data-dir apply only to named data sets. Leave "
                                   "them out to test on a folder of photos.")
        pictures = photos.load_tests(dataset, shape, classes) if isinstance(dataset, Path) else photos.held_out(results)
        pictures.batch_size = results["batch_size"]
        name = str(dataset or results["dataset"])
        size = " x ".join(map(str, pictures.image_shape))
        return _Tests(name, f"{name}, {len(pictures.file_paths):,} test images, resized to {size}", {"x": pictures})
    if same:
        dataset = results["dataset"]
        data_dir = results["data_dir"] and Path(results["data_dir"])
        limit = results["limit"] if limit is None else limit
    images = data.load(str(dataset or results["dataset"]), data_dir, limit)
    return _Tests(images.name, images.describe(), {
        "x": data.adapt_images(images.x_test, results["model"]), "batch_size": results["batch_size"],
        "y": utils.to_categorical(images.y_test, max(len(classes), len(images.classes)))})
