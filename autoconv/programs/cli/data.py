"""Which data a command works on, as a net takes them."""

from pathlib import Path
from typing import NamedTuple

import click
import numpy as np

from ... import datasets, nets, utils
from ...files.json_text import JsonObject

ENLARGED = ("lecture-large",)  # nets that need larger images than 28 x 28 pixels
A_FEW_SECONDS = 3.0  # for MNIST's mirrors, then the built-in digits are taken


class Feeds(NamedTuple):
    """What a net is made for and fed with: an image's shape, the arguments of fit and evaluate."""

    input_shape: tuple[int, int, int]
    train: JsonObject
    test: JsonObject


class Images(NamedTuple):
    """Images (N, H, W, C) of bytes and labels (N,), the set's name, classes and origin."""

    name: str
    title: str
    place: str
    classes: tuple[str, ...]
    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray

    def described(self) -> str:
        size = " x ".join(map(str, self.x_train.shape[1:]))
        return (f"{self.title}, {len(self.x_train):,} training and {len(self.x_test):,} test "
                f"images of {size}, from {self.place}")

    def feeds(self, model: str, batch_size: int) -> Feeds:
        """What fit and evaluate get, for the net of that name."""

        def arguments(x: np.ndarray, y: np.ndarray) -> JsonObject:
            targets = utils.to_categorical(y, len(self.classes)).astype(np.uint8)  # bytes are fastest
            return {"x": as_taken(x, model), "y": targets, "batch_size": batch_size}

        train = arguments(self.x_train, self.y_train)
        test = arguments(self.x_test, self.y_test)
        return Feeds(train["x"].shape[1:], train, test)

    @property
    def counts(self) -> tuple[int, int]:
        """How many images are trained and tested on."""
        return len(self.x_train), len(self.x_test)

    def kept(self) -> JsonObject:
        """What run.json keeps beside the name."""
        return {"skipped": []}


def choose(data_dir: Path | None) -> tuple[str, str]:
    """Returns the set to train on if none was named, and why: MNIST if possible, or digits."""
    if data_dir is not None:
        return "mnist", "the set in --data-dir"
    if datasets.where("mnist"):
        return "mnist", "MNIST is on this computer"
    try:
        datasets.load("mnist", patience=A_FEW_SECONDS)
    except datasets.DatasetNotFound:
        return "digits", ("MNIST is not on this computer and could not be downloaded, so the built-in digits stand in "
                          "for it (`autoconv train mnist` says where it was looked for)")
    return "mnist", "MNIST could be downloaded"


def load(name: str, data_dir: Path | None, limit: int | None) -> Images:
    """The set of that name, cut to `limit`. Raises DatasetNotFound or DatasetCorrupt."""
    entry = datasets.info(name)
    (x_train, y_train), (x_test, y_test) = datasets.load(name, data_dir)
    count = max(len(entry.classes), int(y_train.max()) + 1)  # a folder's own set may have more
    return Images(name, entry.title, str(datasets.where(name, data_dir)), entry.classes
                  if count == len(entry.classes) else tuple(map(str, range(count))),
                  _images(x_train[:limit]), y_train[:limit].reshape(-1), _images(x_test[:limit]),
                  y_test[:limit].reshape(-1))


def as_taken(images: np.ndarray, model: str) -> np.ndarray:
    """The images as the net of that name takes them: as they are, or enlarged."""
    return enlarge(images, nets.NETS[model].input_shape[:2]) if model in ENLARGED else images


def enlarge(images: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Returns images (N, H, W, C) as (N, *size, C): pixels become squares, the rest is black."""
    h, w = images.shape[1:3]
    factor = min(size[0] // h, size[1] // w)
    if factor < 1:
        raise click.ClickException(f"This net takes images of {size[0]} x {size[1]} pixels. "
                                   f"Received larger ones: {h} x {w}.")
    top = (size[0] - factor * h) // 2
    left = (size[1] - factor * w) // 2
    large = np.zeros((len(images), *size, images.shape[3]), images.dtype)
    for i, image in enumerate(images):  # one by one: a whole set enlarged is more than a gigabyte
        large[i, top : top + factor * h, left : left + factor * w] = image.repeat(factor, 0).repeat(factor, 1)
    return large


def _images(x: np.ndarray) -> np.ndarray:
    """(N, H, W) -> (N, H, W, 1)."""
    return x[..., None] if x.ndim == 3 else x
