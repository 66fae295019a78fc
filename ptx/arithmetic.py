"""PTX arithmetic on NumPy arrays and scalars, for all operations whose results differ from NumPy's.

Rounding: add, sub, mul, div and sqrt are NumPy's, so they are rounded as IEEE requires. A float32 fma is computed in
float64, where the product is exact. Its last bit may differ from the GPU's if the sum is within 2^-29 of the midpoint
of two numbers. A float64 fma is computed in the processor's long double. `approx` functions are NumPy's accurate ones.
"""

import numpy as np

I8, I16, I32, I64 = np.int8, np.int16, np.int32, np.int64
U8, U16, U32, U64 = np.uint8, np.uint16, np.uint32, np.uint64
F32, F64 = np.float32, np.float64
TINY = {np.dtype(F32): np.float32(2.0**-126), np.dtype(F64): np.float64(2.0**-1022)}


def directed(exact, rounding, dtype):
    """Rounds `exact`, which has more digits, to `dtype`: to the nearest (n), toward zero (z), down (m) or up (p)."""
    near = exact.astype(dtype)
    if rounding == "n":
        return near
    over = near > exact if rounding == "m" else near < exact if rounding == "p" else abs(near) > abs(exact)
    towards = dtype(0) if rounding == "z" else dtype(-np.inf if rounding == "m" else np.inf)
    return np.where(over, np.nextafter(near, towards), near)


def wider(a):
    return a.astype(F64 if a.dtype == F32 else np.longdouble)


def fma(a, b, c):
    if a.dtype == F32:
        return (a.astype(F64) * b + c).astype(F32)
    return (a.astype(np.longdouble) * b + c).astype(F64)


def fma_directed(a, b, c, rounding):
    return directed(wider(a) * wider(b) + wider(c), rounding, a.dtype.type)


def flushed(a):
    """Replaces subnormal numbers with zeros of the same sign."""
    return np.where(abs(a) < TINY[a.dtype], np.copysign(a.dtype.type(0), a), a)


def saturated(a):
    """Clamps to the range from 0 to 1; NaN becomes 0."""
    return np.fmin(np.fmax(a, a.dtype.type(0)), a.dtype.type(1))


def quotient(a, b):
    """Divides integers, rounding toward zero. Division by zero sets all bits."""
    b, zero = _nonzero(b)
    q = (a - np.fmod(a, b)) // b
    return q if zero is None else np.where(zero, ~a.dtype.type(0), q)


def remainder(a, b):
    """The remainder of an integer division, with the sign of a. Division by zero gives a."""
    b, zero = _nonzero(b)
    r = np.fmod(a, b)
    return r if zero is None else np.where(zero, a, r)


def _nonzero(b):
    zero = b == 0
    return (np.where(zero, b.dtype.type(1), b), zero) if zero.any() else (b, None)


def shift(a, n, left):
    """Shifts a by n, a uint32. A shift by the width or more gives 0, or copies of the sign bit."""
    width = a.dtype.itemsize * 8
    far = n >= width
    if not far.any():
        n = n.astype(a.dtype)
        return a << n if left else a >> n
    n = np.minimum(n, width - 1).astype(a.dtype)
    if left:
        return np.where(far, a.dtype.type(0), a << n)
    moved = a >> n
    return moved if a.dtype.kind == "i" else np.where(far, a.dtype.type(0), moved)


def high(a, b):
    """Returns the upper half of the product of two integers."""
    if a.dtype.itemsize < 8:
        wide = {2: I32, 4: I64}[a.dtype.itemsize] if a.dtype.kind == "i" else {2: U32, 4: U64}[a.dtype.itemsize]
        return ((a.astype(wide) * b.astype(wide)) >> wide(8 * a.dtype.itemsize)).astype(a.dtype)
    half, low = U64(32), U64(0xFFFFFFFF)
    ua, ub = a.view(U64), b.view(U64)
    al, ah, bl, bh = ua & low, ua >> half, ub & low, ub >> half
    middle = ah * bl + ((al * bl) >> half)
    other = al * bh + (middle & low)
    top = ah * bh + (middle >> half) + (other >> half)
    if a.dtype.kind == "i":
        top = top - np.where(a < 0, ub, U64(0)) - np.where(b < 0, ua, U64(0))
    return top.view(a.dtype)


