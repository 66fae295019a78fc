"""Normalizes arrays."""

import numpy as np

from ..engine.tensor import Tensor
from ..functional.layer_functions import TensorLike


def normalize(x: TensorLike, axis: int = -1, order: float = 2) -> np.ndarray | Tensor:
    """Returns x divided by its norms along `axis`, as a tensor if x is a tensor. `order` is passed
    to numpy.linalg.norm as `ord`. Vectors of zeros stay zeros.
    """
    array = np.asarray(x)
    norm = np.linalg.norm(array, order, axis, keepdims=True)
    unit = array / np.where(norm == 0, 1, norm)
    return Tensor(x.device.asarray(unit), device=x.device) if isinstance(x, Tensor) else unit
