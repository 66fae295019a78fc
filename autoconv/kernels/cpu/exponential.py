"""Computes sigmoid, tanh and exp (for softmax) of one number with branch-free polynomials, so that
LLVM vectorizes the loops that call them, and sigmoid of a row of vectors (rowwise.py) with the same
polynomial.

The polynomials are for float32; `math.exp` would need one function call per element. For all
float32 numbers, the error is below 2.5 units in the last place. For float64, the functions in
elementary.py are used. NaN stays NaN. The algorithm for exp is expf from Moshier's Cephes library.
"""

import sys

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic, overload, register_jitable

from ..formulas import elementary
from ..formulas.elementary import OPTIONS
from . import rowwise, simd

_inline = register_jitable(**OPTIONS)

ZERO, ONE, TWO = np.float32(0), np.float32(1), np.float32(2)
PER_LN2 = np.float32(1.44269504088896341)
# LN2_HIGH has 9 significant bits, so n * LN2_HIGH is exact
LN2_HIGH, LN2_LOW = np.float32(0.693359375), np.float32(-2.12194440e-4)
ROUNDING = np.float32(1.5 * 2**23)  # float32 numbers of this size have no fractional bits
EXP_POLYNOMIAL = P0, P1, P2, P3, P4, P5 = tuple(map(np.float32, (
    1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1)))
LEAST_EXP = np.float32(-104)  # exp(x) is 0 for this x and below
MOST_TANH = np.float32(10)  # tanh(x) is 1 for this x and above
ROUNDING_BITS = ROUNDING.view(np.int32)
LAST_BITS = np.int32(2**31 - 1)
FIRST_BIT = np.int32(-(2**31))
BIAS, MANTISSA = np.int32(127), np.int32(23)  # exponent bias and mantissa bits of a float32


@intrinsic
def _fma(typingctx, a, b, c):
    """Returns a * b + c, as one instruction if the target has FMA."""

    def codegen(context, builder, signature, args):
        return simd._call(builder, "llvm.fmuladd.f32", args[0].type, args)

    return types.float32(types.float32, types.float32, types.float32), codegen


@_inline
def _reduce_argument(x):
    """Returns (n, exp(r) - 1) for x = n ln(2) + r, with an integer n and |r| at most ln(2) / 2."""
    offset_n = np.float32(_fma(x, PER_LN2, ROUNDING))
    n = offset_n - ROUNDING
    r = _fma(-n, LN2_LOW, _fma(-n, LN2_HIGH, x))
    q = _fma(_fma(_fma(_fma(_fma(P0, r, P1), r, P2), r, P3), r, P4), r, P5)
    return np.int32(offset_n.view(np.int32) - ROUNDING_BITS), _fma(q, r * r, r)


@_inline
def _power_of_two(n):
    """Returns 2^n for n in -126..127."""
    return np.int32((n + BIAS) << MANTISSA).view(np.float32)


@_inline
def _exp(x):
    """Returns exp(x) of a float32 x <= 0. The result is scaled in two steps, so that subnormal
    results are rounded only once.
    """
    n, expm1 = _reduce_argument(LEAST_EXP if x < LEAST_EXP else x)
    half = n >> np.int32(1)
    return (expm1 + ONE) * _power_of_two(half) * _power_of_two(n - half)


@_inline
def _sigmoid32(x):
    e = _exp(x if x < ZERO else -x)
    return (e if x < ZERO else ONE) / (ONE + e)


@_inline
def _sigmoid64(x):
    e = elementary.exp(x if x < 0 else -x)
    return (e if x < 0 else 1.0) / (1.0 + e)


@_inline
def _tanh32(x):
    """Returns (exp(2|x|) - 1) / (exp(2|x|) + 1) with the sign of x, which avoids cancellation."""
    bits = np.float32(x).view(np.int32)
    size = np.int32(bits & LAST_BITS).view(np.float32)
    n, expm1_r = _reduce_argument(TWO * (MOST_TANH if size > MOST_TANH else size))
    scale = _power_of_two(n)
    expm1 = _fma(scale, expm1_r, scale - ONE)
    return np.int32(np.float32(expm1 / (expm1 + TWO)).view(np.int32) | (bits & FIRST_BIT)).view(np.float32)


