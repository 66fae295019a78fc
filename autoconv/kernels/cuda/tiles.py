"""Defines tiles: how a matrix product is divided among blocks of threads, and among the threads of
a block.

A block computes (rows, columns) of the result and proceeds along the inner sum in stages of `depth`
elements. Its warps are arranged as `warps` = (along rows, along columns, along the sum). Every warp
computes WARP_COLUMNS columns, and at least 32 rows.
"""

import math
from typing import NamedTuple

WARP_COLUMNS = 32


class Tile(NamedTuple):
    """The shape of a block's work. `widths` are the numbers of elements that are loaded at once
    from the left and from the right factor. A width of 4 requires that the factor's row length is a
    multiple of 4.
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
        """Returns how many rows a warp computes: a multiple of 32."""
        return self.rows // self.warps[0]

    @property
    def threads(self) -> int:
        return 32 * self.warps[0] * self.warps[1] * self.warps[2]


class TileChoices(NamedTuple):
    """The tiles for one kind of product, with and without tensor cores. Tiles that `choose`
    compares are sorted from large to small.

    Static shared memory is limited to 48 KiB. A tile needs stages * depth * (rows + columns) * 4
    bytes, and 16 bytes per row if windows are gathered.

    - wide, tall, large, narrow: the most arithmetic per loaded byte, for 128, 64, 64 and 32
      columns. On tensor cores, each warp of these computes 64 rows, so that a number from shared
      memory is used in more products.
    - medium: used if the larger tiles give too few blocks even with split sums.
    - small: used if medium tiles give too few blocks as well. Such a block is often the only one on
      its multiprocessor, so four stages are loaded at once, and four warps share a sum.
    - single: loads element by element, for sizes that are not multiples of 4, and for float64.
    - first: loads only the left factor element by element, for images of 1 or 3 channels. Input
      gradients have no such tile, because both factors have equally long rows there.
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
# with eight warps, these products would need so many registers that a multiprocessor could hold
# only one block
_OUTER = (_LARGE, *_FEW)
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

PROCESSORS = 132  # multiprocessors of a large GPU
# minimum number of stages, loaded at once by all blocks together, that keeps such a GPU busy
BUSY = 2 * PROCESSORS
# sums are split to at most this many warps: four blocks of four warps per multiprocessor
FULL = 16 * PROCESSORS
# number of products that tensor cores compute in the time to load one element from the L2 cache
# (bench/gpu_plan.py)
LOAD = 90
ADDING = 500_000_000  # products computed in the time of a launch that adds partial sums
PART_STAGES = 4  # minimum number of stages in a partial sum
# sums of at most this many stages are not split if adding their partial sums needs a separate
# launch
LONG = 24


def blocks(tile: Tile, rows: int, columns: int) -> tuple[int, int]:
    """Returns how many tiles cover (rows, columns), along each axis."""
    return -(-rows // tile.rows), -(-columns // tile.columns)


def cut(tile: Tile, tiles: int, length: int, least: int = 0) -> tuple[int, int]:
    """Returns the number of partial sums for a sum of `length` elements, and the number of stages
    in each. Each partial sum of each of the `tiles` has its own block. A sum of at most `least`
    stages is not split.
    """
    stages = -(-length // tile.depth)
    share = -(-stages // max(1, min(_most_parts(tile, length, least), FULL // (tile.threads // 32 * max(tiles, 1)))))
    return max(1, -(-stages // max(share, 1))), share


def _most_parts(tile: Tile, length: int, least: int) -> int:
    stages = -(-length // tile.depth)
    return -(-stages // PART_STAGES) if stages > least else 1


def choose(tiles: tuple[Tile, ...], rows: int, columns: int, groups: int, length: int, left: bool,
           right: bool, least: int = 0) -> int:
    """Returns the index in `tiles` of the tile for a result (rows, columns). The choice depends
    only on the shapes, so that every GPU adds in the same order.

    Each element is a sum over `length`, which may be split (`cut`). `left` and `right`: whether the
    left and right factor can be loaded four elements at a time. Wide tiles load less per product,
    but more of their products may be outside the result.
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
    """Returns the cost of a group's blocks, in products: the larger of loading and multiplying,
    plus adding partial sums if that needs a separate launch. The second value, the number of
    products, decides between tiles of equal cost.
    """
    down, along = blocks(tile, rows, columns)
    products = down * along * tile.rows * tile.columns * length
    loads = LOAD * (along * rows + down * columns) * length
    adds = least and cut(tile, down * along * groups, length, least)[0] > 1
    return max(loads, products) + adds * ADDING // groups, products
