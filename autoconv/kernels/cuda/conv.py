"""Computes 2-D convolution, its input gradient and its weight gradient as tiled matrix products
(product.py, gather.py).

    forward          y[m, f]  = sum over k=(i,j,c) of  x[pixel m at tap i,j, c] * w[k, f]
    input gradient   dx[m, c] = sum over k=(i,j,f) of  dy[pixel m at tap i,j, f] * w[i, j, c, f]
    weight gradient  dw[k, f] = sum over m         of  x[pixel m at tap i,j, c] * dy[m, f]

If a result has few tiles, each sum is split into partial sums. Their number depends only on the
shapes. Each block computes one partial sum, and the partial sums are added in a fixed order. So
repeated runs give the same bits.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from ...arguments.shapes import Window
from . import array as arrays
from . import gather, pointwise, tiles
from .ending import finish_four, finish_sum, load_scale_bias, make_epilogue, store_four
from .fours import starts_fours
from .fragments import COLUMNS, make_layout
from .gather import Gathering
from .kernels import BlockKernel, block_kernel, cuda
from .outer import outer
from .pointwise import relu_grad  # noqa: F401 (re-exported: the gradient of conv2d with relu)
from .product import copying, make_sum_locator, product_kernel, row_offset, summing
from .ptx import load, store, times
from .tiles import Tile, TileChoices

PARTS = 256  # maximum number of partial sums of `channel_sums` and of depthwise weight gradients
LANES, SHARES = 32, 16  # columns, and threads per column, of a block that adds partial sums


class Family(NamedTuple):
    """The kernels for one kind of product, one per tile, with and without tensor cores."""

    tiles: TileChoices
    tensor: tuple[BlockKernel, ...]
    exact: tuple[BlockKernel, ...]


def family(name: str, make: Callable, tiles: TileChoices) -> Family:
    """Returns a family with the kernels that `make(name, tile, tensor_cores)` creates per tile."""
    return Family(tiles, *(tuple(make(f"{name}_{kind}_{tile.name}", tile, kind == "tf32") for tile in several)
                           for kind, several in (("tf32", tiles.tensor), ("exact", tiles.exact))))


def check_countable(shape: tuple[int, ...]) -> None:
    """Raises ValueError if an array of this shape has 2**31 or more elements."""
    if math.prod(shape) >= 1 << 31:
        raise ValueError("A convolution on a GPU requires arrays of fewer than 2**31 elements. "
                         f"Received shape: {shape}. Use a smaller batch.")


def pick(kernels: Family, shape: tuple[int, int], groups: int, length: int, left: int, right: int,
         arrays: tuple, least: int = 0) -> tuple[BlockKernel, Tile]:
    """Returns a family's kernel that suits a result of this shape (rows, columns) per group, and
    the kernel's tile. The result's sums over `length` elements may be split into partial sums if
    they have more than `least` stages.

    Row lengths are multiples of `left` in the left factor, of `right` in the right factor. A factor
    is loaded four elements at a time only if that number is divisible by 4 and all `arrays` are
    aligned. Raises ValueError if an array has 2**31 or more elements.
    """
    for a in arrays:
        check_countable(a.shape)
    fours = starts_fours(*arrays)
    tensor_cores = arrays[0].gpu.uses_tensor_cores(arrays[0].dtype)
    several = kernels.tiles.tensor if tensor_cores else kernels.tiles.exact
    number = tiles.choose(several, *shape, groups, length, fours and left % 4 == 0, fours and right % 4 == 0, least)
    return (kernels.tensor if tensor_cores else kernels.exact)[number], several[number]


def _make_gathered_product(transpose: bool) -> Callable:
    """Returns a function that creates a kernel: y (count, F) = the gathered rows of x times w, with
    the operations of `epilogue` applied (ending.py). Each group computes its own section of the F
    columns. If `transpose`, w belongs to the convolution whose input gradient is computed.

    `lengths`: the number of elements in a row of y, in a group's section of that row, in a row of
    w, and in a group's section of that row. `cut`: the number of partial sums, and the number of
    stages in each. With several partial sums, y holds one array (count, F) for each.
    """
    def make(name: str, tile: Tile, tensor_cores: bool) -> BlockKernel:
        layout = make_layout(tile, False, transpose)
        locate, find_sum = gather.make_row_locator(tile, False), make_sum_locator(tile)
        run = summing(tensor_cores, tile, layout, gather.filling(tile, layout, copying(tensor_cores, tile), transpose))
        rows, columns, depth, whole = tile.rows, tile.columns, tile.depth, tile.widths[1] == 4
        size = layout.size * tile.stages
        height = tile.warp_rows // 8
        places_size = 4 * tile.rows

        @product_kernel("(const T[::1], const T[::1], const T[::1], const T[::1], const T[::1], T[::1], int64,"
                        f" UniTuple(int64, 4), {gather.SIGNATURE}, UniTuple(int64, 2), int64)",
                        name, tile, tensor_cores)
        def product(x, w, b, scale, operand, y, count, lengths, sizes, steps, divisors, cut, epilogue):
            smem = cuda.shared.array(size, x.dtype, 128)
            places = cuda.shared.array(places_size, "int32", 16)
            sums = cuda.local.array((height, COLUMNS), x.dtype)
            group = cuda.blockIdx.z // cut[0]
            part = cuda.blockIdx.z % cut[0]
            begin = cuda.blockIdx.y * columns
            skipped = part * cut[1]
            locate(places, count, group * sizes[3], sizes, steps, divisors)
            source = (x, w, places, skipped, begin, lengths[1], group * lengths[3], lengths[2], sizes, steps, divisors)
            run(smem, min(cut[1], (sizes[4] + depth - 1) // depth - skipped), source, sums)
            m, n, valid = find_sum()
            m, n = m + cuda.blockIdx.x * rows, n + begin
            start = times(part, count) * lengths[0]
            for c in range(0, COLUMNS, 4):
                rest = lengths[1] - n - c
                if valid and rest > 0:
                    column = group * lengths[1] + n + c
                    affine = load_scale_bias(b, scale, column, rest, epilogue)
                    for r in range(height):
                        if m + row_offset(r) < count:
                            here = times(m + row_offset(r), lengths[0]) + column
                            four = sums[r, c], sums[r, c + 1], sums[r, c + 2], sums[r, c + 3]
                            four = finish_four(four, affine, here, operand, rest, whole, epilogue)
                            store_four(y, start + here, four, rest, whole)

        return product

    return make


_FORWARD = family("forward", _make_gathered_product(False), tiles.FORWARD)
_INPUT_GRADIENT = family("input_gradient", _make_gathered_product(True), tiles.INPUT_GRADIENT)
_WEIGHT_GRADIENT = family("weight_gradient", outer(False), tiles.WEIGHT_GRADIENT)


def _adding(shares: int, lanes: int) -> BlockKernel:
    """Creates a kernel: total and total_b = the sums of the `parts` rows of partial (parts, size)
    and partial_b (parts, size_b). For each element, `shares` threads each add some of the rows in
    order; then the threads' sums are added pairwise.

    A block computes `lanes` elements of the totals. `epilogue` (ending.py) selects the operations
    on total. `filters`, a divisor (gather.py), is the length of total's rows.
    """
    @block_kernel("(const T[::1], const T[::1], const T[::1], const T[::1], const T[::1], T[::1], T[::1], int64, int64,"
                  " int64, UniTuple(int64, 3), int64)", lanes * shares, f"add_parts_{shares}")
    def run(partial, partial_b, b, scale, operand, total, total_b, parts, size, size_b, filters, epilogue):
        lane, share = cuda.threadIdx.x % lanes, cuda.threadIdx.x // lanes
        i = cuda.blockIdx.x * lanes + lane
        item = partial.dtype.type(0)
        for part in range(share, parts, shares):
            if i < size:
                item += load(partial, times(part, size) + i)
            elif i < size + size_b:
                item += load(partial_b, times(part, size_b) + i - size)
        if shares > 1:
            smem, half = cuda.shared.array((shares, lanes), partial.dtype), shares // 2
            smem[share, lane] = item
            while half > 0:
                cuda.syncthreads()
                if share < half:
                    item += smem[share + half, lane]
                    smem[share, lane] = item
                half //= 2
        if share == 0 and i < size:
            column = i - times(gather.divide(i, filters), filters[0])
            store(total, i, finish_sum(item, column, i, b, scale, operand, epilogue))
        elif share == 0 and i < size + size_b:
            store(total_b, i - size, item)

    return run


# For each maximum number of partial sums: the kernel that adds them, and the number of elements of
# the total that one block computes.
_ADDING = {most: (_adding(shares, lanes), lanes) for most, shares, lanes in (
    (8, 1, LANES * SHARES // 2), (128, SHARES, LANES), (math.inf, 4 * SHARES, LANES // 4))}
_ADD_PARTS = tuple(kernel for kernel, _ in _ADDING.values())


@block_kernel("(const T[:,::1], T[:,::1])", LANES * SHARES)
def _channel_sums(rows, partial):
    """partial (parts, F) = partial sums of rows (M, F), each over one section of the rows."""
    smem = cuda.shared.array((SHARES, LANES), rows.dtype)
    lane, share = cuda.threadIdx.x % LANES, cuda.threadIdx.x // LANES
    part, parts, f = cuda.blockIdx.y, partial.shape[0], cuda.blockIdx.x * LANES + lane
    item = rows.dtype.type(0)
    for i in range(rows.shape[0] * part // parts + share, rows.shape[0] * (part + 1) // parts, SHARES):
        if f < rows.shape[1]:
            item += rows[i, f]
    smem[share, lane] = item
    cuda.syncthreads()
    if share == 0 and f < rows.shape[1]:
        for k in range(1, SHARES):
            item += smem[k, lane]
        partial[part, f] = item


def _launch(kernels: Family, x: Any, w: Any, y: Any, gathering: Gathering,
            lengths: tuple[int, int, int, int], **ending: Any) -> None:
    """Computes y (..., F) = gathered x times w, with the operations of `make_epilogue` applied. The
    arguments determine the kernel. If there are few tiles, long sums are split into partial
    sums.
    """
    count, groups, items = math.prod(y.shape[:-1]), lengths[0] // lengths[1], gathering.sizes[4]
    *operands, epilogue = make_epilogue(w, **ending)
    kernel, tile = pick(kernels, (count, lengths[1]), groups, items, gathering.sizes[3],
                        math.gcd(lengths[1], lengths[3]), (x, w, y, operands[-1]), tiles.LONG)
    down, along = tiles.blocks(tile, count, lengths[1])
    parts, stages = tiles.cut(tile, down * along * groups, items, tiles.LONG)
    out = y if parts == 1 else arrays.empty(y.gpu, (parts, y.size), y.dtype)
    kernel((down, along, groups * parts), x.reshape(-1), w.reshape(-1), *operands, out.reshape(-1),
           count, lengths, *gathering, (parts, stages), epilogue if parts == 1 else 0)
    if parts > 1:
        add_parts(out, y, **ending)


def conv2d(x, w, b, y, window: Window, groups: int = 1, activation: str = "linear", scale=None,
           addend=None) -> None:
    """y (N,OH,OW,F) = activation(x (N,H,W,C) * w (KH,KW,C/groups,F) + b (F,) + addend). b and `addend`, of y's
    shape, may be None. `scale` (F,) multiplies w.
    """
    filters, per_group = y.shape[3], y.shape[3] // groups
    _launch(_FORWARD, x, w, y, gather.forward(x.shape, y.shape[1:3], window, w.shape[2]),
            (filters, per_group, filters, per_group), b=b, scale=scale, addend=addend, relu=activation == "relu")
    pointwise.activate(y, activation)


def infer_conv2d(x, w, b, y, window: Window, groups: int = 1, activation: str = "linear", scale=None,
                 addend=None, before=None) -> None:
    """Computes `conv2d` for calls that need no gradient. If `before` = (center, scale, shift,
    activation) is given, x is first normalized.
    """
    if before is not None:
        from . import norm  # here, because norm imports this module

        normalized = arrays.empty(x.gpu, x.shape, x.dtype)
        norm.normalize(x.reshape(-1, x.shape[3]), *before, normalized.reshape(-1, x.shape[3]))
        x = normalized
    conv2d(x, w, b, y, window, groups, activation, scale, addend)


def conv2d_input_grad(dy, w, dx, window: Window, groups: int = 1, b=None) -> None:
    """Computes the input gradient dx (N,H,W,C) from dy (N,OH,OW,F). Transposed convolution also
    calls this function, with a bias b (C,).
    """
    _input_gradient(dy, w, dx, window, groups, b=b)


def conv2d_masked_input_grad(dy, w, x, dx, window: Window, groups: int = 1) -> None:
    """dx = the result of `conv2d_input_grad` where x (N,H,W,C) is above 0, and 0 elsewhere. This is
    the gradient of the input of the ReLU that computed x.
    """
    _input_gradient(dy, w, dx, window, groups, mask=x)


def _input_gradient(dy, w, dx, window: Window, groups: int, **ending: Any) -> None:
    filters, per_group = dy.shape[3], dy.shape[3] // groups
    _launch(_INPUT_GRADIENT, dy, w, dx, gather.backward(dy.shape, dx.shape[1:3], window, per_group),
            (dx.shape[3], w.shape[2], filters, per_group), **ending)


def conv2d_weight_grad(x, dy, dw, db, window: Window, groups: int = 1) -> None:
    """Computes dw (KH,KW,C/groups,F) and db (F,) from x (N,H,W,C) and dy (N,OH,OW,F)."""
    gathering = gather.forward(x.shape, dy.shape[1:3], window, dw.shape[2])
    outer_product(_WEIGHT_GRADIENT, x, (dy,), dw, db, gathering, math.prod(dy.shape[:3]), groups)


def outer_product(kernels: Family, x: Any, dy: tuple, dw: Any, db: Any, gathering: Gathering,
                  count: int, groups: int = 1) -> None:
    """Computes dw and db from the windows of `count` pixels and the gradients of these pixels. The
    arguments determine which kernel of the family is used. `dy` is (dy,), or (y, winner, dy) of a
    2x2 max pooling.
    """
    items, filters, per_group = gathering.sizes[4], db.size, db.size // groups
    kernel, tile = pick(kernels, (items + 1, per_group), groups, count, dw.shape[2], per_group, (x, *dy, dw, db))
    down, along = tiles.blocks(tile, items + 1, per_group)
    parts, stages = tiles.cut(tile, down * along * groups, count)
    partial, partial_b = dw, db
    if parts > 1:
        partial, partial_b = (arrays.empty(x.gpu, (parts, a.size), a.dtype) for a in (dw, db))
    kernel((down, along, groups * parts), x.reshape(-1), *(a.reshape(-1) for a in dy), partial.reshape(-1),
           partial_b.reshape(-1), count, stages * tile.depth, (filters, per_group, parts), *gathering)
    if parts > 1:
        add_parts(partial, dw, partial_b, db)


def channel_sums(dy, db) -> None:
    """db (F,) = the sum of dy (..., F) over all but its last axis."""
    rows = dy.reshape(-1, db.size)
    partial = arrays.empty(dy.gpu, (min(PARTS, -(-rows.shape[0] // SHARES)) or 1, db.size), dy.dtype)
    _channel_sums((-(-db.size // LANES), partial.shape[0]), rows, partial)
    add_parts(partial, db)


def add_parts(partial, total, partial_b=None, total_b=None, **ending: Any) -> None:
    """total = the sum of partial (parts, ...) over its first axis, in a fixed order; total_b = the
    same sum of partial_b. `ending` are arguments of `make_epilogue` for operations on total (...,
    F).
    """
    if total_b is None:
        partial_b, total_b = partial[:, :0], total.reshape(-1)[:0]
    parts, size, size_b = partial.shape[0], total.size, total_b.size
    kernel, lanes = next(choice for most, choice in _ADDING.items() if parts <= most)
    *operands, epilogue = make_epilogue(partial, **ending)
    kernel((-(-(size + size_b) // lanes),), *(a.reshape(-1) for a in (partial, partial_b)), *operands,
           *(a.reshape(-1) for a in (total, total_b)), parts, size, size_b, gather.divisor(total.shape[-1]), epilogue)


def bias(b, like):
    """Returns (array, has_bias), the arguments for a kernel. If b is None, the array is `like`, as
    a placeholder that the kernel does not read.
    """
    return (like.reshape(-1), False) if b is None else (b, True)
