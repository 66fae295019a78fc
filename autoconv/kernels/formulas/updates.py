"""Defines how each optimizer updates one weight. Both devices build their kernels from `RULES`.

A formula accepts the weight w, its gradient g, the slots, and then numbers of the same dtype. It
returns the new weight and the new slots. If an optimizer lacks a slot, its formula receives None.
"""

import inspect
import math
from collections.abc import Callable
from itertools import product
from typing import Any, NamedTuple


class Rule(NamedTuple):
    """Describes an optimizer's formula, slots and options.

    An update is called with w, g, all slots, the `rates`, which change from step to step, the
    optimizer's options, and `decay_factor`, by which weight decay multiplies w. An optional slot
    that the optimizer lacks is an empty array. `numbers` computes the constants from the options.
    """

    formula: Callable[..., tuple]
    slots: tuple[str, ...]
    optional: str
    rates: tuple[str, ...]
    constants: tuple[str, ...]
    numbers: Callable[..., tuple]

    @property
    def name(self) -> str:
        return self.formula.__name__

    def choices(self) -> list[tuple[str, ...]]:
        """Lists the sets of slots that an optimizer may have. Each set has its own kernel."""
        options = [(True, False) if slot in self.optional else (True,) for slot in self.slots]
        return [tuple(s for s, is_used in zip(self.slots, flags) if is_used) for flags in product(*options)]

    def kernel_name(self, slots: tuple[str, ...]) -> str:
        return "_".join((self.name, *(slot for slot in slots if slot in self.optional)))

    def source(self, template: str, name: str, slots: tuple[str, ...], numbers: tuple[str, ...]) -> str:
        """Fills in a device's `template` of a kernel's source; `numbers` are source expressions."""
        parameters = ("w", "g", *slots, *self.rates, *self.constants, "decay_factor")
        slot_items = (f"{slot}[i]" if slot in slots else "None" for slot in self.slots)
        results = {f"{array}[i]": f"result[{n}]" for n, array in enumerate(("w", *self.slots))
                   if array in ("w", *slots)}
        return template.format(
            name=name, parameters=", ".join(parameters), slots=", ".join(slot_items), numbers=", ".join(numbers),
            targets=", ".join(results), results=", ".join(results.values()))

    def arguments(self, values: tuple) -> tuple[str, tuple, tuple, tuple, Any]:
        """Converts the arguments after w and g to kernel name, slots, rates, constants, decay."""
        count, end = len(self.slots), len(self.slots) + len(self.rates)
        name, slots = self.name, values[:count]
        if self.optional:
            present = {slot: array for slot, array in zip(self.slots, slots) if slot not in self.optional or len(array)}
            name, slots = self.kernel_name(tuple(present)), tuple(present.values())
        return name, slots, values[count:end], self.numbers(*values[end:-1]), values[-1]


RULES: list[Rule] = []


def raise_to(a, power):
    """Returns a ** power. The CPU's kernels replace it by elementary.power."""
    return a**power


def rule(slots: int, optional: str = "", rates: int = 1,
         numbers: Callable[..., tuple] = lambda *options: options) -> Callable[[Callable], Callable]:
    """Returns a decorator that adds a formula to `RULES`. After w and g, the formula accepts
    `slots` slots, `rates` rates and then constants. `optional` contains the letters of the slots
    that an optimizer may lack.
    """

    def add(formula: Callable[..., tuple]) -> Callable[..., tuple]:
        names = tuple(inspect.signature(formula).parameters)[2:]
        end = slots + rates
        RULES.append(Rule(formula, names[:slots], optional, names[slots:end], names[end:], numbers))
        return formula

    return add


@rule(slots=1, optional="m", numbers=lambda momentum, nesterov: (momentum, float(nesterov)))
def sgd(w, g, m, rate, momentum, nesterov):
    """w -= rate g without m. With m, m = momentum m - rate g, and then w += m or, with Nesterov's
    method, w += momentum m - rate g.
    """
    step = -rate * g
    if m is not None:
        m = momentum * m + step
        step = momentum * m + step if nesterov else m
    return w + step, m


