"""`autoconv report`: writes an HTML page about a trained net."""

import time
from pathlib import Path

import click

from ...files import atomic
from ...files.json_text import JsonObject
from . import options, result_files, run_images, runs
from .lines import echo

# entries of run.json left out of the table of settings
OMITTED = ("classes", "held_out", "epoch_seconds", "versions", "test_accuracy", "ms_per_step",
           "train_images_per_s", "compile_s", "time_to_first_step_s", "total_s", "weights_sha256")


@click.command()
@click.argument("run", type=options.FILE)
@click.option("--out", type=options.FILE, metavar="FILE", required=True, help="The page to write, FILE.html.")
@options.device_options
@options.quiet_option
def report(run: Path, out: Path, device: str, threads: int | None, quiet: bool) -> None:
    """Write a report about the net of RUN: one HTML page that needs no other file.

    The page shows learning curves, the confusion matrix, precision and recall, the worst mistakes
    with their Grad-CAM, filters and inputs that excite them, feature maps, receptive fields,
    similar images, speed, settings and versions. The net is tested again, on the test images of its
    training.
    """
    from ...pictures import class_scores
    from ...pictures.report_page import Evaluation, page

    if out.suffix.lower() not in (".html", ".htm"):
        raise click.BadParameter("The file name must end in .html or .htm. Received: "
                                 f"{str(out)!r}.", param_hint="--out")
    result_files.check_writable(out)
    model, results = runs.load_run(run, options.use_device(device, threads))
    history = runs.history(run)
    images, labels = run_images.load_test_images(results)
    scores = class_scores(model, images)
    # The first call also records the step, so it is not timed.
    model.predict(images[: results["batch_size"]], results["batch_size"], verbose=0)
    start = time.perf_counter()
    model.predict(images, results["batch_size"], verbose=0)
    outcome = Evaluation(images, labels, scores, time.perf_counter() - start)
    name = f"{results['model']} on {results['dataset']}"
    facts = {"net": f"{results['model']}, {model.count_params():,} parameters",
             "data": f"{results['dataset']}, {len(images):,} test images", "run": str(run)}
    settings = {key.replace("_", " "): f"{value:.6g}" if isinstance(value, float) else str(value)
                for key, value in results.items() if key not in OMITTED and value is not None}
    settings.update(classes=", ".join(results["classes"]), **results.get("versions", {}))
    html = page(name, facts, model, results["classes"], history, outcome, _speed(results), settings)
    atomic.write(out, html)
    if not quiet:
        right = int((scores.argmax(-1) == labels).sum())
        echo(f"test accuracy {right / len(labels):.4f}, {len(labels) - right:,} of {len(labels):,} wrong")
    echo(f"wrote the report to {out}")


def _speed(results: JsonObject) -> dict[str, str]:
    """Returns the run's times as strings, by label. Runs of other versions may lack some times."""
    forms = {"train_images_per_s": ("training", "{:,.0f} images/s"), "ms_per_step": ("per step", "{:.2f} ms"),
             "time_to_first_step_s": ("first step after", "{:.2f} s"), "compile_s": ("compiling, loading", "{:.2f} s"),
             "total_s": ("in total", "{:.1f} s")}
    times = {label: form.format(results[key]) for key, (label, form) in forms.items() if results.get(key) is not None}
    epochs = ", ".join(f"{seconds:.2f}" for seconds in results.get("epoch_seconds", ()))
    return {**times, "epochs": f"{epochs} s" if epochs else ""}
