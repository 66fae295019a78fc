"""The activation functions by name."""

from collections.abc import Callable
from typing import Any

from .. import functional
from ..arguments import names
from ..tensor import Tensor


def linear(x: Tensor) -> Tensor:
    """x itself."""
    return x


linear.recordable = True  # type: ignore[attr-defined]


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "linear": linear,
    "relu": functional.relu,
    "sigmoid": functional.sigmoid,
    "tanh": functional.tanh,
    "softmax": functional.softmax,
    "log_softmax": functional.log_softmax,
}


def get(activation: Any) -> Callable[[Tensor], Tensor]:
    """The function of a name; None is `linear`, a function is itself. Raises ValueError for an unknown name."""
    if activation is None:
        return linear
    return activation if callable(activation) else names.lookup("activation", activation, ACTIVATIONS)
