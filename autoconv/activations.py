"""Activation functions by their Keras names: `Dense(10, activation="gelu")`."""

from collections.abc import Callable
from typing import Any

from .arguments.serialization import Registry, get_registered_name, registered_objects
from .engine.tensor import Tensor
from .functional import activation_functions as functions
from .functional.activation_functions import *  # noqa: F403
from .functional.activation_functions import hard_silu, silu

__all__ = ["deserialize", "get", "hard_swish", "linear", "serialize", "swish", *functions.__all__]


def linear(x: Tensor) -> Tensor:
    """Returns x itself."""
    return x


linear.recordable = True  # type: ignore[attr-defined]
hard_swish, swish = hard_silu, silu

registry = Registry("activation function", "keras.activations", names={
    "linear": linear, **{name: getattr(functions, name) for name in functions.__all__},
    "hard_swish": hard_silu, "swish": silu})
ACTIVATIONS: dict[str, Callable[..., Tensor]] = {  # functions of one tensor that keep its shape
    name: function for name, function in registry.names.items()
    if name not in ("glu", "hard_swish", "swish", "threshold")}
deserialize = registry.deserialize


def get(identifier: Any) -> Callable[..., Any]:
    """Returns the activation function for a name, or `linear` for None. A function is returned
    unchanged. Raises ValueError for an unknown name.
    """
    return linear if identifier is None else registry.deserialize(identifier)


def serialize(activation: Callable) -> str:
    """Returns the name of an activation function. Raises ValueError for an unregistered function."""
    for name, function in registry.names.items():
        if function is activation:
            return name
    if get_registered_name(activation) in registered_objects:
        return get_registered_name(activation)
    raise ValueError("Only registered functions and functions of autoconv.activations have names "
                     f"that can be saved. Received: {activation!r}. Pass the name of an activation "
                     "(such as 'relu'), or define the function with def and register it.")
