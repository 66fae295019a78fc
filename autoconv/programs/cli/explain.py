"""`autoconv explain`: shows how a net computed one number for a picture."""

from pathlib import Path

import click

from ...arguments.names import printable
from ...files import atomic
from ...pictures import explaining, reading
from ...utils.pixels import UnreadableImage
from . import options, result_files, trained_net
from .inspect import PAGES
from .lines import echo


@click.command()
@click.argument("net", type=options.FILE, metavar="RUN|MODEL")
@click.argument("picture", type=options.FILE)
@click.option("--at", metavar="LAYER:ROW,COLUMN,CHANNEL",
              show_default="the answer, which is the largest number of the last layer",
              help="The number, counted from 0: conv2d_1:5,7,3 is the number in row 5, column 7 and channel 3 of the "
                   "output of the layer conv2d_1. For an output with one axis, dense:3 is the number 3.")
@click.option("--out", type=options.FILE, metavar="FILE",
              help="Also write a page (.html), in which each number links to the numbers that it was computed from.")
@click.option("--all-products", is_flag=True, help="List all products of the sum, not only the largest.")
@trained_net.model_options
@options.device_options
def explain(net: Path, picture: Path, at: str | None, out: Path | None, all_products: bool, labels: Path | None,
            preprocessing: str | None, image_size: tuple[int, int] | None, as_is: bool, device: str,
            threads: int | None) -> None:
    """Show how the net computed one number for PICTURE: inputs, weights, products and their sum.

    The command prints the steps that computed the number: the window that the layer reads, the largest products of
    inputs and weights, the bias, the normalization and the activation. All steps are computed again in float64, and the
    output states how much the net's own number differs. The output also states which pixels the number depends on, and
    the gradient of the net's answer with respect to the number.

    RUN, MODEL and PICTURE are read in the same way as by `autoconv predict`.
    """
    if out is not None and out.suffix.lower() not in PAGES:
        raise click.BadParameter(f"The file name must end in one of {', '.join(PAGES)}. Received: {str(out)!r}.",
                                 param_hint="--out")
    result_files.check_writable(out)
    model = trained_net.load(net, options.use_device(device, threads), preprocessing, image_size, labels)
    pictures = reading.read(picture, model.shape, "figure" if as_is and model.kind == "digit" else model.kind)
    if len(pictures) != 1:
        raise UnreadableImage(picture, f"it must contain exactly one picture. Received: {len(pictures)} pictures")
    pixels = pictures[0].pixels
    probabilities = model.probabilities(pixels[None])[0]
    try:
        explanation = explaining.explain(model.net, pixels, at)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--at") from error
    answer = f"{model.classes[probabilities.argmax()]} ({probabilities.max():.4f})"
    echo(printable(f"{picture}: {answer}"))
    echo(explanation.text(all_products))
    if out is not None:
        facts = {"net": str(net), "picture": str(picture), "answer": answer}
        atomic.write(out, explanation.html(f"How {net.name} computed {explanation.name}", facts, all_products))
        echo(f"wrote {out}")
