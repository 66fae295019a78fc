"""Chooses and loads the data set of a command, in the form that a net accepts."""

from pathlib import Path
from typing import NamedTuple

import click
import numpy as np

from ... import datasets, nets, utils
from ...files.json_text import JsonObject

LARGE_NETS = ("lecture-large",)  # nets that need larger images than 28 x 28 pixels
A_FEW_SECONDS = 3.0  # seconds to wait for MNIST's mirrors before using the built-in digits


class Feeds(NamedTuple):
    """The shape (H, W, C) of an image, and the keyword arguments of `fit` and `evaluate`."""

    input_shape: tuple[int, int, int]
    train: JsonObject
    test: JsonObject

    def sample(self) -> np.ndarray:
        """Returns the first 1000 training images, or a folder's first batch."""
        x = self.train["x"]
        return x[:1000] if isinstance(x, np.ndarray) else np.asarray(next(iter(x.take(1)))[0])


class Images(NamedTuple):
    """A named data set: images (N, H, W, C) of bytes, labels (N,), names, classes and folder."""

    name: str
    title: str
    place: str
    classes: tuple[str, ...]
    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    x_validation: np.ndarray
    y_validation: np.ndarray

    def describe(self) -> str:
        size = " x ".join(map(str, self.x_train.shape[1:]))
        return f"{self.title}, {describe_counts(self.counts, self.validation_count)} of {size}, from {self.place}"

    def feeds(self, model: str, batch_size: int) -> Feeds:
        """Returns the keyword arguments of `fit` and `evaluate` for the net named `model`."""

        def arguments(x: np.ndarray, y: np.ndarray) -> JsonObject:
            targets = utils.to_categorical(y, len(self.classes)).astype(np.uint8)  # byte targets are fastest
            return {"x": adapt_images(x, model), "y": targets, "batch_size": batch_size}

        train = arguments(self.x_train, self.y_train)
        test = arguments(self.x_test, self.y_test)
        if self.validation_count:
            validation = arguments(self.x_validation, self.y_validation)
            train["validation_data"] = validation["x"], validation["y"]
        return Feeds(train["x"].shape[1:], train, test)

    @property
    def counts(self) -> tuple[int, int]:
        """The numbers of training and test images."""
        return len(self.x_train), len(self.x_test)

    @property
    def validation_count(self) -> int:
        """The number of images on which the net is tested after each epoch."""
        return len(self.x_validation)

    def run_entries(self) -> JsonObject:
        """Returns the data set's entries in run.json, apart from its name."""
        return {"skipped": []}


def choose(data_dir: Path | None) -> tuple[str, str]:
    """Returns the name of the default data set, "mnist" or "digits", and why it was chosen."""
    if data_dir is not None:
        return "mnist", "the set in --data-dir"
    if datasets.locate("mnist"):
        return "mnist", "MNIST is on this computer"
    try:
        datasets.load("mnist", patience=A_FEW_SECONDS)
    except datasets.DatasetNotFound:
        return "digits", ("MNIST is not on this computer and could not be downloaded, so the built-in digits are "
                          "used (`autoconv train mnist` lists where it was looked for)")
    return "mnist", "MNIST could be downloaded"


def describe_counts(counts: tuple[int, int], validation: int) -> str:
    """Describes the numbers of training and test images and of validation images, if there are any."""
    between = f", {validation:,} validation (--validate)" if validation else ""
    return f"{counts[0]:,} training{between} and {counts[1]:,} test images"


def load(name: str, data_dir: Path | None, limit: int | None, validate: float = 0.0, seed: int = 0) -> Images:
    """Loads the named set, or only its first `limit` training and test images. The fraction `validate` of the training
    images, drawn by the seed, is held out for validation. Raises DatasetNotFound if the set is not found, and
    DatasetCorrupt if its files are damaged.
    """
    entry = datasets.info(name)
    (x_train, y_train), (x_test, y_test) = datasets.load(name, data_dir)
    count = max(len(entry.classes), int(y_train.max()) + 1)  # the set in --data-dir may have more classes
    classes = entry.classes if count == len(entry.classes) else tuple(map(str, range(count)))
    x = _images(x_train[:limit])
    y = y_train[:limit].reshape(-1)
    held_out = np.zeros(len(x), bool)
    held_out[np.random.default_rng(seed).permutation(len(x))[: int(validate * len(x))]] = True
    x_validation = x[held_out]
    y_validation = y[held_out]
    if held_out.any():
        x = x[~held_out]
        y = y[~held_out]
    return Images(name, entry.title, str(datasets.locate(name, data_dir)), classes, x, y, _images(x_test[:limit]),
                  y_test[:limit].reshape(-1), x_validation, y_validation)


def adapt_images(images: np.ndarray, model: str) -> np.ndarray:
    """Returns the images unchanged, or enlarged if the net named `model` needs it."""
    return enlarge(images, nets.NETS[model].input_shape[:2]) if model in LARGE_NETS else images


def enlarge(images: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Enlarges images (N, H, W, C) to (N, *size, C) by a whole factor, with black borders."""
    h, w = images.shape[1:3]
    factor = min(size[0] // h, size[1] // w)
    if factor < 1:
        raise click.ClickException(f"This net needs images of at most {size[0]} x {size[1]} "
                                   f"pixels. Received: images of {h} x {w} pixels.")
    top = (size[0] - factor * h) // 2
    left = (size[1] - factor * w) // 2
    large = np.zeros((len(images), *size, images.shape[3]), images.dtype)
    for i, image in enumerate(images):  # `repeat` on the whole set would need another gigabyte
        large[i, top : top + factor * h, left : left + factor * w] = image.repeat(factor, 0).repeat(factor, 1)
    return large


def _images(x: np.ndarray) -> np.ndarray:
    """Adds a channel axis to images (N, H, W)."""
    return x[..., None] if x.ndim == 3 else x
