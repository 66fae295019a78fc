"""One step of an optimizer over the flat array of all parameters: a single pass, each element on its own. And the
clipping of gradients.

The formulas are in formulas/updates.py. The numbers arrive as float64 and are rounded to the parameters' type once.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import prange

from ..formulas import updates
from .jit import CpuKernel, inline, kernel, recorded

FEW = 1 << 17  # up to so many parameters one thread is done before a second one has woken up

_TEMPLATE = """
def {name}({parameters}):
    real = w.dtype.type
    kept, numbers = real(decay_factor), ({numbers})
    for i in prange(len(w)):
        result = formula(w[i] * kept, g[i], {slots}, *numbers)
        {targets} = {results}
"""


def _kernel(rule: updates.Rule, slots: tuple[str, ...]) -> CpuKernel:
    """Makes the kernel of an optimizer that has these slots."""
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
    """w = average where `whether` is 1."""
    if whether == 1.0:
        for i in prange(len(w)):
            w[i] = average[i]


@kernel("(T[::1], float64)", parallel=True, few=FEW)
def decay(w, decay_factor):
    """w times the factor, for optimizers that do not decay all weights."""
    kept = w.dtype.type(decay_factor)
    for i in prange(len(w)):
        w[i] *= kept


@recorded
def clip(gradient, limit):
    """Cuts each element off at -limit and limit."""
    np.clip(gradient, -limit, limit, out=gradient)


@recorded
def shrink(gradient, limit):
    """Scales an array down to the L2 norm `limit` where it is longer. NumPy's sum: the same bits for any threads."""
    norm = math.sqrt(float((gradient * gradient).sum()))
    if norm > limit:
        gradient *= limit / norm
