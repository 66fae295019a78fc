"""Winograd's transforms of one tile for a vector of channels, in registers. F(2x2,3x3): four outputs of a 3x3 kernel
from a patch of 4x4 pixels by 16 products in the place of 36.

    Y = A' [(G g G') * (B' d B)] A        d the patch, g the kernel, * item by item, ' the transpose

Each function here is one sandwich L X L': it loads the vectors of X, adds them up, and stores or returns the result.
Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", arXiv 1509.09308.
"""

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from .simd import INDEX, TileType, _Flat, _load

PATCH = ((1, 0, -1, 0), (0, 1, 1, 0), (0, -1, 1, 0), (0, 1, 0, -1))  # B'
KERNEL = ((1, 0, 0), (0.5, 0.5, 0.5), (0.5, -0.5, 0.5), (0, 0, 1))  # G
OUTPUT = ((1, 1, 1, 0), (0, 1, -1, -1))  # A'


def transpose(matrix):
    return tuple(zip(*matrix))


def _combined(builder, coefficients, vectors):
    """The sum of coefficient times vector; those of 0 are left out."""
    total = None
    for coefficient, vector in zip(coefficients, vectors):
        if abs(coefficient) not in (0, 1):
            vector = builder.fmul(vector, ir.Constant(vector.type, [abs(coefficient)] * vector.type.count))
        if coefficient and total is None:
            total = vector if coefficient > 0 else builder.fneg(vector)
        elif coefficient:
            total = builder.fadd(total, vector) if coefficient > 0 else builder.fsub(total, vector)
    return total


def _sandwich(builder, matrix, grid):
    """matrix X matrix', where the rows of X are lists of vectors."""
    half = transpose([[_combined(builder, row, column) for row in matrix] for column in transpose(grid)])
    return [[_combined(builder, row, line) for row in matrix] for line in half]


def _square(vectors):
    side = {4: 2, 9: 3, 16: 4}[len(vectors)]
    return [vectors[i : i + side] for i in range(0, len(vectors), side)]


def _strided(builder, flat, tile, start, step, count):
    """The vectors at start, start + step, ..."""
    return [_load(builder, flat, tile, builder.add(start, builder.mul(step, INDEX(i)))) for i in range(count)]


def _store_strided(builder, flat, grid, start, step):
    for i, vector in enumerate(v for line in grid for v in line):
        address = flat.vector_at(builder.add(start, builder.mul(step, INDEX(i))), vector.type.count)
        builder.store(vector, address, align=flat.bytes)


def _selected(builder, flat, table, at, start, else_at):
    """The address of start + table[at] in `flat`, or of `else_at` where the table says -1: no such pixel."""
    offset = builder.load(table.at(at))
    outside = builder.icmp_signed("<", offset, INDEX(0))
    return builder.select(outside, else_at, flat.at(builder.add(start, offset)))


def _gather(context, builder, tile, signature, args, count):
    """The vectors of `count` pixels x[start + table[at + i] : + lanes], and zeros for pixels that do not exist."""
    x, table, zero = (_Flat(context, builder, signature.args[i], args[i]) for i in (1, 3, 5))
    kind, vectors = ir.VectorType(x.item, tile.lanes), []
    for i in range(count):
        address = _selected(builder, x, table, builder.add(args[4], INDEX(i)), args[2], zero.at(INDEX(0)))
        vectors.append(builder.load(builder.bitcast(address, kind.as_pointer()), align=x.bytes))
    return vectors


def _gathering(matrix, count):
    """An intrinsic that transforms `count` gathered pixels, and stores the result in vectors that lie `step` apart."""

    def transform(typingctx, acc, x, start, table, at, zero, out, j, step):
        def codegen(context, builder, signature, args):
            vectors = _gather(context, builder, acc, signature, args, count)
            to = _Flat(context, builder, signature.args[6], args[6])
            _store_strided(builder, to, _sandwich(builder, matrix, _square(vectors)), args[7], args[8])
            return context.get_dummy_value()

        return types.void(acc, x, types.int64, table, types.int64, zero, out, types.int64, types.int64), codegen

    return intrinsic(transform)


