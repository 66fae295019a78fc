"""Fashion-MNIST: 70,000 images of clothing (https://github.com/zalandoresearch/fashion-mnist)."""

import os

from .finding import Part, load


def load_data(path: str | os.PathLike | None = None) -> tuple[Part, Part]:
    """Returns `(x_train, y_train), (x_test, y_test)`, as in Keras: 60,000 and 10,000 images, uint8
    (N, 28, 28) with 0 black and 255 white, and labels 0..9, uint8 (N,).

    path: the only place to read from, see `mnist.load_data`.
    """
    return load("fashion_mnist", path)
