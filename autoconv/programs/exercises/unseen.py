"""Trains nets, and judges them on digits that `datasets.digits.load_data()` does not contain."""

import runpy
from functools import cache

import numpy as np

from ...datasets import data_folder, digits
from ...models import Model
from .marking import Wrong, require

COUNT = 300
SPLIT = 2  # the set's training images have the split 0, and its test images the split 1


@cache
def unseen_digits() -> tuple[np.ndarray, np.ndarray]:
    """Returns 300 images as float32 (300, 28, 28, 1), 0 for black and 255 for white, and their
    labels 0..9. The program that drew the built-in digits draws these, from other random numbers.
    """
    program = runpy.run_path(str(data_folder() / "make_digits.py"))
    images = [program["image"](SPLIT, index) for index in range(COUNT)]
    labels = [program["label"](SPLIT, index) for index in range(COUNT)]
    return np.stack(images)[..., None].astype(np.float32), np.array(labels)


def require_accuracy(model: Model, needed: float) -> str:
    """Requires that a net recognizes this fraction of the unseen digits. Returns a sentence with
    the result.

    The net receives images with pixels 0..255 and returns one score per digit. Raises `Wrong`.
    """
    images, labels = unseen_digits()
    require(isinstance(model, Model), "The net must be a model of autoconv, such as "
                                      f"models.Sequential. Received: {type(model).__name__}.")
    scores = np.asarray(model.predict(images, verbose=0))
    require(scores.shape == (COUNT, 10), "The net must return ten scores per image. For "
            f"{COUNT} images, it returned an array of the shape {scores.shape}.")
    correct = float((scores.argmax(1) == labels).mean())
    result = f"{correct:.1%} of {COUNT} digits that no training has seen"
    if correct >= needed:
        return f"The net recognizes {result}."
    require(_accuracy(model, images / 255, labels) < needed,
            "The net receives pixels from 0 to 255, but it was trained on pixels from 0 to 1. Put "
            "layers.Rescaling(1 / 255) into the net and train it on the unchanged pixels.")
    (x, y), _ = digits.load_data()
    trained = _accuracy(model, x[:1000, ..., None], y[:1000])
    require(trained < needed or trained - correct < 0.03,
            f"The net recognizes only {result}, but more of the training images. Train for fewer "
            "epochs, use fewer weights, or add layers.Dropout.")
    advice = ("It needs more training or better layers." if correct > 0.2 else
              "Guessing reaches 10%: check that the loss falls during training.")
    raise Wrong(f"The net recognizes {result}, but {needed:.0%} are required. {advice}")


def train_and_judge(model: Model) -> str:
    """Trains a compiled net for three epochs on the built-in digits. Requires that it then
    recognizes 85% of the unseen digits.
    """
    (images, labels), _ = digits.load_data()
    model.fit(images[..., None], labels, epochs=3, verbose=0)
    return require_accuracy(model, 0.85)


def _accuracy(model: Model, images: np.ndarray, labels: np.ndarray) -> float:
    return float((model.predict(images.astype(np.float32), verbose=0).argmax(1) == labels).mean())
