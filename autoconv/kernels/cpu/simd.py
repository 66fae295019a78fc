"""The register tile: a block of vectors in the processor's registers, as a Numba type.

    acc = zeros(x, M, N)                    M rows of N vectors, all zero
    src = rows(offsets, i, count, acc)      offsets[i : i + M], at which the tile's M rows read
    acc = fma(acc, x, src, k, w, j)         acc[m, :] += x[src[m] + k] * w[j : j + N*lanes]
    store(acc, y, dst, j, columns)          y[dst[m] + j : ... + columns] = acc[m, :columns]

One `fma` is M*N vector multiply-adds for M + N loads, so the arithmetic units need not wait for
memory. The loops around `fma` are ordinary Python. `x` and `w` are flat arrays, every index counts
elements, and no index is checked. The callers in this folder keep all reads inside the arrays; the
tests run kernels on arrays between guard pages.

If fewer rows exist than the tile has, `rows` and `steps` repeat the last row, which is computed and
stored several times with the same bits. Only the first `columns` columns exist; the others are
neither read nor written. M and N must be literals (module constants); after `zeros`, the type of
`acc` contains them. Sources: Goto and van de Geijn, "Anatomy of high-performance matrix
multiplication" (2008); Georganas et al., arXiv 1808.05567.
"""

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.core.errors import RequireLiteralValue
from numba.extending import intrinsic, models, register_model

from .jit import target

# Vector width in bytes, and two tiles (M, N), for targets with AVX-512, with AVX2, and for all
# others. These have 32, 16 and 16 vector registers. The narrow tile, half as wide and with more
# rows, is for the columns that remain when no further wide tile fits. RUN_VECTORS is the number of
# vectors per row for tiles of up to three rows whose rows are stretches of memory (`axpy`).
if "avx512f" in target()[1]:
    VECTOR_BYTES, TILE, NARROW, RUN_VECTORS = 64, (6, 4), (9, 2), 6
elif "avx2" in target()[1] and "fma" in target()[1]:
    VECTOR_BYTES, TILE, NARROW, RUN_VECTORS = 32, (6, 2), (9, 1), 4
else:
    VECTOR_BYTES, TILE, NARROW, RUN_VECTORS = 16, (6, 2), (9, 1), 4

INDEX = ir.IntType(64)
LINEAR, RELU, RELU6 = range(3)  # the activations of `clip`; see epilogue.py for all numbers of activations


