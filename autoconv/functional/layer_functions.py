"""The functions that layers compute on tensors: convolutions, pooling, normalization.

Images have shape (N, H, W, C), kernels (KH, KW, C, F). Arguments that are not tensors are converted
to tensors: integers and lists to float32, kernels and biases to the dtype of the images.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import DTypeLike

from .. import random
from ..arguments import shapes
from ..arguments.shapes import Padding, Pair
from ..engine import ranks
from ..engine.ranks import ALONE, Ranks
from ..engine.symbolic import SymbolicTensor
from ..engine.tensor import Tensor, apply, record_nodes, refuse_gradient, stack_all
from ..kernels import device as devices
from ..kernels.formulas.elementwise import IN_PASS
from ..operators import arith, conv, elementwise, norm, pool
from ..operators import dense as dense_ops
from ..operators import dropout as dropout_ops

__all__ = ["avg_pool2d", "batch_norm", "conv2d", "conv2d_transpose", "dense", "depthwise_conv2d",
           "dropout", "flatten", "global_avg_pool2d", "global_max_pool2d", "max_pool2d",
           "zero_padding2d"]

Function = TypeVar("Function", bound=Callable)

# A tensor, or a value that is converted: an array, a number, or a list of these.
TensorLike = Tensor | SymbolicTensor | np.ndarray | np.generic | float | Sequence[Any]


def set_name(function: Function, name: str, doc: str) -> Function:
    """Sets a function's name and docstring, and returns the function."""
    function.__name__ = function.__qualname__ = name
    function.__doc__ = doc
    return function


def conv2d(x: TensorLike, w: TensorLike, b: TensorLike | None = None, strides: Pair = 1,
           padding: Padding = "valid", dilation_rate: Pair = 1, groups: int = 1) -> Tensor:
    """Computes the cross-correlation z[i, j, f] = b[f] + sum over u, v, c of x[i*s + u, j*s + v, c]
    w[u, v, c, f].

    x (N, H, W, C), w (KH, KW, C/groups, F), b (F,) -> (N, OH, OW, F). padding: "valid", "same", p,
    (ph, pw) or ((top, bottom), (left, right)). The output channels of a group read only
    the input channels of that group.
    """
    x, w, b = _same_dtype("conv2d", x, w, b)
    _, h, width, channels = shapes.check_image(x.shape)
    kh, kw, depth, filters = _kernel_shape(w, "(KH, KW, C // groups, F)")
    if not hasattr(groups, "__index__") or groups < 1 or channels % groups or filters % groups:
        raise ValueError("groups must be a positive integer that divides the input channels and the filters. "
                         f"Received: groups={groups!r}, {channels} input channels, {filters} filters.")
    if depth * groups != channels:
        raise ValueError(f"The kernel must have {channels // groups} input channels, as many as x has in each group. "
                         f"Received: x of shape {x.shape}, w of shape {w.shape}, groups={groups}.")
    _check_bias(b, filters)
    window = shapes.window((h, width), (kh, kw), strides, padding, dilation_rate)
    return apply(conv.conv2d, x, w, b, window=window, groups=groups)


def conv2d_transpose(x: TensorLike, w: TensorLike, b: TensorLike | None = None, strides: Pair = 1,
                     padding: str = "valid", dilation_rate: Pair = 1,
                     output_padding: Pair | None = None) -> Tensor:
    """Computes a transposed convolution, the input gradient of a convolution. Each pixel adds its
    multiple of the kernel to the result.

    x (N, H, W, C), w (KH, KW, F, C), b (F,) -> (N, OH, OW, F). padding: "valid", or "same", for
    which OH = H * stride unless output_padding is given.
    """
    x, w, b = _same_dtype("conv2d_transpose", x, w, b)
    _, h, width, _ = shapes.check_image(x.shape)
    kh, kw, filters, depth = _kernel_shape(w, "(KH, KW, F, C)")
    _check_depth(x, w, depth)
    _check_bias(b, filters)
    window, size = shapes.transpose_window((h, width), (kh, kw), strides, padding, dilation_rate,
                                          output_padding)
    return apply(conv.conv2d_transpose, x, w, b, window=window, size=size)


