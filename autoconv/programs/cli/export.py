"""`autoconv export`: writes the net of a run in a format for other programs."""

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
              help="The format: a Keras model, an ONNX model, autoconv's own .safetensors, or "
                   "weights with PyTorch's names and axis order.")
@click.option("--out", "out", type=options.FILE, metavar="FILE", show_default="the run's name with the format's suffix",
              help="The file to write.")
def export(run: Path, form: str, out: Path | None) -> None:
    """Write the net of RUN, the folder that `autoconv train --out RUN` wrote, for another program.

    The formats keras and onnx need the extras of the same names. The format torch is a state dict
    in a .safetensors file, which `safetensors.torch.load_file` reads.
    """
    target = options.use_device("cpu", None)
    model, _ = runs.load_run(run, target)
    stem = run.resolve().name
    path = out or Path(f"{stem}{'.torch' if form == 'torch' else ''}{SUFFIXES[form]}")
    if path.suffix != SUFFIXES[form]:
        raise click.UsageError(f"A file in the format {form} must have the suffix "
                               f"{SUFFIXES[form]}. Received: {str(path)!r}.")
    result_files.check_writable(path)
    if form == "torch":
        from safetensors.numpy import save as to_bytes  # imported here because it is slow

        from ... import formats

        atomic.write(path, to_bytes(formats.to_torch_state_dict(model)))
    elif form == "onnx":
        from ... import formats

        formats.to_onnx(model, path)
    else:
        loaded = models.load_model(run) if form == "safetensors" else model
        loaded.save(path)
    echo(f"wrote {path}, {path.stat().st_size:,} bytes")
