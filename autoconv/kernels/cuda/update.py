"""Updates the flat array of all parameters, one thread per element, and clips gradients.

The formulas are in formulas/updates.py. Options are float64, rounded once to the parameters' type.
Options that change between steps are kept in GPU memory, where a recorded step reads new values.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..formulas import compile_formulas, updates
from . import array as arrays
from .arith import add_parts
from .kernels import ItemKernel, inline, kernel
from .ptx import global_index

PARTS = 256  # number of partial sums of a norm, added in a fixed order

_TEMPLATE = """
def {name}(count, {parameters}):
    real, i = w.dtype.type, global_index()
    if i < count:
        result = formula(w[i] * real(decay_factor[0]), g[i], {slots}, {numbers})
        {targets} = {results}
"""

_formulas = compile_formulas(updates, inline)


def _kernel(rule: updates.Rule, slots: tuple[str, ...]) -> ItemKernel:
    """Creates the update kernel of an optimizer that has these slots."""
    numbers = *(f"real({rate}[0])" for rate in rule.rates), *(f"real({number})" for number in rule.constants)
    name = f"_{rule.kernel_name(slots)}"
    formula = getattr(_formulas, rule.name)
    names: dict[str, Any] = {"__name__": __name__, "global_index": global_index, "formula": formula}
    exec(rule.source(_TEMPLATE, name, slots, numbers), names)
    signature = ["int64", "T[::1]", "const T[::1]", *["T[::1]"] * len(slots),
                 *["const float64[::1]"] * len(rule.rates), *["float64"] * len(rule.constants), "const float64[::1]"]
    return kernel(f"({', '.join(signature)})")(names[name])


def _update(rule: updates.Rule) -> Callable[..., None]:
    def update(w: Any, g: Any, *values: Any) -> None:
        name, slots, rates, constants, decay_factor = rule.arguments(values)
        changing = (_number(w, rate) for rate in rates)
        KERNELS[name](w.size, w, g, *slots, *changing, *constants, _number(w, decay_factor))

    update.__doc__ = rule.formula.__doc__
    return update


KERNELS = {rule.kernel_name(slots): _kernel(rule, slots) for rule in updates.RULES for slots in rule.choices()}
globals().update({rule.name: _update(rule) for rule in updates.RULES})

_moving = inline(updates.moving)


@kernel("(int64, T[::1], const T[::1], const float64[::1])")
def _moving_average(count, average, w, momentum):
    real = w.dtype.type
    i = global_index()
    if i < count:
        average[i] = _moving(average[i], w[i], real(momentum[0]), real(1.0 - momentum[0]))


@kernel("(int64, T[::1], const T[::1], const float64[::1])")
def _adopt(count, w, average, condition):
    i = global_index()
    if i < count and condition[0] == 1.0:
        w[i] = average[i]


@kernel("(int64, T[::1], const float64[::1])")
def _decay(count, w, decay_factor):
    i = global_index()
    if i < count:
        w[i] *= w.dtype.type(decay_factor[0])


@kernel("(int64, T[::1], T)")
def _clip(count, g, limit):
    i = global_index()
    if i < count:
        g[i] = -limit if g[i] < -limit else limit if g[i] > limit else g[i]


@kernel("(int64, const T[::1], float64[:,::1])")
def _square_sums(count, g, partial):
    """partial[part, 0] = the sum of squares of section `part` of g."""
    part = global_index()
    if part < count:
        total = 0.0
        for i in range(g.size * part // count, g.size * (part + 1) // count):
            total += float(g[i]) * float(g[i])
        partial[part, 0] = total


@kernel("(int64, T[::1], const float64[::1], float64)")
def _shrink(count, g, squares, limit):
    """Scales g down to the L2 norm `limit` if its norm is larger."""
    norm = math.sqrt(squares[0])
    if norm > limit:
        factor = g.dtype.type(limit / norm)
        i = global_index()
        if i < count:
            g[i] *= factor


def moving_average(average, w, momentum):
    _moving_average(w.size, average, w, _number(w, momentum))


def adopt(w, average, condition):
    """w = average if `condition` is 1; otherwise w stays unchanged."""
    _adopt(w.size, w, average, _number(w, condition))


def decay(w, decay_factor):
    """w *= decay_factor, called for optimizers that do not decay all weights."""
    flat = w.reshape(-1)
    _decay(flat.size, flat, _number(w, decay_factor))


def _number(w, value):
    return arrays.number(w.gpu, value, np.float64)


def clip(gradient, limit):
    """Clips each element to the range -limit..limit."""
    flat = gradient.reshape(-1)
    _clip(flat.size, flat, flat.dtype.type(limit))


def shrink(gradient, limit):
    """Scales an array down to the L2 norm `limit` if its norm is larger."""
    flat = gradient.reshape(-1)
    partial = arrays.empty(flat.gpu, (PARTS, 1), np.float64)
    squares = arrays.empty(flat.gpu, (1,), np.float64)
    _square_sums(PARTS, flat, partial)
    add_parts(1, partial, squares)
    _shrink(flat.size, flat, squares, float(limit))
