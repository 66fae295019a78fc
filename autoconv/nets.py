"""The nets that the command line offers by name."""

from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

import numpy as np

from . import layers as L
from .arguments import names
from .engine.tensor import Tensor
from .models import Model, Sequential
from .utils.whitening import whitening_filters

WHITENING = "whitening"  # name of the layer whose filters are computed from the training images


class Net(NamedTuple):
    """A named net: its layers and its input.

    layers(classes): returns the layers after the Input. from_logits: whether the net returns
    logits, without a softmax. divide_by: the divisor of the pixels 0..255. input_shape: the shape
    of the images that the net was made for. adapt(model, images): sets the weights that are
    computed from training images (N, H, W, C) and then stay fixed.
    """

    layers: Callable[[int], list[L.Layer]]
    from_logits: bool
    divide_by: float
    input_shape: tuple[int, int, int]
    adapt: Callable[[Model, np.ndarray], None] | None = None


def build_for_pixels(name: str, input_shape: tuple[int, int, int], classes: int,
                     augment: bool = False, mirror: bool = True) -> Sequential:
    """Builds the net `name` for images with pixels 0..255. The model includes the preprocessing, and if
    `augment` the layers of `augmentation(mirror)`. Raises ValueError if the images are too small.
    """
    net = names.lookup("net", name, NETS)
    scaling = [] if net.divide_by == 1 else [L.Rescaling(1 / net.divide_by)]
    return _chain(name, input_shape, classes, [*(augmentation(mirror) if augment else []), *scaling])


def build(name: str, input_shape: tuple[int, int, int], classes: int) -> Sequential:
    """Builds the net `name` for images of `input_shape` (H, W, C), with new weights. Raises
    ValueError if the images are too small.
    """
    names.lookup("net", name, NETS)
    return _chain(name, input_shape, classes, [])


def find_minimum_size(name: str) -> int:
    """Returns the minimum height and width of images for the net `name`."""
    net = names.lookup("net", name, NETS)
    for size in range(1, max(net.input_shape)):
        with suppress(ValueError):
            Sequential([L.Input((size, size, 1)), *net.layers(2)])
            return size
    return max(net.input_shape)


def _chain(name: str, input_shape: tuple[int, int, int], classes: int, prefix: list[L.Layer]) -> Sequential:
    try:
        return Sequential([L.Input(input_shape), *prefix, *NETS[name].layers(classes)], name=name.replace("-", "_"))
    except ValueError as error:
        height, width = input_shape[:2]
        sizes = {each: find_minimum_size(each) for each in NETS}
        if min(height, width) >= sizes[name]:
            raise
        suitable = [f"{each} (at least {n} x {n})" for each, n in sizes.items() if n <= min(height, width)]
        raise ValueError(
            f"Images for the net {name!r} must be at least {sizes[name]} x {sizes[name]} pixels. "
            f"Received: {height} x {width} pixels. Enlarge the "
            f"images{', or use the net ' if suitable else ''}{' or '.join(suitable)}.") from error


def augmentation(mirror: bool = True) -> list[L.Layer]:
    """Returns layers that change photos randomly in training. They mirror photos left to right if
    `mirror`, rotate them by up to 36 degrees and zoom by up to 10%.
    """
    return [*([L.RandomFlip("horizontal")] if mirror else []), L.RandomRotation(0.1), L.RandomZoom(0.1)]


def _lecture(classes: int) -> list[L.Layer]:
    return [
        L.Conv2D(32, 3, activation="relu"),
        L.MaxPooling2D(),
        L.Conv2D(64, 3, activation="relu"),
        L.MaxPooling2D(),
        L.Conv2D(64, 3, activation="relu"),
        L.Flatten(),
        L.Dense(64, activation="relu"),
        L.Dense(classes, activation="softmax"),
    ]


def _lecture_large(classes: int) -> list[L.Layer]:
    return [
        L.Conv2D(32, 3, activation="relu"),
        L.MaxPooling2D(),
        L.Conv2D(32, 3, activation="relu"),
        L.MaxPooling2D(),
        L.Conv2D(64, 3, activation="relu"),
        L.Conv2D(64, 3, activation="relu"),
        L.MaxPooling2D(),
        L.Dropout(0.25),
        L.Flatten(),
        L.Dense(512, activation="relu"),
        L.Dropout(0.5),
        L.Dense(classes, activation="softmax"),
    ]


