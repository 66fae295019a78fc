"""Where a stage's items lie in shared memory, and how a warp reads its share of them, without two
threads that want different words of one bank. docs/kernels.md has the pictures.

Thread g = lane // 4, t = lane % 4 of a warp holds rows 4g to 4g+3 of every 32 rows, and columns 8t
to 8t+7 of 32. A tensor core counts rows and columns of its products in another order than the
result does. Which row of the result is the core's row g, or g+8, is free as long as both factors
agree; it is chosen so that whatever lies across the sum is read by fours.
"""

from collections.abc import Callable
from typing import NamedTuple

from .kernels import inline
from .ptx import load4, load_matrices
from .tiles import Tile

COLUMNS = 8  # that a thread holds


class Layout(NamedTuple):
    """Of a stage: A begins at 0, B at `b`. `a_along`, `b_along`: whether its rows in memory lie along the sum, a row
    for each row of A or column of B; else there is a row for each item of the sum. They have `a_row`, `b_row` items.
    """

    a_along: bool
    b_along: bool
    a_row: int
    b_row: int
    b: int
    size: int

    @property
    def place_a(self) -> Callable:
        return placing(self.a_along, self.a_row)

    @property
    def place_b(self) -> Callable:
        return placing(self.b_along, self.b_row)


def layout(tile: Tile, a_across: bool, b_along: bool) -> Layout:
    """For A with its sum along its rows in memory, or across them; for B across, or along."""
    a_row, b_row = (tile.rows if a_across else tile.depth), (tile.depth if b_along else tile.columns)
    b = tile.depth * tile.rows
    return Layout(not a_across, b_along, a_row, b_row, b, b + tile.depth * tile.columns)


def placing(along: bool, length: int) -> Callable:
    """place(row, item, further): where in a stage an item of a factor lies whose rows in memory are so long, `further`
    rows below. That is a multiple of a power of two above `row`: so most of it is worked out once for several rows.

    Rows have no gaps. Their pieces of four items change places with others, so that eight rows four apart, of which a
    warp reads one piece each, fill the 32 banks; and across the sum four rows, of which it reads eight items each.
    """
    @inline
    def place_along(row, item, further):
        return ((row * length + item ^ (row >> 2 & 7) << 2) ^ (further >> 2 & 7) << 2) + further * length

    @inline
    def place_across(row, item, further):
        return (row * length + (item ^ (row & 3) << 3) ^ (further & 3) << 3) + further * length

    return place_along if along else place_across


def operands_of_a(tile: Tile, at: Layout) -> Callable:
    """fetch(shared, a, lane, k, to): what tensor cores want of a warp's rows of A for eight items of the sum, from
    number k on: four operands of a product for each 16 rows. The warp's share begins at `a`.
    """
    length, fours, sixteens = at.a_row, tile.warp_rows // 32, tile.warp_rows // 16
    place = at.place_a
    load = load_matrices(*((i // 2 * 32 + i % 2 * 2) * length for i in range(sixteens)))

    @inline
    def along(shared, a, lane, k, to):
        load(shared, a + (place(lane % 8 * 4 + lane // 8 % 2, lane // 16 * 4, 0) ^ k), to)

    @inline
    def across(shared, a, lane, k, to):
        first = a + place(lane % 4, lane // 4 * 4, 0) + k * length
        for i in range(fours):
            to[8 * i], to[8 * i + 1], to[8 * i + 4], to[8 * i + 5] = load4(shared, first + 32 * i)
            to[8 * i + 2], to[8 * i + 3], to[8 * i + 6], to[8 * i + 7] = load4(shared, first + 4 * length + 32 * i)

    return along if at.a_along else across


def operands_of_b(at: Layout) -> Callable:
    """The same of a warp's columns of B: two operands for each eight columns."""
    length, place = at.b_row, at.place_b
    load = load_matrices(0, 2 * length)

    @inline
    def along(shared, b, lane, k, to):
        load(shared, b + (place(lane % 8 * 4 + lane // 16, lane // 8 % 2 * 4, 0) ^ k), to)

    @inline
    def across(shared, b, lane, k, to):
        first = b + place(lane % 4, lane // 4 * 4, 0) + k * length
        to[0], to[2], to[4], to[6] = load4(shared, first)
        to[1], to[3], to[5], to[7] = load4(shared, first + 4 * length)

    return along if at.b_along else across


def lines_of_a(tile: Tile, at: Layout) -> Callable:
    """fetch(shared, a, lane, k, to): to[i, r] is item k + i of the sum, of this thread's row r of A, for four items."""
    read = _lines(at.a_along, at.a_row, tile.warp_rows // 32, 32)

    @inline
    def fetch(shared, a, lane, k, to):
        read(shared, a, lane // 4 * 4, k, to)

    return fetch


def lines_of_b(at: Layout) -> Callable:
    """The same of this thread's columns of B."""
    read = _lines(at.b_along, at.b_row, COLUMNS // 4, 4)

    @inline
    def fetch(shared, b, lane, k, to):
        read(shared, b, lane % 4 * 8, k, to)

    return fetch


def _lines(is_along: bool, length: int, groups: int, apart: int) -> Callable:
    """read(shared, start, first, k, to), of so many times four rows or columns from `first` on."""
    place = placing(is_along, length)

    @inline
    def along(shared, start, first, k, to):
        for i in range(groups):
            for j in range(4):
                here = start + (place(first + apart * i + j, 0, 0) ^ k)
                to[0, 4 * i + j], to[1, 4 * i + j], to[2, 4 * i + j], to[3, 4 * i + j] = load4(shared, here)

    @inline
    def across(shared, start, first, k, to):
        for e in range(4):
            for i in range(groups):
                here = start + place(e, first, 0) + k * length + apart * i
                to[e, 4 * i], to[e, 4 * i + 1], to[e, 4 * i + 2], to[e, 4 * i + 3] = load4(shared, here)

    return along if is_along else across
