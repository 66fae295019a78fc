"""Shuffles the samples of an epoch on the GPU. The order is the same as on the host
(random.permutation), where it results from a stable sort of 64-bit random numbers.

A sample's position is the number of samples that precede it. Each sample is compared with all
others. On a GPU this takes less time than sorting on the host and copying: about 0.6 ms for 60,000
samples on 132 multiprocessors, estimated from the instruction count.
"""

import numpy as np

from . import random
from .array import Array, empty
from .kernels import block_kernel, cuda

TILE = 256  # samples per block; the block compares them with this many samples at a time
# maximum number of samples; for more, the host sorts, as the GPU's work grows quadratically
MOST = 1 << 18


@block_kernel("(int64, const uint64[::1], int64[::1])", TILE, dtypes=("float32",))
def _place(count, keys, order):
    smem, thread = cuda.shared.array(TILE, np.uint64), cuda.threadIdx.x
    i = cuda.blockIdx.x * TILE + thread
    mine, place = keys[min(i, count - 1)], 0
    for start in range(0, count, TILE):
        if start + thread < count:
            smem[thread] = keys[start + thread]
        cuda.syncthreads()
        for j in range(min(TILE, count - start)):
            if smem[j] < mine or (smem[j] == mine and start + j < i):
                place += 1
        cuda.syncthreads()
    if i < count:
        order[place] = i


def permute(seed: int, stream: int, order: Array) -> bool:
    """Writes 0..n-1 to `order` in the random order given by (seed, stream). Returns False, without
    writing, if there are no samples or too many; then the host must compute the order.
    """
    n = order.shape[0]
    if not 0 < n <= MOST:
        return False
    # a block of four 32-bit random words has two keys
    keys = empty(order.gpu, (n + n % 2,), np.dtype(np.uint64))
    random.bits(keys, seed, stream, 0)
    place(keys, order)
    return True


def place(keys: Array, order: Array) -> None:
    """order = the indices that sort the keys in ascending order."""
    n = order.shape[0]
    _place((-(-n // TILE),), n, keys, order)
