"""Winograd's transforms of one tile for a vector of channels, in registers. F(2x2,3x3) computes
four outputs of a 3x3 kernel from a patch of 4x4 pixels with 16 products instead of 36. F(4x4,3x3)
computes sixteen outputs from 6x6 pixels with 36 products instead of 144.

    Y = A' [(G g G') * (B' d B)] A        d the patch, g the kernel, * element-wise, ' the transpose

Each function here computes one product L X L': it loads the vectors of X, adds them up, and stores
or returns the result. L is a product of sparse matrices, which are applied one after the other. The
register tile selects the transform: a tile of four rows, one per output, selects F(2x2), and a tile
of 16 rows selects F(4x4).

Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", arXiv 1509.09308. F(2x2)
evaluates polynomials at 0, 1, -1 and infinity, F(4x4) at 0, 3/4, -3/4, 3/2, -3/2 and infinity. With
the usual points 0, 1, -1, 2, -2 and infinity, the error of F(4x4) is twice as large. Barabasz et
al., "Error analysis and improving the accuracy of Winograd convolution", arXiv 1803.10986.
"""

import os

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from ...arguments.shapes import Window
from .simd import INDEX, _Flat, _load, _multiply_add

_A, _B = 3 / 4, 3 / 2
_P, _Q = _A**2, _B**2  # the points a and -a share their even and odd terms
_F, _H = 2 * _P * (_P - _Q), 2 * _Q * (_Q - _P)

# Each transform, as the factors of its matrix, the rightmost first. The key is the number of rows
# of a register tile.
PATCH = {  # B', which transforms patches
    4: (((1, 0, -1, 0), (0, 1, 1, 0), (0, -1, 1, 0), (0, 1, 0, -1)),),
    16: (((_P * _Q, 0, -_P - _Q, 0, 1, 0), (0, 0, -_Q, 0, 1, 0), (0, -_Q, 0, 1, 0, 0),
          (0, 0, -_P, 0, 1, 0), (0, -_P, 0, 1, 0, 0), (0, _P * _Q, 0, -_P - _Q, 0, 1)),
         ((1, 0, 0, 0, 0, 0), (0, 1, _A, 0, 0, 0), (0, 1, -_A, 0, 0, 0),
          (0, 0, 0, 1, _B, 0), (0, 0, 0, 1, -_B, 0), (0, 0, 0, 0, 0, 1))),
}
KERNEL = {  # G, which transforms kernels
    4: (((1, 0, 0), (0.5, 0.5, 0.5), (0.5, -0.5, 0.5), (0, 0, 1)),),
    16: (((1, 0, 0), (1, 0, _P), (0, 1, 0), (1, 0, _Q), (0, 0, 1)),
         ((1 / _P / _Q, 0, 0, 0, 0), (0, 1 / _F, _A / _F, 0, 0), (0, 1 / _F, -_A / _F, 0, 0),
          (0, 0, _B / _H, 1 / _H, 0), (0, 0, -_B / _H, 1 / _H, 0), (0, 0, 0, 0, 1))),
}
OUTPUT = {  # A', which transforms sums of products to outputs
    4: (((1, 1, 1, 0), (0, 1, -1, -1)),),
    16: (((1, 0, 0, 0, 0, 0), (0, 1, 1, 0, 0, 0), (0, 1, -1, 0, 0, 0), (0, 0, 0, 1, 1, 0), (0, 0, 0, 1, -1, 0),
          (0, 0, 0, 0, 0, 1)),
         ((1, 1, 0, 1, 0, 0), (0, 0, _A, 0, _B, 0), (0, _P, 0, _Q, 0, 0), (0, 0, _A**3, 0, _B**3, 1))),
}


def serve(window: Window, groups: int) -> bool:
    """Returns whether Winograd's algorithm can compute this convolution. AUTOCONV_WINOGRAD=0 in the
    environment disables the algorithm.
    """
    return (window[:6] == (3, 3, 1, 1, 1, 1) and max(window[6:]) <= 2 and groups == 1
            and os.environ.get("AUTOCONV_WINOGRAD") != "0")


def transpose(matrix):
    return tuple(zip(*matrix))


