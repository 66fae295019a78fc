"""Normalizations composed of other functions, with the names of `keras.ops`."""

from collections.abc import Sequence

from ..engine.tensor import Tensor, record_nodes
from ..operators.arith import normalize_axes
from . import arrays
from .layer_functions import TensorLike, _tensor

__all__ = ["layer_normalization", "moments", "normalize"]

Axes = int | Sequence[int]


def moments(x: TensorLike, axes: Axes, keepdims: bool = False) -> tuple[Tensor, Tensor]:
    """Returns the mean and the (biased) variance of x along `axes`."""
    x = _tensor(x)
    mean = x.mean(axes, keepdims=True)
    variance = ((x - mean) ** 2).mean(axes, keepdims=keepdims)
    return mean if keepdims else arrays.squeeze(mean, axes), variance


def layer_normalization(x: TensorLike, gamma: TensorLike | None = None,
                        beta: TensorLike | None = None, axis: Axes = -1, epsilon: float = 1e-3,
                        rms_scaling: bool = False) -> Tensor:
    """gamma (x - mean) / sqrt(variance + epsilon) + beta, with the mean and variance of each sample
    along `axis`. With `rms_scaling` the result is gamma x / sqrt(variance + epsilon). Ba et al.,
    "Layer normalization", 2016.
    """
    x = _tensor(x)
    axes = normalize_axes(axis, x.ndim)
    shape = tuple(n if i in axes else 1 for i, n in enumerate(x.shape))
    mean, variance = moments(x, axes, keepdims=True)
    y = (x if rms_scaling else x - mean) / arrays.sqrt(variance + epsilon)
    if gamma is not None:
        y = y * _tensor(gamma).reshape(shape)
    return y if beta is None or rms_scaling else y + _tensor(beta).reshape(shape)


def normalize(x: TensorLike, axis: Axes = -1, order: int = 2, epsilon: float = 1e-7) -> Tensor:
    """Divides x by its norm of order `order` along `axis`, or by epsilon if the norm is smaller."""
    x = _tensor(x)
    if isinstance(order, bool) or not isinstance(order, int) or order < 1:
        raise ValueError(f"order must be a positive integer. Received: {order!r}.")
    if order == 2:
        return x / arrays.sqrt(arrays.maximum((x * x).sum(axis, keepdims=True), epsilon**2))
    sums = (arrays.abs(x) ** order).sum(axis, keepdims=True)
    return x / arrays.maximum(sums ** (1 / order), epsilon)


record_nodes(globals(), __all__)
