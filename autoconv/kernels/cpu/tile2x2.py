"""2x2 windows on the register tile (simd.py): four rows of the tile are a window's four pixels.

    src = windows(offsets, i, count, acc)            the rows' offsets: windows i, i + 1, ...
    best = window_max(acc)                           best[q, :] = the largest of acc[4q : 4q + 4, :]
    store_winners(acc, best, out, dst, j, columns)   out[dst[q] + j : ... + columns] = the index of
                                                     that row among the four
"""

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from .simd import INDEX, RowsType, TileType, _call, _clamp_rows, _Flat, _mask


@intrinsic
def windows(typingctx, offsets, i, count, acc):
    """Returns offsets of 2x2 windows for the rows of a tile. Rows 4k to 4k + 3 of the tile read
    window i + k; the last of `count` windows is repeated.
    """
    kind = RowsType(acc.rows)

    def codegen(context, builder, signature, args):
        flat = _Flat(context, builder, signature.args[0], args[0])
        result = ir.Constant(ir.ArrayType(INDEX, acc.rows), ir.Undefined)
        firsts = _clamp_rows(builder, RowsType(acc.rows // 4), args[1], args[2], lambda row: builder.mul(row, INDEX(4)))
        for m in range(acc.rows):
            index = builder.add(builder.extract_value(firsts, m // 4), INDEX(m % 4))
            result = builder.insert_value(result, builder.load(flat.ptr(index)), m)
        return result

    return kind(offsets, types.int64, types.int64, acc), codegen


def _larger(builder, a, b):
    """Returns the larger of two vectors, in one instruction; the result for NaN is unspecified."""
    return builder.select(builder.fcmp_ordered(">", a, b), a, b)


@intrinsic
def window_max(typingctx, acc):
    """Returns a tile of the maxima of four rows each; NaN if one of the four elements is NaN."""
    maxima = TileType(acc.item, acc.rows // 4, acc.vectors)

    def codegen(context, builder, signature, args):
        total = ir.Constant(context.get_value_type(maxima), ir.Undefined)
        for q in range(maxima.rows):
            for v in range(acc.vectors):
                a, b, c, d = (builder.extract_value(args[0], (4 * q + r) * acc.vectors + v) for r in range(4))
                best = _larger(builder, _larger(builder, a, b), _larger(builder, c, d))
                is_nan = builder.or_(builder.fcmp_unordered("uno", a, b), builder.fcmp_unordered("uno", c, d))
                nan = ir.Constant(best.type, [float("nan")] * acc.lanes)
                total = builder.insert_value(total, builder.select(is_nan, nan, best), q * acc.vectors + v)
        return total

    return maxima(acc), codegen


@intrinsic
def store_winners(typingctx, acc, best, out, dst, j, columns):
    """Stores the index 0 to 3 of the row that contains the maximum, for each element of `best` =
    window_max(acc), as bytes. On a tie, this is the first row. NaN counts as the maximum.
    """

    def codegen(context, builder, signature, args):
        flat = _Flat(context, builder, out, args[2])
        byte = ir.VectorType(ir.IntType(8), acc.lanes)
        for q in range(best.rows):
            start = builder.add(builder.extract_value(args[3], q), args[4])
            for v in range(acc.vectors):
                top = builder.extract_value(args[1], q * acc.vectors + v)
                index = ir.Constant(byte, [3] * acc.lanes)
                for r in (2, 1, 0):
                    value = builder.extract_value(args[0], (4 * q + r) * acc.vectors + v)
                    is_top = builder.or_(builder.fcmp_ordered("==", value, top),
                                         builder.fcmp_unordered("uno", value, value))
                    index = builder.select(is_top, ir.Constant(byte, [r] * acc.lanes), index)
                pointer = flat.vector_at(builder.add(start, INDEX(v * acc.lanes)), acc.lanes)
                _call(builder, f"llvm.masked.store.v{acc.lanes}i8.p0v{acc.lanes}i8", ir.VoidType(),
                      [index, pointer, ir.IntType(32)(1), _mask(builder, acc, v, args[5])])
        return context.get_dummy_value()

    return types.void(acc, best, out, dst, types.int64, types.int64), codegen