# out[j + i*step : + lanes] = the 16 items of B' d B, for the patch of pixels x[start + table[at + 0..15]]
patch = _gathering(PATCH, 16)
# ... = the 16 items of A dy A', for the four pixels x[start + table[at + 0..3]] of an output gradient
gradient = _gathering(transpose(OUTPUT), 4)


@intrinsic
def kernel(typingctx, acc, x, i, x_step, scale, s, out, j, step):
    """out[j + i*step : + lanes] = the 16 items of G g G', for the 9 vectors of weights that lie `x_step` apart, each
    times the vector scale[s : + lanes].
    """

    def codegen(context, builder, signature, args):
        source, factor, to = (_Flat(context, builder, signature.args[i], args[i]) for i in (1, 4, 6))
        times = _load(builder, factor, acc, args[5])
        weights = [builder.fmul(g, times) for g in _strided(builder, source, acc, args[2], args[3], 9)]
        _store_strided(builder, to, _sandwich(builder, KERNEL, _square(weights)), args[7], args[8])
        return context.get_dummy_value()

    return types.void(acc, x, types.int64, types.int64, scale, types.int64, out, types.int64, types.int64), codegen


@intrinsic
def kernel_gradient(typingctx, acc, x, i, x_step, out, j, step):
    """out[j + i*step : + lanes] = the 9 items of G' dU G, for the 16 vectors of dU that lie `x_step` apart."""

    def codegen(context, builder, signature, args):
        source, to = (_Flat(context, builder, signature.args[i], args[i]) for i in (1, 4))
        vectors = _strided(builder, source, acc, args[2], args[3], 16)
        _store_strided(builder, to, _sandwich(builder, transpose(KERNEL), _square(vectors)), args[5], args[6])
        return context.get_dummy_value()

    return types.void(acc, x, types.int64, types.int64, out, types.int64, types.int64), codegen


@intrinsic
def output(typingctx, acc, x, i, x_step):
    """The tile of four rows A' M A from 16 vectors of x that lie `x_step` apart; `acc` has one vector a row."""
    four = TileType(acc.item, 4, 1)

    def codegen(context, builder, signature, args):
        source = _Flat(context, builder, signature.args[1], args[1])
        vectors = _strided(builder, source, acc, args[2], args[3], 16)
        rows = [v for line in _sandwich(builder, OUTPUT, _square(vectors)) for v in line]
        total = ir.Constant(context.get_value_type(four), ir.Undefined)
        for r, vector in enumerate(rows):
            total = builder.insert_value(total, vector, r)
        return total

    return four(acc, x, types.int64, types.int64), codegen


@intrinsic
def finite(typingctx, acc):
    """Whether all numbers of the tile are finite."""

    def codegen(context, builder, signature, args):
        vectors = [builder.extract_value(args[0], i) for i in range(acc.rows * acc.vectors)]
        lost = None
        for vector in vectors:
            here = builder.fcmp_unordered("uno", builder.fsub(vector, vector), ir.Constant(vector.type, None))
            lost = here if lost is None else builder.or_(lost, here)
        bits = builder.bitcast(lost, ir.IntType(acc.lanes))
        return builder.icmp_unsigned("==", bits, ir.Constant(bits.type, 0))

    return types.boolean(acc), codegen


@intrinsic
def store_pixels(typingctx, acc, y, start, table, at, spare):
    """y[start + table[at + r] : + lanes] = the r-th of four rows; those that do not exist go to `spare`."""

    def codegen(context, builder, signature, args):
        to, offsets, other = (_Flat(context, builder, signature.args[i], args[i]) for i in (1, 3, 5))
        for r in range(acc.rows):
            vector = builder.extract_value(args[0], r)
            at = builder.add(args[4], INDEX(r))
            address = _selected(builder, to, offsets, at, args[2], other.at(INDEX(0)))
            builder.store(vector, builder.bitcast(address, vector.type.as_pointer()), align=to.bytes)
        return context.get_dummy_value()

    return types.void(acc, y, types.int64, table, types.int64, spare), codegen
