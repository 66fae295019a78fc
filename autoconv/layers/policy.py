"""The dtype of a layer: what it computes in, and what its weights are kept in, which is the same."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..arguments import names
from ..arguments.serialization import Configured, Registry

DTYPES = {"float32": np.dtype(np.float32), "float64": np.dtype(np.float64)}
INTEGERS = ("bool", "uint8", "uint16", "uint32", "int8", "int16", "int32", "int64")
_MIXED = ("float16", "bfloat16", "mixed_float16", "mixed_bfloat16", "int8", "int4", "float8")


class DTypePolicy(Configured):
    """The dtype of a layer by its name, "float32" or "float64". ValueError for another: there is no mixed precision."""

    def __init__(self, name: str | None = None) -> None:
        self.name = dtype_name(name)

    def __repr__(self) -> str:
        return f'<DTypePolicy "{self.name}">'

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DTypePolicy) and other.name == self.name

    def __hash__(self) -> int:
        return hash(self.name)

    compute_dtype = variable_dtype = property(lambda self: self.name)


Registry("dtype policy", "keras", DTypePolicy, {"DTypePolicy": DTypePolicy})


def dtype_name(dtype: Any, integers_too: bool = False) -> str:
    """The name of a floating type that kernels compute in; None is "float32". A policy, also as Keras's files write
    one, is its dtype. integers_too: of a layer that only moves items.
    """
    if isinstance(dtype, DTypePolicy):
        return dtype.name
    if isinstance(dtype, Mapping) and "config" in dtype:
        dtype = dtype["config"].get("name")
    name = dtype if dtype is None or isinstance(dtype, str) else np.dtype(dtype).name
    if isinstance(name, str) and name.startswith(_MIXED) and not (integers_too and name in INTEGERS):
        raise ValueError(f"Unknown dtype: {name!r}. autoconv is not for quantized or mixed precision: it computes in "
                         "float32, or in float64.")
    names.lookup("dtype", name or "float32", dict.fromkeys((*DTYPES, *(INTEGERS if integers_too else ()))))
    return name or "float32"
