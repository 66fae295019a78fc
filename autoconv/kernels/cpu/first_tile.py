"""Operations on the register tile (simd.py) for 3x3 windows over images with few channels, without
tables of offsets.

    acc = add_window(acc, x, k, row, c, w, j, gap)      one channel of the window, for two rows of
                                                        pixels: a tile's rows are their 2x2 windows
                                                        (tile2x2.py)
    dst = positions(start, line_step, step, acc)        the positions of these pixels
    acc = add_outer(acc, x, k, row, dy, j, step, rows, pixels)      weight gradients of nine
                                                                    elements of the window, from
                                                                    adjacent pixels
    acc = add_winners(acc, x, k, row, gradient, winner, j, rows)    the same for one 2x2 window,
                                                                    from its winners only

No memory outside the given elements is accessed, because a vector's lanes beyond them are masked.
"""

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from .simd import INDEX, RowsType, _call, _fence_loads, _Flat, _literals, _load, _multiply_add, _splat
from .vectors import TAPS


def _add_term(builder, acc, total, row, left, right):
    """total[row, :] += left * right, where `right` is a list of vectors."""
    for v in range(acc.vectors):
        i = row * acc.vectors + v
        item = _multiply_add(builder, acc, left, right[v], builder.extract_value(total, i))
        total = builder.insert_value(total, item, i)
    return total


@intrinsic
def positions(typingctx, start, line_step, step, acc):
    """Returns the positions of a tile's pixels, which form two rows. Pixels are `step` apart, and
    rows are `line_step` apart. Row 4q + r of the tile is pixel r of the 2x2 window q.
    """
    kind = RowsType(acc.rows)

    def codegen(context, builder, signature, args):
        result = ir.Constant(ir.ArrayType(INDEX, acc.rows), ir.Undefined)
        lines = (args[0], builder.add(*args[:2]))
        for m in range(acc.rows):
            pixel = builder.mul(args[2], INDEX(m // 4 * 2 + m % 2))
            result = builder.insert_value(result, builder.add(lines[m % 4 // 2], pixel), m)
        return result

    return kind(types.int64, types.int64, types.int64, acc), codegen


@intrinsic(prefer_literal=True)
def add_window(typingctx, acc, x, k, row, channels, w, j, gap):
    """acc[pixel p of row r, :] += the sum over i < 3, e < 3 of x[k + (r + i) * row + (p + e) *
    channels] * w[j + (3*i + e) * gap : ...], for one channel of the window. `channels` must be a
    literal, so that the positions need no registers.
    """
    c, = _literals(channels)

    def codegen(context, builder, signature, args):
        total, x, k, row, _, w, j, gap = args
        x = _Flat(context, builder, signature.args[1], x)
        w = _Flat(context, builder, signature.args[5], w)
        _fence_loads(builder)
        starts = [builder.add(j, builder.mul(gap, INDEX(i))) for i in range(TAPS * TAPS)]
        weights = [[_load(builder, w, acc, start, None, v) for v in range(acc.vectors)] for start in starts]
        pixels = acc.rows // 2
        for line in range(TAPS + 1):
            start = builder.add(k, builder.mul(row, INDEX(line)))
            for column in range(pixels + TAPS - 1):
                left = _splat(builder, builder.load(x.ptr(builder.add(start, INDEX(c * column)))), acc.lanes)
                for r, e in ((r, e) for r in (0, 1) for e in range(TAPS)):
                    p, i = column - e, line - r
                    if 0 <= p < pixels and 0 <= i < TAPS:
                        right = weights[TAPS * i + e]
                        total = _add_term(builder, acc, total, p // 2 * 4 + 2 * r + p % 2, left, right)
        return total

    return acc(acc, x, types.int64, types.int64, channels, w, types.int64, types.int64), codegen


@intrinsic(prefer_literal=True)
def add_outer(typingctx, acc, x, k, row, dy, j, step, rows, pixels):
    """acc[item, :] += the sum over p < pixels of x[k + p * c + item] * dy[j + p * step : ...]. The
    items are the elements of `rows` adjacent rows of the window; in x, these are `row` elements
    apart. The number of channels c follows from the number of items.
    """
    lines, count = _literals(rows, pixels)
    items = acc.rows // lines
    c = items // TAPS

    def codegen(context, builder, signature, args):
        total, x, k, row, dy, j, step = args[:7]
        x = _Flat(context, builder, signature.args[1], x)
        dy = _Flat(context, builder, signature.args[4], dy)
        _fence_loads(builder)
        starts = [builder.add(j, builder.mul(step, INDEX(p))) for p in range(count)]
        gradients = [[_load(builder, dy, acc, start, None, v) for v in range(acc.vectors)] for start in starts]
        for i in range(lines):
            line = builder.add(k, builder.mul(row, INDEX(i)))
            for e in range(items + (count - 1) * c):
                left = _splat(builder, builder.load(x.ptr(builder.add(line, INDEX(e)))), acc.lanes)
                for p, right in enumerate(gradients):
                    if 0 <= e - p * c < items:
                        total = _add_term(builder, acc, total, i * items + e - p * c, left, right)
        return total

    return acc(acc, x, types.int64, types.int64, dy, types.int64, types.int64, rows, pixels), codegen


@intrinsic(prefer_literal=True)
def add_winners(typingctx, acc, x, k, row, gradient, winner, j, rows):
    """acc[item, f] += gradient[0, f] * x[k + place + item], where `place` is the position of pixel
    winner[j + f] of the 2x2 window that begins at k. Items are defined as in `add_outer`. The tile
    has one vector per row, which must hold four pixels.

    Requires AVX-512, which has an instruction that selects each lane from any position in two
    vectors. Here, the two vectors are two rows of pixels.
    """
    lines, = _literals(rows)
    items, lanes, bits = acc.rows // lines, acc.lanes, acc.item.bitwidth
    c = items // TAPS
    choose = f"llvm.x86.avx512.vpermi2var.p{'s' if bits == 32 else 'd'}.512"

    def codegen(context, builder, signature, args):
        total, x, k, row, gradient, winner, j = args[:7]
        x = _Flat(context, builder, signature.args[1], x)
        winner = _Flat(context, builder, signature.args[5], winner)
        kind = ir.VectorType(ir.IntType(bits), lanes)

        def splat(number):
            return ir.Constant(kind, [number] * lanes)

        number = builder.zext(builder.load(winner.vector_at(j, lanes), align=1), kind)
        column = builder.mul(builder.and_(number, splat(1)), splat(c))
        place = builder.add(column, builder.mul(builder.lshr(number, splat(1)), splat(lanes)))
        starts = [builder.add(k, builder.mul(row, INDEX(i))) for i in range(lines + 1)]
        pixels = [_load(builder, x, acc, start, INDEX((TAPS + 1) * c)) for start in starts]
        right = [builder.extract_value(gradient, 0)]
        for e in range(items):
            index = builder.add(place, splat(e))
            for i in range(lines):
                left = _call(builder, choose, pixels[i].type, [pixels[i], index, pixels[i + 1]])
                total = _add_term(builder, acc, total, i * items + e, left, right)
        return total

    return acc(acc, x, types.int64, types.int64, gradient, winner, types.int64, rows), codegen
