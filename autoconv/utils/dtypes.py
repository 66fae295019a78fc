"""Checks dtypes and symbolic tensors."""

from typing import Any

import numpy as np

from ..engine.symbolic import SymbolicTensor

_KNOWN = ("float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16",
          "uint32", "uint64", "bool")


def standardize_dtype(dtype: Any) -> str:
    """Returns a dtype's name, or "float32" for None. Raises ValueError for an unknown dtype."""
    name = "float32" if dtype is None else getattr(dtype, "name", None) or {float: "float32", int: "int32"}.get(dtype)
    try:
        name = name or np.dtype(dtype).name
    except TypeError:
        name = str(dtype)
    if name not in _KNOWN:
        raise ValueError(f"Invalid dtype: {dtype!r}. Valid dtypes: {', '.join(_KNOWN)}.")
    return name


def is_keras_tensor(x: Any) -> bool:
    """Whether x is a symbolic tensor, such as the result of layers.Input."""
    return isinstance(x, SymbolicTensor)
