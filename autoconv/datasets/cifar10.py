"""CIFAR-10: 60,000 small colour images (Krizhevsky 2009; https://www.cs.toronto.edu/~kriz/)."""

import os

from .finding import Part, load


def load_data(path: str | os.PathLike | None = None) -> tuple[Part, Part]:
    """Returns `(x_train, y_train), (x_test, y_test)`, as in Keras. The 50,000 training
    and 10,000 test images are uint8 (N, 32, 32, 3), the labels 0..9 are uint8 (N, 1).

    path: a folder with the batch files of the python or the binary version, the tar.gz archive, or
    a folder with the archive. If `path` is given, no other place is read.
    `autoconv.datasets.load` documents the errors.
    """
    return load("cifar10", path)
