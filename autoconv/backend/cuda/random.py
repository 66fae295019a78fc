"""Philox4x32-10, the counter-based generator: the same numbers as on the CPU (backend/cpu/random.py), a thread a block.

Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as 1, 2, 3", SC 2011. Arithmetic is in uint64 throughout,
since Numba makes uint64 with int64 a float.
"""

import numpy as np

from .. import normal
from .array import Array, number
from .ptx import global_index
from .runtime import inline, kernel

M0, M1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)  # multipliers of a round
W0, W1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)  # what each round adds to the key: golden ratio, sqrt(3) - 1
LOW, HALF = np.uint64(0xFFFFFFFF), np.uint64(32)

_normal = inline(normal.normal)


@inline
def philox(block, stream, seed):
    """The four 32-bit words of a block, as uint64."""
    c0, c1, c2, c3 = block & LOW, block >> HALF, stream & LOW, stream >> HALF
    k0, k1 = seed & LOW, seed >> HALF
    for _ in range(10):
        p0, p1 = M0 * c0, M1 * c2
        c0, c1, c2, c3 = (p1 >> HALF) ^ c1 ^ k0, p1 & LOW, (p0 >> HALF) ^ c3 ^ k1, p0 & LOW
        k0, k1 = (k0 + W0) & LOW, (k1 + W1) & LOW
    return c0, c1, c2, c3


@kernel("(int64, uint32[::1], uint64, uint64, uint64)")
def _bits(count, words, seed, stream, first):
    b = global_index()
    if b < count:
        i = 4 * b
        words[i], words[i + 1], words[i + 2], words[i + 3] = philox(first + np.uint64(b), stream, seed)


@kernel("(int64, const T[:,::1], float64, uint64, const uint64[::1], const uint64[::1], const uint64[::1], T[:,::1])")
def _dropout(count, x, scale, threshold, seed, stream, first, y):
    keep, drop = x.dtype.type(scale), x.dtype.type(0)
    item, blocks = global_index(), (x.shape[1] + 3) // 4
    if item < count:
        n, b = item // blocks, item % blocks
        words = philox(((first[0] + np.uint64(n)) << HALF) + np.uint64(b), stream[0], seed[0])
        for j in range(4 * b, min(4 * b + 4, x.shape[1])):
            y[n, j] = x[n, j] * (keep if words[j - 4 * b] >= threshold else drop)


@kernel("(int64, const T[:,::1], float64, float64, const uint64[::1], const uint64[::1], const uint64[::1], T[:,::1])")
def _gaussian_noise(count, x, added, scaled, seed, stream, first, y):
    real = x.dtype.type
    a, s = real(added), real(scaled)
    item, blocks = global_index(), (x.shape[1] + 3) // 4
    if item < count:
        n, b = item // blocks, item % blocks
        words = philox(((first[0] + np.uint64(n)) << HALF) + np.uint64(b), stream[0], seed[0])
        for j in range(4 * b, min(4 * b + 4, x.shape[1])):
            y[n, j] = x[n, j] + (a + s * x[n, j] if s else a) * real(_normal(words[j - 4 * b]))


def bits(memory, seed, stream, first):
    """Fills the memory of an array, whose items mean nothing, with the words of the blocks from `first` on."""
    words = memory.dtype.itemsize // 4
    flat = Array(memory.base.view(np.uint32), words * memory.start, (words * memory.size,), (1,), np.dtype(np.uint32))
    _bits(flat.size // 4, flat, np.uint64(seed), np.uint64(stream), np.uint64(first))


def dropout(x, scale, threshold, seed, stream, first, y):
    """y = x * scale where an item's random word is at least `threshold`, else x * 0. x (N, M). Item j of row n has word
    j of sample `first + n`.
    """
    key = (number(x.gpu, part, np.uint64) for part in (seed, stream, first))
    _dropout(x.shape[0] * -(-x.shape[1] // 4), x, scale, threshold, *key, y)


def gaussian_noise(x, added, scaled, seed, stream, first, y):
    """y = x + (added + scaled x) n; n is the normal number of an item's random word, laid out as for `dropout`."""
    key = (number(x.gpu, part, np.uint64) for part in (seed, stream, first))
    _gaussian_noise(x.shape[0] * -(-x.shape[1] // 4), x, added, scaled, *key, y)
