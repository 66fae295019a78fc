"""`autoconv predict`: classifies pictures with a trained net."""

from pathlib import Path
from typing import Any

import click
import numpy as np

from ...arguments.names import printable
from ...files.json_text import JsonObject
from ...pictures import reading
from ...pictures.reading import Picture
from ...utils.class_folders import is_picture
from ...utils.pixels import UnreadableImage
from . import options, result_files, trained_net
from .lines import echo

LIKELIEST = 3
INK = " .:-=+*#%@"


@click.command()
@click.argument("net", type=options.FILE, metavar="RUN|MODEL")
@click.argument("image", type=options.FILE, nargs=-1, required=True, metavar="IMAGE|FOLDER...")
@trained_net.model_options
@click.option("--show", is_flag=True, help="Draw each picture in the form in which the net receives it.")
@options.device_options
@options.json_option
def predict(net: Path, image: tuple[Path, ...], labels: Path | None, preprocessing: str | None,
            image_size: tuple[int, int] | None, as_is: bool, show: bool, device: str,
            threads: int | None, json_file: Path | None) -> None:
    """Classify each IMAGE: print the file, the class, its probability, and the next likeliest classes.

    RUN is the folder that `autoconv train --out RUN` wrote. MODEL is a model file: .safetensors, Keras's .keras or .h5,
    or .onnx, for images with the axes (N, C, H, W) or (N, H, W, C). For a FOLDER, the command classifies all pictures
    in the folder.

    An IMAGE can be a picture, which needs Pillow (pip install 'autoconv[images]'). The picture is scaled to
    the size of the net's input and converted to its colours. For a net that reads digits, the digit is prepared as in
    MNIST: the paper is removed, and the ink is scaled to 20x20 pixels and centred by its mass. For any other net for
    gray images, a picture with a bright border is inverted, so that the figure is bright on a dark ground. For a colour
    net, or a net that was trained on a folder, the photo is only scaled.

    An IMAGE can also be a .npy file: pixels 0..255 in the net's own shape, (H, W) or (H, W, C), or an array of several
    such images. The pixels are used unchanged. Values 0..1 are an error, except with --preprocessing none.
    """
    target = options.use_device(device, threads)
    result_files.check_writable(json_file)
    model = trained_net.load(net, target, preprocessing, image_size, labels)
    answers: list[JsonObject] = []
    shown: list[Picture] = []
    for path in (file for argument in image for file in _files_in(argument)):
        try:
            pictures = reading.read(path, model.shape, "figure" if as_is and model.kind == "digit" else model.kind,
                                    any_range=preprocessing == "none")
        except UnreadableImage as error:
            answers.append({"file": str(path), "error": str(error)})
            continue
        shown += pictures
        answers += [{"file": picture.name} for picture in pictures]
    rows = iter(_probabilities(model, shown))
    for answer in answers:
        if "error" not in answer:
            row = next(rows)
            answer.update({"error": row} if isinstance(row, str) else _answer(row, model.classes))
    _report(answers, {p.name: p.pixels for p in shown} if show else None, json_file)
    if any("error" in answer for answer in answers):
        raise click.exceptions.Exit(1)


def _probabilities(net: trained_net.TrainedNet, pictures: list[Picture]) -> list[np.ndarray | str]:
    """Returns each picture's probabilities, or an error message if the net rejects the picture."""
    if pictures and len({picture.pixels.shape for picture in pictures}) == 1:
        batches = [np.stack([picture.pixels for picture in pictures])]
    else:
        batches = [picture.pixels[None] for picture in pictures]
    rows: list[np.ndarray | str] = []
    for pixels in batches:
        try:
            rows += list(net.probabilities(pixels))
        except ValueError as error:  # for instance, a picture is smaller than the net's windows
            rows += [f"{p.name} cannot be used with this net: {error}" for p in pictures[len(rows) :][: len(pixels)]]
    return rows


def _answer(row: np.ndarray, classes: Any) -> JsonObject:
    """Returns the likeliest class with its probability, and the likeliest three as "top"."""
    top = [{"class": classes[i], "probability": float(row[i])} for i in np.argsort(-row, kind="stable")[:LIKELIEST]]
    return {**top[0], "top": top}


def _report(answers: list[JsonObject], pixels: dict[str, np.ndarray] | None,
            json_file: Path | None) -> None:
    """Prints errors to standard error, and the answers as a table or as JSON."""
    for answer in answers:
        if "error" in answer:
            echo(f"Error: {printable(answer['error'])}", err=True)
    good = [answer for answer in answers if "error" not in answer]
    if json_file is not None:
        result_files.write_json(json_file, answers)
    if json_file != result_files.STDOUT and good:
        wide = max(len(printable(answer["file"])) for answer in good)
        name = max(len(printable(choice["class"])) for answer in good for choice in answer["top"])
        for answer in good:
            choices = [f"{printable(choice['class']):<{name}}  {choice['probability']:.4f}" for choice in answer["top"]]
            echo(f"{printable(answer['file']):<{wide}}  " + "   ".join(choices))
            if pixels is not None:
                echo(_draw(pixels[answer["file"]]))


def _files_in(path: Path) -> list[Path]:
    """Returns the pictures and .npy files in a folder, or [path] if `path` is a file. Raises a
    ClickException if the folder contains none.
    """
    if not path.is_dir():
        return [path]
    paths = sorted(p for p in path.rglob("*") if p.is_file() and (is_picture(p.name) or p.suffix.lower() == ".npy"))
    if not paths:
        raise click.ClickException(f"The folder {path} contains no pictures (.jpg, .png and others) and no .npy files.")
    return paths


def _draw(pixels: np.ndarray) -> str:
    """Draws a picture (H, W, C) as text, two characters per pixel, denser for brighter pixels."""
    step = -(-pixels.shape[1] // 40)
    gray = pixels[::step, ::step].mean(-1)
    return "\n".join("".join(2 * INK[int(value * len(INK) / 256)] for value in row).rstrip() for row in gray)
