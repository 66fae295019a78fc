"""CIFAR-10: 60,000 small colour pictures (Krizhevsky 2009; https://www.cs.toronto.edu/~kriz/cifar.html)."""

import os

from .finding import Part, load


def load_data(path: str | os.PathLike | None = None) -> tuple[Part, Part]:
    """`(x_train, y_train), (x_test, y_test)`: uint8 images (N, 32, 32, 3) and uint8 labels (N, 1), as in Keras.

    50,000 training and 10,000 test images in ten classes. `path` is exclusive: a folder with the batch files of the
    python or the binary version, or the tar.gz, or a folder with it. Errors: see `autoconv.datasets.load`.
    """
    return load("cifar10", path)