def lanes(dtype) -> int:
    """Returns the number of elements of this dtype in a vector."""
    return int(VECTOR_BYTES // np.dtype(dtype).itemsize)


class TileType(types.Type):
    """The type of a tile: `rows` x `vectors` vectors of `lanes` numbers of type `item`."""

    def __init__(self, item: types.Float, rows: int, vectors: int) -> None:
        self.item, self.rows, self.vectors = item, rows, vectors
        self.lanes = VECTOR_BYTES * 8 // item.bitwidth
        super().__init__(f"Tile({item}, {rows}, {vectors})")


class RowsType(types.Type):
    """The type of `count` offsets, one per row of a tile."""

    def __init__(self, count: int) -> None:
        self.count = count
        super().__init__(f"Rows({count})")


@register_model(TileType)
class TileModel(models.PrimitiveModel):
    def __init__(self, manager, fe_type):
        item = ir.FloatType() if fe_type.item.bitwidth == 32 else ir.DoubleType()
        vector = ir.VectorType(item, fe_type.lanes)
        super().__init__(manager, fe_type, ir.ArrayType(vector, fe_type.rows * fe_type.vectors))


@register_model(RowsType)
class RowsModel(models.PrimitiveModel):
    def __init__(self, manager, fe_type):
        super().__init__(manager, fe_type, ir.ArrayType(INDEX, fe_type.count))


class _Flat:
    """A flat array during code generation: `ptr(i)` is the address of element i, without Numba's
    support for negative indices.
    """

    def __init__(self, context, builder, array_type, array) -> None:
        self.builder, self.bytes = builder, array_type.dtype.bitwidth // 8
        self.item = context.get_value_type(array_type.dtype)
        self.data = context.make_array(array_type)(context, builder, array).data

    def ptr(self, index):
        return self.builder.gep(self.data, [index])

    def vector_at(self, index, lanes):
        return self.builder.bitcast(self.ptr(index), ir.VectorType(self.item, lanes).as_pointer())


def _literals(*values):
    if not all(isinstance(v, types.IntegerLiteral) for v in values):
        raise RequireLiteralValue("The shape of a tile must consist of literal integers.")
    return [v.literal_value for v in values]


def _splat(builder, value, lanes):
    vector = ir.VectorType(value.type, lanes)
    first = builder.insert_element(ir.Constant(vector, ir.Undefined), value, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(first, ir.Constant(vector, ir.Undefined),
                                  ir.Constant(ir.VectorType(ir.IntType(32), lanes), [0] * lanes))


def _mask(builder, tile, vector, columns):
    """Returns a mask of the lanes of vector `vector` of a row that are before column `columns`."""
    lane = ir.Constant(ir.VectorType(INDEX, tile.lanes), [vector * tile.lanes + i for i in range(tile.lanes)])
    return builder.icmp_signed("<", lane, _splat(builder, columns, tile.lanes))


def _call(builder, name, result, arguments):
    """Emits a call of an LLVM intrinsic. llvmlite's own helper does not support vector types."""
    function = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(result, [a.type for a in arguments]), name)
    return builder.call(function, arguments)


def _multiply_add(builder, tile, a, b, c):
    """Returns a * b + c, as one instruction if the target has FMA."""
    return _call(builder, f"llvm.fmuladd.{_suffix(tile)}", c.type, [a, b, c])


def _suffix(tile):
    return f"v{tile.lanes}f{tile.item.bitwidth}"


def _load(builder, flat, tile, index, columns=None, vector=0):
    """Loads one vector; with `columns`, only lanes before column `columns`, and zeros beyond."""
    pointer = flat.vector_at(builder.add(index, INDEX(vector * tile.lanes)), tile.lanes)
    if columns is None:
        return builder.load(pointer, align=flat.bytes)
    kind = pointer.type.pointee
    return _call(builder, f"llvm.masked.load.{_suffix(tile)}.p0{_suffix(tile)}", kind,
                 [pointer, ir.IntType(32)(flat.bytes), _mask(builder, tile, vector, columns), ir.Constant(kind, None)])


def _store(builder, flat, tile, value, index, columns, vector):
    pointer = flat.vector_at(builder.add(index, INDEX(vector * tile.lanes)), tile.lanes)
    _call(builder, f"llvm.masked.store.{_suffix(tile)}.p0{_suffix(tile)}", ir.VoidType(),
          [value, pointer, ir.IntType(32)(flat.bytes), _mask(builder, tile, vector, columns)])


@intrinsic(prefer_literal=True)
def zeros(typingctx, like, m, n):
    """Returns a tile of zeros: m rows of n vectors, with the element type of the array `like`."""
    tile = TileType(like.dtype, *_literals(m, n))

    def codegen(context, builder, signature, args):
        return ir.Constant(context.get_value_type(tile), None)

    return tile(like, m, n), codegen


def _clamp_rows(builder, kind, i, count, offset):
    """Returns offset(i), offset(i + 1), ... as a RowsType value. Rows from `count` on have the
    offset of the last row.
    """
    result = ir.Constant(ir.ArrayType(INDEX, kind.count), ir.Undefined)
    last = builder.sub(count, INDEX(1))
    for m in range(kind.count):
        row = builder.add(i, INDEX(m))
        row = builder.select(builder.icmp_signed("<", row, last), row, last)
        result = builder.insert_value(result, offset(row), m)
    return result


@intrinsic
def rows(typingctx, offsets, i, count, acc):
    """Returns offsets[i], offsets[i + 1], ... for the M rows of the tile `acc`. `offsets` is a flat
    int64 array of `count` elements, whose last one is repeated.
    """
    kind = RowsType(acc.rows)

    def codegen(context, builder, signature, args):
        flat = _Flat(context, builder, signature.args[0], args[0])
        return _clamp_rows(builder, kind, args[1], args[2], lambda row: builder.load(flat.ptr(row)))

    return kind(offsets, types.int64, types.int64, acc), codegen


@intrinsic
def steps(typingctx, step, i, count, acc):
    """Returns i*step, (i + 1)*step, ... for the M rows of the tile `acc`. These are the offsets of
    the rows of an ordinary matrix with `count` rows, the last of which is repeated.
    """
    kind = RowsType(acc.rows)

    def codegen(context, builder, signature, args):
        return _clamp_rows(builder, kind, args[1], args[2], lambda row: builder.mul(row, args[0]))

    return kind(types.int64, types.int64, types.int64, acc), codegen


def _fence_loads(builder):
    """Emits an empty instruction that no load moves across. Without it, LLVM unrolls a loop around
    `fma` and hoists the second iteration's loads above the first one's arithmetic. The values then
    do not fit in the registers, which halves the speed.
    """
    builder.asm(ir.FunctionType(ir.VoidType(), []), "", "~{memory}", [], side_effect=True)


def _add_products(builder, tile, acc, x, places, right):
    """acc[m, :] += x[places[m]] * right, where `right` is a list of vectors."""
    for m, place in enumerate(places):
        left = _splat(builder, builder.load(x.ptr(place)), tile.lanes)
        for v in range(tile.vectors):
            i = m * tile.vectors + v
            total = _multiply_add(builder, tile, left, right[v], builder.extract_value(acc, i))
            acc = builder.insert_value(acc, total, i)
    return acc


def _positions(builder, tile, offsets, k):
    """Returns an iterator over offsets[m] + k for all rows m of the tile."""
    return (builder.add(builder.extract_value(offsets, m), k) for m in range(tile.rows))


def _fma(context, builder, tile, args, arg_types, columns=None):
    acc, x, src, k, w, j = args[:6]
    _fence_loads(builder)
    x, w = _Flat(context, builder, arg_types[1], x), _Flat(context, builder, arg_types[4], w)
    right = [_load(builder, w, tile, j, columns, v) for v in range(tile.vectors)]
    return _add_products(builder, tile, acc, x, _positions(builder, tile, src, k), right)


@intrinsic
def fma(typingctx, acc, x, src, k, w, j):
    """acc[m, :] += x[src[m] + k] * w[j : j + width(acc)]."""

    def codegen(context, builder, signature, args):
        return _fma(context, builder, acc, args, signature.args)

    return acc(acc, x, src, types.int64, w, types.int64), codegen


@intrinsic
def fma_part(typingctx, acc, x, src, k, w, j, columns):
    """Computes `fma` for a tile of which only the first `columns` columns exist."""

    def codegen(context, builder, signature, args):
        return _fma(context, builder, acc, args, signature.args, args[6])

    return acc(acc, x, src, types.int64, w, types.int64, types.int64), codegen


@intrinsic
def fma_row(typingctx, acc, x, src, k, row):
    """acc[m, :] += x[src[m] + k] * row[0, :], where the tile `row` has one row. This is `fma` with
    its right operand in registers.
    """

    def codegen(context, builder, signature, args):
        flat = _Flat(context, builder, x, args[1])
        _fence_loads(builder)
        right = [builder.extract_value(args[4], v) for v in range(acc.vectors)]
        return _add_products(builder, acc, args[0], flat, _positions(builder, acc, args[2], args[3]), right)

    return acc(acc, x, src, types.int64, row), codegen


@intrinsic
def fma_apart(typingctx, acc, x, k, w, j):
    """acc[m, :] += x[k + m*lanes] * w[j : j + width(acc)]. This is `fma` for elements of x that are
    one vector apart. All their addresses need only one register, whereas `fma` needs one register
    per row.
    """

    def codegen(context, builder, signature, args):
        left, flat = _Flat(context, builder, x, args[1]), _Flat(context, builder, w, args[3])
        _fence_loads(builder)
        right = [_load(builder, flat, acc, args[4], None, v) for v in range(acc.vectors)]
        places = (builder.add(args[2], INDEX(m * acc.lanes)) for m in range(acc.rows))
        return _add_products(builder, acc, args[0], left, places, right)

    return acc(acc, x, types.int64, w, types.int64), codegen


@intrinsic
def fma_three(typingctx, acc, x, k, w, j0, j1, j2):
    """acc[m, :] += x[k + m] * (w[j0 : + lanes], w[j1 : + lanes], w[j2 : + lanes]) for a tile of
    three vectors per row.
    """

    def codegen(context, builder, signature, args):
        left, flat = _Flat(context, builder, x, args[1]), _Flat(context, builder, w, args[3])
        _fence_loads(builder)
        right = [_load(builder, flat, acc, j) for j in args[4:]]
        places = (builder.add(args[2], INDEX(m)) for m in range(acc.rows))
        return _add_products(builder, acc, args[0], left, places, right)

    return acc(acc, x, types.int64, w, types.int64, types.int64, types.int64), codegen


def _axpy(context, builder, tile, args, arg_types, columns=None):
    acc, values, e, x, src, k = args[:6]
    _fence_loads(builder)
    values = _Flat(context, builder, arg_types[1], values)
    x = _Flat(context, builder, arg_types[3], x)
    scale = _splat(builder, builder.load(values.ptr(e)), tile.lanes)
    for m in range(tile.rows):
        start = builder.add(builder.extract_value(src, m), k)
        for v in range(tile.vectors):
            i = m * tile.vectors + v
            row = _load(builder, x, tile, start, columns, v)
            total = _multiply_add(builder, tile, scale, row, builder.extract_value(acc, i))
            acc = builder.insert_value(acc, total, i)
    return acc


@intrinsic
def axpy(typingctx, acc, values, e, x, src, k):
    """acc[m, :] += values[e] * x[src[m] + k : ... + width(acc)], one number times a whole tile."""

    def codegen(context, builder, signature, args):
        return _axpy(context, builder, acc, args, signature.args)

    return acc(acc, values, types.int64, x, src, types.int64), codegen


@intrinsic
def axpy_part(typingctx, acc, values, e, x, src, k, columns):
    """Computes `axpy` for a tile of which only the first `columns` columns exist."""

    def codegen(context, builder, signature, args):
        return _axpy(context, builder, acc, args, signature.args, args[6])

    return acc(acc, values, types.int64, x, src, types.int64, types.int64), codegen


@intrinsic
def add_row(typingctx, acc, b, j, columns):
    """acc[m, :] += b[j : j + columns] for every row m."""

    def codegen(context, builder, signature, args):
        flat, total = _Flat(context, builder, b, args[1]), args[0]
        for v in range(acc.vectors):
            bias = _load(builder, flat, acc, args[2], args[3], v)
            for i in range(v, acc.rows * acc.vectors, acc.vectors):
                total = builder.insert_value(total, builder.fadd(builder.extract_value(total, i), bias), i)
        return total

    return acc(acc, b, types.int64, types.int64), codegen


@intrinsic
def scale_rows(typingctx, acc, scale, b, j, columns):
    """acc[m, :] = acc[m, :] * scale[j : j + columns] + b[j : j + columns] for every row m."""

    def codegen(context, builder, signature, args):
        total = args[0]
        factors = _Flat(context, builder, scale, args[1])
        terms = _Flat(context, builder, b, args[2])
        for v in range(acc.vectors):
            factor, term = (_load(builder, flat, acc, args[3], args[4], v) for flat in (factors, terms))
            for i in range(v, acc.rows * acc.vectors, acc.vectors):
                value = _multiply_add(builder, acc, builder.extract_value(total, i), factor, term)
                total = builder.insert_value(total, value, i)
        return total

    return acc(acc, scale, b, types.int64, types.int64), codegen


@intrinsic
def load(typingctx, acc, y, src, j, columns):
    """Returns the tile y[src[m] + j : ... + columns], with the shape of `acc` and zeros beyond."""

    def codegen(context, builder, signature, args):
        flat, total = _Flat(context, builder, y, args[1]), ir.Constant(args[0].type, None)
        for m in range(acc.rows):
            start = builder.add(builder.extract_value(args[2], m), args[3])
            for v in range(acc.vectors):
                total = builder.insert_value(total, _load(builder, flat, acc, start, args[4], v), m * acc.vectors + v)
        return total

    return acc(acc, y, src, types.int64, types.int64), codegen


@intrinsic
def store(typingctx, acc, y, dst, j, columns):
    """y[dst[m] + j : ... + columns] = acc[m, :columns]."""

    def codegen(context, builder, signature, args):
        flat = _Flat(context, builder, y, args[1])
        for m in range(acc.rows):
            start = builder.add(builder.extract_value(args[2], m), args[3])
            for v in range(acc.vectors):
                value = builder.extract_value(args[0], m * acc.vectors + v)
                _store(builder, flat, acc, value, start, args[4], v)
        return context.get_dummy_value()

    return types.void(acc, y, dst, types.int64, types.int64), codegen


def clip_limits(builder, item, activation, otherwise):
    """Returns the smallest and the largest result of `clip`, or the pair of numbers `otherwise` for LINEAR and
    for all activations that are not applied by `clip`.
    """
    lower, upper = (ir.Constant(item, number) for number in otherwise)
    is_relu6 = builder.icmp_signed("==", activation, INDEX(RELU6))
    is_relu = builder.or_(builder.icmp_signed("==", activation, INDEX(RELU)), is_relu6)
    return builder.select(is_relu, ir.Constant(item, 0), lower), builder.select(is_relu6, ir.Constant(item, 6), upper)


@intrinsic
def clip(typingctx, acc, activation):
    """Returns max(acc, 0) for RELU, min(max(acc, 0), 6) for RELU6, and acc for other activations. NaN stays NaN."""

    def codegen(context, builder, signature, args):
        total = args[0]
        item = total.type.element.element
        low, high = (_splat(builder, limit, acc.lanes)
                     for limit in clip_limits(builder, item, args[1], (-float("inf"), float("inf"))))
        for i in range(acc.rows * acc.vectors):
            value = builder.extract_value(args[0], i)
            value = builder.select(builder.fcmp_ordered("<", value, low), low, value)
            value = builder.select(builder.fcmp_ordered(">", value, high), high, value)
            total = builder.insert_value(total, value, i)
        return total

    return acc(acc, types.int64), codegen


@intrinsic
def copy(typingctx, y, j, x, k, count):
    """y[j : j + count] = x[k : k + count], for flat arrays that do not overlap."""

    def codegen(context, builder, signature, args):
        dst, source = _Flat(context, builder, y, args[0]), _Flat(context, builder, x, args[2])
        cgutils.raw_memcpy(builder, dst.ptr(args[1]), source.ptr(args[3]), args[4], dst.bytes)
        return context.get_dummy_value()

    return types.void(y, types.int64, x, types.int64, types.int64), codegen


@intrinsic
def width(typingctx, acc):
    """Returns the number of the tile's columns, which is vectors times lanes."""

    def codegen(context, builder, signature, args):
        return INDEX(acc.vectors * acc.lanes)

    return types.int64(acc), codegen
