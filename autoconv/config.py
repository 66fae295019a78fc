"""The settings of `keras.config`. In autoconv, each setting has only one allowed value."""

from .functional.loss_functions import EPSILON

__all__ = ["backend", "epsilon", "floatx", "image_data_format", "set_epsilon", "set_floatx", "set_image_data_format"]


def backend() -> str:
    """Returns the name of the backend: "autoconv"."""
    return "autoconv"


def floatx() -> str:
    """Returns the layers' default dtype: "float32"."""
    return "float32"


def set_floatx(value: str) -> None:
    """Raises ValueError unless the value is "float32". For other dtypes, pass `dtype` to the layers."""
    _check_value("floatx", value, floatx(), "Pass dtype to the layers instead.")


def epsilon() -> float:
    """Returns 1e-7, the constant that keeps the losses' logarithms and quotients finite."""
    return EPSILON


def set_epsilon(value: float) -> None:
    """Raises ValueError unless the value is 1e-7."""
    _check_value("epsilon", value, EPSILON, "Pass epsilon to layers and optimizers instead.")


def image_data_format() -> str:
    """Returns "channels_last", the name of the axis order (N, H, W, C) of images."""
    return "channels_last"


def set_image_data_format(data_format: str) -> None:
    """Raises ValueError unless the value is "channels_last"."""
    _check_value("image_data_format", data_format, image_data_format(),
                 "Move the channels to the end: x.transpose(0, 2, 3, 1).")


def _check_value(name: str, value: object, constant: object, remedy: str) -> None:
    if value != constant:
        raise ValueError(f"autoconv's {name} is always {constant!r}. Received: {value!r}. {remedy}")
