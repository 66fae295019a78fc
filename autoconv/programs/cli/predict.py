"""`autoconv predict`: what a net sees in pictures."""

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
from . import options, result_files, trained
from .lines import echo

LIKELIEST = 3
INK = " .:-=+*#%@"


@click.command()
@click.argument("net", type=options.FILE, metavar="RUN|MODEL")
@click.argument("image", type=options.FILE, nargs=-1, required=True, metavar="IMAGE|FOLDER...")
@click.option("--as-is", is_flag=True, help="Do not look for a digit: only bring the picture to the net's size.")
@click.option("--show", is_flag=True, help="Draw each picture as the net saw it.")
@options.device_options
@options.json_option
def predict(net: Path, image: tuple[Path, ...], as_is: bool, show: bool, device: str,
            threads: int | None, json_file: Path | None) -> None:
    """Print what a trained net sees in each IMAGE: the file, the class, its probability, and the next likeliest.

    RUN is the folder that `autoconv train --out RUN` wrote. MODEL is a model file, .safetensors, or Keras's .keras or
    .h5 (they need h5py: pip install 'autoconv[keras]'). A FOLDER stands for all pictures in it.

    An IMAGE is a picture (that needs Pillow: pip install 'autoconv[images]'), brought to the size and the colours that
    the net takes. For a net that reads digits the digit is found first, as MNIST was made: paper taken away, the ink
    scaled into 20x20 pixels and centred by its mass. Another net for gray images gets bright figures on dark ground: a
    picture whose border is bright is inverted. A net for colours, or one that was trained on a folder, gets the photo
    scaled to its size.

    Or it is a .npy file: an array of pixels 0..255 in the net's own shape, (H, W), (H, W, C) or several of them, taken
    as it is.
    """
    target = options.use_device(device, threads)
    result_files.check_writable(json_file)
    seer = trained.load(net, target)
    answers: list[JsonObject] = []
    seen: list[Picture] = []
    for path in (file for given in image for file in _files_in(given)):
        try:
            found = reading.read(path, seer.shape, "figure" if as_is and seer.kind == "digit" else seer.kind)
        except UnreadableImage as error:
            answers.append({"file": str(path), "error": str(error)})
            continue
        seen += found
        answers += [{"file": picture.name} for picture in found]
    rows = iter(_probabilities(seer, seen))
    for answer in answers:
        if "error" not in answer:
            row = next(rows)
            answer.update({"error": row} if isinstance(row, str) else _answer(row, seer.classes))
    _report(answers, {p.name: p.pixels for p in seen} if show else None, json_file)
    if any("error" in answer for answer in answers):
        raise click.exceptions.Exit(1)


def _probabilities(seer: trained.Trained, seen: list[Picture]) -> list[np.ndarray | str]:
    """A row a picture, at once where all have one size; or why the net cannot take it."""
    if seen and len({picture.pixels.shape for picture in seen}) == 1:
        seen_at_once = [np.stack([picture.pixels for picture in seen])]
    else:
        seen_at_once = [picture.pixels[None] for picture in seen]
    rows: list[np.ndarray | str] = []
    for pixels in seen_at_once:
        try:
            rows += list(seer.probabilities(pixels))
        except ValueError as error:  # too small for its windows, say
            rows += [f"{seen[len(rows) + i].name} cannot be seen by this net: {error}" for i in range(len(pixels))]
    return rows


def _answer(row: np.ndarray, classes: Any) -> JsonObject:
    """The likeliest classes of a row of probabilities, the first of them by itself."""
    top = [{"class": classes[i], "probability": float(row[i])} for i in np.argsort(-row, kind="stable")[:LIKELIEST]]
    return {**top[0], "top": top}


def _report(answers: list[JsonObject], seen: dict[str, np.ndarray] | None,
            json_file: Path | None) -> None:
    """Failures on the standard error output; answers as a table, or as JSON."""
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
            if seen is not None:
                echo(_drawn(seen[answer["file"]]))


def _files_in(path: Path) -> list[Path]:
    """Returns the file, or all pictures and .npy files below a folder, which is not empty."""
    if not path.is_dir():
        return [path]
    found = sorted(p for p in path.rglob("*") if p.is_file() and (is_picture(p.name) or p.suffix.lower() == ".npy"))
    if not found:
        raise click.ClickException(f"There is no picture in the folder {path}: no .jpg, .png or other, and no .npy.")
    return found


def _drawn(pixels: np.ndarray) -> str:
    """Returns a picture (H, W, C) as text: two characters a pixel, dense is bright."""
    step = -(-pixels.shape[1] // 40)
    gray = pixels[::step, ::step].mean(-1)
    return "\n".join("".join(2 * INK[int(value * len(INK) / 256)] for value in row).rstrip() for row in gray)
