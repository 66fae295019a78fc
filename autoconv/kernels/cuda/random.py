"""Generates the same Philox4x32-10 random words as kernels/cpu/random.py, with one thread per block
of four words.

formulas/random_numbers.py converts words to random numbers. Kernels compute block numbers entirely
in uint64, because Numba computes the sum of a uint64 and an int64 in float64.
"""

import numpy as np

from ..formulas import compile_formulas, random_numbers
from ..formulas.random_numbers import HALF, ROUNDS
from .array import Array, number
from .fours import moving, portions, vector_kernel, width
from .gather import divide, divisor
from .internals import cgutils, intrinsic, ir, types
from .kernels import ItemKernel, cuda, inline, kernel
from .ptx import global_index, times

M0, M1 = random_numbers.MULTIPLIERS
W0, W1 = random_numbers.WEYL

_numbers = compile_formulas(random_numbers, inline)
uniform, add_noise = _numbers.uniform, _numbers.add_noise


@intrinsic
def philox(typing, block, stream, seed):
    """Returns the four 32-bit words of a block, as uint64. Computes in 32 bits, because a 64-bit
    product takes several instructions and a pair of registers.
    """
    def build(context, builder, signature, arguments):
        small, wide = ir.IntType(32), ir.IntType(64)

        multiply_high = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(small, [small, small]), "llvm.nvvm.mulhi.ui")

        def halves(value):
            return builder.trunc(value, small), builder.trunc(builder.lshr(value, wide(32)), small)

        def product(c, m):
            return builder.mul(c, small(m)), builder.call(multiply_high, [c, small(m)])

        (c0, c1), (c2, c3), (k0, k1) = map(halves, arguments)
        for _ in range(ROUNDS):
            (low0, high0), (low1, high1) = product(c0, M0), product(c2, M1)
            c0, c1 = builder.xor(builder.xor(high1, c1), k0), low1
            c2, c3 = builder.xor(builder.xor(high0, c3), k1), low0
            k0, k1 = builder.add(k0, small(W0)), builder.add(k1, small(W1))
        return cgutils.pack_array(builder, [builder.zext(c, wide) for c in (c0, c1, c2, c3)])

    return types.UniTuple(types.uint64, 4)(types.uint64, types.uint64, types.uint64), build


@kernel("(int64, uint32[::1], uint64, uint64, uint64)")
def _bits(count, words, seed, stream, first):
    b = global_index()
    if b < count:
        i = 4 * b
        words[i], words[i + 1], words[i + 2], words[i + 3] = philox(first + np.uint64(b), stream, seed)


def _dropout(size: int) -> ItemKernel:
    """Creates a kernel whose threads each handle the elements of one four-word block."""
    fetch, put = moving(4)

    @vector_kernel("(int64, const T[:,::1], float64, uint64, const uint64[::1], const uint64[::1], "
                   "const uint64[::1], T[:,::1], UniTuple(int64, 3), int64)", "_dropout", size)
    def run(count, x, scale, threshold, seed, stream, first, y, divisor, offset):
        keep, drop, item = x.dtype.type(scale), x.dtype.type(0), global_index()
        values = cuda.local.array(4, x.dtype)
        if item < count:
            n = divide(item, divisor)
            b = item - times(n, divisor[0])
            words = philox(((first[0] + np.uint64(offset + n)) << HALF) + np.uint64(b), stream[0], seed[0])
            if size == 4:
                fetch(values, x, item)
                for e in range(4):
                    values[e] *= keep if words[e] >= threshold else drop
                put(y, item, values)
            else:
                for e in range(4):
                    if 4 * b + e < x.shape[1]:
                        y[n, 4 * b + e] = x[n, 4 * b + e] * (keep if words[e] >= threshold else drop)

    return run


_DROPOUT = tuple(map(_dropout, (1, 4)))


@kernel("(int64, const T[:,::1], float64, float64, const uint64[::1], const uint64[::1], const "
        "uint64[::1], T[:,::1], UniTuple(int64, 3), int64)")
def _gaussian_noise(count, x, stddev, rel_stddev, seed, stream, first, y, divisor, offset):
    real, item = x.dtype.type, global_index()
    a, s = real(stddev), real(rel_stddev)
    if item < count:
        n = divide(item, divisor)
        b = item - times(n, divisor[0])
        words = philox(((first[0] + np.uint64(offset + n)) << HALF) + np.uint64(b), stream[0], seed[0])
        for j in range(4 * b, min(4 * b + 4, x.shape[1])):
            y[n, j] = add_noise(x[n, j], words[j - 4 * b], a, s)


def bits(memory, seed, stream, first):
    """Overwrites the memory of an array with the random words of the blocks from `first` on."""
    words = memory.dtype.itemsize // 4
    flat = Array(memory.base.view(np.uint32), words * memory.start, (words * memory.size,), (1,), np.dtype(np.uint32))
    _bits(flat.size // 4, flat, np.uint64(seed), np.uint64(stream), np.uint64(first))


def dropout(x, scale, threshold, seed, stream, first, y):
    """y = x * scale if an element's random word is at least `threshold`, else x * 0. x is (N, M).
    Element j of row n uses word j of sample `first + n`.
    """
    _run_blocks(_DROPOUT[width(x.shape[1], x, y) // 4], x, (scale, threshold), (seed, stream, first), y)


def gaussian_noise(x, stddev, rel_stddev, seed, stream, first, y):
    """y = x + (stddev + rel_stddev x) n, where n is the normal number from the element's random
    word, the same word as in `dropout`.
    """
    _run_blocks(_gaussian_noise, x, (stddev, rel_stddev), (seed, stream, first), y)


def _run_blocks(kernel, x, numbers, key, y):
    """Runs a kernel with one thread per block of four words."""
    blocks, offset = -(-x.shape[1] // 4), 0
    key = tuple(number(x.gpu, part, np.uint64) for part in key)
    for portion, results in portions(4, x, y):
        kernel(len(portion) * blocks, portion, *numbers, *key, results, divisor(blocks), offset)
        offset += len(portion)
