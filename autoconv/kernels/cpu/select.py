"""Compares and selects elements with NumPy; compiled loops would be no faster."""

import numpy as np

from .arith import abs, copy, equal, less, less_equal, log, maximum, minimum, multiply, not_equal, power, subtract, sum  # noqa: F401 (re-exported)
from .jit import record_calls

Array = np.ndarray


@record_calls
def where(condition: Array, a: Array, b: Array, out: Array) -> None:
    """out = a if `condition` (boolean) is True, else b, element by element."""
    np.copyto(out, b)
    np.copyto(out, a, where=condition)


@record_calls
def mask(condition: Array, keep: bool, a: Array, out: Array) -> None:
    """out = a if `condition` equals `keep` (True or False), else 0, element by element."""
    np.copyto(out, 0 if keep else a)
    np.copyto(out, a if keep else 0, where=condition)


@record_calls
def abs_grad(x: Array, dy: Array, dx: Array) -> None:
    """dx = sign(x) dy."""
    np.sign(x, out=dx)
    np.multiply(dx, dy, out=dx)


@record_calls
def clip(x: Array, low: float, high: float, y: Array) -> None:
    """y = min(max(x, low), high); NaN stays NaN."""
    np.clip(x, low, high, out=y)


@record_calls
def clip_grad(x: Array, low: float, high: float, dy: Array, dx: Array) -> None:
    """dx = dy if low <= x <= high, else 0; also 0 if x is NaN."""
    np.copyto(dx, dy)
    np.copyto(dx, 0, where=~((x >= low) & (x <= high)))
