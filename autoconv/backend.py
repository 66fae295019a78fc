"""Keras's legacy module of settings and helper functions: `from autoconv import backend as K`.

It has the names that `keras.backend` has in Keras 3, and also `get_value`, `set_value` and
`int_shape`. For other functions, such as `K.mean`, the error names the replacement.
"""

import sys
from typing import Any, NoReturn

import numpy as np

from . import functional, ops
from .arguments import modules
from .config import backend, epsilon, floatx, image_data_format, set_epsilon, set_floatx, set_image_data_format
from .engine.symbolic import SymbolicTensor
from .engine.tensor import Tensor
from .functional.layer_functions import TensorLike
from .utils import clear_session, is_keras_tensor, standardize_dtype

__all__ = ["backend", "clear_session", "epsilon", "floatx", "get_value", "image_data_format",
           "int_shape", "is_float_dtype", "is_int_dtype", "is_keras_tensor", "set_epsilon",
           "set_floatx", "set_image_data_format", "set_value", "standardize_dtype"]

_REPLACEMENTS = {  # missing functions and their replacements
    "batch_dot": "ops.matmul", "batch_flatten": "layers.Flatten", "batch_get_value": "get_value of each weight",
    "batch_set_value": "set_value of each weight", "bias_add": "ops.add", "cast_to_floatx": "ops.cast",
    "conv2d": "functional.conv2d", "conv2d_transpose": "functional.conv2d_transpose",
    "constant": "ops.convert_to_tensor", "count_params": "layer.count_params()", "dtype": "x.dtype",
    "eval": "x.numpy()", "flatten": "x.reshape(-1)", "gather": "ops.take", "gradients": "y.backward() and x.grad",
    "l2_normalize": "ops.normalize", "learning_phase": "the argument training of a layer's call",
    "permute_dimensions": "ops.transpose", "pool2d": "functional.max_pool2d", "pow": "ops.power",
    "random_normal": "random.normal", "random_uniform": "random.uniform", "repeat_elements": "ops.repeat",
    "resize_images": "layers.Resizing", "reverse": "ops.flip",
    "set_learning_phase": "the argument training of a layer's call", "update": "variable.assign",
    "variable": "Variable",
}


def get_value(x: TensorLike) -> np.ndarray:
    """Returns a copy of the values of a weight, a Variable or a tensor as a NumPy array."""
    return np.array(x.numpy() if hasattr(x, "numpy") else x)


def set_value(x: Any, value: Any) -> None:
    """Assigns a value to a weight or a Variable."""
    if not hasattr(x, "assign"):
        raise TypeError(f"set_value() can assign only to a weight or a Variable. Received: {x!r}. "
                        "Set the attribute instead, e.g. optimizer.learning_rate = 0.1.")
    x.assign(value)


def int_shape(x: Tensor | SymbolicTensor) -> tuple[int | None, ...]:
    """Returns the shape of a tensor, with None for unknown sizes of a symbolic tensor."""
    return tuple(x.shape)


def is_float_dtype(dtype: Any) -> bool:
    """Returns whether a dtype is a floating-point type."""
    return standardize_dtype(dtype).startswith("float")


def is_int_dtype(dtype: Any) -> bool:
    """Returns whether a dtype is an integer type."""
    return standardize_dtype(dtype).startswith(("int", "uint"))


def __getattr__(name: str) -> NoReturn:
    """Raises the error for a missing name. The message names the replacement, if there is one."""
    replacement = _REPLACEMENTS.get(name, "")
    for module in (ops, functional):
        if not replacement and name in module.__all__:
            replacement = f"{module.__name__.removeprefix('autoconv.')}.{name}"
    if not replacement:
        raise modules.make_missing_error(sys.modules[__name__], name, sys._getframe(1))
    raise AttributeError(f"autoconv.backend has no function {name!r}. Use {replacement} instead.", name=name)
