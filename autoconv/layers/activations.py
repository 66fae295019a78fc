"""The activation functions by name."""

from collections.abc import Callable
from typing import Any

from .. import functional
from ..arguments import names
from ..ops.registry import OPS
from ..tensor import Tensor


def linear(x: Tensor) -> Tensor:
    """x itself."""
    return x


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


def rooms(activation: Callable) -> tuple[str, ...]:
    """The kernel rooms that an activation function needs."""
    name = getattr(activation, "__name__", "")
    return (OPS[name].kernels,) if activation is ACTIVATIONS.get(name) and name in OPS else ()
