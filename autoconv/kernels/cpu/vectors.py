"""Element-wise operations on the register tile (simd.py): each column has its own weights.

    acc = add_products(acc, x, src, k, w, j, columns)           acc[m, :] += x[src[m] + k : ...] * w[j : ...]
    acc = add_neighbours(acc, x, k, step, w, j, gap, columns)   acc[m, :] += the sum over i < 3 of
                                                                x[k + (m + i) * step : ...] * w[j + i * gap : ...]
    acc = divide(acc, number)                                   acc[m, :] / number
    turn(acc, x, k, step, y, j, gap)                            y[j + l * gap + m] = x[k + m * step + l], a square

A vector of `w` is loaded once for all rows. `add_neighbours` loads each pixel once for the three
taps that read it. Only the first `columns` columns exist. If `columns` is `simd.width(acc)`, LLVM
detects that and omits the masks.
"""

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from .simd import INDEX, _fence_loads, _Flat, _load, _multiply_add, _splat

TAPS = 3  # number of adjacent taps that `add_neighbours` adds


@intrinsic
def add_products(typingctx, acc, x, src, k, w, j, columns):
    """acc[m, :columns] += x[src[m] + k : + columns] * w[j : + columns]."""

    def codegen(context, builder, signature, args):
        total, x, src, k, w, j, columns = args
        _fence_loads(builder)
        x = _Flat(context, builder, signature.args[1], x)
        w = _Flat(context, builder, signature.args[4], w)
        weights = [_load(builder, w, acc, j, columns, v) for v in range(acc.vectors)]
        for m in range(acc.rows):
            start = builder.add(builder.extract_value(src, m), k)
            for v, weight in enumerate(weights):
                i = m * acc.vectors + v
                value = _load(builder, x, acc, start, columns, v)
                item = _multiply_add(builder, acc, value, weight, builder.extract_value(total, i))
                total = builder.insert_value(total, item, i)
        return total

    return acc(acc, x, src, types.int64, w, types.int64, types.int64), codegen


@intrinsic
def add_neighbours(typingctx, acc, x, k, step, w, j, gap, columns):
    """acc[m, :columns] += x[k + (m + i) * step : + columns] * w[j + i * gap : + columns] for i = 0,
    1, 2. The tile must have one vector per row.
    """

    def codegen(context, builder, signature, args):
        total, x, k, step, w, j, gap, columns = args
        _fence_loads(builder)
        x = _Flat(context, builder, signature.args[1], x)
        w = _Flat(context, builder, signature.args[4], w)
        weights = [_load(builder, w, acc, builder.add(j, builder.mul(gap, INDEX(i))), columns) for i in range(TAPS)]
        for pixel in range(acc.rows + TAPS - 1):
            value = _load(builder, x, acc, builder.add(k, builder.mul(step, INDEX(pixel))), columns)
            for i, weight in enumerate(weights):
                if 0 <= pixel - i < acc.rows:
                    item = _multiply_add(builder, acc, value, weight, builder.extract_value(total, pixel - i))
                    total = builder.insert_value(total, item, pixel - i)
        return total

    return acc(acc, x, types.int64, types.int64, w, types.int64, types.int64, types.int64), codegen


@intrinsic
def divide(typingctx, acc, number):
    """Returns acc / number, element by element."""

    def codegen(context, builder, signature, args):
        total, divisor = args[0], context.cast(builder, args[1], signature.args[1], acc.item)
        for i in range(acc.rows * acc.vectors):
            quotient = builder.fdiv(builder.extract_value(args[0], i), _splat(builder, divisor, acc.lanes))
            total = builder.insert_value(total, quotient, i)
        return total

    return acc(acc, number), codegen


@intrinsic
def turn(typingctx, acc, x, k, step, y, j, gap):
    """y[j + l*gap + m] = x[k + m*step + l] for all m and l below the number of lanes of acc's
    vectors. The square is transposed in registers by exchanging halves of pairs of rows, then
    quarters, and so on.
    """

    def codegen(context, builder, signature, args):
        source, target = (_Flat(context, builder, signature.args[i], args[i]) for i in (1, 4))
        lanes, kind = acc.lanes, ir.VectorType(ir.IntType(32), acc.lanes)
        rows = [_load(builder, source, acc, builder.add(args[2], builder.mul(args[3], INDEX(m)))) for m in range(lanes)]
        half = lanes // 2
        while half:
            low = ir.Constant(kind, [i if not i & half else i - half + lanes for i in range(lanes)])
            high = ir.Constant(kind, [i + half if not i & half else i + lanes for i in range(lanes)])
            for m in range(lanes):
                if not m & half:
                    a, b = rows[m], rows[m + half]
                    rows[m], rows[m + half] = builder.shuffle_vector(a, b, low), builder.shuffle_vector(a, b, high)
            half //= 2
        for i, row in enumerate(rows):
            start = builder.add(args[5], builder.mul(args[6], INDEX(i)))
            builder.store(row, target.vector_at(start, lanes), align=target.bytes)
        return context.get_dummy_value()

    return types.void(acc, x, types.int64, types.int64, x, types.int64, types.int64), codegen


@intrinsic
def prefetch(typingctx, x, k):
    """Prefetches the cache line of x[k]. Any k is allowed, because nothing is read."""

    def codegen(context, builder, signature, args):
        byte, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        function = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(ir.VoidType(), [byte, number, number, number]), "llvm.prefetch.p0i8")
        address = builder.bitcast(_Flat(context, builder, signature.args[0], args[0]).ptr(args[1]), byte)
        # prefetch data for reading, into the closest cache
        builder.call(function, [address, number(0), number(3), number(1)])
        return context.get_dummy_value()

    return types.void(x, types.int64), codegen
