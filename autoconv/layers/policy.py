"""The dtype of a layer, both for its computation and for its weights."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..arguments import names
from ..arguments.serialization import add_plain

DTYPES = {"float32": np.dtype(np.float32), "float64": np.dtype(np.float64)}
INTEGERS = ("bool", "uint8", "uint16", "uint32", "int8", "int16", "int32", "int64")
_MIXED = ("float16", "bfloat16", "mixed_float16", "mixed_bfloat16", "int8", "int4", "float8")


# Keras's files write a dtype as an object.
add_plain((), "DTypePolicy", str, lambda config: config["name"])


def dtype_name(dtype: Any, integers_too: bool = False) -> str:
    """Returns the name of a floating-point dtype that kernels support; None means "float32".

    integers_too: accepts integers, for a layer that only rearranges elements. Raises ValueError for other dtypes.
    """
    if isinstance(dtype, Mapping) and "config" in dtype:  # a dtype as Keras's files write it
        dtype = dtype["config"].get("name")
    name = dtype if dtype is None or isinstance(dtype, str) else np.dtype(dtype).name
    if isinstance(name, str) and name.startswith(_MIXED) and not (integers_too and name in INTEGERS):
        raise ValueError(f"Unknown dtype: {name!r}. autoconv layers compute only in float32 or "
                         "float64, without mixed precision or quantization.")
    names.lookup("dtype", name or "float32", dict.fromkeys((*DTYPES, *(INTEGERS if integers_too else ()))))
    return name or "float32"
