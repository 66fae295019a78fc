"""CIFAR-10: 60,000 small colour images (Krizhevsky 2009; https://www.cs.toronto.edu/~kriz/)."""

import os

from .finding import Part, load


def load_data(path: str | os.PathLike | None = None) -> tuple[Part, Part]:
    """Returns `(x_train, y_train), (x_test, y_test)`, as in Keras: 50,000 and 10,000 images, uint8
    (N, 32, 32, 3), and labels 0..9, uint8 (N, 1).

    path: the only place to read from: a folder with the batch files of the python or the binary
    version, the tar.gz, or a folder that contains it. Errors: see `autoconv.datasets.load`.
    """
    return load("cifar10", path)
