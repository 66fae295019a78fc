"""The optimizers. Each class defines its slots and the arguments of its kernel."""

import math
from functools import partial
from typing import Any, ClassVar

import numpy as np

from ..arguments.checked import Setting, check_fraction, check_fraction_or_one, check_nonnegative
from ..engine.variable import Variable
from ..kernels.formulas import load_elementary
from .optimizer import LearningRate, Optimizer
from .slots import FlatParameters


class SGD(Optimizer):
    """Gradient descent `w -= learning_rate * g`, or with momentum `m = momentum*m - learning_rate*g; w += m`.

    `nesterov` uses the updated m: `w += momentum*m - learning_rate*g` (Sutskever et al., 2013).
    """

    recordable = True
    momentum = Setting(check_fraction_or_one)

    def __init__(
        self, learning_rate: LearningRate = 0.01, momentum: float = 0.0, nesterov: bool = False, **common: Any
    ) -> None:
        super().__init__(learning_rate, **common)
        self.momentum = momentum
        self.nesterov = nesterov

    @property
    def _slots(self) -> tuple[str, ...]:  # type: ignore[override]
        return ("momentum",) if self.momentum else ()

    def formula(self, k: Any, flat: FlatParameters, rate: float, decay_factor: float) -> None:
        k.sgd(flat.data, flat.gradient, self._slot("momentum"), rate, self.momentum, bool(self.nesterov), decay_factor)


class RMSprop(Optimizer):
    """`v = rho*v + (1-rho)*g^2; w -= learning_rate * g / sqrt(v + epsilon)` (Hinton, 2012).

    `centered` subtracts the square of the gradient's moving average from v. `momentum` is the
    fraction of the previous step that is added to each step.
    """

    recordable = True
    rho = Setting(check_fraction)
    momentum = Setting(check_fraction_or_one)
    epsilon = Setting(check_nonnegative)
    _late_slots = ("velocity", "momentum", "average_gradient")

    def __init__(
        self, learning_rate: LearningRate = 0.001, rho: float = 0.9, momentum: float = 0.0, epsilon: float = 1e-7,
        centered: bool = False, **common: Any,
    ) -> None:
        super().__init__(learning_rate, **common)
        self.rho = rho
        self.momentum = momentum
        self.epsilon = epsilon
        self.centered = centered

    @property
    def _slots(self) -> tuple[str, ...]:  # type: ignore[override]
        momentum = ("momentum",) if self.momentum else ()
        return ("velocity", *momentum, *(("average_gradient",) if self.centered else ()))

    def formula(self, k: Any, flat: FlatParameters, rate: float, decay_factor: float) -> None:
        slots = self._slot("velocity"), self._slot("momentum"), self._slot("average_gradient")
        k.rmsprop(flat.data, flat.gradient, *slots, rate, self.rho, self.momentum, self.epsilon, decay_factor)


def correct_bias(rate: float, beta_1: float, beta_2: float, step: int) -> float:
    """Returns Adam's step size at `step` (from 1): the averages start at 0, which it corrects."""
    power = load_elementary().power
    return rate * math.sqrt(1 - power(beta_2, step)) / (1 - power(beta_1, step))


class Adam(Optimizer):
    """`m += (1-b1)(g - m); v += (1-b2)(g^2 - v); w -= alpha * m / (sqrt(v) + epsilon)` (Kingma and Ba, 2014).

    At step t, `alpha = learning_rate * sqrt(1 - b2^t) / (1 - b1^t)`. As in Keras, epsilon is therefore added before
    the bias correction. `amsgrad` uses the largest v of all steps up to t (Reddi et al., 2018).
    """

    recordable = True
    beta_1 = Setting(check_fraction)
    beta_2 = Setting(check_fraction)
    epsilon = Setting(check_nonnegative)

    def __init__(
        self, learning_rate: LearningRate = 0.001, beta_1: float = 0.9, beta_2: float = 0.999, epsilon: float = 1e-7,
        amsgrad: bool = False, **common: Any,
    ) -> None:
        super().__init__(learning_rate, **common)
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.amsgrad = bool(amsgrad)

    @property
    def _slots(self) -> tuple[str, ...]:  # type: ignore[override]
        return ("momentum", "velocity", *(("velocity_hat",) if self.amsgrad else ()))

    def _step_size(self) -> float:
        return correct_bias(self._rate(), self.beta_1, self.beta_2, self._updates() + 1)

    def formula(self, k: Any, flat: FlatParameters, rate: float, decay_factor: float) -> None:
        slots = [self._slot(slot) for slot in self._slots]
        step = k.adam_max if self.amsgrad else k.adam
        step(flat.data, flat.gradient, *slots, rate, self.beta_1, self.beta_2, self.epsilon, decay_factor)


