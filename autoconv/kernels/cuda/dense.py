"""Computes the dense layer as a 1x1 convolution of one-pixel images."""

from ...arguments.shapes import Window
from .conv import (  # noqa: F401 (the kernels are re-exported)
    _ADD_PARTS,
    _FORWARD,
    _INPUT_GRADIENT,
    _WEIGHT_GRADIENT,
    conv2d,
    conv2d_input_grad,
    conv2d_masked_input_grad,
    conv2d_weight_grad,
)
from .pointwise import relu_grad  # noqa: F401 (re-exported: the gradient of dense with relu)

PIXEL = Window(1, 1)


def _image(a):
    """Reshapes (N, C) to (N, 1, 1, C)."""
    return a.reshape(a.shape[0], 1, 1, a.shape[1])


def _filters(w):
    """Reshapes (C, F) to (1, 1, C, F)."""
    return w.reshape(1, 1, *w.shape)


def dense(x, w, b, y, activation: str = "linear") -> None:
    """y (N,F) = activation(x (N,C) @ w (C,F) + b (F,)). b may be None."""
    conv2d(_image(x), _filters(w), b, _image(y), PIXEL, activation=activation)


def dense_input_grad(dy, w, dx) -> None:
    """dx (N,C) = dy (N,F) @ w (C,F).T."""
    conv2d_input_grad(_image(dy), _filters(w), _image(dx), PIXEL)


def dense_masked_input_grad(dy, w, x, dx) -> None:
    """dx (N,C) = dy @ w.T where x (N,C) is above 0, and 0 elsewhere. This is the gradient of the
    input of the ReLU that computed x.
    """
    conv2d_masked_input_grad(_image(dy), _filters(w), _image(x), _image(dx), PIXEL)


def dense_weight_grad(x, dy, dw, db) -> None:
    """dw (C,F) = x (N,C).T @ dy (N,F) and db (F,) = the sum of dy over the batch."""
    conv2d_weight_grad(_image(x), _image(dy), _filters(dw), db, PIXEL)
