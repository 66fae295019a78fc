"""Updates the flat array of all parameters in one pass per optimizer step, and clips gradients.

The formulas are in formulas/updates.py. A formula's numbers are passed as float64 and rounded once,
to the parameters' dtype.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import prange

from ..formulas import compile_formulas, elementary, updates
from .jit import CpuKernel, inline, kernel, record_calls

BLOCK = 1 << 16  # number of squares that are added one by one
FEW = 1 << 17  # number of parameters that one thread updates while a second thread starts

_TEMPLATE = """
def {name}({parameters}):
    real = w.dtype.type
    factor, numbers = real(decay_factor), ({numbers})
    for i in prange(len(w)):
        result = formula(w[i] * factor, g[i], {slots}, *numbers)
        {targets} = {results}
"""


_formulas = compile_formulas(
    updates, inline, raise_to=inline(lambda a, power: type(a)(elementary.power(a, power))))


def _kernel(rule: updates.Rule, slots: tuple[str, ...]) -> CpuKernel:
    """Returns the kernel for an optimizer that uses `rule` and has the slots `slots`."""
    numbers, name = (*rule.rates, *rule.constants), rule.kernel_name(slots)
    names: dict[str, Any] = {"__name__": __name__, "prange": prange, "formula": getattr(_formulas, rule.name)}
    exec(rule.source(_TEMPLATE, name, slots, tuple(f"real({number})" for number in numbers)), names)
    signature = ["T[::1]"] * (2 + len(slots)) + ["float64"] * (len(numbers) + 1)
    return kernel(f"({', '.join(signature)})", parallel=True, grain=FEW)(names[name])


def _update(rule: updates.Rule) -> Callable[..., None]:
    def update(w: Any, g: Any, *values: Any) -> None:
        name, slots, rates, constants, decay_factor = rule.arguments(values)
        KERNELS[name](w, g, *slots, *rates, *constants, decay_factor)

    update.__doc__ = rule.formula.__doc__
    return update


KERNELS = {rule.kernel_name(slots): _kernel(rule, slots) for rule in updates.RULES for slots in rule.choices()}
globals().update({rule.name: _update(rule) for rule in updates.RULES})

_moving = inline(updates.moving)


@kernel("(T[::1], T[::1], float64)", parallel=True, grain=FEW)
def moving_average(average, w, momentum):
    real = w.dtype.type
    old, new = real(momentum), real(1.0 - momentum)
    for i in prange(len(w)):
        average[i] = _moving(average[i], w[i], old, new)


@kernel("(T[::1], T[::1], float64)", parallel=True, grain=FEW)
def adopt(w, average, condition):
    """w = average if `condition` is 1."""
    if condition == 1.0:
        for i in prange(len(w)):
            w[i] = average[i]


@kernel("(T[::1], float64)", parallel=True, grain=FEW)
def decay(w, decay_factor):
    """w *= decay_factor, for optimizers that decay only some of the weights."""
    factor = w.dtype.type(decay_factor)
    for i in prange(len(w)):
        w[i] *= factor


@record_calls
def clip(gradient, limit):
    """Clips each element of `gradient` to -limit..limit."""
    np.clip(gradient, -limit, limit, out=gradient)


@record_calls
def shrink(gradient, limit):
    """Scales `gradient` to an L2 norm of at most `limit`. The bits do not depend on threads."""
    flat = gradient.reshape(-1)
    total = 0.0
    for start in range(0, flat.size, BLOCK):
        squares = np.square(flat[start : start + BLOCK], dtype=np.float64)
        total += float(np.cumsum(squares)[-1])  # np.sum's order depends on NumPy's version
    norm = math.sqrt(total)
    if norm > limit:
        gradient *= limit / norm
