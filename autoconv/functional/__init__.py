"""The ops under their public names, on tensors. Arguments are checked here, before any kernel runs.

`nn.py` has what nets are made of, `image.py` what moves images, `arrays.py` what is NumPy's elsewhere. Images are
(N, H, W, C), kernels (KH, KW, C, F).
"""

from . import numpy_names  # noqa: F401 (NumPy's functions find ours in it)
from .arrays import (
    abs,
    argmax,
    clip,
    concatenate,
    equal,
    exp,
    expand_dims,
    greater,
    greater_equal,
    less,
    less_equal,
    log,
    maximum,
    minimum,
    not_equal,
    pad,
    split,
    sqrt,
    squeeze,
    stack,
    where,
)
from .image import affine_transform, resize
from .nn import (
    avg_pool2d,
    batch_norm,
    binary_crossentropy,
    categorical_crossentropy,
    conv2d,
    conv2d_transpose,
    dense,
    depthwise_conv2d,
    dropout,
    flatten,
    global_avg_pool2d,
    global_max_pool2d,
    log_softmax,
    max_pool2d,
    mean_absolute_error,
    mean_squared_error,
    relu,
    sigmoid,
    softmax,
    sparse_categorical_crossentropy,
    tanh,
    zero_padding2d,
)

__all__ = [
    "abs", "affine_transform", "argmax", "avg_pool2d", "batch_norm", "binary_crossentropy", "categorical_crossentropy",
    "clip", "concatenate", "conv2d", "conv2d_transpose", "dense", "depthwise_conv2d", "dropout", "equal", "exp",
    "expand_dims", "flatten", "global_avg_pool2d", "global_max_pool2d", "greater", "greater_equal", "less",
    "less_equal", "log", "log_softmax", "max_pool2d", "maximum", "mean_absolute_error", "mean_squared_error",
    "minimum", "not_equal", "pad", "relu", "resize", "sigmoid", "softmax", "sparse_categorical_crossentropy", "split",
    "sqrt", "squeeze", "stack", "tanh", "where", "zero_padding2d",
]
