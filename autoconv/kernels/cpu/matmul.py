"""Products of matrices and of batches of matrices, on the register tiles of the dense layer.

NumPy's BLAS adds in an order that depends on the processor and on the number of threads.
"""

import numpy as np

from . import arith, dense
from .arith import sum  # noqa: F401 (re-exported)
from .jit import record_calls

Array = np.ndarray


@record_calls
def _multiply_by_numpy(a: Array, b: Array, out: Array) -> None:
    np.matmul(a, b, out=out)


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
        dense.multiply_batch(_batch(a, out), _batch(b, out), out.reshape(-1, n, p))


def _batch(a: Array, out: Array) -> Array:
    """Returns the matrices of `a`, (1,N,C) or one for each of out's, as a contiguous array."""
    if a.size != a.shape[-2] * a.shape[-1] and a.shape[:-2] != out.shape[:-2]:
        a = np.broadcast_to(a, (*out.shape[:-2], *a.shape[-2:]))
    return arith.contiguous(a, out.dtype).reshape(-1, *a.shape[-2:])
