"""The matrix product of a block of threads: A (rows, sum) and B (sum, columns) go through shared memory stage by stage.

What A and B are, a kernel says by its `fill`; where its sums go, it decides itself. So one loop serves convolutions,
their gradients and dense layers. docs/kernels.md has the pictures.

A warp computes 32 rows. A thread of it, with g = lane // 4 and t = lane % 4, holds `sums` (4, WARP_COLUMNS / 4): those
of rows g, g+8, g+16, g+24 and of columns 2t, 2t+1, 8+2t, 8+2t+1, ... That is how a tensor core deals them out, and the
exact product keeps to it.
"""

from collections.abc import Callable
from typing import NamedTuple

from .ptx import (
    commit,
    copy4_async,
    copy_async,
    load,
    load4,
    load_word,
    mma_tf32,
    round_tf32,
    store,
    store2,
    store4,
    waiting,
)
from .runtime import block_kernel, cuda, inline
from .tiles import WARP_COLUMNS, WARP_ROWS, Tile

SUMS = WARP_COLUMNS // 4  # columns that a thread holds


class Layout(NamedTuple):
    """Where a stage's items lie in shared memory: a[m, k] at m*a_m + k*a_k, b[k, n] at b + k*b_k + n*b_n.

    Rows are longer than their items, so that the 32 items that a warp reads at once lie in 32 different banks.
    """

    a_m: int
    a_k: int
    b: int
    b_k: int
    b_n: int
    size: int


def layout(tile: Tile, a_turned: bool, b_turned: bool) -> Layout:
    """For A with its sum along the rows in memory, or across them (turned); for B across, or along (turned)."""
    a_m, a_k = (1, tile.rows + 8) if a_turned else (tile.depth + 4, 1)
    b_k, b_n = (1, tile.depth + 4) if b_turned else (tile.columns + 8, 1)
    b = tile.depth * a_k if a_turned else tile.rows * a_m
    return Layout(a_m, a_k, b, b_k, b_n, b + (tile.columns * b_n if b_turned else tile.depth * b_k))


@inline
def copy(shared, at, array, index, valid):
    """shared[at] = array[index], or zero; the copy is made at once."""
    item = load(array, index if valid else 0)
    store(shared, at, item if valid else array.dtype.type(0))


@inline
def copy4(shared, at, array, index, valid):
    """Four items at once."""
    a, b, c, d = load4(array, index if valid else 0)
    zero = array.dtype.type(0)
    store4(shared, at, (a if valid else zero, b if valid else zero, c if valid else zero, d if valid else zero))


@inline
def copy_word(shared, at, array, index, valid):
    """Four bytes of an array of bytes, as one item."""
    word = load_word(array, index if valid else 0)
    store(shared, at, word if valid else shared.dtype.type(0))


def copying(tensor_cores, tile):
    """How items of the two factors come into shared memory: where there are tensor cores, while the threads compute."""
    one, four = (copy_async, copy4_async) if tensor_cores else (copy, copy4)
    return tuple(four if width == 4 else one for width in tile.widths)