def _exp_vector(builder, row, x):
    """Emits `_exp` for a vector of float32 numbers x <= 0, or `elementary.exp` for float64."""
    is_double = row.item.bitwidth == 64
    source = elementary if is_double else sys.modules[__name__]

    def number(value):
        return ir.Constant(x.type, [float(value)] * row.lanes)

    def whole(value):
        return ir.Constant(integers, [int(value)] * row.lanes)

    def power_of_two(n):
        return builder.bitcast(builder.shl(builder.add(n, whole(source.BIAS)), whole(source.MANTISSA)), x.type)

    def multiply_add(a, b, c):
        return builder.fadd(builder.fmul(a, b), c) if is_double else simd._multiply_add(builder, row, a, b, c)

    integers = ir.VectorType(ir.IntType(row.item.bitwidth), row.lanes)
    least = number(source.LEAST_EXP)
    rounding = number(source.ROUNDING)
    x = builder.select(builder.fcmp_ordered("<", x, least), least, x)
    offset_n = multiply_add(x, number(source.PER_LN2), rounding)
    minus_n = builder.fsub(rounding, offset_n)
    r = multiply_add(minus_n, number(source.LN2_LOW), multiply_add(minus_n, number(source.LN2_HIGH), x))
    first, *others = source.EXP_POLYNOMIAL
    q = number(first)
    for p in others:
        q = multiply_add(q, r, number(p))
    expm1 = multiply_add(q, builder.fmul(r, r), r)
    n = builder.sub(builder.bitcast(offset_n, integers), whole(source.ROUNDING_BITS))
    half = builder.ashr(n, whole(1))
    e = builder.fmul(builder.fadd(expm1, number(ONE)), power_of_two(half))
    return builder.fmul(e, power_of_two(builder.sub(n, half)))


def _sigmoid_vector(builder, row, x):
    one = ir.Constant(x.type, [1.0] * row.lanes)
    zero = ir.Constant(x.type, None)
    size = simd._call(builder, f"llvm.fabs.{simd._suffix(row)}", x.type, [x])
    e = _exp_vector(builder, row, builder.fneg(size))
    return builder.fdiv(builder.select(builder.fcmp_ordered("<", x, zero), e, one), builder.fadd(one, e))


@intrinsic
def sigmoid_row(typingctx, a):
    """Returns 1 / (1 + exp(-a)) of a row."""
    return rowwise._item_by_item(lambda builder, x: _sigmoid_vector(builder, a, x), a)


@intrinsic
def silu_slope(typingctx, a):
    """Returns the derivative of a sigmoid(a), for a row a."""

    def combine(builder, x):
        s = _sigmoid_vector(builder, a, x)
        one = ir.Constant(x.type, [1.0] * a.lanes)
        return builder.fmul(s, builder.fadd(one, builder.fmul(x, builder.fsub(one, s))))

    return rowwise._item_by_item(combine, a)


def exp(x):
    """Returns e^x for x <= 0. Kernels can call this function."""
    return elementary.exp(x)


def sigmoid(x):
    """Returns 1 / (1 + exp(-x)). Kernels can call this function."""
    return _sigmoid64(x)


def tanh(x):
    """Returns tanh(x). Kernels can call this function."""
    return elementary.tanh(x)


@overload(exp, jit_options=OPTIONS)
def _overload_exp(x):
    return _exp if x.bitwidth == 32 else elementary.exp


@overload(sigmoid, jit_options=OPTIONS)
def _overload_sigmoid(x):
    return _sigmoid32 if x.bitwidth == 32 else _sigmoid64


@overload(tanh, jit_options=OPTIONS)
def _overload_tanh(x):
    return _tanh32 if x.bitwidth == 32 else elementary.tanh
