"""`autoconv inspect`: shows the output of each layer of a net for a picture."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ...arguments import names
from ...files import atomic
from ...pictures.inside import select_nodes
from ...pictures.reading import Picture, read
from ...utils.pixels import UnreadableImage
from . import options, result_files, run_images, runs
from .lines import echo
from .trained_net import TrainedNet, from_run

if TYPE_CHECKING:
    from ...pictures.panels import Panel, Scores

PAGES = (".html", ".htm")
FIGURES = (".png", ".svg")


@click.command()
@click.argument("run", type=options.FILE)
@click.argument("image", type=options.FILE, nargs=-1)
@click.option("--out", type=options.FILE, metavar="FILE", required=True,
              help="The file to write: a page (.html) or a picture (.png or .svg, which need "
                   "matplotlib: pip install 'autoconv[plots]'). A picture fits on a screen; what does not "
                   "fit goes to further files, such as FILE-2.png.")
@click.option("--layer", metavar="NAME", help="Show only this layer, such as conv2d_1, "
              "with all its maps, its Grad-CAM, its receptive field, inputs that excite its filters, "
              "and which test images are similar for it.")
@options.device_options
@options.quiet_option
def inspect(run: Path, image: tuple[Path, ...], out: Path, layer: str | None, device: str,
            threads: int | None, quiet: bool) -> None:
    """Write the output of each layer of RUN's net for each IMAGE, and the filters, to one page or picture.

    The output shows each layer's name, shape, smallest and largest value, its eight strongest maps, the class scores,
    and over the image what spoke for and against the answer (hidden patches, gradient, Grad-CAM) and the receptive
    fields of the convolutions. The last convolution's strongest filters are shown with inputs that excite them.

    An IMAGE is read in the same way as by `autoconv predict`. Without IMAGE, the command uses the first test image of
    the net's data set, and also shows which of 150 test images are similar for the last layer but one.
    """
    from ...pictures import inspection

    if out.suffix.lower() not in (*PAGES, *FIGURES):
        raise click.BadParameter(f"The file name must end in one of {', '.join((*PAGES, *FIGURES))}. "
                                 f"Received: {str(out)!r}.", param_hint="--out")
    result_files.check_writable(out)
    model, results = runs.load_run(run, options.use_device(device, threads))
    if layer is not None:
        try:
            select_nodes(model, layer)
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint="--layer") from error
    pictures, unreadable, embedding = _read_pictures(image, from_run(model, results), results, layer)
    images = [inspection.inspect_image(model, each.pixels, each.name, results["classes"], layer) for each in pictures]
    filters = inspection.select_filters(model, layer)
    parts = [*(part for one in images for part in one.parts()), *filters, *embedding]
    files = [out]
    if out.suffix.lower() in PAGES:
        facts = {"net": f"{results['model']}, {model.count_params():,} parameters", "data": results["dataset"]}
        atomic.write(out, inspection.page(f"Inside {run.name or results['model']}", facts, filters, images, embedding))
    else:
        files = _write_figures(out, parts)
    if not quiet:
        for one in images:
            best = max(one.scores.values.items(), key=lambda item: item[1])
            echo(names.printable(f"{one.name}  {best[0]}  {best[1]:.4f}"))
    echo(f"wrote {len(parts)} pictures to {', '.join(map(str, files))}")
    if unreadable:
        raise click.exceptions.Exit(1)


def _write_figures(out: Path, parts: "Sequence[Panel | Scores]") -> list[Path]:
    """Writes figures that fit on a screen to `out` and, if there are several, to out-2, out-3 ... Returns the files."""
    from ...pictures.sheets import sheets

    files = []
    for number, sheet in enumerate(sheets(parts), 1):
        data = io.BytesIO()
        sheet.savefig(data, format=out.suffix[1:].lower())
        files.append(out if number == 1 else out.with_stem(f"{out.stem}-{number}"))
        atomic.write(files[-1], data.getvalue())
    return files


def _read_pictures(
    images: tuple[Path, ...], net: TrainedNet, results: dict, layer: str | None,
) -> "tuple[list[Picture], list[UnreadableImage], list[Panel]]":
    """Returns the pictures in the net's shape, the errors of unreadable files, which it prints, and
    [a panel of similar test images] if there are no files. Raises the first error if no file is
    readable.
    """
    pictures: list[Picture] = []
    unreadable: list[UnreadableImage] = []
    if not images:
        from ...pictures.panels import embedding_panels

        tests, labels = run_images.load_test_images(results)
        name = f"{results['dataset']}, test image 0 ({results['classes'][labels[0]]})"
        panels = embedding_panels(net.net, tests, labels, results["classes"], layer)
        return [Picture(name, tests[0])], [], panels
    for path in images:
        try:
            pictures += read(path, net.shape, net.kind)
        except UnreadableImage as error:
            unreadable.append(error)
    if not pictures:
        raise unreadable[0]
    for failure in unreadable:
        echo(f"Error: {names.printable(str(failure))}", err=True)
    return pictures, unreadable, []
