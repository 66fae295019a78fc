"""Element-wise arithmetic on register tiles (simd.py) that have a single row.

    columns = min(simd.width(like), wide - j)
    total = like                                   zeros
    for i in ...:
        total = add(total, row(like, x, i + j, columns))
    put(total, sums, j, columns)                   sums[j : j + columns] = the sums of x's columns

The same loop over arrays would keep its sums in memory, at half the speed or less.
"""

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from . import simd

# number of vectors in a row; the registers hold five such rows and their results
VECTORS = 4 if simd.VECTOR_BYTES == 64 else 2


def _visit_columns(builder, tile, columns, visit):
    """Emits code that returns `visit(None)` if all columns of the tile exist, otherwise
    `visit(columns)`. Processors do not prefetch for masked loads and stores, so masked accesses to
    memory take several times as long.
    """
    is_whole = builder.icmp_signed(">=", columns, simd.INDEX(tile.vectors * tile.lanes))
    results = []
    with builder.if_else(is_whole) as (whole, part):
        for block, limit in ((whole, None), (part, columns)):
            with block:
                results.append((visit(limit), builder.block))
    if results[0][0] is None:
        return None
    result = builder.phi(results[0][0].type)
    for value, block in results:
        result.add_incoming(value, block)
    return result


def _build_row(builder, like, kind, columns, vector):
    """Returns a row with the shape of `like`. Its vector number v is `vector(columns, v)`, or
    `vector(None, v)` if all columns exist.
    """

    def build(limit):
        total = ir.Constant(kind, ir.Undefined)
        for v in range(like.vectors):
            total = builder.insert_value(total, vector(limit, v), v)
        return total

    return _visit_columns(builder, like, columns, build)


@intrinsic
def full(typingctx, like, number):
    """Returns a tile with the shape of `like` and the integer `number` in every element."""

    def codegen(context, builder, signature, args):
        item = args[0].type.element.element
        vector = simd._splat(builder, builder.sitofp(args[1], item), like.lanes)
        total = args[0]
        for v in range(like.vectors):
            total = builder.insert_value(total, vector, v)
        return total

    return like(like, types.int64), codegen


@intrinsic
def row(typingctx, like, x, i, columns):
    """Returns the row x[i : i + columns] with the shape of the tile `like`, padded with 0."""

    def codegen(context, builder, signature, args):
        flat = simd._Flat(context, builder, x, args[1])
        return _build_row(builder, like, args[0].type, args[3],
                          lambda limit, v: simd._load(builder, flat, like, args[2], limit, v))

    return like(like, x, types.int64, types.int64), codegen


@intrinsic
def put(typingctx, value, y, i, columns):
    """y[i : i + columns] = the row `value`."""

    def codegen(context, builder, signature, args):
        flat = simd._Flat(context, builder, y, args[1])

        def write(limit):
            for v in range(value.vectors):
                vector = builder.extract_value(args[0], v)
                if limit is not None:
                    simd._store(builder, flat, value, vector, args[2], limit, v)
                else:
                    pos = builder.add(args[2], simd.INDEX(v * value.lanes))
                    builder.store(vector, flat.vector_at(pos, value.lanes), align=flat.bytes)

        _visit_columns(builder, value, args[3], write)
        return context.get_dummy_value()

    return types.void(value, y, types.int64, types.int64), codegen


def _item_by_item(combine, *tiles):
    """Returns the signature and the code generator of an intrinsic that applies `combine(builder,
    *vectors)` to the vectors of its arguments.
    """

    def codegen(context, builder, signature, args):
        total = args[0]
        for v in range(tiles[0].rows * tiles[0].vectors):
            vectors = [builder.extract_value(arg, v) for arg in args]
            total = builder.insert_value(total, combine(builder, *vectors), v)
        return total

    return tiles[0](*tiles), codegen


@intrinsic
def add(typingctx, a, b):
    """Returns a + b."""
    return _item_by_item(lambda builder, x, y: builder.fadd(x, y), a, b)


@intrinsic
def subtract(typingctx, a, b):
    """Returns a - b."""
    return _item_by_item(lambda builder, x, y: builder.fsub(x, y), a, b)


@intrinsic
def multiply(typingctx, a, b):
    """Returns a * b."""
    return _item_by_item(lambda builder, x, y: builder.fmul(x, y), a, b)


@intrinsic
def multiply_add(typingctx, a, b, c):
    """Returns a * b + c, as one instruction if the target has FMA."""
    return _item_by_item(lambda builder, x, y, z: simd._multiply_add(builder, a, x, y, z), a, b, c)


@intrinsic
def absolute(typingctx, a):
    """Returns |a|."""
    name = f"llvm.fabs.{simd._suffix(a)}"
    return _item_by_item(lambda builder, x: simd._call(builder, name, x.type, [x]), a)


@intrinsic
def larger(typingctx, a, b):
    """Returns max(a, b), or b if a is NaN."""
    return _item_by_item(lambda builder, x, y: builder.select(builder.fcmp_ordered(">", x, y), x, y), a, b)


@intrinsic
def relu_grad(typingctx, value, gradient):
    """Returns the gradient of a ReLU of `value`: 0 where `value` <= 0, and `gradient` elsewhere."""

    def combine(builder, x, dy):
        zero = ir.Constant(x.type, None)
        return builder.select(builder.fcmp_ordered("<=", x, zero), zero, dy)

    return _item_by_item(combine, value, gradient)


