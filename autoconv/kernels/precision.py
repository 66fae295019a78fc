"""How exactly a GPU's tensor cores may multiply: a choice between speed and digits, made by the user."""

from ..engine.versions import count_change

_PRECISIONS = ("highest", "tf32")
_current = "tf32"


def set_precision(precision: str) -> None:
    """How float32 is multiplied in convolutions and dense layers on a GPU, from now on.

    "tf32", as at the start, takes tensor cores: factors are rounded to 10 bits of mantissa, sums
    stay float32, and results are right to about 3 digits. PyTorch's convolutions and TensorFlow do
    the same by default. "highest" is float32 throughout. Nothing changes on the CPU, for float64,
    or on GPUs before compute capability 8.0, where float32 is exact. Raises ValueError for any
    other word.
    """
    global _current
    if precision not in _PRECISIONS:
        raise ValueError(f"precision must be 'highest' or 'tf32'. Received: {precision!r}.")
    _current = precision
    count_change()  # what was recorded at the other one is recorded anew


def get_precision() -> str:
    """"highest" or "tf32", as `set_precision` explains."""
    return _current
