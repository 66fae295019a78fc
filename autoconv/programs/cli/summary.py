"""`autoconv summary`: shows the costs of a net's layers."""

from pathlib import Path

import click

from ... import models, nets
from ...arguments import names
from ...engine.symbolic import is_shape
from ...kernels.device import Device
from . import options, result_files, runs, trained_net
from .lines import echo

CLASSES = 10  # number of classes with which a built-in net is built


@click.command(help=f"""Show each layer's output shape, parameters, multiply-adds per image, memory and time.

    NET is a built-in net by its name ({', '.join(nets.NETS)}; with ten classes), RUN is a folder that
    `autoconv train --out` wrote, and FILE is a model file. For an .onnx file, the rows of the table are the file's
    nodes, with shapes in the file's order of axes. In the table, the column predict is the size of all arrays
    that are needed while the layer runs. The column train is the size of the layer's output, which training keeps. The
    column time is the layer's time in inference. The column ceiling is the shortest possible time of the layer's
    operations and memory accesses on this machine, divided by the measured time. A value above 100% is left blank, and
    a line below the table states the reasons.
    """)
@click.argument("net", metavar="NET|RUN|FILE")
@click.option("--image-size", type=options.Size(), metavar="HxW", show_default="the net's own",
              help="Size of the input images, such as 180x120. Only for a built-in net, or for a "
                   "net that accepts images of any size.")
@click.option("--batch-size", type=click.IntRange(min=1), default=1, metavar="N", help="Number of images per batch.")
@click.option("--time/--no-time", "measure", default=True, help="Measure each layer's time and this machine's ceiling.")
@options.device_options
@options.json_option
def summary(net: str, image_size: tuple[int, int] | None, batch_size: int, measure: bool,
            device: str, threads: int | None, json_file: Path | None) -> None:
    """Prints the costs of a net's layers, or writes them as JSON."""
    target = options.use_device(device, threads)
    result_files.check_writable(json_file)
    model = _model(net, image_size, target)
    if not hasattr(model, "input_shape"):  # an ONNX file need not specify it
        raise click.ClickException(f"The file {net} must specify the number of axes of each input.")
    known = model.input_shape
    shapes = [shape[1:] for shape in ([known] if is_shape(known) else known)]
    if image_size is not None:
        first = getattr(model, "channels_first", False)  # an attribute of models from ONNX files
        shapes = [((shape[0], *image_size) if first else (*image_size, shape[2])) if len(shape) == 3 else shape
                  for shape in shapes]
    try:
        profile = model.profile(batch_size, shapes, measure)
    except ValueError as error:
        remedy = " Pass the image size with --image-size." if any(None in shape for shape in shapes) else ""
        raise click.ClickException(f"{error}{remedy}") from error
    if json_file is not None:
        result_files.write_json(json_file, profile.as_dict())
    if json_file != result_files.STDOUT:
        echo(str(profile))


def _model(net: str, image_size: tuple[int, int] | None, device: Device) -> models.Model:
    if net in nets.NETS:
        h, w, channels = nets.NETS[net].input_shape
        try:
            return nets.build(net, (*(image_size or (h, w)), channels), CLASSES).to(device.name)  # type: ignore[return-value]
        except ValueError as error:
            raise click.ClickException(str(error)) from error
    path = Path(net)
    if path.is_dir():
        return runs.load_run(path, device)[0]
    if not path.exists():
        raise click.ClickException(f"{net!r} is not a built-in net, a run or a file."
                                   f"{names.suggestion(net, list(nets.NETS))} Built-in nets: {', '.join(nets.NETS)}.")
    return trained_net.read_model(path, device)
