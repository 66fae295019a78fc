"""What the functions of ONNX's ops share: attributes of a node, numbers known beforehand, constants beside tensors."""

from typing import Any, NamedTuple

import numpy as np

from ..tensor import Tensor

LARGEST = 2**28  # items of a tensor that a graph makes
KNOWN = 2**22  # items of one that is known before any data come


class Attributes(NamedTuple):
    """What a node says beside its inputs: its op, its name, the file's opset, its attributes, and how many results it
    has.
    """

    op: str
    name: str
    opset: int
    values: dict[str, Any]
    outputs: int = 1

    def get(self, name: str, default: Any = None) -> Any:
        return self.values.get(name, default)


def refused(at: Attributes, rule: str, received: Any) -> ValueError:
    """The error for what an op can be told but autoconv does not do."""
    return ValueError(f"Of {at.op} it is implemented that {rule}. Received: {received!r} in node {at.name!r}.")


def ints(values: Any) -> tuple[int, ...]:
    """An array of integers as a tuple. Raises ValueError for one of other numbers."""
    array = np.asarray(values)
    if array.dtype.kind not in "iub" or array.ndim > 1:
        raise ValueError(f"A list of integers is wanted here. Received: {array.dtype} of shape {array.shape}.")
    return tuple(int(value) for value in array.reshape(-1))


def is_float(x: Any) -> bool:
    return x.dtype.kind == "f"


def constant(beside: Any, array: Any) -> Tensor:
    """An array as a tensor on the device of another one."""
    return on_device(array, beside.device)


def on_device(array: Any, device: Any) -> Tensor:
    """An array as a tensor there. Kernels take arrays without gaps that may be written to."""
    whole = np.require(array, requirements=["C", "W"]).reshape(np.shape(array))
    return Tensor(device.constant(whole), device=device)


def cast(x: Tensor, dtype: Any) -> Tensor:
    """x in another dtype. Gradients pass only where the dtype is x's already, or a wider one."""
    dtype = np.dtype(dtype)
    if x.dtype == dtype:
        return x
    if x.requires_grad and np.result_type(x.dtype, dtype) == dtype and dtype.kind == "f":
        return x + constant(x, np.zeros((), dtype))
    if dtype.kind == "b":
        return x != 0
    converted = x.device.empty(x.shape, dtype)
    x.device.kernels("arith").copy(x.data, converted)
    return Tensor(converted, device=x.device)


def check_size(shape: Any, most: int = LARGEST) -> None:
    """Raises ValueError where a tensor of this shape would have too many items."""
    size = 1
    for n in shape:
        size *= int(n)
        if n < 0:
            raise ValueError(f"A size cannot be negative. Received: {tuple(shape)}.")
    if size > most:
        raise ValueError(f"A tensor of at most {most:,} items can be made here. Received: {tuple(shape)}.")