@intrinsic
def clip_grad(typingctx, value, gradient, activation):
    """Returns the gradient of simd.clip(value, activation): 0 outside the limits, and `gradient` between them."""
    nan = float("nan")

    def codegen(context, builder, signature, args):
        item = args[0].type.element.element
        low, high = (simd._splat(builder, limit, value.lanes)
                     for limit in simd.clip_limits(builder, item, args[2], (nan, nan)))
        total = args[0]
        for v in range(value.rows * value.vectors):
            x, dy = (builder.extract_value(arg, v) for arg in args[:2])
            outside = builder.or_(builder.fcmp_ordered("<=", x, low), builder.fcmp_ordered(">=", x, high))
            total = builder.insert_value(total, builder.select(outside, ir.Constant(x.type, None), dy), v)
        return total

    return value(value, gradient, types.int64), codegen


def _constant(vector, number):
    return ir.Constant(vector, [number] * vector.count)


@intrinsic
def hard_sigmoid(typingctx, a):
    """Returns min(max(a / 6 + 1/2, 0), 1)."""

    def combine(builder, x):
        y = builder.fadd(builder.fmul(x, _constant(x.type, 1 / 6)), _constant(x.type, 0.5))
        y = builder.select(builder.fcmp_ordered("<", y, _constant(x.type, 0.0)), _constant(x.type, 0.0), y)
        return builder.select(builder.fcmp_ordered(">", y, _constant(x.type, 1.0)), _constant(x.type, 1.0), y)

    return _item_by_item(combine, a)


@intrinsic
def hard_sigmoid_grad(typingctx, value, gradient):
    """Returns the gradient of `value` from that of hard_sigmoid(value)."""

    def combine(builder, x, dy):
        outside = builder.or_(builder.fcmp_ordered("<=", x, _constant(x.type, -3.0)),
                              builder.fcmp_ordered(">=", x, _constant(x.type, 3.0)))
        return builder.select(outside, _constant(x.type, 0.0), builder.fmul(dy, _constant(x.type, 1 / 6)))

    return _item_by_item(combine, value, gradient)


@intrinsic
def hard_silu_grad(typingctx, value, gradient):
    """Returns the gradient of `value` from that of value * hard_sigmoid(value)."""

    def combine(builder, x, dy):
        y = builder.fadd(builder.fmul(x, _constant(x.type, 1 / 3)), _constant(x.type, 0.5))
        y = builder.select(builder.fcmp_ordered(">=", x, _constant(x.type, 3.0)), dy, builder.fmul(dy, y))
        return builder.select(builder.fcmp_ordered("<=", x, _constant(x.type, -3.0)), _constant(x.type, 0.0), y)

    return _item_by_item(combine, value, gradient)


@intrinsic
def select_larger(typingctx, a, b, x, y):
    """Returns `x` where a > b or a is NaN, and `y` elsewhere."""

    def combine(builder, a, b, x, y):
        larger = builder.or_(builder.fcmp_ordered(">", a, b), builder.fcmp_unordered("uno", a, a))
        return builder.select(larger, x, y)

    return _item_by_item(combine, a, b, x, y)


@intrinsic
def select_equal(typingctx, a, b, x):
    """Returns `x` where a = b, and 0 elsewhere."""

    def combine(builder, a, b, x):
        return builder.select(builder.fcmp_ordered("==", a, b), x, ir.Constant(x.type, None))

    return _item_by_item(combine, a, b, x)


def _bytes(builder, tile, index, flat, columns, vector, value=None):
    """Loads or stores a vector of bytes; with `columns`, only the lanes before column `columns`."""
    kind = ir.VectorType(ir.IntType(8), tile.lanes)
    pointer = flat.vector_at(builder.add(index, simd.INDEX(vector * tile.lanes)), tile.lanes)
    if columns is None:
        return builder.load(pointer, align=1) if value is None else builder.store(value, pointer, align=1)
    name, align = f"v{tile.lanes}i8.p0v{tile.lanes}i8", ir.IntType(32)(1)
    mask = simd._mask(builder, tile, vector, columns)
    if value is None:
        return simd._call(builder, f"llvm.masked.load.{name}", kind, [pointer, align, mask, ir.Constant(kind, None)])
    return simd._call(builder, f"llvm.masked.store.{name}", ir.VoidType(), [value, pointer, align, mask])


@intrinsic
def row_of_bytes(typingctx, like, x, i, columns):
    """Returns the bytes x[i : i + columns] as a row with the shape of `like`, and zeros beyond."""

    def codegen(context, builder, signature, args):
        flat, tile = simd._Flat(context, builder, x, args[1]), args[0].type
        return _build_row(builder, like, tile, args[3],
                          lambda limit, v: builder.uitofp(_bytes(builder, like, args[2], flat, limit, v), tile.element))

    return like(like, x, types.int64, types.int64), codegen


@intrinsic
def put_bytes(typingctx, value, y, i, columns):
    """y[i : i + columns] = the row `value` of small integers, as bytes."""

    def codegen(context, builder, signature, args):
        flat = simd._Flat(context, builder, y, args[1])

        def write(limit):
            for v in range(value.vectors):
                number = builder.fptoui(builder.extract_value(args[0], v), ir.VectorType(ir.IntType(8), value.lanes))
                _bytes(builder, value, args[2], flat, limit, v, number)

        _visit_columns(builder, value, args[3], write)
        return context.get_dummy_value()

    return types.void(value, y, types.int64, types.int64), codegen