@rule(slots=3, optional="ma", numbers=lambda rho, momentum, epsilon: (rho, 1.0 - rho, momentum, epsilon))
def rmsprop(w, g, v, m, a, rate, old, new, momentum, epsilon):
    """v averages g^2;  w -= rate g / sqrt(v + epsilon). Optional: momentum m, mean gradient a."""
    v = old * v + new * (g * g)
    variance = v
    if a is not None:
        a = old * a + new * g
        variance -= a * a
    step = rate * g / math.sqrt(variance + epsilon)
    if m is not None:
        m = momentum * m + step
        step = m
    return w - step, v, m, a


@rule(slots=2, numbers=lambda beta_1, beta_2, epsilon: (1.0 - beta_1, 1.0 - beta_2, epsilon))
def adam(w, g, m, v, alpha, new_m, new_v, epsilon):
    """m averages g, v averages g^2;  w -= alpha m / (sqrt(v) + epsilon) (Kingma and Ba, 2014)."""
    m += (g - m) * new_m
    v += (g * g - v) * new_v
    return w - alpha * m / (math.sqrt(v) + epsilon), m, v


@rule(slots=3, numbers=lambda beta_1, beta_2, epsilon: (1.0 - beta_1, 1.0 - beta_2, epsilon))
def adam_max(w, g, m, v, largest, alpha, new_m, new_v, epsilon):
    """Updates w like `adam`, with the largest v of all steps (AMSGrad: Reddi et al., 2018)."""
    m += (g - m) * new_m
    v += (g * g - v) * new_v
    largest = max(largest, v)
    return w - alpha * m / (math.sqrt(largest) + epsilon), m, v, largest


@rule(slots=1)
def adagrad(w, g, a, rate, epsilon):
    """a += g^2;  w -= rate g / sqrt(a + epsilon) (Duchi et al., 2011)."""
    a += g * g
    return w - rate * g / math.sqrt(a + epsilon), a


@rule(slots=2, numbers=lambda rho, epsilon: (rho, 1.0 - rho, epsilon))
def adadelta(w, g, a, d, rate, old, new, epsilon):
    """step = g sqrt(d + epsilon) / sqrt(a + epsilon); a averages g^2, d step^2 (Zeiler, 2012)."""
    a = old * a + new * (g * g)
    step = math.sqrt(d + epsilon) * g / math.sqrt(a + epsilon)
    d = old * d + new * (step * step)
    return w - rate * step, a, d


@rule(slots=2, numbers=lambda beta_1, beta_2, epsilon: (1.0 - beta_1, beta_2, epsilon))
def adamax(w, g, m, u, alpha, new_m, beta_2, epsilon):
    """m averages g; u = max(beta_2 u, |g|);  w -= alpha m / (u + epsilon) (Kingma and Ba, 2014)."""
    m += (g - m) * new_m
    u = max(beta_2 * u, abs(g))
    return w - alpha * m / (u + epsilon), m, u


@rule(slots=2, rates=3, numbers=lambda beta_1, beta_2, epsilon: (1.0 - beta_1, 1.0 - beta_2, epsilon))
def nadam(w, g, m, v, c_m, c_g, c_root, new_m, new_v, epsilon):
    """m averages g, v g^2;  w -= (c_m m + c_g g) / (c_root sqrt(v) + epsilon) (Dozat, 2015)."""
    m += (g - m) * new_m
    v += (g * g - v) * new_v
    return w - (c_m * m + c_g * g) / (c_root * math.sqrt(v) + epsilon), m, v


@rule(slots=1, numbers=lambda beta_1, beta_2: (beta_1, 1.0 - beta_1, beta_2, 1.0 - beta_2))
def lion(w, g, m, rate, old_step, new_step, old_m, new_m):
    """w -= rate sign(old_step m + new_step g), then m averages g (Chen et al., 2023)."""
    direction = old_step * m + new_step * g
    step = rate if direction > 0 else -rate if direction < 0 else direction
    return w - step, old_m * m + new_m * g


@rule(slots=2)
def ftrl(w, g, a, z, rate, power, l1, l2, shrinkage, beta):
    """a += g^2, z sums up gradients, and both determine w (FTRL-Proximal: McMahan et al., 2013)."""
    new_a = a + g * g
    old_power = raise_to(a, power) / rate
    new_power = raise_to(new_a, power) / rate
    z += g + shrinkage * w + shrinkage * w - (new_power - old_power) * w
    quadratic = new_power + l2 + l2 + beta / rate
    return (max(-l1, min(z, l1)) - z) / quadratic, new_a, z


def moving(average, w, old, new):
    """average = old average + new w."""
    return old * average + new * w