def _photos(classes: int) -> list[L.Layer]:
    return [
        L.Rescaling(1 / 255),
        L.Conv2D(16, 3, padding="same", activation="relu"),
        L.MaxPooling2D(),
        L.Conv2D(32, 3, padding="same", activation="relu"),
        L.MaxPooling2D(),
        L.Conv2D(64, 3, padding="same", activation="relu"),
        L.MaxPooling2D(),
        L.Flatten(),
        L.Dense(128, activation="relu"),
        L.Dense(classes),
    ]


def _best(classes: int) -> list[L.Layer]:
    """Returns the layers of `train --recipe best`, with random rotations, shifts and zooms."""
    return [
        L.RandomRotation(0.03, "constant"),
        L.RandomTranslation(0.08, 0.08, "constant"),
        L.RandomZoom(0.1, 0.1, "constant"),
        *_convolve_normalize(32), *_convolve_normalize(32), L.MaxPooling2D(), L.Dropout(0.2),
        *_convolve_normalize(64), *_convolve_normalize(64), L.MaxPooling2D(), L.Dropout(0.2),
        *_convolve_normalize(128), *_convolve_normalize(256, 2), L.Flatten(), L.Dropout(0.3),
        L.Dense(classes, activation="softmax"),
    ]


def _cifar10(classes: int) -> list[L.Layer]:
    """Returns the layers of `train cifar10 --recipe best`, whose first filters whiten the images."""
    return [
        L.RandomFlip("horizontal"),
        L.RandomTranslation(2 / 32, 2 / 32, interpolation="nearest"),
        L.Rescaling(4, -2),
        L.Conv2D(24, 2, activation="silu", trainable=False, name=WHITENING),
        *_convolve_twice(64), *_convolve_twice(256), *_convolve_twice(256),
        L.GlobalMaxPooling2D(), L.Rescaling(1 / 9),
        L.Dense(classes, use_bias=False),
    ]


def _convolve_twice(filters: int) -> list[L.Layer]:
    def normalize() -> list[L.Layer]:
        return [L.BatchNormalization(momentum=0.9, scale=False), L.Activation("silu")]

    return [L.Conv2D(filters, 3, padding="same", use_bias=False), L.MaxPooling2D(), *normalize(),
            L.Conv2D(filters, 3, padding="same", use_bias=False), *normalize()]


def _whiten(model: Model, images: np.ndarray) -> None:
    """Sets the filters of the layer `WHITENING`. Raises ValueError unless the images are RGB."""
    if images.shape[-1] != 3:
        raise ValueError("The net 'cifar10' needs images with three channels (RGB). "
                         f"Received: {images.shape[-1]}. Use another net.")
    x = Tensor(np.asarray(images, np.float32))
    for layer in model.layers:
        if layer.name == WHITENING:
            layer.kernel.assign(whitening_filters(x.numpy(), layer.kernel_size[0]))
            return
        x = layer(x, training=False)


def _sprint(classes: int) -> list[L.Layer]:
    """Returns the layers of `train --recipe sprint`. The first layer standardizes MNIST's pixels."""
    return [
        L.Rescaling(1 / 78.6, -0.424),
        L.Conv2D(16, 4, strides=2, activation="relu"),
        L.Conv2D(32, 3, activation="relu"),
        L.MaxPooling2D(),
        L.Conv2D(32, 3, activation="relu"),
        L.Flatten(),
        L.Dense(classes, activation="softmax", kernel_initializer="zeros"),
    ]


def _convolve_normalize(filters: int, kernel_size: int = 3) -> list[L.Layer]:
    return [L.Conv2D(filters, kernel_size, use_bias=False), L.BatchNormalization(), L.ReLU()]


NETS = {"best": Net(_best, from_logits=False, divide_by=255.0, input_shape=(28, 28, 1)),
        "cifar10": Net(_cifar10, from_logits=True, divide_by=255.0, input_shape=(32, 32, 3),
                       adapt=_whiten),
        "lecture": Net(_lecture, from_logits=False, divide_by=255.0, input_shape=(28, 28, 1)),
        "lecture-large": Net(_lecture_large, from_logits=False, divide_by=255.0,
                             input_shape=(150, 150, 1)),
        "photos": Net(_photos, from_logits=True, divide_by=1.0, input_shape=(180, 180, 3)),
        "sprint": Net(_sprint, from_logits=False, divide_by=1.0, input_shape=(28, 28, 1))}
