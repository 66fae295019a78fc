"""Arrays of length one."""

from typing import Any

import numpy as np


def normalize(x: Any, axis: int = -1, order: float = 2) -> np.ndarray:
    """x divided by its norms along `axis`, of the order that numpy.linalg.norm takes: a copy. Zeros stay zeros."""
    x = np.asarray(x)
    norm = np.linalg.norm(x, order, axis, keepdims=True)
    return x / np.where(norm == 0, 1, norm)
