"""`autoconv filter`: convolves a picture with image kernels."""

from pathlib import Path

import click
import numpy as np

from ...arguments import names
from . import options, result_files
from .lines import echo


@click.command("filter")
@click.argument("image", type=options.FILE)
@click.option("--kernel", "kernels", multiple=True, metavar="NAME|MATRIX", default=("sharpen",), show_default="sharpen",
              help="The name of a kernel, or the kernel's numbers with ' / ' between the rows, such "
                   "as \"0 -1 0 / -1 5 -1 / 0 -1 0\". A number can be a fraction, such as 1/9. The "
                   "option can be given several times: the results are placed side by side.")
@click.option("--out", type=options.FILE, metavar="FILE",
              show_default="IMAGE's name and the kernels', in the current folder",
              help="The picture to write; the suffix of FILE selects the format.")
@click.option("--padding", type=options.Name("padding", ("valid", "same")), default="valid",
              help="valid: use only positions inside the picture. same: pad with black and keep the size.")
@click.option("--strides", type=click.IntRange(min=1), default=1, metavar="N",
              help="Move the kernel N pixels at a time.")
@click.option("--dilation", type=click.IntRange(min=1), default=1, metavar="N",
              help="Distance in pixels between neighbouring numbers of the kernel.")
@click.option("--absolute", is_flag=True, help="Use the absolute values of the result.")
@click.option("--scale", is_flag=True, help="Stretch the values: the smallest value becomes black, the largest white. "
              "Without --scale, the values are clipped to 0..255.")
@options.quiet_option
def filter_(image: Path, kernels: tuple[str, ...], out: Path | None, padding: str, strides: int,
            dilation: int, absolute: bool, scale: bool, quiet: bool) -> None:
    """Convolve IMAGE with one or more image kernels, each colour channel separately, and write the result.

    Kernel names: sharpen, blur, gaussian, edge, outline, emboss, sobel-top, sobel-bottom, sobel-left,
    sobel-right, line-h, line-v, identity. This command needs Pillow: pip install 'autoconv[images]'.
    """
    from ... import pictures
    from ...pictures import files as picture_files
    from ...pictures.image_kernels import matrix, side_by_side, to_pixels
    from ...utils.pixels import read_whole

    for kernel in kernels:
        try:
            matrix(kernel)
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint="--kernel") from error
    labels = "-".join(_label(k, i) for i, k in enumerate(kernels))
    target = out or Path.cwd() / f"{image.stem}-{labels[:80]}.png"  # not in IMAGE's folder, which may be a training set
    try:
        picture_files.check_suffix(target)
        pixels = read_whole(image)
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    result_files.check_writable(target)
    filtered = []
    for number, kernel in enumerate(kernels):
        try:
            values = pictures.convolve(pixels, kernel, padding, strides, dilation)
        except ValueError as error:
            raise click.ClickException(str(error)) from error
        filtered.append(to_pixels(values, absolute, scale))
        if not quiet:
            echo(f"{_label(kernel, number):<12}  {_size(matrix(kernel))} kernel, values from {values.min():.1f} "
                       f"to {values.max():.1f}, {'stretched' if scale else 'clipped'} to 0..255")
    picture = side_by_side(filtered)
    picture_files.write(target, picture)
    echo(f"wrote {_size(picture)} pixels to {target}")


def _label(kernel: str, number: int) -> str:
    """Returns a kernel's label for file names: its name, or "kernelN" for a kernel of numbers."""
    return names.snake_case(kernel.strip()) if kernel.strip().replace("-", "").isalpha() else f"kernel{number + 1}"


def _size(array: np.ndarray) -> str:
    return f"{array.shape[1]} x {array.shape[0]}"
