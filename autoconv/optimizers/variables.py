"""What an optimizer keeps, as Keras's variables: numbers that can be assigned to, and parts of its slots."""

from collections.abc import Callable
from typing import Any

import numpy as np

from ..held import Held
from ..tensor import Parameter


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


class Rate(Held, float):
    """A learning rate."""

    name = "learning_rate"

    def __reduce__(self) -> tuple:
        return float, (float(self),)


class Count(Held, int):
    """How many steps were done."""

    dtype, name = "int32", "iteration"

    def __reduce__(self) -> tuple:
        return int, (int(self),)