def depthwise_conv2d(x: TensorLike, w: TensorLike, b: TensorLike | None = None, strides: Pair = 1,
                     padding: Padding = "valid", dilation_rate: Pair = 1) -> Tensor:
    """Convolves each channel with M kernels: x (N, H, W, C), w (KH, KW, C, M) -> (N, OH, OW, CM).
    """
    x, w, b = _same_dtype("depthwise_conv2d", x, w, b)
    _, h, width, channels = shapes.check_image(x.shape)
    kh, kw, depth, multiplier = _kernel_shape(w, "(KH, KW, C, depth_multiplier)")
    _check_depth(x, w, depth)
    _check_bias(b, channels * multiplier)
    window = shapes.window((h, width), (kh, kw), strides, padding, dilation_rate)
    return apply(conv.depthwise_conv2d, x, w, b, window=window)


def max_pool2d(x: TensorLike, pool_size: Pair = 2, strides: Pair | None = None,
               padding: Padding = "valid") -> Tensor:
    """Returns the maximum of each window: (N, H, W, C) -> (N, OH, OW, C). `strides` default to
    `pool_size`.

    Padding never counts as the maximum and must be smaller than the pool size. The first maximum of
    a window in row-major order receives the gradient. NaN propagates.
    """
    x = _tensor(x)
    return apply(pool.max_pool2d, x, window=_pool_window(x, pool_size, strides, padding))


def avg_pool2d(x: TensorLike, pool_size: Pair = 2, strides: Pair | None = None,
               padding: Padding = "valid") -> Tensor:
    """Returns the mean of each window, without padding pixels: (N, H, W, C) -> (N, OH, OW, C)."""
    x = _tensor(x)
    return apply(pool.avg_pool2d, x, window=_pool_window(x, pool_size, strides, padding))


def global_avg_pool2d(x: TensorLike, keepdims: bool = False) -> Tensor:
    """Returns the mean over all pixels: (N, H, W, C) -> (N, C), with `keepdims` (N, 1, 1, C)."""
    return _image(x).mean((1, 2), keepdims)


def global_max_pool2d(x: TensorLike, keepdims: bool = False) -> Tensor:
    """Returns the maximum over all pixels: (N, H, W, C) -> (N, C), with `keepdims` (N, 1, 1, C)."""
    return _image(x).max((1, 2), keepdims)


def zero_padding2d(x: TensorLike, padding: Padding) -> Tensor:
    """Adds zeros around each image. padding: p, (ph, pw) or ((top, bottom), (left, right))."""
    vertical, horizontal = shapes.explicit_padding(padding)
    return apply(arith.pad, _image(x), widths=((0, 0), vertical, horizontal, (0, 0)))


def dense(x: TensorLike, w: TensorLike, b: TensorLike | None = None) -> Tensor:
    """y = x w + b: x (N, C), w (C, F), b (F,) -> (N, F)."""
    x, w, b = _same_dtype("dense", x, w, b)
    if x.ndim != 2 or w.ndim != 2 or x.shape[1] != w.shape[0]:
        raise ValueError("dense needs x of shape (N, C) and w of shape (C, F). Received: x of "
                         f"shape {x.shape}, w of shape {w.shape}.")
    _check_bias(b, w.shape[1])
    return apply(dense_ops.dense, x, w, b)


def flatten(x: TensorLike) -> Tensor:
    """Merges all axes except the first: (N, ...) -> (N, C)."""
    x = _tensor(x)
    return x.reshape(x.shape[0], int(np.prod(x.shape[1:])))


