"""How threads are spread over a matrix (M, C) of many rows: each keeps to its columns and goes down the rows.

What belongs to a column is read once, sums of columns stay in registers, and no place takes a division. A block has
`lanes` columns, or so many fours of them, and `across` rows at a time; lanes side by side read memory side by side.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from . import array as arrays
from .array import Array
from .fours import width
from .gather import divided, divisor
from .kernels import THREADS, BlockKernel, OnGpu, block_kernel, cuda, inline
from .ptx import times
from .tiles import PROCESSORS

LANES = 32  # at most, of a block: 512 bytes of a row by fours
BLOCKS = 2 * PROCESSORS  # as many as keep a large GPU busy
MOST = 4 * BLOCKS  # blocks of a launch that share out the rows
TURNS = 4  # rows that a thread has where it sums, or where that leaves BLOCKS blocks
LEAST = 64  # rows of a part of a sum: its float64 are few beside what it reads
SPREAD = "int64, int64, UniTuple(int64, 3), UniTuple(int64, 3)"  # in a kernel's signature: each, length, across, lanes


class Spread(NamedTuple):
    """The grid, and what a kernel is told of it."""

    blocks: tuple[int, int]  # of rows, and of columns
    each: int  # columns, or fours of them
    length: int  # rows of a block
    across: tuple[int, int, int]  # what divides by it, as by lanes
    lanes: tuple[int, int, int]


def spread(rows: int, columns: int, summing: bool = False) -> Spread:
    """For so many columns, or fours of them. The same for the same shape, on every GPU: sums are
    made of as many parts as there are blocks of rows.
    """
    pieces = max(1, -(-columns // LANES))
    lanes = max(1, -(-columns // pieces))
    across = THREADS // lanes
    few = max(TURNS * across, LEAST) if summing else min(TURNS * across, rows * pieces // BLOCKS)
    length = -(-max(1, few, rows * pieces // MOST) // across) * across
    return Spread((-(-rows // length), pieces), columns, length, divisor(across), divisor(lanes))


def over_rows(kernels: tuple[BlockKernel, ...], x: Any, *arguments: Any, beside: tuple = ()) -> None:
    """Runs the kernel of the width that fits x (M, C) and the arrays among the arguments; those
    `beside` these may lie anywhere.
    """
    size = _width(x, arguments)
    blocks, *told = spread(len(x), x.shape[1] // size)
    kernels[size // 4](blocks, x, *arguments, *beside, *told)


def summed(kernels: tuple[BlockKernel, ...], x: Any, *arguments: Any) -> Array:
    """The same for a kernel of two sums over the rows; returns the sums (2, P, C) over the rows of each block."""
    size = _width(x, arguments)
    blocks, *told = spread(len(x), x.shape[1] // size, summing=True)
    partial = arrays.empty(x.gpu, (2, blocks[0], x.shape[1]), np.float64)
    kernels[size // 4](blocks, x, *arguments, partial, *told)
    return partial


def _width(x: Any, arguments: tuple) -> int:
    return width(x.shape[1], x, *(a for a in arguments if isinstance(a, OnGpu)))


@inline
def place(each, across, lanes):
    """(column, share, whether there is one) of this thread, which has the rows `share`, `share +
    across`, ... of its block's.
    """
    share = divided(cuda.threadIdx.x, lanes)
    column = times(cuda.blockIdx.y, lanes[0]) + cuda.threadIdx.x - times(share, lanes[0])
    return column, share, share < across[0] and column < each


@inline
def run_of(share, each, length, across, column, rows):
    """(first, count, step) of what a thread reads of a matrix of so many rows: of fours, where it takes fours."""
    first = cuda.blockIdx.x * length + share
    left = min(rows - first, length - share)
    count = divided(left + across[0] - 1, across) if left > 0 else 0
    return first * each + column, count, across[0] * each


def adding_up(size: int) -> Callable:
    """add(sums, partial, each, across, lanes): partial[q, part, column] = the block's sum of sums[q] (2, size), which
    its threads hold: shares by halves, so the order is the same in every run.
    """
    kept = (2 * size, THREADS)

    @inline
    def add(sums, partial, each, across, lanes):
        shared, t = cuda.shared.array(kept, "float64"), cuda.threadIdx.x
        for e in range(size):
            shared[e, t], shared[size + e, t] = sums[0, e], sums[1, e]
        column, share, _ = place(each, across, lanes)
        left = across[0]
        while left > 1:
            half = (left + 1) // 2
            other = t + times(half, lanes[0])
            cuda.syncthreads()
            if share + half < left:
                for e in range(2 * size):
                    shared[e, t] += shared[e, other]
            left = half
        if share == 0 and column < each:
            for e in range(size):
                for q in range(2):
                    partial[q, cuda.blockIdx.x, column * size + e] = shared[q * size + e, t]

    return add


COLUMNS, SHARES = 8, 64  # of a block that adds parts
ADDING = COLUMNS * SHARES  # its threads


@inline
def add_parts(partial, shared, c):
    """shared[q, threadIdx.x] = the sum of partial[q, :, c], in the first threads of a block, one a column c."""
    t, totals = cuda.threadIdx.x, cuda.local.array(2, "float64")
    for q in range(2):
        totals[q] = 0
    if c < partial.shape[2]:
        for part in range(t // COLUMNS, partial.shape[1], SHARES):
            for q in range(2):
                totals[q] += partial[q, part, c]
    for q in range(2):
        shared[q, t] = totals[q]
    left = SHARES // 2
    while left > 0:
        cuda.syncthreads()
        if t < left * COLUMNS:
            for q in range(2):
                shared[q, t] += shared[q, t + left * COLUMNS]
        left //= 2


def adding_kernel(signature: str, name: str) -> Callable[[Callable], BlockKernel]:
    """Makes a function a kernel that adds parts."""
    return block_kernel(signature, ADDING, name)


def column_kernel(signature: str, name: str, size: int) -> Callable[[Callable], BlockKernel]:
    """Makes a function a kernel whose threads take `size` columns, in a grid as `spread` has it. By
    fours it is not for float64, which is for checks alone.
    """
    dtypes = ("float32",) if size > 1 else ("float32", "float64")
    return block_kernel(signature.replace("SPREAD", SPREAD), THREADS, f"{name}_{size}", dtypes)