def items_of_b(at, tensor_cores):
    """read(shared, b, lane, k, n): item (k, n) of a warp's share of B, counted from where its thread `lane` begins.

    That is row 0, column 2t for an exact product, row t, column g on tensor cores.
    """
    b_k, b_n = at.b_k, at.b_n

    @inline
    def read(shared, b, lane, k, n):
        if tensor_cores:
            return load(shared, b + (lane % 4 * b_k + lane // 4 * b_n) + (k * b_k + n * b_n))
        return load(shared, b + lane % 4 * 2 * b_n + (k * b_k + n * b_n))

    return read


def _exact(tile, at, reading):
    """sums += a b for a warp's share of a stage, in the arrays' own precision."""
    depth = tile.depth // tile.warps[2]
    a_m, a_k, read = at.a_m, at.a_k, reading(at, False)

    @inline
    def multiply(shared, a, b, lane, sums):
        column = cuda.local.array(4, shared.dtype)
        a += lane // 4 * a_m
        for k in range(depth):
            for r in range(4):
                column[r] = load(shared, a + 8 * r * a_m + k * a_k)
            for c in range(SUMS):
                item = read(shared, b, lane, k, c // 2 * 8 + c % 2)
                for r in range(4):
                    sums[r, c] += column[r] * item

    return multiply


def _tf32(tile, at, reading):
    """sums += a b for a warp's share of a stage, on tensor cores: operands rounded to 10 bits, sums in float32."""
    depth = tile.depth // tile.warps[2]
    a_m, a_k, read = at.a_m, at.a_k, reading(at, True)

    @inline
    def multiply(shared, a, b, lane, sums):
        near, far = cuda.local.array(4, "float32"), cuda.local.array(4, "float32")
        a += lane // 4 * a_m + lane % 4 * a_k
        for k in range(0, depth, 8):
            for r in range(4):
                near[r] = round_tf32(load(shared, a + 8 * r * a_m + k * a_k))
                far[r] = round_tf32(load(shared, a + 8 * r * a_m + (k + 4) * a_k))
            for c in range(0, SUMS, 2):
                b0 = round_tf32(read(shared, b, lane, k, 4 * c))
                b1 = round_tf32(read(shared, b, lane, k + 4, 4 * c))
                for r in range(0, 4, 2):
                    sums[r, c], sums[r, c + 1], sums[r + 1, c], sums[r + 1, c + 1] = mma_tf32(
                        near[r], near[r + 1], far[r], far[r + 1], b0, b1,
                        sums[r, c], sums[r, c + 1], sums[r + 1, c], sums[r + 1, c + 1])

    return multiply


def summing(tensor_cores, tile, at, fill, reading=items_of_b):
    """The loop over the sum: `fill(shared, start, step, source)` brings stage `step` in, and a warp multiplies it.
    `reading` makes what reads B there, where it is not just its items.

    While one stage is multiplied, the next ones are on their way. Then the sums of the warps that share rows and
    columns are added up in their order, in the first of them.
    """
    multiply = (_tf32 if tensor_cores else _exact)(tile, at, reading)
    down, along, deep = tile.warps
    ahead, size, stages = tile.stages - 1, at.size, tile.stages
    share = tile.depth // deep
    a_m, a_k, b_start, b_k, b_n = at.a_m, at.a_k, at.b, at.b_k, at.b_n
    arrived, each = waiting(ahead - 1), 4 * SUMS

    @inline
    def gather(shared, rank, lane, part, sums):
        """The warps' sums, through shared memory."""
        cuda.syncthreads()
        for r in range(4):
            for c in range(SUMS):
                if part > 0:
                    store(shared, (((part - 1) * down * along + rank) * each + r * SUMS + c) * 32 + lane, sums[r, c])
        cuda.syncthreads()
        if part == 0:
            for r in range(4):
                for c in range(SUMS):
                    for other in range(deep - 1):
                        sums[r, c] += load(shared, ((other * down * along + rank) * each + r * SUMS + c) * 32 + lane)

    @inline
    def run(shared, steps, source, sums):
        warp, lane = cuda.threadIdx.x // 32, cuda.threadIdx.x % 32
        rank, part = warp % (down * along), warp // (down * along)
        a = rank % down * WARP_ROWS * a_m + part * share * a_k
        b = b_start + rank // down * WARP_COLUMNS * b_n + part * share * b_k
        for r in range(4):
            for c in range(SUMS):
                sums[r, c] = 0
        for step in range(ahead):
            if step < steps:
                fill(shared, step * size, step, source)
            if tensor_cores:
                commit()
        for step in range(steps):
            if tensor_cores:
                arrived()
            cuda.syncthreads()
            if step + ahead < steps:
                fill(shared, (step + ahead) % stages * size, step + ahead, source)
            if tensor_cores:
                commit()
            start = step % stages * size
            multiply(shared, start + a, start + b, lane, sums)
        if deep > 1:
            gather(shared, rank, lane, part, sums)

    return run


def place_of(tile):
    """place() -> (row, column, mine): where a thread's first sum lies in the block's result, and whether it has one."""
    down, along, _ = tile.warps

    @inline
    def place():
        warp, lane = cuda.threadIdx.x // 32, cuda.threadIdx.x % 32
        rank = warp % (down * along)
        return (rank % down * WARP_ROWS + lane // 4, rank // down * WARP_COLUMNS + lane % 4 * 2,
                warp < down * along)

    return place


def product_kernel(signature: str, name: str, tile: Tile, tensor_cores: bool) -> Callable:
    """A kernel for float32; float64, which is for checks, takes `single` for all shapes."""
    dtypes = ("float32", "float64") if tile.name == "single" and not tensor_cores else ("float32",)
    return block_kernel(signature, tile.threads, name, dtypes, tensor_cores)


@inline
def put(y, at, first, second, both, whole):
    """Two items side by side, or where there is room for one, the first."""
    if whole:
        store2(y, at, (first, second))
    else:
        store(y, at, first)
        if both:
            store(y, at + 1, second)
