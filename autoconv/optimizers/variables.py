"""What an optimizer keeps, as Keras's variables: numbers that can be assigned to, and parts of its slots."""

from collections.abc import Callable
from typing import Any

import numpy as np

from ..tensor import Parameter, Tensor


class Kept(Parameter):
    """A number that an optimizer keeps elsewhere, as a variable: assigning to it sets that number."""

    __slots__ = ("_put",)

    def __init__(self, value: Any, name: str, owner: str, put: Callable[[Any], None]) -> None:
        super().__init__(np.array(value), name, trainable=False)
        self.path, self._put = f"{owner}/{name}", put

    def assign(self, value: Any) -> None:
        """Sets the number."""
        super().assign(value)
        self._put(self.data.item())


class _Number:
    """A number as it is now, with what a variable of Keras's can do; `assign` sets it where it comes from."""

    dtype, shape, trainable = "float32", (), False
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


class Rate(_Number, float):
    """A learning rate."""

    name = "learning_rate"

    def __reduce__(self) -> tuple:
        return float, (float(self),)


class Count(_Number, int):
    """How many steps were done."""

    dtype, name = "int32", "iteration"

    def __reduce__(self) -> tuple:
        return int, (int(self),)
