"""How a matrix product is cut for a GPU: which part of it a block of threads computes, and how its threads share that.

A block computes (rows, columns) of the result and goes along the inner sum in stages of `depth` items. Its warps lie
`warps` = (along rows, along columns, along the sum). Every warp computes 32 rows, and WARP_COLUMNS columns.
"""

from typing import NamedTuple

WARP_ROWS, WARP_COLUMNS = 32, 32


class Tile(NamedTuple):
    """One way to cut. `widths` are the items that are loaded at once, of the left and of the right factor: for 4 its
    rows are multiples of 4 items long.
    """

    name: str
    rows: int
    columns: int
    depth: int
    warps: tuple[int, int, int]
    stages: int
    widths: tuple[int, int] = (4, 4)

    @property
    def threads(self) -> int:
        return 32 * self.warps[0] * self.warps[1] * self.warps[2]


class Tiles(NamedTuple):
    """The ways to cut one kind of product, where tensor cores are used and where not; in the order of `choose`.

    Static shared memory ends at 48 KiB: stages * depth * (rows + columns) * 4 bytes, and what keeps banks apart.

    - large, narrow: the most arithmetic for a byte that is loaded, for more and for at most 32 columns. Several blocks
      on a processor hide each other's waiting, so two stages do.
    - small: 4 times as many blocks, where else processors would stand idle. A block is often alone there, so four
      stages are under way, and four warps share a sum.
    - single: item by item, for sizes that are no multiples of 4, and for float64.
    - first: only the left factor item by item, for images of 1 or 3 channels. No input gradient has it: there both
      factors' rows are as long.
    """

    tensor: tuple[Tile, ...]
    exact: tuple[Tile, ...]


LARGE, NARROW, SMALL = range(3)

_TENSOR = (
    Tile("large", 64, 64, 32, (2, 2, 1), 2),
    Tile("narrow", 128, 32, 32, (4, 1, 1), 2),
    Tile("small", 32, 32, 32, (1, 1, 4), 4),
)
_EXACT = (
    Tile("large", 64, 64, 16, (2, 2, 1), 2),
    Tile("narrow", 128, 32, 16, (4, 1, 1), 2),
    Tile("small", 32, 32, 32, (1, 1, 4), 2),
)
_FIRST, _FIRST_OUTER = Tile("first", 64, 32, 16, (2, 1, 2), 2, (1, 4)), Tile("first", 32, 32, 32, (1, 1, 4), 2, (1, 4))
_SINGLE = Tile("single", 64, 32, 16, (2, 1, 2), 2, (1, 1))

FORWARD = Tiles((*_TENSOR, _SINGLE, _FIRST), (*_EXACT, _SINGLE, _FIRST))
INPUT_GRADIENT = Tiles((*_TENSOR, _SINGLE), (*_EXACT, _SINGLE))
FIRST_WEIGHT_GRADIENT = Tiles((_SINGLE, _FIRST_OUTER), (_SINGLE, _FIRST_OUTER))
WEIGHT_GRADIENT = Tiles((*_TENSOR, _SINGLE, _FIRST_OUTER), (*_EXACT, _SINGLE, _FIRST_OUTER))

BLOCKS = 264  # as many as keep a large GPU busy: two for each of 132 processors


def blocks(tile: Tile, rows: int, columns: int) -> tuple[int, int]:
    """How many tiles cover (rows, columns)."""
    return -(-rows // tile.rows), -(-columns // tile.columns)


def choose(tiles: tuple[Tile, ...], rows: int, columns: int, groups: int, left: bool, right: bool) -> int:
    """The number of the tile for a result (rows, columns): by the shapes alone, so that every GPU adds in one order.

    `left` and `right` say whether these factors can be loaded by fours.
    """
    if not (left and right):
        names = [tile.name for tile in tiles]
        return names.index("first" if right and "first" in names else "single")
    wide = LARGE if columns > WARP_COLUMNS else NARROW
    down, along = blocks(tiles[wide], rows, columns)
    return wide if down * along * groups >= BLOCKS else SMALL