def _combine(builder, tile, coefficients, vectors):
    """Returns the sum of each coefficient times its vector. Coefficients of 0 are skipped;
    coefficients of 1 and -1 come first.
    """
    total = None
    for coefficient, vector in sorted(zip(coefficients, vectors), key=lambda pair: abs(pair[0]) != 1):
        factor = ir.Constant(vector.type, [coefficient] * vector.type.count)
        if coefficient and total is None:
            term = vector if coefficient > 0 else builder.fneg(vector)
            total = term if abs(coefficient) == 1 else builder.fmul(vector, factor)
        elif abs(coefficient) == 1:
            total = builder.fadd(total, vector) if coefficient > 0 else builder.fsub(total, vector)
        elif coefficient:
            total = _multiply_add(builder, tile, factor, vector, total)
    return total


def _times(builder, tile, factors, vectors):
    for matrix in factors:
        vectors = [_combine(builder, tile, row, vectors) for row in matrix]
    return vectors


def _sandwich(builder, tile, factors, grid):
    """Returns L X L' for a matrix L, given by its factors. The rows of X are lists of vectors."""
    half = transpose([_times(builder, tile, factors, column) for column in transpose(grid)])
    return [_times(builder, tile, factors, line) for line in half]


def _square(vectors):
    side = {4: 2, 9: 3, 16: 4, 36: 6}[len(vectors)]
    return [vectors[i : i + side] for i in range(0, len(vectors), side)]


def _load_strided(builder, flat, tile, start, step, count):
    """Loads the vectors at start, start + step, ..."""
    return [_load(builder, flat, tile, builder.add(start, builder.mul(step, INDEX(i)))) for i in range(count)]


def _store_strided(builder, flat, grid, start, step):
    for i, vector in enumerate(v for line in grid for v in line):
        address = flat.vector_at(builder.add(start, builder.mul(step, INDEX(i))), vector.type.count)
        builder.store(vector, address, align=flat.bytes)


def _select_address(builder, flat, table, index, start, fallback):
    """Returns the address of start + table[index] in `flat`, or `fallback` if the table has -1,
    which marks a missing pixel.
    """
    offset = builder.load(table.ptr(index))
    is_missing = builder.icmp_signed("<", offset, INDEX(0))
    return builder.select(is_missing, fallback, flat.ptr(builder.add(start, offset)))


def _gather(context, builder, tile, signature, args, count):
    """Loads the vectors of `count` pixels x[start + table[index + i] : + lanes], with zeros for
    missing pixels.
    """
    x, table, zero = (_Flat(context, builder, signature.args[i], args[i]) for i in (1, 3, 5))
    kind, vectors = ir.VectorType(x.item, tile.lanes), []
    for i in range(count):
        address = _select_address(builder, x, table, builder.add(args[4], INDEX(i)), args[2], zero.ptr(INDEX(0)))
        vectors.append(builder.load(builder.bitcast(address, kind.as_pointer()), align=x.bytes))
    return vectors


def _patch_side(tile):
    return {4: 4, 16: 6}[tile.rows]


@intrinsic
def side(typingctx, acc):
    """Returns the side of a patch, 4 or 6 pixels, for a register tile with 4 or 16 outputs."""

    def codegen(context, builder, signature, args):
        return INDEX(_patch_side(acc))

    return types.int64(acc), codegen


@intrinsic
def patch(typingctx, acc, x, start, table, index, zero, out, j, step):
    """out[j + i*step : + lanes] = the 16 or 36 elements of B' d B, for the patch d of pixels
    x[start + table[index + ...]].
    """

    def codegen(context, builder, signature, args):
        vectors = _gather(context, builder, acc, signature, args, _patch_side(acc) ** 2)
        dst = _Flat(context, builder, signature.args[6], args[6])
        _store_strided(builder, dst, _sandwich(builder, acc, PATCH[acc.rows], _square(vectors)), args[7], args[8])
        return context.get_dummy_value()

    return types.void(acc, x, types.int64, table, types.int64, zero, out, types.int64, types.int64), codegen


@intrinsic
def gradient(typingctx, acc, x, start, table, index, zero, out, j, step):
    """out[j + i*step : + lanes] = the 16 elements of A dy A', where dy is the 2x2 patch of output
    gradients x[start + table[index + 0..3]].
    """

    def codegen(context, builder, signature, args):
        vectors = _gather(context, builder, acc, signature, args, 4)
        dst = _Flat(context, builder, signature.args[6], args[6])
        matrix = transpose(OUTPUT[4][0])
        _store_strided(builder, dst, _sandwich(builder, acc, (matrix,), _square(vectors)), args[7], args[8])
        return context.get_dummy_value()

    return types.void(acc, x, types.int64, table, types.int64, zero, out, types.int64, types.int64), codegen


