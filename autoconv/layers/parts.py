"""What a layer is made of: its dtype, and the weights and layers in its attributes."""

from typing import Any

import numpy as np

from ..arguments import names

DTYPES = {"float32": np.dtype(np.float32), "float64": np.dtype(np.float64)}


def dtype_name(dtype: Any) -> str:
    """The name of a floating type that kernels compute in; None is "float32"."""
    name = dtype if dtype is None or isinstance(dtype, str) else np.dtype(dtype).name
    names.lookup("dtype", name or "float32", DTYPES)
    return name or "float32"


def held(attributes: dict[str, Any], kind: type) -> list[Any]:
    """Everything of one kind in a layer's attributes and their lists, tuples and dicts, each once."""
    found: dict[int, Any] = {}
    waiting = [value for name, value in reversed(attributes.items()) if name not in ("_arguments", "_nodes")]
    while waiting:
        value = waiting.pop()
        if isinstance(value, kind):
            found.setdefault(id(value), value)
        elif isinstance(value, (list, tuple)):
            waiting.extend(reversed(value))
        elif isinstance(value, dict):
            waiting.extend(reversed(value.values()))
    return list(found.values())
