"""Products of matrices and of batches of matrices, on the register tiles of the dense layer.

NumPy's BLAS adds in an order that depends on the processor and on the number of threads.
"""

import numpy as np
from numba import prange

from . import arith, dense, tasks
from .arith import sum  # noqa: F401 (re-exported)
from .epilogue import CODES
from .flat import flatten
from .jit import kernel, record_calls
from .products import ONE_RUN, bias, gathered_product, row_offsets

Array = np.ndarray


@record_calls
def _multiply_by_numpy(a: Array, b: Array, out: Array) -> None:
    np.matmul(a, b, out=out)


@kernel("(T[:,:,::1], T[:,:,::1], T[::1], T[:,:,::1], int64[::1], int64[::1], int64, int64)",
        parallel=True)
def _multiply_each(a, b, zeros, y, starts, runs, rows, activation):
    """y (B,N,F) = a (B or 1,N,C) @ b (B or 1,C,F). A task has `rows` rows of one matrix."""
    _, n, c = a.shape
    filters = zeros.size
    blocks = (n + rows - 1) // rows
    for task in prange(y.shape[0] * blocks):
        matrix = task // blocks
        left = matrix if a.shape[0] > 1 else 0
        right = matrix if b.shape[0] > 1 else 0
        first = task % blocks * rows
        count = min(rows, n - first)
        for k in range(0, c, dense.DEPTH):
            gathered_product(
                flatten(a), (left * n + first) * c + k, starts, count, runs, min(dense.DEPTH, c - k),
                flatten(b), (right * c + k) * filters, filters, zeros[:0], zeros, flatten(y),
                (matrix * n + first) * filters, filters, 0, filters, k == 0,
                k + dense.DEPTH >= c, activation)


def matmul(a: Array, b: Array, out: Array) -> None:
    """out (..., n, p) = a (..., n, m) @ b (..., m, p), with broadcasting. `out` is contiguous."""
    n, m = a.shape[-2:]
    p = b.shape[-1]
    if out.dtype.char not in "fd":  # sums of integers are exact in any order
        _multiply_by_numpy(a, b, out)
    elif not m:
        arith.fill(out, 0)
    elif out.size and b.size == m * p:
        rows = arith.contiguous(a, out.dtype).reshape(-1, m)
        dense.dense(rows, arith.contiguous(b, out.dtype).reshape(m, p), None, out.reshape(-1, p))
    elif out.size:
        results = out.reshape(-1, n, p)
        pieces = tasks.pieces(len(results), -(-n // dense.M))
        count = -(-n // (dense.M * pieces)) * dense.M
        _multiply_each(_batch(a, out), _batch(b, out), bias(None, out.dtype, p), results,
                       row_offsets(count, m), ONE_RUN, count, CODES["linear"])


def _batch(a: Array, out: Array) -> Array:
    """Returns the matrices of `a`, (1,N,C) or one for each of out's, as a contiguous array."""
    if a.size != a.shape[-2] * a.shape[-1] and a.shape[:-2] != out.shape[:-2]:
        a = np.broadcast_to(a, (*out.shape[:-2], *a.shape[-2:]))
    return arith.contiguous(a, out.dtype).reshape(-1, *a.shape[-2:])