@intrinsic
def kernel(typingctx, acc, x, i, x_step, scale, s, out, j, step):
    """out[j + i*step : + lanes] = the 16 or 36 elements of G g G', for the 9 vectors of weights
    that are `x_step` apart, each multiplied by the vector scale[s : + lanes].
    """

    def codegen(context, builder, signature, args):
        source, factor, dst = (_Flat(context, builder, signature.args[i], args[i]) for i in (1, 4, 6))
        times = _load(builder, factor, acc, args[5])
        weights = [builder.fmul(g, times) for g in _load_strided(builder, source, acc, args[2], args[3], 9)]
        _store_strided(builder, dst, _sandwich(builder, acc, KERNEL[acc.rows], _square(weights)), args[7], args[8])
        return context.get_dummy_value()

    return types.void(acc, x, types.int64, types.int64, scale, types.int64, out, types.int64, types.int64), codegen


@intrinsic
def kernel_gradient(typingctx, acc, x, i, x_step, out, j, step):
    """out[j + i*step : + lanes] = the 9 elements of G' dU G, for the 16 vectors of dU that are
    `x_step` apart.
    """

    def codegen(context, builder, signature, args):
        source, dst = (_Flat(context, builder, signature.args[i], args[i]) for i in (1, 4))
        vectors = _load_strided(builder, source, acc, args[2], args[3], 16)
        matrix = transpose(KERNEL[4][0])
        _store_strided(builder, dst, _sandwich(builder, acc, (matrix,), _square(vectors)), args[5], args[6])
        return context.get_dummy_value()

    return types.void(acc, x, types.int64, types.int64, out, types.int64, types.int64), codegen


@intrinsic
def output(typingctx, acc, x, i, x_step):
    """Returns the tile A' M A of 4 or 16 outputs, one row each, from the 16 or 36 vectors of x that
    are `x_step` apart. The four outputs of a 2x2 square are consecutive. `acc` has the result's
    shape.
    """

    def codegen(context, builder, signature, args):
        source = _Flat(context, builder, signature.args[1], args[1])
        vectors = _load_strided(builder, source, acc, args[2], args[3], _patch_side(acc) ** 2)
        grid = _sandwich(builder, acc, OUTPUT[acc.rows], _square(vectors))
        total = ir.Constant(context.get_value_type(acc), ir.Undefined)
        for r in range(acc.rows):
            vector = grid[2 * (r // 8) + r % 4 // 2][2 * (r // 4 % 2) + r % 2]
            total = builder.insert_value(total, vector, r)
        return total

    return acc(acc, x, types.int64, types.int64), codegen


@intrinsic
def finite(typingctx, acc):
    """Returns whether all numbers of the tile are finite."""

    def codegen(context, builder, signature, args):
        vectors = [builder.extract_value(args[0], i) for i in range(acc.rows * acc.vectors)]
        any_lost = None
        for vector in vectors:
            is_lost = builder.fcmp_unordered("uno", builder.fsub(vector, vector), ir.Constant(vector.type, None))
            any_lost = is_lost if any_lost is None else builder.or_(any_lost, is_lost)
        bits = builder.bitcast(any_lost, ir.IntType(acc.lanes))
        return builder.icmp_unsigned("==", bits, ir.Constant(bits.type, 0))

    return types.boolean(acc), codegen


@intrinsic
def store_pixels(typingctx, acc, y, start, table, index, spare):
    """y[start + table[index + r] : + lanes] = row r of the tile. Rows whose pixels are missing are
    written to `spare`.
    """

    def codegen(context, builder, signature, args):
        dst, offsets, spares = (_Flat(context, builder, signature.args[i], args[i]) for i in (1, 3, 5))
        for r in range(acc.rows):
            vector = builder.extract_value(args[0], r)
            index = builder.add(args[4], INDEX(r))
            address = _select_address(builder, dst, offsets, index, args[2], spares.ptr(INDEX(0)))
            builder.store(vector, builder.bitcast(address, vector.type.as_pointer()), align=dst.bytes)
        return context.get_dummy_value()

    return types.void(acc, y, types.int64, table, types.int64, spare), codegen
