"""How a matrix product is cut for a GPU: which part of it a block of threads computes, and how its threads share that.

A block computes (rows, columns) of the result and goes along the inner sum in stages of `depth` items. Its warps lie
`warps` = (along rows, along columns, along the sum). Every warp computes WARP_COLUMNS columns, and 32 rows or more.
"""

import math
from typing import NamedTuple

WARP_COLUMNS = 32


class Tile(NamedTuple):
    """One way to cut. `widths` are the items that are loaded at once, of the left and of the right
    factor: for 4 its rows are multiples of 4 items long.
    """

    name: str
    rows: int
    columns: int
    depth: int
    warps: tuple[int, int, int]
    stages: int
    widths: tuple[int, int] = (4, 4)

    @property
    def warp_rows(self) -> int:
        """How many rows a warp computes: a multiple of 32."""
        return self.rows // self.warps[0]

    @property
    def threads(self) -> int:
        return 32 * self.warps[0] * self.warps[1] * self.warps[2]


class TileChoices(NamedTuple):
    """The ways to cut one kind of product, where tensor cores are used and where not; the largest
    first, as far as `choose` compares them.

    Static shared memory ends at 48 KiB: stages * depth * (rows + columns) * 4 bytes, and 16 bytes a
    row where windows are gathered.

    - wide, tall, large, narrow: the most arithmetic for a byte that is loaded, for 128, 64 and 32 columns. On tensor
      cores their warps compute 64 rows: a number that comes from shared memory then serves more products.
    - medium: where those would be too few blocks, though sums are cut into parts.
    - small: where that is too few as well. A block is often alone there, so four stages are under way, and four warps
      share a sum.
    - single: item by item, for sizes that are no multiples of 4, and for float64.
    - first: only the left factor item by item, for images of 1 or 3 channels. No input gradient has it: there both
      factors' rows are as long.
    """

    tensor: tuple[Tile, ...]
    exact: tuple[Tile, ...]


_LARGE = Tile("large", 128, 64, 16, (2, 2, 1), 3)
_FEW = (
    Tile("narrow", 256, 32, 16, (4, 1, 1), 2),
    Tile("medium", 64, 32, 32, (2, 1, 2), 3),
    Tile("small", 32, 32, 32, (1, 1, 4), 4),
)
_GATHERING = (Tile("wide", 128, 128, 16, (2, 4, 1), 2), Tile("tall", 256, 64, 16, (4, 2, 1), 2), _LARGE, *_FEW)
_OUTER = (_LARGE, *_FEW)  # eight warps would take so many registers there that a processor held one block
_EXACT = (
    Tile("large", 128, 64, 16, (4, 2, 1), 2),
    Tile("narrow", 128, 32, 16, (4, 1, 1), 2),
    Tile("medium", 64, 32, 32, (2, 1, 2), 2),
    Tile("small", 32, 32, 32, (1, 1, 4), 2),
)
_FIRST = Tile("first", 128, 32, 16, (4, 1, 1), 2, (1, 4))
_FIRST_OUTER, _FIRST_OUTER_EXACT = (Tile("first", 32, 32, 32, (1, 1, 4), stages, (1, 4)) for stages in (4, 2))
_SINGLE, _SINGLE_EXACT = (Tile("single", 64, 32, 16, (2, 1, 2), stages, (1, 1)) for stages in (4, 2))

FORWARD = TileChoices((*_GATHERING, _SINGLE, _FIRST), (*_EXACT, _SINGLE_EXACT, _FIRST))
INPUT_GRADIENT = TileChoices((*_GATHERING, _SINGLE), (*_EXACT, _SINGLE_EXACT))
FIRST_WEIGHT_GRADIENT = TileChoices((_SINGLE, _FIRST_OUTER), (_SINGLE_EXACT, _FIRST_OUTER_EXACT))
WEIGHT_GRADIENT = TileChoices((*_OUTER, _SINGLE, _FIRST_OUTER), (*_EXACT, _SINGLE_EXACT, _FIRST_OUTER_EXACT))

PROCESSORS = 132  # of a large GPU
BUSY = 2 * PROCESSORS  # stages under way that keep it busy at least, all blocks together
FULL = 16 * PROCESSORS  # warps that sums are cut into parts for: of four blocks of four on each processor
LOAD = 90  # products that tensor cores compute while an item comes from the second-level cache (bench/gpu_plan.py)
ADDING = 500_000_000  # ... and while a launch adds parts
PART_STAGES = 4  # a part has so many stages at least ...
LONG = 24  # ... and where parts cost a launch of their own to be added, only sums of more stages than this have them


def blocks(tile: Tile, rows: int, columns: int) -> tuple[int, int]:
    """How many tiles cover (rows, columns)."""
    return -(-rows // tile.rows), -(-columns // tile.columns)


def cut(tile: Tile, tiles: int, length: int, least: int = 0) -> tuple[int, int]:
    """Into how many parts a sum of `length` items is cut, each for blocks of its own, where there are so many `tiles`;
    and the stages of each. `least`: a sum of no more stages than this stays whole.
    """
    stages = -(-length // tile.depth)
    each = -(-stages // max(1, min(_most_parts(tile, length, least), FULL // (tile.threads // 32 * max(tiles, 1)))))
    return max(1, -(-stages // max(each, 1))), each


def _most_parts(tile: Tile, length: int, least: int) -> int:
    stages = -(-length // tile.depth)
    return -(-stages // PART_STAGES) if stages > least else 1


def choose(tiles: tuple[Tile, ...], rows: int, columns: int, groups: int, length: int, left: bool, right: bool,
           least: int = 0) -> int:
    """The number of the tile for a result (rows, columns): by the shapes alone, so that every GPU adds in one order.

    Each item is a sum over `length`, which may be `cut`. `left` and `right` say whether these factors can
    be loaded by fours. The wide tiles load less for each product, but more of them may lie outside the result.
    """
    if not (left and right):
        names = [tile.name for tile in tiles]
        return names.index("first" if right and "first" in names else "single")
    *larger, small = (number for number, tile in enumerate(tiles) if tile.widths == (4, 4))
    enough = [number for number in larger if tiles[number].columns < columns + WARP_COLUMNS
              and math.prod(blocks(tiles[number], rows, columns)) * groups * (tiles[number].stages - 1)
              * _most_parts(tiles[number], length, least) >= BUSY]
    return min((*enough, small), key=lambda number: _cost(tiles[number], rows, columns, groups, length, least))


def _cost(tile: Tile, rows: int, columns: int, groups: int, length: int, least: int) -> tuple[int, int]:
    """What all blocks of a group do, in products: load items, multiply what they have loaded, and add parts where that
    takes a launch of its own. Of tiles that cost the same the one that multiplies less.
    """
    down, along = blocks(tile, rows, columns)
    products = down * along * tile.rows * tile.columns * length
    loads = LOAD * (along * rows + down * columns) * length
    adds = least and cut(tile, down * along * groups, length, least)[0] > 1
    return max(loads, products) + adds * ADDING // groups, products
