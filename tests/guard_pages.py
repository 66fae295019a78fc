"""Runs every op of the case table on arrays that end, or begin, at a page that may not be touched.

`python guard_pages.py end|begin` exits with 0 when no kernel reads or writes outside an array: one stray access kills
the process. `python guard_pages.py stray` makes one on purpose. The loads of the register tile are LLVM intrinsics
that NUMBA_BOUNDSCHECK does not see, so this is how they are checked.
"""

import ctypes
import mmap
import sys

import numpy as np

libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
concatenate = np.concatenate


def guarded(shape, dtype=np.float64, at="end"):
    """An array of NaN or -1 between two forbidden pages, touching the one behind it or the one before it."""
    shape = (shape,) if isinstance(shape, int) else tuple(shape)
    dtype = np.dtype(dtype)
    size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    room = -(-max(size, 1) // mmap.PAGESIZE) * mmap.PAGESIZE
    start = libc.mmap(None, room + 2 * mmap.PAGESIZE, mmap.PROT_READ | mmap.PROT_WRITE,
                      mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0)
    for page in (start, start + mmap.PAGESIZE + room):
        if libc.mprotect(page, mmap.PAGESIZE, 0):
            raise OSError(ctypes.get_errno(), "mprotect")
    first = start + mmap.PAGESIZE + (room - size if at == "end" else 0)
    array = np.frombuffer((ctypes.c_char * size).from_address(first), dtype).reshape(shape)
    array[...] = np.nan if dtype.kind == "f" else np.zeros((), dtype) - 1
    return array


def copied(array, at):
    result = guarded(np.shape(array), array.dtype, at)
    result[...] = array
    return result


def for_kernels(special, usual):
    """`special` where a kernel's file calls, `usual` for everybody else."""

    def call(*args, **options):
        caller = sys._getframe(1).f_globals.get("__name__", "")
        return (special if caller.startswith("autoconv.backend") else usual)(*args, **options)

    return call


def main(at):
    """Every case forward and backward, in both precisions."""
    import autoconv.backend.device
    from autoconv.tensor import Tensor

    autoconv.backend.device.aligned_empty = lambda shape, dtype: guarded(shape, dtype, at)
    np.empty = for_kernels(lambda shape, dtype=np.float64: guarded(shape, dtype, at), np.empty)
    np.concatenate = for_kernels(lambda arrays: copied(concatenate(arrays), at), concatenate)
    from cases import CASES, WITHOUT_GRADIENT

    for case in (*CASES, *WITHOUT_GRADIENT):
        for dtype in ("float32", "float64"):
            inputs = [None if a is None else Tensor(copied(a, at), requires_grad=True) for a in case.inputs(dtype)]
            y = case.call(*inputs, **case.parameters)
            if y.requires_grad:
                y.backward(copied(np.ones(y.shape, y.dtype), at))


def stray():
    """Reads the tile's rows one item past the end of their table."""
    import numba

    from autoconv.backend.cpu import simd

    @numba.njit
    def read(table, x):
        tile = simd.zeros(x, 1, 1)
        stray = simd.rows(table, 1, 2, tile)
        simd.store(simd.fma(tile, x, stray, 0, x, 0), x, stray, 0, 1)

    read(guarded(1, np.int64), guarded(1024, np.float32))


if __name__ == "__main__":
    stray() if sys.argv[1] == "stray" else main(sys.argv[1])
