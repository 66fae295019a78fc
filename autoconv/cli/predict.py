"""`autoconv predict`: what a net sees in pictures."""

from pathlib import Path
from typing import cast

import click
import numpy as np

from .. import nets
from . import options, runs
from .pictures import Picture, read


@click.command()
@click.argument("run", type=options.FILE)
@click.argument("image", type=options.FILE, nargs=-1, required=True)
@options.device_options
def predict(run: Path, image: tuple[Path, ...], device: str, threads: int | None) -> None:
    """Print what the net of RUN sees in each IMAGE: the file, the class and its probability.

    An IMAGE is a picture (that needs Pillow: pip install 'autoconv[images]'), brought to the size and the colours that
    the net takes; for a net that was trained on a folder of photos, as these were. Nets for grey images know white
    figures on black ground, as MNIST has them, so a picture whose border is bright is inverted.

    Or it is a .npy file: an array of pixels 0..255 in the net's own shape, (H, W), (H, W, C) or several of them, taken
    as it is.
    """
    target = options.use_device(device, threads)
    model, trained = runs.restored(run, target)
    shape = cast(tuple[int, int, int], model.input_shape[1:])
    pictures = [picture for path in image for picture in read(path, shape, photo="folder" in trained)]
    outputs = model.predict(np.stack([p.pixels for p in pictures]), verbose=0)
    probabilities = _softmax(outputs) if nets.NETS[trained["model"]].from_logits else outputs
    for line in _table(pictures, probabilities, trained["classes"]):
        click.echo(line)


def _softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def _table(pictures: list[Picture], probabilities: np.ndarray, classes: list[str]) -> list[str]:
    """A line a picture, in columns."""
    wide = max(len(p.name) for p in pictures)
    return [
        f"{p.name:<{wide}}  {classes[row.argmax()]:<{max(map(len, classes))}}  {row.max():.4f}"
        for p, row in zip(pictures, probabilities)
    ]
