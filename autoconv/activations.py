"""The activation functions by Keras's names, as layers take them: `Dense(10, activation="gelu")`."""

from collections.abc import Callable
from typing import Any

from .arguments.serialization import Registry, get_registered_name, registered
from .functional import (
    celu,
    elu,
    exponential,
    gelu,
    glu,
    hard_shrink,
    hard_sigmoid,
    hard_silu,
    hard_tanh,
    leaky_relu,
    log_sigmoid,
    log_softmax,
    mish,
    relu,
    relu6,
    selu,
    sigmoid,
    silu,
    soft_shrink,
    softmax,
    softplus,
    softsign,
    sparse_plus,
    sparse_sigmoid,
    sparsemax,
    squareplus,
    tanh,
    tanh_shrink,
    threshold,
)
from .tensor import Tensor

__all__ = [
    "celu", "deserialize", "elu", "exponential", "gelu", "get", "glu", "hard_shrink", "hard_sigmoid", "hard_silu",
    "hard_swish", "hard_tanh", "leaky_relu", "linear", "log_sigmoid", "log_softmax", "mish", "relu", "relu6", "selu",
    "serialize", "sigmoid", "silu", "soft_shrink", "softmax", "softplus", "softsign", "sparse_plus", "sparse_sigmoid",
    "sparsemax", "squareplus", "swish", "tanh", "tanh_shrink", "threshold",
]


def linear(x: Tensor) -> Tensor:
    """x itself."""
    return x


linear.recordable = True  # type: ignore[attr-defined]
hard_swish, swish = hard_silu, silu

ACTIVATIONS: dict[str, Callable[..., Tensor]] = {
    function.__name__: function for function in (
        linear, relu, sigmoid, tanh, softmax, log_softmax, celu, elu, exponential, gelu, hard_shrink, hard_sigmoid,
        hard_silu, hard_tanh, leaky_relu, log_sigmoid, mish, relu6, selu, silu, soft_shrink, softplus, softsign,
        sparse_plus, sparse_sigmoid, sparsemax, squareplus, tanh_shrink)}
registry = Registry("activation function", "keras.activations", names={
    **ACTIVATIONS, "glu": glu, "hard_swish": hard_silu, "swish": silu, "threshold": threshold})
deserialize = registry.deserialize


def get(identifier: Any) -> Callable[..., Any]:
    """Returns the function of a name, or of what `serialize` gave; `linear` for None, a function as it is.

    Raises ValueError for an unknown name.
    """
    return linear if identifier is None else registry.deserialize(identifier)


def serialize(activation: Callable) -> str:
    """Returns the name of one of these functions, or of a registered one. Raises ValueError for any other function."""
    for name, function in registry.names.items():
        if function is activation:
            return name
    if get_registered_name(activation) in registered:
        return get_registered_name(activation)
    raise ValueError("Only registered functions and those of autoconv.activations have names. Received: "
                     f"{activation!r}. Pass a function by name (such as 'relu'), or define and register it.")
