"""`autoconv summary`: what a net costs, layer by layer."""

from pathlib import Path

import click

from ... import models, nets
from ...arguments import names
from ...kernels.device import Device
from . import options, result_files, runs
from .lines import echo

CLASSES = 10  # of a built-in net, which is made for any number


@click.command(help=f"""Show for each layer its output, parameters, multiply-adds of an image, memory, and time.

    The net is a built-in one by its name ({', '.join(nets.NETS)}; with ten classes), a RUN that `autoconv train
    --out` wrote, or a model FILE. predict: the bytes of all arrays that are needed while the layer runs. train:
    its output, which training keeps. time: in inference. ceiling: the least time that its operations and bytes could
    take on this machine, divided by that. It can pass 100%: 3x3 layers of 32 channels and more may take fewer
    multiplications than are counted (Winograd's products), and other programs slow the measurement of the ceiling down.
    """)
@click.argument("net", metavar="NET|RUN|FILE")
@click.option("--image-size", type=options.Size(), metavar="HxW", show_default="the net's own",
              help="The images it gets, such as 180x120; for a built-in net, or one that takes images of any size.")
@click.option("--batch-size", type=click.IntRange(min=1), default=1, metavar="N", help="How many images at once.")
@click.option("--time/--no-time", "measure", default=True, help="Measure each layer's time and this machine's ceiling.")
@options.device_options
@options.json_option
def summary(net: str, image_size: tuple[int, int] | None, batch_size: int, measure: bool,
            device: str, threads: int | None, json_file: Path | None) -> None:
    """Prints what a net costs, or writes it as JSON."""
    target = options.use_device(device, threads)
    result_files.check_writable(json_file)
    model = _model(net, image_size, target)
    shapes = [tensor.shape[1:] for tensor in model.inputs]
    if image_size is not None:
        shapes = [(*image_size, shape[2]) if len(shape) == 3 else shape for shape in shapes]
    try:
        profile = model.profile(batch_size, shapes, measure)
    except ValueError as error:
        raise click.ClickException(f"{error} --image-size says which images it gets.") from error
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
        return runs.restored(path, device)[0]
    if not path.exists():
        raise click.ClickException(f"{net!r} is no built-in net, no run and no file."
                                   f"{names.suggestion(net, list(nets.NETS))} Built-in: {', '.join(nets.NETS)}.")
    try:
        return models.load_model(path, compile=False).to(device.name)  # type: ignore[return-value]
    except (TypeError, ValueError) as error:
        raise click.ClickException(str(error)) from error
