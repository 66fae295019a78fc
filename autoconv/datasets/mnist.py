"""MNIST: 70,000 handwritten digits (LeCun, Cortes, Burges; http://yann.lecun.com/exdb/mnist/)."""

import os

from .finding import Part, load


def load_data(path: str | os.PathLike | None = None) -> tuple[Part, Part]:
    """`(x_train, y_train), (x_test, y_test)`: uint8 images (N, 28, 28) and uint8 labels (N,), as in
    Keras.

    60,000 training and 10,000 test images in ten classes, 0 black and 255 white. `path` is
    exclusive: a folder with the four IDX files of any set in MNIST's format (plain or .gz, taken as
    they are) or with Keras's `mnist.npz`, or that file. Errors: see `autoconv.datasets.load`.
    """
    return load("mnist", path)
