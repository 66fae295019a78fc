"""Fashion-MNIST: 70,000 images of clothing (https://github.com/zalandoresearch/fashion-mnist)."""

import os

from .finding import Part, load


def load_data(path: str | os.PathLike | None = None) -> tuple[Part, Part]:
    """Returns `(x_train, y_train), (x_test, y_test)`, as in Keras. The 60,000 training and 10,000
    test images are uint8 (N, 28, 28), 0 for black and 255 for white. The labels are uint8 (N,).

    path: a folder or file from which to read the data set, see `mnist.load_data`.
    """
    return load("fashion_mnist", path)
