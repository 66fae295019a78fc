"""Computes exp, log and related functions of one float64 from additions, multiplications and
divisions alone, so that every processor and every operating system gets the same bits.

NumPy's functions depend on the processor's vectors, and the C library's on the system. Loops
that only call one of these functions are vectorized, except for erf. The error is below one unit in
the last place for exp and log, and below four for the others; a result that is rounded to float32
is almost always the float32 closest to the exact value. The polynomials are Taylor's; the reduction
of log's argument is from FreeBSD's e_log.c.
"""

import math
from math import factorial
from typing import Any

import numpy as np
from numba.extending import overload, register_jitable

# no fused multiply-add, because not all processors have it
OPTIONS: Any = {"fastmath": {"nsz"}, "error_model": "numpy"}
_inline = register_jitable(**OPTIONS)

BIAS = 1023  # exponent bias of a float64
MANTISSA = 52  # its mantissa bits
PER_LN2 = 1.4426950408889634
# ln 2 = LN2_HIGH + LN2_LOW. LN2_HIGH has 32 significant bits, so n * LN2_HIGH is exact.
LN2_HIGH = 6.93147180369123816490e-01
LN2_LOW = 1.90821492927058770002e-10
ROUNDING = 1.5 * 2.0**52  # numbers of this size have no fractional bits
ROUNDING_BITS = int(np.float64(ROUNDING).view(np.int64))
LEAST_EXP = -746.0  # exp is 0 below
MOST_EXP = 710.0  # exp is infinite above
SMALLEST = 2.0**-1022  # the smallest number with all mantissa bits
SQRT_HALF_BITS = int(np.float64(0.5**0.5).view(np.int64))
EXP_POLYNOMIAL = tuple(1 / factorial(k) for k in range(13, 1, -1))
E13, E12, E11, E10, E9, E8, E7, E6, E5, E4, E3, E2 = EXP_POLYNOMIAL
L1, L2, L3, L4, L5, L6, L7, L8, L9, L10 = (2 / (2 * k + 1) for k in range(1, 11))
C1, C2, C3, C4, C5, C6, C7, C8, C9, C10, C11 = ((-1) ** k / factorial(2 * k) for k in range(1, 12))
S1, S2, S3, S4, S5, S6, S7, S8 = ((-1) ** k / factorial(2 * k + 1) for k in range(1, 9))
PI = 3.141592653589793
TWO_PI = 6.283185307179586
TAN_EIGHTH = 0.41421356237309503  # tan(pi / 8)
PER_QUARTER = 0.6366197723675814  # 2 / pi
# pi / 2 = QUARTER_1 + QUARTER_2 + QUARTER_3. The first two have 33 significant bits, so a product
# with a whole number of 20 bits is exact. Source: FreeBSD's e_rem_pio2.c.
QUARTER_1 = 1.57079632673412561417e00
QUARTER_2 = 6.07710050630396597660e-11
QUARTER_3 = 2.02226624879595063154e-21
A1, A2, A3, A4, A5, A6, A7, A8, A9, A10, A11, A12, A13, A14, A15, A16, A17, A18, A19, A20 = (
    (-1) ** k / (2 * k + 1) for k in range(1, 21))
MOST_FACTORS = 32.0  # a power with more factors is computed by exp and log
MOST_ANGLE = 1e6  # up to this angle, sin and cos are computed here


@_inline
def exp(x):
    """Returns e^x."""
    x = float(x)
    x = LEAST_EXP if x < LEAST_EXP else MOST_EXP if x > MOST_EXP else x
    offset = np.float64(x * PER_LN2 + ROUNDING)
    whole = offset - ROUNDING
    r = (x - whole * LN2_HIGH) - whole * LN2_LOW  # at most ln(2) / 2
    q = E9 + r * (E10 + r * (E11 + r * (E12 + r * E13)))
    q = E2 + r * (E3 + r * (E4 + r * (E5 + r * (E6 + r * (E7 + r * (E8 + r * q))))))
    n = np.int64(offset.view(np.int64) - ROUNDING_BITS)
    half = n >> 1  # scaled in two steps, so that subnormal results are rounded only once
    return (1.0 + (r + r * r * q)) * _power_of_two(half) * _power_of_two(n - half)


@_inline
def _power_of_two(n):
    """Returns 2^n for n in -1022..1023."""
    return np.int64((n + BIAS) << MANTISSA).view(np.float64)


