"""Computes a matrix product with one block of threads: A (rows, sum) and B (sum, columns) pass
through shared memory stage by stage.

A kernel's `fill` function defines the contents of A and B, and the kernel itself writes its sums.
So one loop serves convolutions, their gradients and dense layers. docs/kernels.md has diagrams.

Each warp computes `tile.warp_rows` rows. Each of its threads holds `sums` (rows / 8, 8), which are
patches of four rows and eight columns (fragments.py).
"""

from collections.abc import Callable

import numpy as np

from .fragments import COLUMNS, Layout, lines_of_a, lines_of_b, operands_of_a, operands_of_b
from .kernels import block_kernel, cuda, inline
from .ptx import (
    add_to_bits,
    commit,
    copy4_async,
    copy_async,
    load,
    load4,
    load_word,
    mma_tf32,
    store,
    store4,
    waiting,
)
from .tiles import WARP_COLUMNS, Tile


@inline
def copy(smem, offset, array, index, valid):
    """smem[offset] = array[index], or zero if not `valid`; the copy is synchronous."""
    item = load(array, index if valid else 0)
    store(smem, offset, item if valid else array.dtype.type(0))


@inline
def copy4(smem, offset, array, index, valid):
    """Copies four elements at once, or writes zeros if not `valid`; the copy is synchronous."""
    a, b, c, d = load4(array, index if valid else 0)
    zero = array.dtype.type(0)
    store4(smem, offset, (a if valid else zero, b if valid else zero, c if valid else zero, d if valid else zero))


@inline
def copy_word(smem, offset, array, index, valid):
    """Copies four bytes of a byte array to one element of `smem`; writes zero if not `valid`."""
    word = load_word(array, index if valid else 0)
    store(smem, offset, word if valid else smem.dtype.type(0))


def copying(tensor_cores, tile):
    """Returns the functions that copy elements of A and of B to shared memory. For tensor cores,
    they copy asynchronously, while the threads compute.
    """
    single, four = (copy_async, copy4_async) if tensor_cores else (copy, copy4)
    return tuple(four if width == 4 else single for width in tile.widths)


def _exact(tile: Tile, layout: Layout, read_b: Callable) -> Callable:
    """Returns a function that adds a warp's products a b in a stage to `sums`, in their dtype."""
    share = tile.depth // tile.warps[2]
    rows = tile.warp_rows // 8
    read_a = lines_of_a(tile, layout)

    @inline
    def multiply(smem, a, b, lane, first, sums):
        left = cuda.local.array((4, rows), smem.dtype)
        right = cuda.local.array((4, COLUMNS), smem.dtype)
        for k in range(0, share, 4):
            read_a(smem, a, lane, first + k, left)
            read_b(smem, b, lane, first + k, right)
            for i in range(4):
                for c in range(COLUMNS):
                    for r in range(rows):
                        sums[r, c] += left[i, r] * right[i, c]

    return multiply


@inline
def round_eight(factors, first):
    """Rounds factors[first : first + 8] to the ten bits of mantissa that a tensor core reads, ties away
    from zero.

    If one of them is NaN, none is rounded, because an addition to NaN's bits could give zero's. The same
    applies if the sum of products that finds NaN is NaN because of infinite or huge factors.
    """
    probe = factors[first] * factors[first + 1]
    for i in range(2, 8, 2):
        probe += factors[first + i] * factors[first + i + 1]
    half_unit = np.int32(1 << 12 if probe == probe else 0)  # half of the last bit that the core reads
    for i in range(8):
        factors[first + i] = add_to_bits(factors[first + i], half_unit)


