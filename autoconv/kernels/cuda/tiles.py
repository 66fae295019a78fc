"""How a matrix product is cut for a GPU: which part of it a block of threads computes, and how its threads share that.

A block computes (rows, columns) of the result and goes along the inner sum in stages of `depth` items. Its warps lie
`warps` = (along rows, along columns, along the sum). Every warp computes 32 rows, and WARP_COLUMNS columns.
"""

from typing import NamedTuple

from .runtime import SIMULATED

WARP_ROWS, WARP_COLUMNS = 32, 16 if SIMULATED else 32


class Tile(NamedTuple):
    """One way to cut. `width` items are loaded at once: with 4, rows of all arrays are multiples of 4 items long."""

    name: str
    rows: int
    columns: int
    depth: int
    warps: tuple[int, int, int]
    stages: int
    width: int = 4

    @property
    def threads(self) -> int:
        return 32 * self.warps[0] * self.warps[1] * self.warps[2]


# In the order of the choice below. Static shared memory ends at 48 KiB: stages * depth * (rows + columns) * 4 bytes, and
# what keeps banks apart. `large` and `narrow` do the most arithmetic for a byte that they load, for results of more and
# of at most 32 columns; their blocks hide each other's waiting. `small` makes 4 to 8 times as many blocks, where else
# processors would stand idle; then a block is often alone, so four stages are under way, and four warps share a sum.
# `single` loads items one by one: first layers, and sizes that are no multiples of 4.
TENSOR = (
    Tile("large", 64, 64, 32, (2, 2, 1), 2),
    Tile("narrow", 128, 32, 32, (4, 1, 1), 2),
    Tile("small", 32, 32, 32, (1, 1, 4), 4),
    Tile("single", 64, 32, 16, (2, 1, 1), 2, 1),
)
EXACT = (
    Tile("large", 64, 64, 16, (2, 2, 1), 2),
    Tile("narrow", 128, 32, 16, (4, 1, 1), 2),
    Tile("small", 32, 32, 32, (1, 1, 4), 2),
    Tile("single", 64, 32, 16, (2, 1, 1), 2, 1),
)
if SIMULATED:  # a thread is one of Python's, and tiny arrays shall already have whole tiles and ragged ends
    TENSOR = EXACT = (
        Tile("large", 32, 32, 8, (1, 2, 1), 2),
        Tile("narrow", 32, 16, 8, (1, 1, 1), 2),
        Tile("small", 32, 16, 16, (1, 1, 2), 3),
        Tile("single", 32, 16, 8, (1, 1, 1), 2, 1),
    )

BLOCKS = 4 if SIMULATED else 264  # as many as keep a large GPU busy: two for each of 132 processors


def blocks(tile: Tile, rows: int, columns: int) -> tuple[int, int]:
    """How many tiles cover (rows, columns)."""
    return -(-rows // tile.rows), -(-columns // tile.columns)


def choose(tiles: tuple[Tile, ...], rows: int, columns: int, fours: bool, groups: int = 1) -> int:
    """The number of the tile for a result (rows, columns): by the shapes alone, so that every GPU adds in one order.

    `fours` says that all rows are multiples of 4 items long and start at one.
    """
    if not fours:
        return 3
    wide = 0 if columns > WARP_COLUMNS else 1
    down, along = blocks(tiles[wide], rows, columns)
    return wide if down * along * groups >= BLOCKS else 2
