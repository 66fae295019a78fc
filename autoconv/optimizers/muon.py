"""Muon, whose step is the averaged gradient of a kernel, made nearly orthogonal."""

import math
import re
from collections.abc import Sequence
from typing import Any

from .. import functional as F
from ..arguments.checked import Setting, check_fraction, check_nonnegative, positive
from ..engine.tensor import Tensor, no_grad
from .optimizer import LearningRate, Optimizer
from .slots import FlatParameters
from .steps import correct_bias

# The polynomial a s + b s^3 + c s^5, which moves singular values s towards 1 (Jordan et al., 2024).
COEFFICIENTS = 3.4445, -4.7750, 2.0315
# Keras's arguments of which autoconv supports only the default values; autoconv has no embeddings.
KERAS_DEFAULTS = {"exclude_embeddings": True, "muon_a": 3.4445, "muon_b": -4.775, "muon_c": 2.0315}


def orthogonalize(x: Tensor, steps: int) -> Tensor:
    """Returns a matrix with the singular vectors of the matrix x and singular values of 0.6 to 1.3.

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


def _check_patterns(value: Any, name: str) -> list[str]:
    """Returns a list of regular expressions. Raises ValueError for other values."""
    try:
        if isinstance(value, str):
            raise TypeError("a string")
        return [re.compile(pattern).pattern for pattern in value or ()]
    except (TypeError, re.error) as error:
        raise ValueError(f"{name} must be a list of regular expressions, such as ['scores']. "
                         f"Received: {value!r}.") from error


class Muon(Optimizer):
    """`m = momentum*m + g; w -= learning_rate * scale * orthogonalize(m)` for most kernels.

    A convolution kernel (kh, kw, C, F) is used as a matrix (kh*kw*C, F); Keras uses Adam for these
    kernels. `nesterov` orthogonalizes g + momentum*m. The scale is `rms_rate * sqrt(max(rows,
    columns))` (Liu et al., 2025), or 1 if `rms_rate` is None. Adam, with `learning_rate *
    adam_lr_ratio` and `adam_weight_decay`, updates the weights for which `uses_adam` is true:
    those without two or four axes, those with a last axis of length 1, such as depthwise kernels,
    and those whose path contains a pattern of `exclude_layers`. Exclude the output layer (Jordan
    et al., 2024).
    """

    recordable = True
    _slots = ("momentum", "velocity")
    adam_beta_1 = Setting(check_fraction)
    adam_beta_2 = Setting(check_fraction)
    epsilon = Setting(check_nonnegative)
    adam_lr_ratio = Setting(check_nonnegative)
    momentum = Setting(check_fraction)
    rms_rate = Setting(check_nonnegative, optional=True)
    adam_weight_decay = Setting(check_nonnegative, optional=True)
    ns_steps = Setting(positive)
    exclude_layers = Setting(_check_patterns)

    def __init__(
        self, learning_rate: LearningRate = 0.001, adam_beta_1: float = 0.9,
        adam_beta_2: float = 0.999, adam_weight_decay: float | None = 0.004, epsilon: float = 1e-7,
        weight_decay: float | None = 0.004, exclude_layers: Sequence[str] | None = None,
        adam_lr_ratio: float = 1.0, momentum: float = 0.95, ns_steps: int = 5,
        nesterov: bool = True, rms_rate: float | None = 0.2, **common: Any,
    ) -> None:
        for name, default in KERAS_DEFAULTS.items():
            value = common.pop(name, default)
            if value != default:
                raise ValueError(f"Muon supports only {name}={default}. Received: {value!r}.")
        super().__init__(learning_rate, weight_decay, **common)
        self.adam_beta_1 = adam_beta_1
        self.adam_beta_2 = adam_beta_2
        self.adam_weight_decay = adam_weight_decay
        self.epsilon = epsilon
        self.exclude_layers = exclude_layers
        self.adam_lr_ratio = adam_lr_ratio
        self.momentum = momentum
        self.nesterov = bool(nesterov)
        self.ns_steps = ns_steps
        self.rms_rate = rms_rate

    def formula(self, k: Any, flat: FlatParameters, rate: float, decay_factor: float) -> None:
        betas = self.adam_beta_1, self.adam_beta_2
        adam_rate = flat.device.dynamic(
            lambda: correct_bias(self._rate() * self.adam_lr_ratio, *betas, self._updates() + 1))
        arrays = flat.data, flat.gradient, self._slot("momentum"), self._slot("velocity")
        for start, parameter in zip(flat.starts, flat.parameters):
            w, g, m, v = (array[start : start + parameter.size] for array in arrays)
            if self.uses_adam(parameter):
                k.adam(w, g, m, v, adam_rate, *betas, self.epsilon, decay_factor)
            else:
                columns = parameter.shape[-1]
                matrices = [Tensor(a.reshape(-1, columns), device=flat.device) for a in (g, m)]
                step = self._direction(*matrices).data.reshape(-1)
                k.sgd(w, step, w[:0], rate, 0.0, False, decay_factor)

    def uses_adam(self, parameter: Tensor) -> bool:
        """Whether Adam updates this weight."""
        shape = parameter.shape
        return len(shape) not in (2, 4) or shape[-1] == 1 or any(
            re.search(pattern, parameter.path) for pattern in self.exclude_layers)

    def _decay_of(self, parameter: Tensor) -> float:
        decay = self.adam_weight_decay if self.uses_adam(parameter) else self.weight_decay
        return 0.0 if self._is_excluded(parameter) else decay or 0.0

    def _direction(self, gradient: Tensor, average: Tensor) -> Tensor:
        """Adds `gradient` to the matrix `average`, in place. Returns the step without the rate."""
        with no_grad():
            total = average * self.momentum + gradient
            average.device.kernels("arith").copy(total.data, average.data)
            total = gradient + total * self.momentum if self.nesterov else total
            step = orthogonalize(total, self.ns_steps)
            scale = 1.0 if self.rms_rate is None else self.rms_rate * math.sqrt(max(step.shape))
            return step * scale