def to_integer(a, rounding, dtype):
    """Converts floats to integers of `dtype`, clamped to its range; NaN gives 0."""
    a = {"n": np.rint, "z": np.trunc, "m": np.floor, "p": np.ceil}[rounding](a.astype(F64))
    limits = np.iinfo(dtype)
    inside = np.where((a >= limits.min) & (a < float(limits.max) + 1), a, 0.0).astype(dtype)
    inside = np.where(a >= float(limits.max) + 1, dtype(limits.max), inside)
    return np.where(a < limits.min, dtype(limits.min), inside)


def narrowed(a, dtype):
    """Converts integers to a smaller type, clamped to its range."""
    limits = np.iinfo(dtype)
    return np.clip(a, limits.min, limits.max).astype(dtype) if a.dtype.kind == "i" else \
        np.minimum(a, a.dtype.type(limits.max)).astype(dtype)


def extracted(a, position, length):
    """bfe: extracts `length` bits of `a` from `position`, sign-extended if `a` is signed."""
    width = a.dtype.itemsize * 8
    position, length = position.astype(I64) & 255, length.astype(I64) & 255
    kept = np.minimum(length, np.maximum(width - position, 0))
    moved = shift(a.view(U32 if width == 32 else U64), position.astype(U32), False)
    left = (width - kept).astype(U32)
    lifted = shift(moved, left, True).view(a.dtype)
    taken = shift(lifted, left, False)
    if a.dtype.kind == "i":
        sign = shift(a, np.minimum(position + length - 1, width - 1).astype(U32), False) & a.dtype.type(1)
        taken = np.where((position >= width) & (length > 0), -sign, taken)
    return np.where(length == 0, a.dtype.type(0), taken)


def inserted(a, b, position, length):
    """bfi: replaces `length` bits of `b`, starting at `position`, with the low bits of `a`."""
    one = shift(b.dtype.type(1), np.minimum(length & U32(255), U32(255)), True)
    mask = shift(one - b.dtype.type(1), position & U32(255), True)
    return (b & ~mask) | (shift(a, position & U32(255), True) & mask)


def permuted(a, b, selector):
    """prmt: selects four of the eight bytes of b:a."""
    both = a.view(U32).astype(U64) | (b.view(U32).astype(U64) << U64(32))
    out = U32(0)
    for i in range(4):
        chosen = (selector.view(U32) >> U32(4 * i)) & U32(15)
        byte = ((both >> ((chosen & U32(7)).astype(U64) * U64(8))) & U64(255)).astype(U32)
        byte = np.where(chosen & U32(8), np.where(byte & U32(128), U32(255), U32(0)), byte)
        out = out | (byte << U32(8 * i))
    return out


def funnel(a, b, n, left, clamp):
    """shf: shifts the 64 bits of b:a by n and returns 32 of them."""
    n = np.minimum(n, U32(32)) if clamp else n & U32(31)
    both = a.view(U32).astype(U64) | (b.view(U32).astype(U64) << U64(32))
    moved = shift(both, n, True) >> U64(32) if left else shift(both, n, False)
    return (moved & U64(0xFFFFFFFF)).astype(U32)


def logic(a, b, c, table):
    """lop3: applies a bitwise function of three operands, given as a truth table of 8 bits."""
    out = U32(0)
    for i in range(8):
        if table >> i & 1:
            term = (a if i & 4 else ~a) & (b if i & 2 else ~b) & (c if i & 1 else ~c)
            out = out | term
    return out


def leading_zeros(a):
    n = np.zeros(np.shape(a), U32)
    width = a.dtype.itemsize * 8
    for bit in range(width):
        n = np.where(shift(a, U32(bit), False) != 0, U32(bit + 1), n)
    return (U32(width) - n).astype(U32)
