"""The built-in data set of digits, drawn by `make_digits.py`, in MNIST's format."""

import os

from .finding import Part, load


def load_data(path: str | os.PathLike | None = None) -> tuple[Part, Part]:
    """Returns `(x_train, y_train), (x_test, y_test)`, in the same form as `mnist.load_data`. The
    14,000 training and 2,000 test images are uint8 (N, 28, 28), 0 for black and 255 for white. The
    labels 0..9 are uint8 (N,).

    path: a folder or file from which to read another set in MNIST's format, see `mnist.load_data`.
    """
    return load("digits", path)
