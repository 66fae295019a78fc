"""`Variable`: a parameter under Keras's name, made by an initializer or of values."""

from typing import Any

import numpy as np

from .. import initializers
from ..backend import device as devices
from ..tensor import Parameter, Tensor
from . import allowance


class Variable(Parameter):
    """What training changes: `Variable(3.0)`, or `Variable("ones", shape=(2, 3))`. A layer's attribute that is one is
    among its weights.

    initializer: values, or a name or function of shape and dtype, with `shape`; dtype: that of the values by default,
    "float32" of an initializer. Integers are never trained.
    """

    __slots__ = ("autocast", "overwrite_with_gradient")
    aggregation = "none"  # how ranks' values would be joined: all have the same

    def __init__(
        self, initializer: Any, shape: Any = None, dtype: Any = None, trainable: bool = True, autocast: bool = True,
        aggregation: str = "none", layout: Any = None, name: str | None = None, *, regularizer: Any = None,
        constraint: Any = None, device: Any = None,
    ) -> None:
        device = device or devices.get("cpu")
        name = name or "variable"
        if isinstance(initializer, str) or callable(initializer):
            if shape is None:
                raise ValueError("When creating a Variable from an initializer, the `shape` argument should be "
                                 f"specified. Received: initializer={initializer} and shape={shape}")
            shape, dtype = _known(shape, name), np.dtype(dtype or "float32")
            allowance.take(shape, name)
            values = initializers.get(initializer)(shape, dtype)
        else:
            values = _values(initializer, shape, dtype)
            dtype = values.dtype
        values = values.numpy() if isinstance(values, Tensor) else values
        learns = bool(trainable) and np.dtype(dtype).kind == "f"
        super().__init__(device.array(values, dtype), name, learns, device, regularizer, constraint)
        self.autocast, self.overwrite_with_gradient = autocast, False


def _known(shape: Any, name: str) -> tuple[int, ...]:
    """A shape whose sizes are all known."""
    if not isinstance(shape, list | tuple):
        raise ValueError(f"Cannot convert {shape!r} to a shape: pass a tuple such as ({shape!r},).")
    if None in shape:
        raise ValueError("Shapes used to initialize variables must be fully-defined (no `None` dimensions). Received: "
                         f"shape={tuple(shape)} for variable {name!r}.")
    return tuple(int(n) for n in shape)


def _values(given: Any, shape: Any, dtype: Any) -> np.ndarray:
    """Values as an array: Python's numbers as float32 and int32, arrays of float64 as float32."""
    array = np.asarray(given.detach() if isinstance(given, Tensor) else given)
    if dtype is None:
        dtype = {"f": np.float32, "i": np.int32}.get(array.dtype.kind, array.dtype)
    array = array.astype(dtype)
    if shape is not None and tuple(shape) != array.shape:
        raise ValueError(f"The shape of the value must be the one that is given. Received: a value of shape "
                         f"{array.shape} and shape={tuple(shape)}.")
    return array
