"""Stores the precision of float32 products on GPUs, which the user can set."""

from ..engine.versions import count_change

_PRECISIONS = ("highest", "tf32")
_current = "tf32"


def set_precision(precision: str) -> None:
    """Sets the precision of float32 products in convolutions and dense layers on a GPU.

    "tf32", the default, uses tensor cores: factors are rounded to 10 bits of mantissa, sums stay
    float32, and results are accurate to about 3 digits. PyTorch's convolutions and TensorFlow do
    the same by default. "highest" uses float32 throughout. Factors are never rounded on the CPU,
    in float64, or on GPUs with a compute capability below 8.0, whatever the setting.
    Raises ValueError for any other value.
    """
    global _current
    if precision not in _PRECISIONS:
        raise ValueError(f"precision must be 'highest' or 'tf32'. Received: {precision!r}.")
    _current = precision
    count_change()  # so that steps recorded with the old precision are recorded again


def get_precision() -> str:
    """Returns the precision of float32 products on GPUs: "tf32" or "highest"."""
    return _current
