"""The settings of `keras.config`: one order of axes, and float32 unless a layer has a dtype."""

from typing import Any

from .functional.loss_functions import EPSILON

__all__ = ["backend", "epsilon", "floatx", "image_data_format", "set_epsilon", "set_floatx", "set_image_data_format"]


def backend() -> str:
    """Which package computes: "autoconv"."""
    return "autoconv"


def floatx() -> str:
    """The dtype of layers that are not given one: "float32"."""
    return "float32"


def set_floatx(value: str) -> None:
    """Takes "float32" only: for others pass a layer its dtype."""
    _only("floatx", value, floatx(), "Pass dtype='float64' to the layers.")


def epsilon() -> float:
    """What keeps logarithms and quotients of losses finite: 1e-7."""
    return EPSILON


def set_epsilon(value: float) -> None:
    """Takes 1e-7 only."""
    _only("epsilon", value, EPSILON, "Layers and optimizers take an epsilon of their own.")


def image_data_format() -> str:
    """The order of an image's axes: "channels_last", (N, H, W, C)."""
    return "channels_last"


def set_image_data_format(data_format: str) -> None:
    """Takes "channels_last" only."""
    _only("image_data_format", data_format, image_data_format(), "Move the channels to the end: "
          "x.transpose(0, 2, 3, 1).")


def _only(what: str, value: Any, own: Any, remedy: str) -> None:
    if value != own:
        raise ValueError(f"autoconv's {what} is always {own!r}. Received: {value!r}. {remedy}")