@_inline
def log(x):
    """Returns ln x: -inf for 0 and NaN for negative numbers."""
    x = float(x)
    is_subnormal = x < SMALLEST
    bits = np.float64(x * 2.0**54 if is_subnormal else x).view(np.int64)
    k = (bits - SQRT_HALF_BITS) >> MANTISSA
    # x = 2^k (1 + f), with 1 + f near 1
    f = np.int64(bits - (k << MANTISSA)).view(np.float64) - 1.0
    n = float(k - 54 if is_subnormal else k)
    s = f / (2.0 + f)  # ln(1 + f) = 2s + 2s^3 / 3 + 2s^5 / 5 + ...
    z = s * s
    r = L6 + z * (L7 + z * (L8 + z * (L9 + z * L10)))
    r = z * (L1 + z * (L2 + z * (L3 + z * (L4 + z * (L5 + z * r)))))
    h = 0.5 * f * f
    y = n * LN2_HIGH + (f - (h - (s * (h + r) + n * LN2_LOW)))
    return y if 0.0 < x < np.inf else -np.inf if x == 0.0 else x if x > 0.0 else np.nan


@_inline
def log1p(x):
    """Returns ln(1 + x), accurate near 0 (Kahan's formula)."""
    x = float(x)
    u = 1.0 + x
    y = log(u)
    return x if u == 1.0 else y if u == np.inf else y * (x / (u - 1.0))


@_inline
def expm1(x):
    """Returns e^x - 1, accurate near 0 (Kahan's formula)."""
    x = float(x)
    u = exp(x)
    return x if u == 1.0 else u - 1.0 if u == np.inf or u < 2.0**-54 else (u - 1.0) * (x / log(u))


@_inline
def tanh(x):
    """Returns tanh x, from expm1(2|x|), which avoids cancellation."""
    x = float(x)
    size = abs(x)
    e = expm1(2.0 * (22.0 if size > 22.0 else size))
    return math.copysign(e / (e + 2.0), x)


@_inline
def cos_turns(v):
    """Returns cos(2 pi v) for v in [0, 1]."""
    a = abs(v - 0.5)  # cos(2 pi v) = -cos(2 pi a), with a from 0 to 1/2
    z = TWO_PI * (0.5 - a if a > 0.25 else a)
    z = z * z
    y = C6 + z * (C7 + z * (C8 + z * (C9 + z * (C10 + z * C11))))
    y = 1.0 + z * (C1 + z * (C2 + z * (C3 + z * (C4 + z * (C5 + z * y)))))
    return y if a > 0.25 else -y


@_inline
def sin(x):
    """Returns sin x. For |x| above a million, the C library's."""
    return _wave(float(x), 0)


@_inline
def cos(x):
    """Returns cos x. For |x| above a million, the C library's."""
    return _wave(float(x), 1)


@_inline
def _wave(x, shift):
    """Returns sin(x + shift pi / 2), for shift 0 or 1."""
    if abs(x) > MOST_ANGLE:
        return math.cos(x) if shift else math.sin(x)
    offset = np.float64(x * PER_QUARTER + ROUNDING)
    whole = offset - ROUNDING
    r = ((x - whole * QUARTER_1) - whole * QUARTER_2) - whole * QUARTER_3  # at most pi / 4
    z = r * r
    s = r + r * z * (S1 + z * (S2 + z * (S3 + z * (S4 + z * (S5 + z * (S6 + z * (S7 + z * S8)))))))
    c = C1 + z * (C2 + z * (C3 + z * (C4 + z * (C5 + z * (C6 + z * (C7 + z * C8))))))
    n = offset.view(np.int64) - ROUNDING_BITS + shift
    y = 1.0 + z * c if n & 1 else s
    return -y if n & 2 else y


@_inline
def sinh(x):
    """Returns sinh x, from expm1, which avoids cancellation."""
    x = float(x)
    size = abs(x)
    e = expm1(22.0 if size > 22.0 else size)
    half = exp(0.5 * size)  # e^x itself may be infinite although sinh x is not
    return math.copysign(0.5 * half * half if size > 22.0 else 0.5 * (e + e / (e + 1.0)), x)


@_inline
def cosh(x):
    """Returns cosh x."""
    half = exp(0.5 * abs(float(x)))
    return 0.5 * half * half + 0.5 / half / half


