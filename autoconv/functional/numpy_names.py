"""Which of our functions stand for NumPy's within a layer (numpy_protocol.py), with the arguments that both have."""

from collections.abc import Callable
from typing import Any

import numpy as np

from ..numpy_protocol import stands_for
from ..tensor import Tensor
from . import arrays, nn
from .arrays import _pair
from .nn import _tensor

_SAME: dict[tuple, Callable] = {
    (np.tanh,): nn.tanh, (np.exp,): arrays.exp, (np.log,): arrays.log, (np.sqrt,): arrays.sqrt,
    (np.abs, np.fabs): arrays.abs, (np.maximum,): arrays.maximum, (np.minimum,): arrays.minimum,
    (np.where,): arrays.where, (np.stack,): arrays.stack, (np.split,): arrays.split, (np.squeeze,): arrays.squeeze,
    (np.expand_dims,): arrays.expand_dims, (np.equal,): arrays.equal, (np.not_equal,): arrays.not_equal,
    (np.less,): arrays.less, (np.less_equal,): arrays.less_equal, (np.greater,): arrays.greater,
    (np.greater_equal,): arrays.greater_equal,
}
for functions, ours in _SAME.items():
    stands_for(*functions)(ours)


@stands_for(np.add)
def add(x1: Any, x2: Any) -> Tensor:
    a, b = _pair(x1, x2)
    return a + b


@stands_for(np.subtract)
def subtract(x1: Any, x2: Any) -> Tensor:
    a, b = _pair(x1, x2)
    return a - b


@stands_for(np.multiply)
def multiply(x1: Any, x2: Any) -> Tensor:
    a, b = _pair(x1, x2)
    return a * b


@stands_for(np.divide)
def divide(x1: Any, x2: Any) -> Tensor:
    a, b = _pair(x1, x2)
    return a / b


@stands_for(np.matmul)
def matmul(x1: Any, x2: Any) -> Tensor:
    a, b = _pair(x1, x2)
    return a @ b


@stands_for(np.dot)
def dot(a: Any, b: Any) -> Tensor:
    """Of numbers their product; NumPy's sum over other axes than @ takes is refused."""
    a, b = _pair(a, b)
    if a.ndim > 2 or b.ndim > 2:
        raise TypeError(f"np.dot takes tensors of at most 2 axes. Received shapes: {a.shape} and {b.shape}. Use a @ b.")
    return a @ b if a.ndim and b.ndim else a * b


@stands_for(np.negative)
def negative(x: Any) -> Tensor:
    return -_tensor(x)


@stands_for(np.power)
def power(x: Any, exponent: Any) -> Tensor:
    return _tensor(x) ** exponent


@stands_for(np.square)
def square(x: Any) -> Tensor:
    return _tensor(x) ** 2


@stands_for(np.reciprocal)
def reciprocal(x: Any) -> Tensor:
    return 1 / _tensor(x)


@stands_for(np.sum)
def sum(a: Any, axis: Any = None, *, keepdims: bool = False) -> Tensor:
    return _tensor(a).sum(axis, keepdims)


@stands_for(np.mean)
def mean(a: Any, axis: Any = None, *, keepdims: bool = False) -> Tensor:
    return _tensor(a).mean(axis, keepdims)


@stands_for(np.max, np.amax)
def max(a: Any, axis: Any = None, *, keepdims: bool = False) -> Tensor:
    return _tensor(a).max(axis, keepdims)


@stands_for(np.min, np.amin)
def min(a: Any, axis: Any = None, *, keepdims: bool = False) -> Tensor:
    return -((-_tensor(a)).max(axis, keepdims))


@stands_for(np.var)
def var(a: Any, axis: Any = None, *, keepdims: bool = False) -> Tensor:
    a = _tensor(a)
    return ((a - a.mean(axis, keepdims=True)) ** 2).mean(axis, keepdims)


@stands_for(np.std)
def std(a: Any, axis: Any = None, *, keepdims: bool = False) -> Tensor:
    return var(a, axis, keepdims=keepdims).sqrt()


@stands_for(np.argmax)
def argmax(a: Any, axis: int | None = None, *, keepdims: bool = False) -> Tensor:
    return arrays.argmax(a, axis, keepdims)


@stands_for(np.reshape)
def reshape(a: Any, shape: Any) -> Tensor:
    return _tensor(a).reshape(shape)


@stands_for(np.ravel)
def ravel(a: Any) -> Tensor:
    return _tensor(a).reshape(-1)


@stands_for(np.transpose)
def transpose(a: Any, axes: Any = None) -> Tensor:
    return _tensor(a).transpose() if axes is None else _tensor(a).transpose(axes)


@stands_for(np.clip)
def clip(a: Any, a_min: Any = None, a_max: Any = None) -> Tensor:
    return arrays.clip(a, a_min, a_max)


@stands_for(np.concatenate)
def concatenate(arrays_: Any, axis: int | None = 0) -> Tensor:
    """Along the first axis by default, as NumPy; without an axis all items in a row."""
    return arrays.concatenate([ravel(a) for a in arrays_] if axis is None else arrays_, axis or 0)


@stands_for(np.pad)
def pad(array: Any, pad_width: Any, mode: str = "constant", *, constant_values: Any = 0) -> Tensor:
    return arrays.pad(array, pad_width, mode, constant_values)
