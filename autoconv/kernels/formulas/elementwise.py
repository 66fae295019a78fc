"""Defines functions of one, two or three elements. Both devices have each one under its name.

GPUs compile all formulas; the CPU compiles the activations and uses NumPy for most others.
Constants in formulas have an argument's dtype, because 0.0 would be float64 on a GPU.
"""

import math
from collections.abc import Callable

# the activations that convolutions, dense layers and normalizations compute in the pass that computes their argument
IN_PASS = "relu", "relu6", "hard_sigmoid", "hard_silu", "silu"


def _add_relu(a, b):
    total = a + b
    return type(total)(0) if total < type(total)(0) else total


def sigmoid(x):
    """Returns 1 / (1 + exp(-x)), in a form in which exp never overflows."""
    one = type(x)(1)
    e = math.exp(-math.fabs(x))
    return (e if x < type(x)(0) else one) / (one + e)


# functions of one floating-point number
ONE = {
    "negative": lambda a: -a,
    "abs": lambda a: abs(a),
    "exp": lambda a: math.exp(a),
    "log": lambda a: math.log(a),
    "sqrt": lambda a: math.sqrt(a),
    "expm1": lambda a: math.expm1(a),
    "log1p": lambda a: math.log1p(a),
    "erf": lambda a: math.erf(a),
    "sin": lambda a: math.sin(a),
    "cos": lambda a: math.cos(a),
    "sinh": lambda a: math.sinh(a),
    "cosh": lambda a: math.cosh(a),
    "arcsin": lambda a: math.asin(a),
    "arccos": lambda a: math.acos(a),
    "arctan": lambda a: math.atan(a),
}

# functions of two arrays, or of an array and a number
WITH_NUMBERS = {
    "add": lambda a, b: a + b,
    "subtract": lambda a, b: a - b,
    "multiply": lambda a, b: a * b,
    "divide": lambda a, b: a / b,
    "power": lambda a, exponent: a**exponent,
}

TWO = {
    "arctan2": lambda a, b: math.atan2(a, b),
    "floor_divide": lambda a, b: a // b,
    "mod": lambda a, b: a % b,
    "maximum": lambda a, b: a if a > b or a != a else b,  # NaN propagates
    "minimum": lambda a, b: a if a < b or a != a else b,
}

BITS = {
    "bitwise_and": lambda a, b: a & b,
    "bitwise_or": lambda a, b: a | b,
    "bitwise_xor": lambda a, b: a ^ b,
}

COMPARISONS = {
    "equal": lambda a, b: a == b,
    "not_equal": lambda a, b: a != b,
    "less": lambda a, b: a < b,
    "less_equal": lambda a, b: a <= b,
}

ARITHMETIC = {**ONE, **WITH_NUMBERS, **TWO, **BITS, **COMPARISONS}  # most are computed by NumPy on the CPU

def with_sigmoid(sigmoid: Callable) -> dict[str, Callable]:
    """Returns the formulas that contain a sigmoid, for a device's function `sigmoid`."""

    def silu_grad(x, dy):
        s = sigmoid(x)
        one = type(x)(1)
        return dy * (s * (one + x * (one - s)))

    return {"sigmoid": sigmoid, "silu": lambda x: x * sigmoid(x), "silu_grad": silu_grad}


# activations without a sigmoid, and their gradients as functions of the activation's result y or of its
# argument x; NaN stays NaN
ACTIVATIONS: dict[str, Callable] = {
    "relu": lambda x: type(x)(0) if x < type(x)(0) else x,
    "relu_grad": lambda y, dy: type(y)(0) if y <= type(y)(0) else dy,
    "relu_grad_sum": lambda y, dy, second_dy: type(y)(0) if y <= type(y)(0) else dy + second_dy,
    "add_relu": _add_relu,
    "relu6": lambda x: type(x)(0) if x < type(x)(0) else type(x)(6) if x > type(x)(6) else x,
    "relu6_grad": lambda y, dy: type(y)(0) if y <= type(y)(0) or y >= type(y)(6) else dy,
    "hard_sigmoid": lambda x: (type(x)(0) if x <= type(x)(-3) else type(x)(1) if x >= type(x)(3)
                               else x * type(x)(1 / 6) + type(x)(0.5)),
    "hard_sigmoid_grad": lambda x, dy: type(x)(0) if x <= type(x)(-3) or x >= type(x)(3) else dy * type(x)(1 / 6),
    "hard_silu": lambda x: x * (type(x)(0) if x <= type(x)(-3) else type(x)(1) if x >= type(x)(3)
                                else x * type(x)(1 / 6) + type(x)(0.5)),
    "hard_silu_grad": lambda x, dy: (type(x)(0) if x <= type(x)(-3) else dy if x >= type(x)(3)
                                     else dy * (x * type(x)(1 / 3) + type(x)(0.5))),
    "sigmoid_grad": lambda y, dy: dy * (y * (type(y)(1) - y)),
    "tanh": lambda x: math.tanh(x),
    "tanh_grad": lambda y, dy: dy * (type(y)(1) - y * y),
}