def _tf32(tile: Tile, layout: Layout, read_b: Callable) -> Callable:
    """Returns a function that adds a warp's products a b in a stage to `sums`, on tensor cores.
    Operands are rounded to 10 bits of mantissa. The sums stay float32.
    """
    share = tile.depth // tile.warps[2]
    rows = tile.warp_rows // 8
    read_a = operands_of_a(tile, layout)
    count = 2 * rows

    @inline
    def multiply(smem, a, b, lane, first, sums):
        left, right = cuda.local.array(count, "float32"), cuda.local.array(COLUMNS, "float32")
        for k in range(0, share, 8):
            read_a(smem, a, lane, first + k, left)
            read_b(smem, b, lane, first + k, right)
            for i in range(0, count, 8):
                round_eight(left, i)
            round_eight(right, 0)
            for c in range(COLUMNS // 2):
                for r in range(0, rows, 2):
                    sums[r, c], sums[r, c + 4], sums[r + 1, c], sums[r + 1, c + 4] = mma_tf32(
                        left[2 * r], left[2 * r + 1], left[2 * r + 2], left[2 * r + 3], right[2 * c], right[2 * c + 1],
                        sums[r, c], sums[r, c + 4], sums[r + 1, c], sums[r + 1, c + 4])

    return multiply


def reading_b(layout: Layout, tensor_cores: bool) -> Callable:
    """Returns the function that reads a thread's elements of B in a stage (fragments.py)."""
    return (operands_of_b if tensor_cores else lines_of_b)(layout)


def summing(tensor_cores: bool, tile: Tile, layout: Layout, fill: Callable, reading: Callable = reading_b) -> Callable:
    """Returns run(smem, steps, source, sums), the loop over the sum. `fill(smem, start, step,
    source)` loads stage `step`, and each warp multiplies it. `reading` creates the function that
    reads B from shared memory. Kernels that compute B's elements pass another `reading`.

    While one stage is multiplied, the next stages are being copied. Finally, the sums of warps with
    the same rows and columns are added in warp order, in the first of these warps.
    """
    multiply = (_tf32 if tensor_cores else _exact)(tile, layout, reading(layout, tensor_cores))
    down, along, deep = tile.warps
    ahead, size = tile.stages - 1, layout.size
    share, rows, warp_rows = tile.depth // deep, tile.warp_rows // 8, tile.warp_rows
    b_start, wait, n_sums = layout.b, waiting(ahead - 1), tile.warp_rows
    a_apart = layout.a_row if layout.a_k_major else 1
    b_apart = layout.b_row if layout.b_k_major else 1

    @inline
    def gather(smem, rank, lane, part, sums):
        """Adds up, through shared memory, the sums of warps with the same rows and columns."""
        cuda.syncthreads()
        for r in range(rows):
            for c in range(COLUMNS):
                if part > 0:
                    store(smem, (((part - 1) * down * along + rank) * n_sums + r * COLUMNS + c) * 32 + lane, sums[r, c])
        cuda.syncthreads()
        if part == 0:
            for r in range(rows):
                for c in range(COLUMNS):
                    for k in range(deep - 1):
                        sums[r, c] += load(smem, ((k * down * along + rank) * n_sums + r * COLUMNS + c) * 32 + lane)

    @inline
    def run(smem, steps, source, sums):
        warp, lane = cuda.threadIdx.x // 32, cuda.threadIdx.x % 32
        rank, part = warp % (down * along), warp // (down * along) if deep > 1 else 0
        a = rank % down * warp_rows * a_apart
        b = b_start + rank // down * WARP_COLUMNS * b_apart
        for r in range(rows):
            for c in range(COLUMNS):
                sums[r, c] = 0
        for step in range(ahead):
            if step < steps:
                fill(smem, step * size, step, source)
            if tensor_cores:
                commit()
        # start of the current stage, and of the previous stage, whose memory the next load overwrites
        start, previous = np.int32(0), np.int32(ahead * size)
        for step in range(steps):
            if tensor_cores:
                wait()
            cuda.syncthreads()
            if step + ahead < steps:
                fill(smem, previous, step + ahead, source)
            if tensor_cores:
                commit()
            multiply(smem, start + a, start + b, lane, part * share, sums)
            previous = start
            start = np.int32(0) if start == ahead * size else np.int32(start + size)
        if deep > 1:
            gather(smem, rank, lane, part, sums)

    return run


def make_sum_locator(tile: Tile) -> Callable:
    """Returns find_sum(), which returns (row, column, valid): the position of a thread's first sum
    in the block's result, and whether the thread has sums of the result.
    """
    (down, along, _), warp_rows = tile.warps, tile.warp_rows

    @inline
    def find_sum():
        warp, lane = cuda.threadIdx.x // 32, cuda.threadIdx.x % 32
        rank = warp % (down * along)
        return (rank % down * warp_rows + lane // 4 * 4,
                rank // down * WARP_COLUMNS + lane % 4 * COLUMNS, warp < down * along)

    return find_sum


@inline
def row_offset(r):
    """Returns the distance, in rows of the result, from a thread's first sum to sums[r]."""
    return r // 4 * 32 + r % 4


def product_kernel(signature: str, name: str, tile: Tile, tensor_cores: bool) -> Callable:
    """Returns a decorator for a product kernel for float32. Only the `single` tile is also compiled
    for float64, which serves as a reference and uses this tile for all shapes.
    """
    dtypes = ("float32", "float64") if tile.name == "single" and not tensor_cores else ("float32",)
    return block_kernel(signature, tile.threads, name, dtypes, tensor_cores)
