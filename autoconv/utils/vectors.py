"""Arrays of length one."""

from typing import Any

import numpy as np

from ..engine.tensor import Tensor


def normalize(x: Any, axis: int = -1, order: float = 2) -> Any:
    """x divided by its norms along `axis`, of the order of numpy.linalg.norm: a copy, of a tensor a
    tensor. Zeros stay zeros.
    """
    array = np.asarray(x)
    norm = np.linalg.norm(array, order, axis, keepdims=True)
    found = array / np.where(norm == 0, 1, norm)
    return Tensor(x.device.asarray(found), device=x.device) if isinstance(x, Tensor) else found
