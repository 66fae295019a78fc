"""MNIST: 70,000 handwritten digits (LeCun, Cortes, Burges; http://yann.lecun.com/exdb/mnist/)."""

import os

from .finding import Part, load


def load_data(path: str | os.PathLike | None = None) -> tuple[Part, Part]:
    """Returns `(x_train, y_train), (x_test, y_test)`, as in Keras: 60,000 and 10,000 images, uint8
    (N, 28, 28) with 0 black and 255 white, and labels 0..9, uint8 (N,).

    path: the only place to read from: a folder with the four IDX files of any set in MNIST's format
    (plain or .gz) or with Keras's `mnist.npz`, or that file. Errors: see `autoconv.datasets.load`.
    """
    return load("mnist", path)
