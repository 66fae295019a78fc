"""Updates the flat array of all parameters in one pass per optimizer step, and clips gradients.

The formulas are in formulas/updates.py. Their numbers are passed as float64 and are rounded to the
parameters' dtype once.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import prange

from ..formulas import updates
from .jit import CpuKernel, inline, kernel, recorded

FEW = 1 << 17  # parameters that one thread updates in the time that a second thread needs to start

_TEMPLATE = """
def {name}({parameters}):
    real = w.dtype.type
    kept, numbers = real(decay_factor), ({numbers})
    for i in prange(len(w)):
        result = formula(w[i] * kept, g[i], {slots}, *numbers)
        {targets} = {results}
"""


def _kernel(rule: updates.Rule, slots: tuple[str, ...]) -> CpuKernel:
    """Returns the kernel for an optimizer that uses `rule` and has the slots `slots`."""
    numbers, name = (*rule.rates, *rule.constants), rule.kernel_name(slots)
    names: dict[str, Any] = {"__name__": __name__, "prange": prange, "formula": inline(rule.formula)}
    exec(rule.source(_TEMPLATE, name, slots, tuple(f"real({number})" for number in numbers)), names)
    signature = ["T[::1]"] * (2 + len(slots)) + ["float64"] * (len(numbers) + 1)
    return kernel(f"({', '.join(signature)})", parallel=True, few=FEW)(names[name])


def _update(rule: updates.Rule) -> Callable[..., None]:
    def update(w: Any, g: Any, *given: Any) -> None:
        name, slots, rates, constants, decay_factor = rule.arguments(given)
        KERNELS[name](w, g, *slots, *rates, *constants, decay_factor)

    update.__doc__ = rule.formula.__doc__
    return update


KERNELS = {rule.kernel_name(slots): _kernel(rule, slots) for rule in updates.RULES for slots in rule.choices()}
globals().update({rule.name: _update(rule) for rule in updates.RULES})

_moving = inline(updates.moving)


@kernel("(T[::1], T[::1], float64)", parallel=True, few=FEW)
def moving_average(average, w, momentum):
    real = w.dtype.type
    old, new = real(momentum), real(1.0 - momentum)
    for i in prange(len(w)):
        average[i] = _moving(average[i], w[i], old, new)


@kernel("(T[::1], T[::1], float64)", parallel=True, few=FEW)
def adopt(w, average, whether):
    """w = average if `whether` is 1."""
    if whether == 1.0:
        for i in prange(len(w)):
            w[i] = average[i]


@kernel("(T[::1], float64)", parallel=True, few=FEW)
def decay(w, decay_factor):
    """w *= decay_factor, for optimizers that decay only some of the weights."""
    kept = w.dtype.type(decay_factor)
    for i in prange(len(w)):
        w[i] *= kept


@recorded
def clip(gradient, limit):
    """Clips each element of `gradient` to -limit..limit."""
    np.clip(gradient, -limit, limit, out=gradient)


@recorded
def shrink(gradient, limit):
    """Scales `gradient` to an L2 norm of at most `limit`; the thread count changes no bit."""
    norm = math.sqrt(float((gradient * gradient).sum()))
    if norm > limit:
        gradient *= limit / norm
