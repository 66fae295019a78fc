"""Distributes threads over a matrix (M, C) with many rows: each thread keeps its columns and
proceeds down the rows.

So per-column values are read only once, column sums stay in registers, and an element's position
needs no division. A block handles `lanes` columns, or groups of four columns, of `across` rows at a
time. Adjacent lanes read adjacent memory.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from . import array as arrays
from .array import Array
from .fours import width
from .gather import divide, divisor
from .kernels import THREADS, BlockKernel, OnGpu, block_kernel, cuda, inline
from .ptx import times
from .tiles import PROCESSORS

LANES = 32  # maximum lanes per block; 32 lanes of four elements read 512 bytes of a row at once
BLOCKS = 2 * PROCESSORS  # enough blocks to keep a large GPU busy
MOST = 4 * BLOCKS  # maximum number of blocks per launch, approximately
# minimum number of rows per thread; kernels without sums use fewer rows to reach BLOCKS blocks
TURNS = 4
LEAST = 64  # minimum rows per partial sum, so that reading rows takes longer than writing sums
# types of the parameters columns, length, across and lanes in a kernel's signature
SPREAD = "int64, int64, UniTuple(int64, 3), UniTuple(int64, 3)"


class Spread(NamedTuple):
    """The grid of a launch, and the arguments that describe it to a kernel."""

    blocks: tuple[int, int]  # blocks along the rows and along the columns
    columns: int  # columns, or groups of four columns
    length: int  # rows per block
    # number of rows that a block handles at a time, as a `gather.divisor`
    across: tuple[int, int, int]
    lanes: tuple[int, int, int]  # columns, or groups of four columns, per block, as a divisor


def spread(rows: int, columns: int, summing: bool = False) -> Spread:
    """Returns the grid for a matrix with `rows` rows and `columns` columns, or `columns` groups of
    four columns. The grid depends only on the shape, not on the GPU, so that every GPU computes the
    same partial sums.
    """
    pieces = max(1, -(-columns // LANES))
    lanes = max(1, -(-columns // pieces))
    across = THREADS // lanes
    few = max(TURNS * across, LEAST) if summing else min(TURNS * across, rows * pieces // BLOCKS)
    length = -(-max(1, few, rows * pieces // MOST) // across) * across
    return Spread((-(-rows // length), pieces), columns, length, divisor(across), divisor(lanes))


def run_rows(kernels: tuple[BlockKernel, ...], x: Any, *arguments: Any, extra: tuple = ()) -> None:
    """Runs the kernel for four columns per thread if x (M, C) and the arrays in `arguments` allow
    it, otherwise the kernel for one column. The arrays in `extra` do not affect the choice.
    """
    size = _width(x, arguments)
    blocks, *grid = spread(len(x), x.shape[1] // size)
    kernels[size // 4](blocks, x, *arguments, *extra, *grid)


def compute_sums(kernels: tuple[BlockKernel, ...], x: Any, *arguments: Any) -> Array:
    """Runs a kernel that computes two sums over the rows. Returns the partial sums (2, P, C), one
    per block of rows.
    """
    size = _width(x, arguments)
    blocks, *grid = spread(len(x), x.shape[1] // size, summing=True)
    partial = arrays.empty(x.gpu, (2, blocks[0], x.shape[1]), np.float64)
    kernels[size // 4](blocks, x, *arguments, partial, *grid)
    return partial


def _width(x: Any, arguments: tuple) -> int:
    return width(x.shape[1], x, *(a for a in arguments if isinstance(a, OnGpu)))


@inline
def place(columns, across, lanes):
    """Returns (column, share, valid) of this thread. The thread handles the rows `share`, `share +
    across`, ... of its block; `valid` is False if the thread has no elements to handle.
    """
    share = divide(cuda.threadIdx.x, lanes)
    column = times(cuda.blockIdx.y, lanes[0]) + cuda.threadIdx.x - times(share, lanes[0])
    return column, share, share < across[0] and column < columns


@inline
def find_elements(share, columns, length, across, column, rows):
    """Returns (first, count, step): the thread reads `count` elements, or groups of four elements,
    of a matrix with `rows` rows. The first has index `first`; the indices are `step` apart.
    """
    first = cuda.blockIdx.x * length + share
    rest = min(rows - first, length - share)
    count = divide(rest + across[0] - 1, across) if rest > 0 else 0
    return first * columns + column, count, across[0] * columns


def adding_up(size: int) -> Callable:
    """Returns add(sums, partial, columns, across, lanes), which adds up the `sums` (2, size) of a
    block's threads and writes the totals to partial[q, block, column]. The sums are added pairwise,
    so the order is the same in every run.
    """
    shape = (2 * size, THREADS)

    @inline
    def add(sums, partial, columns, across, lanes):
        smem, t = cuda.shared.array(shape, "float64"), cuda.threadIdx.x
        for e in range(size):
            smem[e, t], smem[size + e, t] = sums[0, e], sums[1, e]
        column, share, _ = place(columns, across, lanes)
        left = across[0]
        while left > 1:
            half = (left + 1) // 2
            partner = t + times(half, lanes[0])
            cuda.syncthreads()
            if share + half < left:
                for e in range(2 * size):
                    smem[e, t] += smem[e, partner]
            left = half
        if share == 0 and column < columns:
            for e in range(size):
                for q in range(2):
                    partial[q, cuda.blockIdx.x, column * size + e] = smem[q * size + e, t]

    return add


COLUMNS, SHARES = 8, 64  # columns, and threads per column, of a block that adds partial sums
ADDING = COLUMNS * SHARES  # threads of a block that adds partial sums


@inline
def add_parts(partial, smem, c):
    """smem[q, threadIdx.x] = the sum of partial[q, :, c], in the first COLUMNS threads of a block.
    Each of these threads has a different column c.
    """
    t, totals = cuda.threadIdx.x, cuda.local.array(2, "float64")
    for q in range(2):
        totals[q] = 0
    if c < partial.shape[2]:
        for part in range(t // COLUMNS, partial.shape[1], SHARES):
            for q in range(2):
                totals[q] += partial[q, part, c]
    for q in range(2):
        smem[q, t] = totals[q]
    left = SHARES // 2
    while left > 0:
        cuda.syncthreads()
        if t < left * COLUMNS:
            for q in range(2):
                smem[q, t] += smem[q, t + left * COLUMNS]
        left //= 2


def adding_kernel(signature: str, name: str) -> Callable[[Callable], BlockKernel]:
    """Returns a decorator for a kernel that adds partial sums."""
    return block_kernel(signature, ADDING, name)


def column_kernel(signature: str, name: str, size: int) -> Callable[[Callable], BlockKernel]:
    """Returns a decorator for a kernel whose threads each handle `size` columns, in a grid from
    `spread`. Kernels with four columns are not compiled for float64, which is only used as a
    reference.
    """
    dtypes = ("float32",) if size > 1 else ("float32", "float64")
    return block_kernel(signature.replace("SPREAD", SPREAD), THREADS, f"{name}_{size}", dtypes)
