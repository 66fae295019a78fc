"""Products of matrices and of batches of matrices, for arrays with any strides (strided.py)."""

from . import strided
from .arith import sum  # noqa: F401 (re-exported)
from .kernels import kernel
from .ptx import global_index
from .strided import locate


@kernel("(int64, const T[::1], const T[::1], T[::1], int64, int64, int64, UniTuple(int64, 4),"
        " UniTuple(int64, 5), UniTuple(int64, 5), UniTuple(int64, 2), UniTuple(int64, 2))")
def _matmul(count, a, b, out, n, m, p, batch, a_place, b_place, a_steps, b_steps):
    item = global_index()
    if item < count:
        i, j = item // p % n, item % p
        row = locate(item // (n * p), batch, a_place) + i * a_steps[0]
        column = locate(item // (n * p), batch, b_place) + j * b_steps[1]
        total = out.dtype.type(0)
        for k in range(m):
            total += a[row + k * a_steps[1]] * b[column + k * b_steps[0]]
        out[item] = total


def matmul(a, b, out):
    """out (..., n, p) = a (..., n, m) @ b (..., m, p), with broadcasting. `out` is contiguous."""
    batch, operands = out.shape[:-2], []
    for x in (a, b):
        steps = tuple(0 if n == 1 else s for n, s in zip(x.shape[:-2], x.strides[:-2]))
        operands.append((x.start, (0,) * (len(batch) - len(steps)) + steps))
    _matmul(out.size, a.memory, b.memory, out.reshape(-1), out.shape[-2], a.shape[-1], out.shape[-1],
            *strided.layout(batch, *operands), tuple(a.strides[-2:]), tuple(b.strides[-2:]))