class AdamW(Adam):
    """Adam with decoupled weight decay, 0.004 by default (Loshchilov and Hutter, 2017)."""

    def __init__(self, learning_rate: LearningRate = 0.001, weight_decay: float = 0.004, beta_1: float = 0.9,
                 beta_2: float = 0.999, epsilon: float = 1e-7, amsgrad: bool = False, **common: Any) -> None:
        if weight_decay is None:
            raise ValueError("weight_decay of AdamW must be a number. Received: None. To train "
                             "without weight decay, use Adam.")
        super().__init__(learning_rate, beta_1, beta_2, epsilon, amsgrad, weight_decay=weight_decay, **common)


class Adagrad(Optimizer):
    """`a += g^2; w -= learning_rate * g / sqrt(a + epsilon)`; a starts at initial_accumulator_value (Duchi, 2011)."""

    recordable = True
    _slots = ("accumulator",)
    _initial_attributes: ClassVar[dict[str, str]] = {"accumulator": "initial_accumulator_value"}
    initial_accumulator_value = Setting(check_nonnegative)
    epsilon = Setting(check_nonnegative)

    def __init__(self, learning_rate: LearningRate = 0.001, initial_accumulator_value: float = 0.1,
                 epsilon: float = 1e-7, **common: Any) -> None:
        super().__init__(learning_rate, **common)
        self.initial_accumulator_value = initial_accumulator_value
        self.epsilon = epsilon

    def formula(self, k: Any, flat: FlatParameters, rate: float, decay_factor: float) -> None:
        k.adagrad(flat.data, flat.gradient, self._slot("accumulator"), rate, self.epsilon, decay_factor)


class Adadelta(Optimizer):
    """`w -= learning_rate * g * RMS(earlier steps) / RMS(gradients)`, with moving averages (Zeiler, 2012)."""

    recordable = True
    _slots = ("accumulated_grad", "accumulated_delta_var")
    rho = Setting(check_fraction)
    epsilon = Setting(check_nonnegative)

    def __init__(self, learning_rate: LearningRate = 0.001, rho: float = 0.95, epsilon: float = 1e-7,
                 **common: Any) -> None:
        super().__init__(learning_rate, **common)
        self.rho = rho
        self.epsilon = epsilon

    def formula(self, k: Any, flat: FlatParameters, rate: float, decay_factor: float) -> None:
        slots = [self._slot(slot) for slot in self._slots]
        k.adadelta(flat.data, flat.gradient, *slots, rate, self.rho, self.epsilon, decay_factor)


class Adamax(Optimizer):
    """Adam with the largest gradient up to now, decayed by beta_2, instead of sqrt(v) (Kingma and Ba, 2014)."""

    recordable = True
    _slots = ("momentum", "norm")
    beta_1 = Setting(check_fraction)
    beta_2 = Setting(check_fraction)
    epsilon = Setting(check_nonnegative)

    def __init__(self, learning_rate: LearningRate = 0.001, beta_1: float = 0.9, beta_2: float = 0.999,
                 epsilon: float = 1e-7, **common: Any) -> None:
        super().__init__(learning_rate, **common)
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon

    def _step_size(self) -> float:
        return self._rate() / (1 - load_elementary().power(self.beta_1, self._updates() + 1))

    def formula(self, k: Any, flat: FlatParameters, rate: float, decay_factor: float) -> None:
        slots = [self._slot(slot) for slot in self._slots]
        k.adamax(flat.data, flat.gradient, *slots, rate, self.beta_1, self.beta_2, self.epsilon, decay_factor)


