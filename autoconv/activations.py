"""The activation functions by Keras's names, as layers take them: `Dense(10, activation="gelu")`."""

from collections.abc import Callable, Mapping
from typing import Any

from .arguments import custom
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
_OTHER_NAMES = {"glu": glu, "hard_swish": hard_silu, "swish": silu, "threshold": threshold}


def get(identifier: Any) -> Callable[..., Any]:
    """The function of a name, or of what `serialize` gave; None is `linear`, a function is itself. ValueError for an
    unknown name.
    """
    if identifier is None:
        return linear
    if callable(identifier):
        return identifier
    if isinstance(identifier, Mapping) and identifier.get("class_name") == "function":  # as Keras's files have it
        identifier = identifier["config"]
    return custom.find("activation", identifier, {**ACTIVATIONS, **_OTHER_NAMES})


def serialize(activation: Callable) -> str:
    """The name of one of these functions, or of one that is registered. Raises ValueError for another one."""
    for name, function in {**ACTIVATIONS, **_OTHER_NAMES}.items():
        if function is activation:
            return name
    if custom.name_of(activation) in custom.registered:
        return custom.name_of(activation)
    raise ValueError(f"Only the functions of autoconv.activations have names. Received: {activation!r}.")


def deserialize(config: Any, custom_objects: Mapping[str, Any] | None = None) -> Callable[..., Any]:
    """The function that `serialize` named; custom_objects maps names to functions of yours."""
    with custom.custom_object_scope(custom_objects or {}):
        return get(config)
