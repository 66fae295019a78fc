"""Element-wise functions of one or two tensors: trigonometry, powers, remainders, bitwise
operations and changes of dtype.
"""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

from .arith import _map, _result, _sum_to, to_floats
from .registry import Op, gradient_buffer, op


def _make_float_op(name: str, formula: str, slope: Callable[[Any, Any, Any], None], divides: bool = False,
               negative: bool = False) -> Op:
    """Creates the op that runs the kernel `name` and has the docstring `formula`. `slope(k, x, dx)`
    writes dy/dx to dx, or the reciprocal dx/dy if `divides` is true; if `negative` is true, it
    writes the value with the opposite sign. For integers the result is float32.
    """

    def forward(k: ModuleType, x: Any) -> tuple[Any, Callable]:
        x = to_floats(k, x)

        def backward(dy: Any, needs: tuple) -> tuple:
            dx = gradient_buffer(k, needs[0], x.shape, x.dtype)
            slope(k, x, dx)
            if negative:
                k.negative(dx, dx)
            if divides:
                k.divide(dy, dx, dx)
            else:
                k.multiply(dx, dy, dx)
            return (dx,)

        return _map(k, getattr(k, name), x), backward

    forward.__name__ = name
    forward.__doc__ = formula
    return op(kernels="arith")(forward)


def _cosine_of_arcsine(k, x, dx):
    """dx = sqrt((1 - x) (1 + x)), which unlike sqrt(1 - x^2) loses no precision near 1."""
    one = x.dtype.type(1)
    k.subtract(x, one, dx)
    k.negative(dx, dx)
    k.multiply(dx, _map(k, k.add, x, one), dx)
    k.sqrt(dx, dx)


sin = _make_float_op("sin", "y = sin x; dx = dy cos x.", lambda k, x, dx: k.cos(x, dx))
cos = _make_float_op("cos", "y = cos x; dx = -dy sin x.", lambda k, x, dx: k.sin(x, dx), negative=True)
sinh = _make_float_op("sinh", "y = sinh x; dx = dy cosh x.", lambda k, x, dx: k.cosh(x, dx))
cosh = _make_float_op("cosh", "y = cosh x; dx = dy sinh x.", lambda k, x, dx: k.sinh(x, dx))
arcsin = _make_float_op("arcsin", "y = arcsin x; dx = dy / sqrt(1 - x^2).", _cosine_of_arcsine, divides=True)
arccos = _make_float_op("arccos", "y = arccos x; dx = -dy / sqrt(1 - x^2).", _cosine_of_arcsine, divides=True,
                    negative=True)
arctan = _make_float_op("arctan", "y = arctan x; dx = dy / (1 + x^2).", lambda k, x, dx: k.add(
    _map(k, k.multiply, x, x), x.dtype.type(1), dx), divides=True)


@op(kernels="arith")
def arctan2(k, a, b):
    """y = the angle of the point (b, a); da = dy b / (a^2 + b^2), db = -dy a / (a^2 + b^2)."""
    a = to_floats(k, a)
    b = to_floats(k, b)
    y = _result(k, a, b, "arctan2")
    k.arctan2(a, b, y)

    def backward(dy, needs):
        share = k.empty(y.shape, y.dtype)
        k.add(_map(k, k.multiply, a, a), _map(k, k.multiply, b, b), share)
        k.divide(dy, share, share)
        da = _sum_to(k, _map(k, k.multiply, share, b), a, needs[0]) if needs[0] is not False else None
        k.negative(share, share)
        db = _sum_to(k, _map(k, k.multiply, share, a), b, needs[1]) if needs[1] is not False else None
        return da, db

    return y, backward


@op(kernels="select")
def tensor_power(k, a, b):
    """y = a ** b; da = dy b a^(b - 1), 0 where b is 0; db = dy y ln a, 0 where a is 0."""
    y = _result(k, a, b, "**")
    k.power(a, b, y)

    def _gradient_except_zero(x, kept, slope, dy, need):
        """Returns the gradient of `kept`: dy times the slope, but 0 where x is 0."""
        zero = k.zeros((), x.dtype)
        is_zero = k.empty(x.shape, np.bool_)
        k.equal(x, zero, is_zero)
        k.mask(is_zero, False, slope, slope)
        k.multiply(slope, dy, slope)
        return _sum_to(k, slope, kept, need)

    def backward(dy, needs):
        da = db = None
        if needs[0] is not False:
            slope = k.empty(y.shape, y.dtype)
            k.power(a, _map(k, k.subtract, b, b.dtype.type(1)), slope)
            k.multiply(slope, b, slope)
            da = _gradient_except_zero(b, a, slope, dy, needs[0])
        if needs[1] is not False:
            slope = _map(k, k.multiply, y, _map(k, k.log, a))
            db = _gradient_except_zero(a, b, slope, dy, needs[1])
        return da, db

    return y, backward


@op(kernels="arith")
def mod(k, a, b):
    """y = a - b floor(a / b), which has b's sign; da = dy, db = -dy floor(a / b)."""
    y = _result(k, a, b, "%")
    k.mod(a, b, y)

    def backward(dy, needs):
        da = _sum_to(k, dy, a, needs[0])
        if needs[1] is False:
            return da, None
        count = k.empty(y.shape, y.dtype)
        k.floor_divide(a, b, count)
        k.multiply(count, dy, count)
        k.negative(count, count)
        return da, _sum_to(k, count, b, needs[1])

    return y, backward


@op(kernels="arith", flat=True)
def floor_divide(k, a, b):
    """y = the largest integer not above a / b, element by element. The op has no gradient."""
    y = _result(k, a, b, "//")
    k.floor_divide(a, b, y)
    return y, None


@op(kernels="arith", flat=True)
def bitwise_and(k, a, b):
    """y = the bits set in both a and b; for booleans, True if both are True."""
    return _bits(k, k.bitwise_and, a, b, "&")


@op(kernels="arith", flat=True)
def bitwise_or(k, a, b):
    """y = the bits set in a or b; for booleans, True if at least one is True."""
    return _bits(k, k.bitwise_or, a, b, "|")


@op(kernels="arith", flat=True)
def bitwise_xor(k, a, b):
    """y = the bits set in exactly one of a and b; for booleans, True if exactly one is True."""
    return _bits(k, k.bitwise_xor, a, b, "^")


@op(kernels="arith")
def cast(k, x, dtype):
    """y = x in another dtype; dx = dy in x's dtype."""
    y = k.empty(x.shape, dtype)
    k.copy(x, y)

    def backward(dy, needs):
        dx = gradient_buffer(k, needs[0], x.shape, x.dtype)
        k.copy(dy, dx)
        return (dx,)

    return y, backward


def _bits(k: ModuleType, kernel: Callable, a: Any, b: Any, sign: str) -> tuple[Any, None]:
    if "f" in (a.dtype.kind, b.dtype.kind):
        raise TypeError(f"{sign} requires booleans or integers. "
                        f"Received dtypes: {a.dtype} and {b.dtype}.")
    y = _result(k, a, b, sign)
    kernel(a, b, y)
    return y, None
