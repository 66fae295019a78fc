"""Measures this machine's peak speed for multiply-adds on registers and for copying memory. These
two speeds are upper limits for all other kernels.

The measurements use the same compiler, vectors and threads as the other kernels. So the fraction of
the peak speed that a kernel reaches describes the kernel, not the machine.
"""

from numba import prange
from numba.extending import intrinsic

from . import simd
from .jit import kernel

M, N = simd.TILE


@intrinsic
def multiply_add_all(typingctx, acc, x):
    """acc = acc * x[0] + x[1] for each vector of the tile, as M*N independent multiply-adds."""

    def codegen(context, builder, signature, args):
        total, flat = args[0], simd._Flat(context, builder, signature.args[1], args[1])
        scale, shift = (simd._splat(builder, builder.load(flat.ptr(simd.INDEX(i))), acc.lanes) for i in (0, 1))
        for i in range(acc.rows * acc.vectors):
            arguments = [builder.extract_value(total, i), scale, shift]
            vector = simd._call(builder, f"llvm.fmuladd.{simd._suffix(acc)}", arguments[0].type, arguments)
            total = builder.insert_value(total, vector, i)
        return total

    return acc(acc, x), codegen


@kernel("(T[::1], T[:,::1], T[:,::1], int64)", parallel=True)
def multiply_add(x, start, y, rounds):
    """Loads a full tile from each row of `start`, runs `rounds` multiply-adds on each element of
    the tile, and stores the tile in the same row of `y`. The rows are distributed over all threads.
    """
    for task in prange(start.shape[0]):
        acc = simd.zeros(x, M, N)
        columns = simd.width(acc)
        src = simd.steps(columns, 0, M, acc)
        acc = simd.load(acc, start[task], src, 0, columns)
        for _ in range(rounds):
            acc = multiply_add_all(acc, x)
        simd.store(acc, y[task], src, 0, columns)


@kernel("(T[::1], T[::1])", parallel=True)
def copy(x, y):
    """y = x."""
    for i in prange(x.size):
        y[i] = x[i]


def items(dtype) -> int:
    """Returns the number of elements of this dtype in a full tile."""
    return M * N * simd.lanes(dtype)
