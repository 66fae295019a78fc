"""What is asked and made of one tensor: its shape, its dtype, its values."""

from typing import Any

import numpy as np

from ..symbolic import SymbolicTensor
from ..tensor import Tensor, needs_gradients, stacked, tensor


def operand(x: Any) -> Any:
    """A tensor, symbolic or not, as it is; what is none made one: integers keep their dtype, floats are float32."""
    x = stacked(x)
    return x if isinstance(x, Tensor | SymbolicTensor) else tensor(x)


def convert_to_tensor(x: Any, dtype: Any = None, sparse: None = None, ragged: None = None) -> Any:
    """A tensor of an array, a number or a list; a tensor in `dtype`, which is itself where it has that already."""
    if sparse or ragged:
        raise ValueError("autoconv has dense tensors only: leave out sparse and ragged.")
    x = stacked(x)
    if isinstance(x, Tensor | SymbolicTensor):
        return x if dtype is None else cast(x, dtype)
    return tensor(x, dtype=None if dtype is None else np.dtype(dtype))


def convert_to_numpy(x: Any) -> np.ndarray:
    """The values as a NumPy array."""
    return x.numpy() if isinstance(x, Tensor) else np.asarray(x)


def is_tensor(x: Any) -> bool:
    """Whether x is a tensor, symbolic or not."""
    return isinstance(x, Tensor | SymbolicTensor)


def shape(x: Any) -> tuple:
    """The sizes of x; None for one that is open."""
    return tuple(operand(x).shape)


def dtype(x: Any) -> str:
    """The name of x's dtype, such as "float32"."""
    return np.dtype(operand(x).dtype).name


def stop_gradient(variable: Any) -> Any:
    """The same values, through which no gradient goes."""
    return operand(variable).detach()


def cast(x: Any, dtype: Any) -> Any:
    """x in another dtype. Raises TypeError where a gradient would be lost: that of a tensor that requires one."""
    x, wanted = operand(x), np.dtype(dtype)
    if x.dtype == wanted:
        return x
    if isinstance(x, SymbolicTensor) or needs_gradients(x):
        raise TypeError(f"cast has no gradient. Received a tensor of {x.dtype} that may need one, for {wanted}. Make "
                        "the layers before in that dtype: dtype='float64'.")
    if wanted.kind == "f" and x.dtype.kind == "f":
        y = x.device.empty(x.shape, wanted)
        x.device.kernels("arith").copy(x.data, y)
        return Tensor(y, device=x.device)
    return Tensor(x.device.asarray(x.numpy().astype(wanted)), device=x.device)


def channels_last(data_format: str | None) -> None:
    """Raises ValueError for another order of axes than (N, H, W, C)."""
    if data_format not in (None, "channels_last"):
        raise ValueError("autoconv's images are (N, H, W, C): data_format must be 'channels_last'. "
                         f"Received: {data_format!r}.")
