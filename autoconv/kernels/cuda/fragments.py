"""Defines how a stage's elements are laid out in shared memory, and reads a warp's elements from
there without bank conflicts. docs/kernels.md has diagrams.

In a warp, the thread with g = lane // 4 and t = lane % 4 holds rows 4g to 4g+3 of every 32 rows,
and columns 8t to 8t+7 of 32. A tensor core numbers the rows and columns of its product in a
different order. Any row of the result can serve as the core's row g or g+8, if A and the result use
the same assignment. With the assignment here, threads can read four elements at once from rows in
memory that run across the sum.
"""

from collections.abc import Callable
from typing import NamedTuple

from .kernels import inline
from .ptx import load4, load_matrices
from .tiles import Tile

COLUMNS = 8  # columns of the result that a thread holds


class Layout(NamedTuple):
    """The layout of a stage in shared memory: A begins at 0, B at `b`. If `a_k_major`
    (`b_k_major`), memory has one row per row of A (column of B), which runs along the sum.
    Otherwise memory has one row per element of the sum. The rows have `a_row` and `b_row` elements.
    """

    a_k_major: bool
    b_k_major: bool
    a_row: int
    b_row: int
    b: int
    size: int

    @property
    def place_a(self) -> Callable:
        return placing(self.a_k_major, self.a_row)

    @property
    def place_b(self) -> Callable:
        return placing(self.b_k_major, self.b_row)


def make_layout(tile: Tile, a_across: bool, b_k_major: bool) -> Layout:
    """Returns the layout of a stage. The rows of A in memory run along the sum, or across it if
    `a_across`. The rows of B run across the sum, or along it if `b_k_major`.
    """
    a_row = tile.rows if a_across else tile.depth
    b_row = tile.depth if b_k_major else tile.columns
    b = tile.depth * tile.rows
    return Layout(not a_across, b_k_major, a_row, b_row, b, b + tile.depth * tile.columns)


def placing(k_major: bool, length: int) -> Callable:
    """Returns place(row, item, further), which returns the position of a factor's element in a
    stage: element `item` of row number `row + further` in memory. Rows have `length` elements.
    `further` must be a multiple of a power of two greater than `row`, so that most of the position
    is computed only once for several rows.

    There are no gaps between rows. Within a row, groups of four or eight elements are permuted to
    avoid bank conflicts. If rows run along the sum, a warp reads four elements from each of eight
    rows, which are four apart. If rows run across the sum, a warp reads eight elements from each of
    four rows. In both cases the elements are in 32 different banks.
    """
    @inline
    def place_k_major(row, item, further):
        return ((row * length + item ^ (row >> 2 & 7) << 2) ^ (further >> 2 & 7) << 2) + further * length

    @inline
    def place_across(row, item, further):
        return (row * length + (item ^ (row & 3) << 3) ^ (further & 3) << 3) + further * length

    return place_k_major if k_major else place_across


def operands_of_a(tile: Tile, layout: Layout) -> Callable:
    """Returns fetch(smem, a, lane, k, out), which reads a thread's operands for tensor cores: four
    operands per 16 of the warp's rows of A, for eight elements of the sum from number k on. The
    warp's rows begin at `a`.
    """
    length, fours, sixteens = layout.a_row, tile.warp_rows // 32, tile.warp_rows // 16
    place = layout.place_a
    load = load_matrices(*((i // 2 * 32 + i % 2 * 2) * length for i in range(sixteens)))

    @inline
    def fetch_k_major(smem, a, lane, k, out):
        load(smem, a + (place(lane % 8 * 4 + lane // 8 % 2, lane // 16 * 4, 0) ^ k), out)

    @inline
    def fetch_across(smem, a, lane, k, out):
        first = a + place(lane % 4, lane // 4 * 4, 0) + k * length
        for i in range(fours):
            out[8 * i], out[8 * i + 1], out[8 * i + 4], out[8 * i + 5] = load4(smem, first + 32 * i)
            out[8 * i + 2], out[8 * i + 3], out[8 * i + 6], out[8 * i + 7] = load4(smem, first + 4 * length + 32 * i)

    return fetch_k_major if layout.a_k_major else fetch_across


def operands_of_b(layout: Layout) -> Callable:
    """Returns fetch(smem, b, lane, k, out), which reads a thread's operands from the warp's columns
    of B: two operands per eight columns.
    """
    length, place = layout.b_row, layout.place_b
    load = load_matrices(0, 2 * length)

    @inline
    def fetch_k_major(smem, b, lane, k, out):
        load(smem, b + (place(lane % 8 * 4 + lane // 16, lane // 8 % 2 * 4, 0) ^ k), out)

    @inline
    def fetch_across(smem, b, lane, k, out):
        first = b + place(lane % 4, lane // 4 * 4, 0) + k * length
        out[0], out[2], out[4], out[6] = load4(smem, first)
        out[1], out[3], out[5], out[7] = load4(smem, first + 4 * length)

    return fetch_k_major if layout.b_k_major else fetch_across


def lines_of_a(tile: Tile, layout: Layout) -> Callable:
    """Returns fetch(smem, a, lane, k, out): out[i, r] = element k + i of the sum in this thread's
    row r of A, for four elements.
    """
    read = _lines(layout.a_k_major, layout.a_row, tile.warp_rows // 32, 32)

    @inline
    def fetch(smem, a, lane, k, out):
        read(smem, a, lane // 4 * 4, k, out)

    return fetch


def lines_of_b(layout: Layout) -> Callable:
    """Returns fetch(smem, b, lane, k, out): out[i, c] = element k + i of the sum in this thread's
    column c of B, for four elements.
    """
    read = _lines(layout.b_k_major, layout.b_row, COLUMNS // 4, 4)

    @inline
    def fetch(smem, b, lane, k, out):
        read(smem, b, lane % 4 * 8, k, out)

    return fetch


def _lines(k_major: bool, length: int, groups: int, apart: int) -> Callable:
    """Returns read(smem, start, first, k, out), which reads four elements of the sum for `groups`
    groups of four rows or columns, from `first` on and `apart` apart.
    """
    place = placing(k_major, length)

    @inline
    def read_k_major(smem, start, first, k, out):
        for i in range(groups):
            for j in range(4):
                here = start + (place(first + apart * i + j, 0, 0) ^ k)
                out[0, 4 * i + j], out[1, 4 * i + j], out[2, 4 * i + j], out[3, 4 * i + j] = load4(smem, here)

    @inline
    def read_across(smem, start, first, k, out):
        for e in range(4):
            for i in range(groups):
                here = start + place(e, first, 0) + k * length + apart * i
                out[e, 4 * i], out[e, 4 * i + 1], out[e, 4 * i + 2], out[e, 4 * i + 3] = load4(smem, here)

    return read_k_major if k_major else read_across
