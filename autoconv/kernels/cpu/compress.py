"""Stores the nonzero elements of a register row (rowwise.py) contiguously."""

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from . import simd

# AVX-512 has a compress instruction; for other targets, each lane is stored separately
COMPRESSES = simd.VECTOR_BYTES == 64


@intrinsic
def append_nonzero(typingctx, value, values, places, i, first, step):
    """values[i:] = the nonzero elements of the row `value`, which is one vector; places[i:] (int32)
    = first + step * lane for each such element. Returns the number of nonzero elements. May also
    overwrite up to one vector of elements after the last one written.
    """
    write = _compress if COMPRESSES else _store_lanes

    def codegen(context, builder, signature, args):
        items, numbers = (simd._Flat(context, builder, signature.args[k], args[k]) for k in (1, 2))
        vector = builder.extract_value(args[0], 0)
        mask = builder.fcmp_unordered("!=", vector, ir.Constant(vector.type, None))
        return write(builder, vector, mask, items, numbers, *args[3:])

    return types.int64(value, values, places, types.int64, types.int64, types.int64), codegen


def _compress(builder, vector, mask, items, numbers, i, first, step):
    lanes = vector.type.count
    bits = 64 * 8 // lanes  # the instruction requires indices as wide as the elements
    wide, narrow = ir.VectorType(simd.INDEX, lanes), ir.VectorType(numbers.item, lanes)
    lane = ir.Constant(wide, list(range(lanes)))
    place = builder.add(simd._splat(builder, first, lanes), builder.mul(simd._splat(builder, step, lanes), lane))
    if bits < 64:
        place = builder.trunc(place, narrow)
    for flat, row, kind in ((items, vector, f"f{bits}"), (numbers, place, f"i{bits}")):
        compact = simd._call(builder, f"llvm.x86.avx512.mask.compress.v{lanes}{kind}", row.type,
                             [row, ir.Constant(row.type, None), mask])
        if compact.type == wide:
            compact = builder.trunc(compact, narrow)
        builder.store(compact, flat.vector_at(i, lanes), align=flat.bytes)
    return builder.zext(builder.ctpop(builder.bitcast(mask, ir.IntType(lanes))), simd.INDEX)


def _store_lanes(builder, vector, mask, items, numbers, i, first, step):
    pos = i
    for lane in range(vector.type.count):
        index = ir.IntType(32)(lane)
        place = builder.add(first, builder.mul(step, simd.INDEX(lane)))
        builder.store(builder.extract_element(vector, index), items.ptr(pos))
        builder.store(builder.trunc(place, numbers.item), numbers.ptr(pos))
        pos = builder.add(pos, builder.zext(builder.extract_element(mask, index), simd.INDEX))
    return builder.sub(pos, i)
