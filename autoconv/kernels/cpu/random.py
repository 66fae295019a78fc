"""Generates Philox4x32-10 random words, which depend only on the seed, stream and block number.

formulas/random_numbers.py converts these words to numbers. All arithmetic is in uint64, because
Numba converts a mixture of uint64 and int64 to float64.
"""

import math

import numpy as np
from numba import prange

from ..formulas import compile_formulas, random_numbers
from ..formulas.elementary import cos_turns, log
from ..formulas.random_numbers import HALF, ROUNDS
from .jit import inline, kernel

M0, M1 = map(np.uint64, random_numbers.MULTIPLIERS)
W0, W1 = map(np.uint64, random_numbers.WEYL)
LOW = np.uint64(0xFFFFFFFF)

_numbers = compile_formulas(random_numbers, inline, log=log)
uniform, add_noise = _numbers.uniform, _numbers.add_noise


@inline
def philox(block, stream, seed):
    """Returns the four 32-bit words of a block, as uint64."""
    c0, c1, c2, c3 = block & LOW, block >> HALF, stream & LOW, stream >> HALF
    k0, k1 = seed & LOW, seed >> HALF
    for _ in range(ROUNDS):
        p0, p1 = M0 * c0, M1 * c2
        c0, c1, c2, c3 = (p1 >> HALF) ^ c1 ^ k0, p1 & LOW, (p0 >> HALF) ^ c3 ^ k1, p0 & LOW
        k0, k1 = (k0 + W0) & LOW, (k1 + W1) & LOW
    return c0, c1, c2, c3


@kernel("(T[::1], uint64, uint64, uint64)", parallel=True)
def bits(memory, seed, stream, first):
    """Fills `memory`, whatever its dtype, with the random words of the blocks from `first` on."""
    words = memory.view(np.uint32)
    for b in prange(words.size // 4):
        i = 4 * b
        words[i], words[i + 1], words[i + 2], words[i + 3] = philox(first + np.uint64(b), stream, seed)


@kernel("(uint32[:,::1], T[::1])", parallel=True, grain=1 << 10)
def normal(words, out):
    """out[i] = a normally distributed number, from words[0, i] and words[1, i] as random numbers u
    and v, by the Box-Muller transform (1958): sqrt(-2 ln u) cos(2 pi v).
    """
    for i in prange(out.size):
        u = (words[0, i] + 1.0) * 2.0**-32  # in (0, 1]
        out[i] = math.sqrt(-2.0 * log(u)) * cos_turns(words[1, i] * 2.0**-32)


@kernel("(T[:,::1], float64, uint64, uint64, uint64, uint64, T[:,::1])", parallel=True)
def dropout(x, scale, threshold, seed, stream, first, y):
    """y = x * scale if an element's random word is at least `threshold`, else x * 0.

    x has shape (N, M). x[n, j] uses word j of sample s = first + n, whose blocks begin at s * 2^32.
    """
    keep, drop, blocks = x.dtype.type(scale), x.dtype.type(0), x.shape[1] // 4
    for n in prange(x.shape[0]):
        start = (first + np.uint64(n)) << HALF
        for b in range(blocks):
            r0, r1, r2, r3 = philox(start + np.uint64(b), stream, seed)
            y[n, 4 * b] = x[n, 4 * b] * (keep if r0 >= threshold else drop)
            y[n, 4 * b + 1] = x[n, 4 * b + 1] * (keep if r1 >= threshold else drop)
            y[n, 4 * b + 2] = x[n, 4 * b + 2] * (keep if r2 >= threshold else drop)
            y[n, 4 * b + 3] = x[n, 4 * b + 3] * (keep if r3 >= threshold else drop)
        words = philox(start + np.uint64(blocks), stream, seed)
        for j in range(4 * blocks, x.shape[1]):
            y[n, j] = x[n, j] * (keep if words[j - 4 * blocks] >= threshold else drop)


@kernel("(T[:,::1], float64, float64, uint64, uint64, uint64, T[:,::1])", parallel=True)
def gaussian_noise(x, stddev, rel_stddev, seed, stream, first, y):
    """y = x + (stddev + rel_stddev x) n, with a normal n from the same word as in `dropout`."""
    real = x.dtype.type
    a, s, m = real(stddev), real(rel_stddev), x.shape[1]
    for n in prange(x.shape[0]):
        start = (first + np.uint64(n)) << HALF
        for b in range((m + 3) // 4):
            words = philox(start + np.uint64(b), stream, seed)
            for j in range(4 * b, min(4 * b + 4, m)):
                y[n, j] = add_noise(x[n, j], words[j - 4 * b], a, s)
