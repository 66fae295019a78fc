"""Compares and selects elements of broadcast arrays with NumPy: memory bandwidth is the limit."""

import numpy as np

from .arith import abs, copy, equal, less, less_equal, log, maximum, minimum, multiply, not_equal, power, subtract, sum  # noqa: F401 (part of this module)
from .jit import recorded

Array = np.ndarray


@recorded
def where(condition: Array, a: Array, b: Array, out: Array) -> None:
    """out = a if `condition` (boolean) is True, else b, element by element."""
    np.copyto(out, b)
    np.copyto(out, a, where=condition)


@recorded
def masked(condition: Array, kept: bool, a: Array, out: Array) -> None:
    """out = a if `condition` equals `kept` (True or False), else 0, element by element."""
    np.copyto(out, 0 if kept else a)
    np.copyto(out, a if kept else 0, where=condition)


@recorded
def abs_grad(x: Array, dy: Array, dx: Array) -> None:
    """dx = sign(x) dy."""
    np.sign(x, out=dx)
    np.multiply(dx, dy, out=dx)


@recorded
def clip(x: Array, low: float, high: float, y: Array) -> None:
    """y = min(max(x, low), high); NaN stays NaN."""
    np.clip(x, low, high, out=y)


@recorded
def clip_grad(x: Array, low: float, high: float, dy: Array, dx: Array) -> None:
    """dx = dy if low <= x <= high, else 0; also 0 if x is NaN."""
    np.copyto(dx, dy)
    np.copyto(dx, 0, where=~((x >= low) & (x <= high)))