@_inline
def arctan2(y, x):
    """Returns the angle of the point (x, y), from -pi to pi, by Taylor's polynomial of arctan for
    angles of at most pi / 8.
    """
    y = np.float64(y)
    x = np.float64(x)
    width = abs(x)
    height = abs(y)
    low = min(width, height)
    high = max(width, height)
    t = 0.0 if low == 0.0 else 1.0 if low == high else low / high  # both may be infinite
    turn = 0.25 * PI if t > TAN_EIGHTH else 0.0
    t = (t - 1.0) / (t + 1.0) if t > TAN_EIGHTH else t  # the tangent of the rest
    z = t * t
    q = A14 + z * (A15 + z * (A16 + z * (A17 + z * (A18 + z * (A19 + z * A20)))))
    q = A7 + z * (A8 + z * (A9 + z * (A10 + z * (A11 + z * (A12 + z * (A13 + z * q))))))
    q = 1.0 + z * (A1 + z * (A2 + z * (A3 + z * (A4 + z * (A5 + z * (A6 + z * q))))))
    angle = turn + t * q
    angle = 0.5 * PI - angle if height > width else angle
    angle = PI - angle if math.copysign(1.0, x) < 0.0 else angle
    return np.nan if x != x or y != y else math.copysign(angle, y)


@_inline
def arctan(x):
    """Returns the angle from -pi / 2 to pi / 2 whose tangent is x."""
    return arctan2(x, 1.0)


@_inline
def arcsin(x):
    """Returns the angle from -pi / 2 to pi / 2 whose sine is x; NaN for |x| > 1."""
    x = np.float64(x)
    return arctan2(x, np.sqrt((1.0 - x) * (1.0 + x)))


@_inline
def arccos(x):
    """Returns the angle from 0 to pi whose cosine is x; NaN for |x| > 1."""
    x = np.float64(x)
    return arctan2(np.sqrt((1.0 - x) * (1.0 + x)), x)


@_inline
def power(x, exponent):
    """Returns x ** exponent: products and a square root for multiples of 1/2 up to `MOST_FACTORS`,
    otherwise exp(exponent ln |x|), whose relative error is |exponent ln x| units in the last place.
    """
    x = np.float64(x)  # float(x) of a float32 is a float32 in Numba
    size = abs(float(exponent))
    whole = np.floor(size)
    x = np.inf if x == -np.inf and size != whole else x  # as IEEE 754 defines
    if size <= MOST_FACTORS and (size == whole or size == whole + 0.5):
        result = 1.0 if size == whole else np.sqrt(x)
        for _ in range(int(whole)):
            result *= x
        return 1.0 / result if exponent < 0.0 else result
    result = exp(exponent * log(abs(x)))
    if x < 0.0:
        return np.nan if size != whole else -result if whole % 2.0 else result
    return result


DIGITS_OF_PI = "3.14159265358979323846264338327950288419716939937511"
PIECES_OF_ERF = 8  # polynomials per unit
LAST_ERF = 6  # erf(x) is 1 from this x on
DEGREE = 12


def erf_polynomials() -> np.ndarray:
    """Returns the coefficients of Taylor's polynomials of erf: row i for the numbers x with 8x
    closest to i.

    The derivative of erf is g(x) = 2 / sqrt(pi) exp(-x^2), and the k-th derivative of g is (-1)^k
    H_k(x) g(x), with Hermite's polynomials H_k. erf(x) itself is g(x) (x + 2 x^3 / 3 + 4 x^5 / 15 +
    ...).
    """
    from decimal import Decimal, localcontext  # imported here, because only compiling needs it

    rows = np.empty((PIECES_OF_ERF * LAST_ERF + 1, DEGREE + 1))
    with localcontext() as context:
        context.prec = 50
        for i, row in enumerate(rows):
            x = Decimal(i) / PIECES_OF_ERF
            slope = 2 / Decimal(DIGITS_OF_PI).sqrt() * (-x * x).exp()
            term = total = x
            k = 1
            while term > Decimal("1e-40"):
                term *= 2 * x * x / (2 * k + 1)
                total += term
                k += 1
            row[0] = slope * total
            before = Decimal(0)
            hermite = Decimal(1)
            for k in range(DEGREE):
                row[k + 1] = (-1) ** k * hermite * slope / factorial(k + 1)
                before, hermite = hermite, 2 * (x * hermite - k * before)
    return rows


def erf(x):
    """Returns erf x = 2 / sqrt(pi) times the integral of exp(-t^2) from 0 to x. Only for kernels.
    """
    raise NotImplementedError


@overload(erf, jit_options=OPTIONS)
def _overload_erf(x):
    table = erf_polynomials()

    def erf_by_pieces(x):
        x = float(x)
        size = min(abs(x), float(LAST_ERF))
        i = int(size * PIECES_OF_ERF + 0.5) if size == size else 0
        h = size - i / PIECES_OF_ERF
        y = table[i, DEGREE]
        for k in range(DEGREE - 1, -1, -1):
            y = table[i, k] + h * y
        return math.copysign(y, x)

    return erf_by_pieces