def dropout(x: TensorLike, rate: float, training: bool = True, seed: int | None = None) -> Tensor:
    """In training, sets a random fraction `rate` of x to 0 and scales the rest by 1 / (1 - rate).
    Otherwise returns x unchanged.

    Each call draws new random numbers from the process's generator (`utils.set_random_seed`). With
    a `seed`, every call draws the same numbers.
    """
    if isinstance(rate, bool) or not isinstance(rate, (int, float, np.number)) or not 0 <= rate <= 1:
        raise ValueError(f"rate must be a number between 0 and 1. Received: {rate!r}.")
    x = _tensor(x)
    if not training or rate == 0:
        return x
    key = x.device.dynamic(random.stream, np.uint64, 2) if seed is None else (random.check_seed(seed), 0)
    first = x.device.dynamic(ranks.current.get().first_sample, np.uint64)
    return apply(dropout_ops.dropout, x, rate=float(rate), key=key, first=first)


def batch_norm(x: TensorLike, gamma: TensorLike | None, beta: TensorLike | None,
               moving_mean: TensorLike, moving_var: TensorLike, training: bool,
               momentum: float = 0.99, epsilon: float = 1e-3, activation: str = "linear",
               pool: bool = False, other: TensorLike | None = None, ranks: Ranks = ALONE) -> Tensor:
    """gamma (x - mean) / sqrt(variance + epsilon) + beta, per channel of x (..., C). gamma and beta
    may be None.

    In training, mean and (biased) variance are the batch's, and each moving average becomes `moving
    * momentum + batch * (1 - momentum)`. In inference, mean and variance are the moving averages. The
    activation, such as "relu" or "silu", is computed in the same pass over memory. In training, with a
    ReLU, the pass can also include 2x2 max pooling after the ReLU (`pool`), or add `other` before it.
    ranks: the processes that share the batch; `pool` and `other` require a single process.
    """
    x, gamma, beta, other = _same_dtype("batch_norm", x, gamma, beta, other)
    if not training:
        refuse_gradient("batch_norm in inference", moving_mean=moving_mean, moving_var=moving_var)
    moving: list[Any] = [m.data if isinstance(m, Tensor) else m for m in (moving_mean, moving_var)]
    vectors = [*(v for v in (gamma, beta) if v is not None), *moving]
    if x.ndim < 2 or any(v is None or v.shape != x.shape[-1:] for v in vectors):
        raise ValueError("batch_norm needs x of shape (..., C), and gamma, beta, moving_mean and moving_var of shape "
                         f"(C,). Received shapes: {[v if v is None else v.shape for v in (x, gamma, beta, *moving)]}.")
    if training and not x.size:
        raise ValueError("batch_norm in training needs the mean of the batch, so the batch must "
                         f"not be empty. Received: x of shape {x.shape}.")
    together = training and ranks.size > 1
    _check_pass(x, other, activation, training, pool, together)
    statistics = [x.device.empty(m.shape, x.dtype) if training else x.device.asarray(m, x.dtype) for m in moving]
    given: dict[str, Any] = {"mean": statistics[0], "variance": statistics[1], "epsilon": epsilon}
    if pool:
        y = apply(norm.batch_norm_relu_pool, x, gamma, beta, **given)
    elif other is not None:
        y = apply(norm.batch_norm_add_relu, x, gamma, beta, other, **given)
    else:
        y = apply(norm.batch_norm, x, gamma, beta, **given, training=bool(training),
                  activation=activation, **({"gather": ranks.gather} if together else {}))
    if training:
        k = x.device.kernels("norm")
        for average, batch in zip(moving, statistics):
            k.moving_average(average, batch, momentum)
    return y


