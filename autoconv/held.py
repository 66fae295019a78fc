"""Numbers that an object holds, as it gives them away: with what a variable of Keras's can do, `assign` among it."""

from collections.abc import Callable
from typing import Any

import numpy as np

from .tensor import Tensor


class Held:
    """A number as it is now, with what a variable of Keras's can do; `assign` sets it where it comes from."""

    dtype, shape, trainable = "float32", (), False
    name: str
    _put: Callable[[Any], None]

    def assign(self, value: Any) -> None:
        """Sets the number."""
        self._put(np.asarray(value).item())

    def assign_add(self, value: Any) -> None:
        """Adds to the number."""
        self.assign(self + np.asarray(value).item())

    def assign_sub(self, value: Any) -> None:
        """Subtracts from the number."""
        self.assign(self - np.asarray(value).item())

    def numpy(self) -> np.ndarray:
        """The number as an array without axes."""
        return np.array(self, self.dtype)

    @property
    def value(self) -> Tensor:
        """The number as a tensor without axes."""
        return Tensor(self.numpy())
