"""The precision of float32 products on a GPU's tensor cores, which the user sets."""

from ..engine.versions import count_change

_PRECISIONS = ("highest", "tf32")
_current = "tf32"


def set_precision(precision: str) -> None:
    """Sets how float32 is multiplied in convolutions and dense layers on a GPU, from now on.

    "tf32", the default, uses tensor cores: factors are rounded to 10 bits of mantissa, sums stay
    float32, and results are accurate to about 3 digits. PyTorch's convolutions and TensorFlow do
    the same by default. "highest" uses float32 throughout. The setting has no effect on the CPU,
    for float64, or on GPUs below compute capability 8.0, where float32 is always exact. Raises
    ValueError for any other value.
    """
    global _current
    if precision not in _PRECISIONS:
        raise ValueError(f"precision must be 'highest' or 'tf32'. Received: {precision!r}.")
    _current = precision
    count_change()  # steps recorded with the other precision are recorded again


def get_precision() -> str:
    """Returns "highest" or "tf32", as set by `set_precision`."""
    return _current
