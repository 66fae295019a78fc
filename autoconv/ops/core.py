"""Functions for a tensor's shape, dtype and values, and the wrapper with which `ops` accept all tensor types."""

from collections.abc import Callable
from functools import wraps
from inspect import signature
from math import prod
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from ..engine.symbolic import SymbolicTensor
from ..engine.tensor import Tensor, record_nodes, stack_all, tensor
from ..functional import cast, equal, where
from ..functional.layer_functions import TensorLike

OPERANDS = frozenset({"x", "x1", "x2", "xs", "condition", "images", "variable"})  # names of parameters for tensors


def accept_any_tensor(namespace: dict[str, Any], functions: list[str]) -> None:
    """Makes these functions of an `ops` module accept arrays, lists and symbolic tensors."""
    record_nodes(namespace, [name for name in functions if not hasattr(namespace[name], "recordable")], "ops")
    namespace.update((name, _convert_operands(namespace[name])) for name in functions)


def _convert_operands(function: Callable) -> Callable:
    names = tuple(signature(function).parameters)

    @wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        values = [_operand(x) if name in OPERANDS else x for name, x in zip(names, args)]
        options = {name: _operand(x) if name in OPERANDS else x for name, x in kwargs.items()}
        return function(*values, *args[len(names) :], **options)

    return wrapper


def _operand(value: Any) -> Any:
    """Converts arrays to tensors. Numbers are unchanged, so that they adopt the dtype of the other operand."""
    if value is None or (isinstance(value, Tensor | SymbolicTensor | Real) and not isinstance(value, np.generic)):
        return value
    if isinstance(value, list | tuple) and any(hasattr(each, "shape") for each in value):
        return [_operand(each) for each in value]
    value = stack_all(value)
    return value if isinstance(value, Tensor) else tensor(value)


def operand(x: TensorLike) -> Tensor:
    """Converts a value to a tensor; Python floats become float32. Tensors, also symbolic ones, are unchanged."""
    x = stack_all(x)
    return x if isinstance(x, Tensor | SymbolicTensor) else tensor(x)  # type: ignore[return-value]


def convert_to_tensor(x: TensorLike, dtype: DTypeLike | None = None, sparse: None = None,
                      ragged: None = None) -> Tensor:
    """Converts an array, number or list to a tensor, or a tensor to `dtype`."""
    if sparse or ragged:
        raise ValueError("autoconv supports only dense tensors. Leave out the arguments sparse and ragged.")
    x = stack_all(x)
    if isinstance(x, Tensor | SymbolicTensor):
        return x if dtype is None else cast(x, dtype)  # type: ignore[return-value]
    return tensor(x, dtype=None if dtype is None else np.dtype(dtype))


def convert_to_numpy(x: TensorLike) -> np.ndarray:
    """Returns the values of x as a NumPy array."""
    return x.numpy() if isinstance(x, Tensor) else np.asarray(x)


def is_tensor(x: TensorLike) -> bool:
    """Returns whether x is a tensor, symbolic or not."""
    return isinstance(x, Tensor | SymbolicTensor)


def shape(x: TensorLike) -> tuple:
    """Returns the shape of x, with None for unknown sizes."""
    return tuple(operand(x).shape)


def dtype(x: TensorLike) -> str:
    """Returns the name of x's dtype, such as "float32"."""
    return np.dtype(operand(x).dtype).name


def size(x: TensorLike) -> int | Tensor:
    """Returns the number of elements of x as an integer, or as a tensor if x has unknown sizes."""
    x = operand(x)
    return cast(where(equal(x, x), 1.0, 1.0), "int32").sum() if None in x.shape else prod(x.shape)


def ndim(x: TensorLike) -> int:
    """Returns the number of axes of x."""
    return len(operand(x).shape)


def stop_gradient(variable: TensorLike) -> Tensor:
    """Returns the values of `variable` as a tensor through which no gradient passes."""
    return operand(variable).detach()


def check_channels_last(data_format: str | None) -> None:
    """Raises ValueError for an axis order other than (N, H, W, C)."""
    if data_format not in (None, "channels_last"):
        raise ValueError("data_format must be 'channels_last', because images have shape (N, H, "
                         f"W, C). Received: {data_format!r}.")


accept_any_tensor(globals(), ["stop_gradient"])
