"""Checks that a backward pass is the derivative of its forward pass along one random direction, at low cost."""

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import random
from .tensor import Tensor

_DIRECTION = 0x67726164  # fixed seed of the random directions


class GradientMismatch(AssertionError):  # noqa: N818 (the name describes the failure)
    """The gradients from `backward()` and from finite differences differ."""


def gradcheck(f: Callable[..., Tensor], *tensors: Any, eps: float = 1e-6, tolerance: float = 1e-6) -> None:
    """Checks the gradients of `f(*tensors)` along one random direction, for the tensors that require gradients.

    With a random v for the inputs and a random u for the result, u . J v from `backward()` must equal
    u . (f(x + eps v) - f(x - eps v)) / (2 eps). `tolerance` is relative to the larger of the two numbers, or
    absolute if both are below 1. Only float64 is accepted, because float32's rounding errors would hide a difference.
    The tensors may also be passed as one list or tuple. Raises GradientMismatch with both numbers if they differ,
    ValueError for tensors of another dtype, and TypeError for other objects.
    """
    if len(tensors) == 1 and isinstance(tensors[0], list | tuple):  # as in PyTorch
        tensors = tuple(tensors[0])
    if not all(isinstance(t, Tensor | None) for t in tensors):
        raise TypeError("gradcheck needs tensors. Received: objects of the types "
                        f"{', '.join(type(t).__name__ for t in tensors)}. Create float64 tensors with "
                        "tensor(array, requires_grad=True, dtype='float64').")
    variables = [t for t in tensors if t is not None and t.requires_grad]
    if not variables or any(t.dtype != np.float64 for t in variables):
        raise ValueError("gradcheck needs float64 tensors that require gradients. Received (dtype, requires_grad): "
                         f"{[(str(t.dtype), t.requires_grad) for t in tensors if t is not None]}.")
    directions = [_direction(t.shape, number) for number, t in enumerate(variables, 1)]
    leaves = [None if t is None else Tensor(t.data, t.requires_grad, t.device) for t in tensors]
    result = f(*leaves)
    weights = _direction(result.shape, 0)
    result.backward(weights)
    gradients = [t.grad if t.grad is None else t.device.numpy(t.grad)
                 for t in leaves if t is not None and t.requires_grad]
    analytic = sum(_dot(v, 0 if g is None else g) for v, g in zip(directions, gradients))
    numeric = (_shift(f, tensors, directions, eps, weights) - _shift(f, tensors, directions, -eps, weights)) / (2 * eps)
    if not abs(analytic - numeric) <= tolerance * max(1.0, abs(analytic), abs(numeric)):
        raise GradientMismatch(f"Along a random direction, backward() gives the derivative {analytic:.10g}, but "
                               f"finite differences give {numeric:.10g}. The tolerance is {tolerance:g}.")


def _shift(f: Callable[..., Tensor], tensors: tuple, directions: list[np.ndarray], step: float, weights: Any) -> float:
    """Returns u . f(x + step v), with u in `weights` and v in `directions`. f may compute gradients."""
    vectors = iter(directions)
    shifted = [t if t is None or not t.requires_grad else
               Tensor(t.device.asarray(t.numpy() + step * next(vectors)), True, t.device) for t in tensors]
    return _dot(weights, f(*shifted).numpy())


def _direction(shape: tuple[int, ...], number: int) -> np.ndarray:
    """Draws standard normal numbers with a separate key, so that the user's random streams do not advance."""
    return random.normal(shape, dtype=np.float64, key=(_DIRECTION, number))


def _dot(a: Any, b: Any) -> float:
    return float(np.sum(a * b))
