"""`autoconv export`: the net of a run in the form that other programs read."""

from pathlib import Path

import click

from ... import models
from ...files import atomic
from . import options, result_files, runs
from .lines import echo

SUFFIXES = {"keras": ".keras", "onnx": ".onnx", "safetensors": ".safetensors", "torch": ".safetensors"}


@click.command()
@click.argument("run", type=options.FILE)
@click.option("--to", "form", type=options.Name("format", SUFFIXES), required=True, metavar="|".join(SUFFIXES),
              help="The form: a model that Keras loads, one of ONNX, autoconv's own, or weights with PyTorch's names "
                   "and order of axes.")
@click.option("--out", "out", type=options.FILE, metavar="FILE", show_default="the run's name with the format's suffix",
              help="Where to write it.")
def export(run: Path, form: str, out: Path | None) -> None:
    """Write the net of RUN, the folder that `autoconv train --out RUN` wrote, for another program.

    keras and onnx need the extras of these names. torch gives a state dict as .safetensors, which
    `safetensors.torch.load_file` reads.
    """
    target = options.use_device("cpu", None)
    model, _ = runs.restored(run, target)
    stem = run.resolve().name
    path = out or Path(f"{stem}{'.torch' if form == 'torch' else ''}{SUFFIXES[form]}")
    if path.suffix != SUFFIXES[form]:
        raise click.UsageError(f"The name of a file for {form} must end in {SUFFIXES[form]}. Received: {str(path)!r}.")
    result_files.check_writable(path)
    if form == "torch":
        from safetensors.numpy import save as to_bytes  # slow to import

        from ... import formats

        atomic.write(path, to_bytes(formats.to_torch_state_dict(model)))
    elif form == "onnx":
        from ... import formats

        formats.to_onnx(model, path)
    else:
        saved = models.load_model(run) if form == "safetensors" else model
        saved.save(path)
    echo(f"wrote {path}, {path.stat().st_size:,} bytes")
