"""MNIST: 70,000 handwritten digits (LeCun, Cortes, Burges; http://yann.lecun.com/exdb/mnist/)."""

import os

from .finding import Part, load


def load_data(path: str | os.PathLike | None = None) -> tuple[Part, Part]:
    """Returns `(x_train, y_train), (x_test, y_test)`, as in Keras. The 60,000 training and 10,000
    test images are uint8 (N, 28, 28), 0 for black and 255 for white. The labels are uint8 (N,).

    path: a folder with the four IDX files (plain or .gz) of any set in MNIST's format, a folder
    with Keras's `mnist.npz`, or that file. If `path` is given, no other place is read.
    `autoconv.datasets.load` documents the errors.
    """
    return load("mnist", path)
