"""Muon, whose step is the averaged gradient of a kernel, made nearly orthogonal."""

import math
import re
from collections.abc import Sequence
from typing import Any

from .. import functional as F
from ..arguments.checked import Setting, check_fraction, check_nonnegative
from ..arguments.shapes import check_count
from ..engine.tensor import Tensor, no_grad
from .optimizer import LearningRate, Optimizer
from .slots import FlatParameters
from .steps import correct_bias

# The polynomial a s + b s^3 + c s^5, which moves singular values s towards 1 (Jordan et al., 2024).
COEFFICIENTS = 3.4445, -4.7750, 2.0315


def orthogonalize(x: Tensor, steps: int) -> Tensor:
    """Returns a matrix with the singular vectors of the matrix x and singular values of 0.7 to 1.2.

    Each of the `steps` is a Newton-Schulz iteration, which needs only matrix products. Singular
    values far below the norm of x need more than five steps (Jordan et al., "Muon", 2024).
    """
    a, b, c = COEFFICIENTS
    is_tall = x.shape[0] > x.shape[1]
    x = x.T if is_tall else x
    x = x / (F.sqrt((x * x).sum()) + 1e-7)
    for _ in range(steps):
        gram = x @ x.T
        x = x * a + (gram * b + (gram @ gram) * c) @ x
    return x.T if is_tall else x


class Muon(Optimizer):
    """`m = momentum*m + g; w -= learning_rate * scale * orthogonalize(m)` for most kernels.

    A convolution kernel (kh, kw, C, F) is used as a matrix (kh*kw*C, F); Keras uses Adam for these
    kernels. `nesterov` orthogonalizes g + momentum*m. The scale is `rms_rate * sqrt(max(rows,
    columns))` (Liu et al., 2025), or 1 if `rms_rate` is None. Adam, with `learning_rate *
    adam_lr_ratio`, updates vectors, kernels whose last axis has length 1, such as depthwise
    kernels, and weights whose path contains a pattern of `exclude_layers`. Exclude the output
    layer (Jordan et al., 2024).
    """

    recordable = True
    _slots = ("momentum", "velocity")
    adam_beta_1 = Setting(check_fraction)
    adam_beta_2 = Setting(check_fraction)
    epsilon = Setting(check_nonnegative)
    adam_lr_ratio = Setting(check_nonnegative)
    momentum = Setting(check_fraction)
    rms_rate = Setting(check_nonnegative, optional=True)

    def __init__(
        self, learning_rate: LearningRate = 0.001, adam_beta_1: float = 0.9,
        adam_beta_2: float = 0.999, epsilon: float = 1e-7, weight_decay: float | None = 0.004,
        exclude_layers: Sequence[str] | None = None, adam_lr_ratio: float = 1.0,
        momentum: float = 0.95, ns_steps: int = 5, nesterov: bool = True,
        rms_rate: float | None = 0.2, **common: Any,
    ) -> None:
        super().__init__(learning_rate, weight_decay, **common)
        self.adam_beta_1 = adam_beta_1
        self.adam_beta_2 = adam_beta_2
        self.epsilon = epsilon
        self.exclude_layers = list(exclude_layers or ())
        self.adam_lr_ratio = adam_lr_ratio
        self.momentum = momentum
        self.nesterov = bool(nesterov)
        check_count("ns_steps", ns_steps, 1)
        self.ns_steps = ns_steps
        self.rms_rate = rms_rate

    def formula(self, k: Any, flat: FlatParameters, rate: float, decay_factor: float) -> None:
        betas = self.adam_beta_1, self.adam_beta_2
        adam_rate = flat.device.dynamic(
            lambda: correct_bias(self._rate() * self.adam_lr_ratio, *betas, self._updates() + 1))
        arrays = flat.data, flat.gradient, self._slot("momentum"), self._slot("velocity")
        for start, parameter in zip(flat.starts, flat.parameters):
            w, g, m, v = (array[start : start + parameter.size] for array in arrays)
            is_excluded = any(re.search(pattern, parameter.path) for pattern in self.exclude_layers)
            if is_excluded or len(parameter.shape) < 2 or parameter.shape[-1] == 1:
                k.adam(w, g, m, v, adam_rate, *betas, self.epsilon, decay_factor)
            else:
                columns = parameter.shape[-1]
                matrices = [Tensor(a.reshape(-1, columns), device=flat.device) for a in (g, m)]
                step = self._direction(*matrices).data.reshape(-1)
                k.sgd(w, step, w[:0], rate, 0.0, False, decay_factor)

    def _direction(self, gradient: Tensor, average: Tensor) -> Tensor:
        """Adds `gradient` to the matrix `average`, in place. Returns the step without the rate."""
        with no_grad():
            total = average * self.momentum + gradient
            average.device.kernels("arith").copy(total.data, average.data)
            total = gradient + total * self.momentum if self.nesterov else total
            step = orthogonalize(total, self.ns_steps)
            scale = 1.0 if self.rms_rate is None else self.rms_rate * math.sqrt(max(step.shape))
            return step * scale
