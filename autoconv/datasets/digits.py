"""The built-in set, part of the package: digits drawn by `make_digits.py`, in MNIST's format."""

import os

from .finding import Part, load


def load_data(path: str | os.PathLike | None = None) -> tuple[Part, Part]:
    """Returns `(x_train, y_train), (x_test, y_test)`, as in Keras: 14,000 and 2,000 images, uint8
    (N, 28, 28) with 0 black and 255 white, and labels 0..9, uint8 (N,).

    path: the only place to read from, see `mnist.load_data`.
    """
    return load("digits", path)