class Nadam(Adamax):
    """Adam with Nesterov momentum, whose factor grows with the number of steps (Dozat, 2015)."""

    _slots = ("momentum", "velocity")
    recordable = True

    def __init__(self, learning_rate: LearningRate = 0.001, beta_1: float = 0.9, beta_2: float = 0.999,
                 epsilon: float = 1e-7, **common: Any) -> None:
        super().__init__(learning_rate, beta_1, beta_2, epsilon, **common)
        self._products = [0, 1.0]  # a number of steps, and the product of their momenta

    def formula(self, k: Any, flat: FlatParameters, rate: float, decay_factor: float) -> None:
        factors = [flat.device.dynamic(partial(self._factor, i)) for i in range(3)]
        slots = [self._slot(slot) for slot in self._slots]
        k.nadam(flat.data, flat.gradient, *slots, *factors, self.beta_1, self.beta_2, self.epsilon, decay_factor)

    def _factor(self, index: int) -> float:
        """Returns a factor of the next step. index: 0 for the factor of m, 1 for g, 2 for sqrt(v)."""
        t = self._updates() + 1
        if index == 2:
            return 1 / math.sqrt(1 - load_elementary().power(self.beta_2, t))
        product = self._product(t)
        if index == 1:
            return self._rate() * (1 - self._momentum(t)) / (1 - product)
        return self._rate() * self._momentum(t + 1) / (1 - product * self._momentum(t + 1))

    @property
    def variables(self) -> list[Variable]:
        """The state's variables. Keras also stores the momenta's product; autoconv computes it from the step count."""
        result = super().variables
        if self.flat is not None:
            product = np.array(self._product(self._updates()), np.float32)
            result.append(Variable.wrap(product, "u_product", self.name))
        return result

    def _momentum(self, t: int) -> float:
        return self.beta_1 * (1 - 0.5 * load_elementary().power(0.96, t))

    def _product(self, t: int) -> float:
        steps, product = self._products if self._products[0] <= t else [0, 1.0]
        for step in range(int(steps) + 1, t + 1):
            product *= self._momentum(step)
            if not product:  # the product stays 0
                break
        self._products[:] = t, product
        return product


class Lion(Optimizer):
    """`w -= learning_rate * sign(b1 m + (1-b1) g); m = b2 m + (1-b2) g`. Use a small rate (Chen et al., 2023)."""

    recordable = True
    _slots = ("momentum",)
    beta_2 = Setting(check_fraction)

    def __init__(self, learning_rate: LearningRate = 0.001, beta_1: float = 0.9, beta_2: float = 0.99,
                 **common: Any) -> None:
        super().__init__(learning_rate, **common)
        if not 0 < beta_1 <= 1:
            raise ValueError("Argument `beta_1` must be in the (0, 1] range. With beta_1=0, the "
                             f"optimizer degenerates to SignSGD. Received: beta_1={beta_1}.")
        self.beta_1 = beta_1
        self.beta_2 = beta_2

    def formula(self, k: Any, flat: FlatParameters, rate: float, decay_factor: float) -> None:
        k.lion(flat.data, flat.gradient, self._slot("momentum"), rate, self.beta_1, self.beta_2, decay_factor)


class Ftrl(Optimizer):
    """"Follow the regularized leader", with L1, L2 and shrinkage, for sparse weights (McMahan et al., 2013)."""

    recordable = True
    _slots = ("accumulator", "linear")
    _initial_attributes: ClassVar[dict[str, str]] = {"accumulator": "initial_accumulator_value"}
    _not_negative = ("initial_accumulator_value", "l1_regularization_strength", "l2_regularization_strength",
                     "l2_shrinkage_regularization_strength")

    def __init__(
        self, learning_rate: LearningRate = 0.001, learning_rate_power: float = -0.5,
        initial_accumulator_value: float = 0.1, l1_regularization_strength: float = 0.0,
        l2_regularization_strength: float = 0.0, l2_shrinkage_regularization_strength: float = 0.0, beta: float = 0.0,
        **common: Any,
    ) -> None:
        super().__init__(learning_rate, **common)
        for name, value in zip(self._not_negative, (
                initial_accumulator_value, l1_regularization_strength, l2_regularization_strength,
                l2_shrinkage_regularization_strength)):
            if value < 0:
                raise ValueError(f"`{name}` needs to be positive or zero. Received: {name}={value}.")
            setattr(self, name, float(value))
        if learning_rate_power > 0:
            raise ValueError("`learning_rate_power` needs to be negative or zero. "
                             f"Received: learning_rate_power={learning_rate_power}.")
        self.learning_rate_power = learning_rate_power
        self.beta = beta

    def formula(self, k: Any, flat: FlatParameters, rate: float, decay_factor: float) -> None:
        numbers = (-self.learning_rate_power, *(getattr(self, name) for name in (*self._not_negative[1:], "beta")))
        k.ftrl(flat.data, flat.gradient, *(self._slot(slot) for slot in self._slots), rate, *map(float, numbers),
               decay_factor)