def _check_pass(x: Tensor, other: Tensor | None, activation: str, training: bool, pool: bool,
                together: bool) -> None:
    """Raises ValueError if the arguments of `batch_norm` cannot be combined."""
    shape = None if other is None else other.shape
    received = (f"Received: x of shape {x.shape}, other of shape {shape}, training={training}, pool={pool}, "
                f"activation={activation!r}.")
    if activation not in ("linear", *IN_PASS):
        raise ValueError(f"activation of batch_norm must be linear, {', '.join(IN_PASS)}. Received: "
                         f"{activation!r}. Call another activation function on the result of batch_norm.")
    relu = training and activation == "relu"
    if other is not None and (shape != x.shape or pool or not relu):
        raise ValueError("batch_norm supports the argument `other` only in training, with "
                         f"activation='relu' and pool=False. `other` must have the shape of x. {received}")
    if together and (pool or other is not None):
        raise ValueError(f"batch_norm over several processes does not support the arguments pool and other. {received}")
    if pool and (not relu or x.ndim != 4 or min(x.shape[1:3]) < 2):
        raise ValueError("batch_norm supports pool=True only in training, with activation='relu', for "
                         f"images (N, H, W, C) of at least 2 x 2 pixels. {received}")


def _tensor(value: TensorLike, dtype: DTypeLike | None = None) -> Tensor:
    """Returns a tensor unchanged and converts other values to `dtype`. If `dtype` is None,
    floating-point arrays keep their dtype and other values become float32.
    """
    value = stack_all(value)
    if isinstance(value, Tensor | SymbolicTensor):  # symbolic while a graph is recorded
        return value  # type: ignore[return-value]
    floating = isinstance(value, (np.ndarray, np.generic)) and value.dtype.kind == "f"
    device = devices.get("cpu")
    return Tensor(device.asarray(value, dtype or (None if floating else np.float32)), device=device)


def _floats(value: TensorLike) -> Tensor:
    """Converts a value to a tensor as `_tensor` does, and integer tensors to float32."""
    x = _tensor(value)
    return x if x.dtype.kind == "f" else apply(elementwise.cast, x, dtype=np.dtype(np.float32))


def _image(value: TensorLike) -> Tensor:
    x = _tensor(value)
    shapes.check_image(x.shape)
    return x


def _same_dtype(name: str, *values: TensorLike | None) -> list[Tensor]:
    """Converts all values except None to tensors. Raises TypeError if their dtypes differ."""
    x = _tensor(values[0])  # type: ignore[arg-type]
    follow = x.dtype if x.dtype.kind == "f" else None
    tensors = [x, *(None if v is None else _tensor(v, follow) for v in values[1:])]
    dtypes = [t.dtype for t in tensors if t is not None]
    if len(set(dtypes)) > 1:
        raise TypeError(f"{name} needs tensors of the same dtype. Received: {', '.join(map(str, dtypes))}. "
                        "Convert a tensor with ops.cast(tensor, dtype).")
    return tensors  # type: ignore[return-value]


def _kernel_shape(w: Tensor, expected: str) -> tuple[int, ...]:
    if w.ndim != 4:
        raise ValueError(f"The kernel must have shape {expected}. Received shape: {w.shape}.")
    return w.shape


def _check_depth(x: Tensor, w: Tensor, depth: int) -> None:
    if depth != x.shape[3]:
        raise ValueError(f"The kernel must have {x.shape[3]} input channels, as many as x. "
                         f"Received: x of shape {x.shape}, w of shape {w.shape}.")


def _check_bias(b: Tensor | None, size: int) -> None:
    if b is not None and b.shape != (size,):
        raise ValueError(f"The bias must have shape {(size,)}, one number per output channel. "
                         f"Received shape: {b.shape}.")


def _pool_window(x: Tensor, pool_size: Pair, strides: Pair | None,
                 padding: Padding) -> shapes.Window:
    _, h, w, _ = shapes.check_image(x.shape)
    return shapes.pool_window((h, w), pool_size, strides, padding)


def _move_constant(value: TensorLike, like: Tensor, dtype: DTypeLike) -> Any:
    """Returns `value` as an array on `like`'s device. Its gradients do not pass."""
    value = stack_all(value)
    if not isinstance(value, Tensor) or value.device is not like.device:
        return like.device.asarray(np.asarray(value), dtype)
    if value.dtype == dtype:
        return value.data
    converted = like.device.empty(value.shape, dtype)
    like.device.kernels("arith").copy(value.data, converted)
    return converted


record_nodes(globals(), __all__)
