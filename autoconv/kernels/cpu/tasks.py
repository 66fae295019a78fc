"""Divides the work of a kernel into tasks: enough tasks for all threads, but few if each task adds
a cost.

A weight gradient is a sum over the batch. It is split into partial sums over fixed fractions of the
samples, which are added in order. The number of partial sums follows from shapes only, so results
have the same bits for any number of threads. A partial sum must be written, read and added up. That
is worthwhile if the partial sum is long and if all partial sums stay in a core's cache.

If there are fewer partial sums than threads, each partial sum is split into blocks of elements. No
sum depends on these blocks, so the number of blocks may depend on the number of threads.

Choices that change the order of a sum are made as for AVX-512 on every processor, so that results
have the same bits everywhere.
"""

from math import lcm

import numpy as np

from ..threads import get_num_threads
from . import simd
from .jit import inline

# maximum, usual and minimum number of partial sums, but never more than samples
MOST, USUAL, LEAST = 32, 8, 2
ROWS = 512  # minimum number of pixels or rows per partial sum, if there are more than LEAST sums
# maximum number of elements of all partial sums together, if there are more than USUAL sums
ROOM = 1 << 17
# number of multiply-adds that one thread computes in the time that a second thread needs to start
SMALL = 3 << 17
EVEN = 0.9  # minimum fraction of the threads' time spent on work; below it, tasks are split further
WIDEST_BYTES = 64  # size of AVX-512's vectors
WIDEST_TILE = 4  # number of vectors in a row of AVX-512's wide tile
BLOCK = lcm(simd.TILE[0], simd.NARROW[0])  # rows of a weight gradient that fill both kinds of tiles


def widest_lanes(dtype) -> int:
    """Returns the number of elements of this dtype in a vector of AVX-512."""
    return int(WIDEST_BYTES // np.dtype(dtype).itemsize)


def widest_tile(dtype) -> int:
    """Returns the number of columns of AVX-512's wide tile."""
    return WIDEST_TILE * widest_lanes(dtype)


def parts(samples: int, rows: int, size: int) -> int:
    """Returns the number of partial sums for a weight gradient of `size` elements over `rows` rows
    of `samples` samples: a power of two, but never more than there are samples.
    """
    count = max(LEAST, min(MOST, rows // ROWS, max(USUAL, ROOM // size)))
    return min(samples, 1 << (count.bit_length() - 1))


def evenness(tasks: int) -> float:
    """Returns the fraction of the threads' time that is spent on work if `tasks` equal tasks are
    distributed as evenly as possible.
    """
    threads = get_num_threads()
    return tasks / (threads * -(-tasks // threads)) if tasks else 1.0  # 1.0 for an empty batch


def pieces(tasks: int, most: int) -> int:
    """Returns the number of pieces, at most `most`, into which to split each of `tasks` tasks, so
    that all pieces are distributed evenly over the threads. Only for tasks whose sums do not depend
    on this number.
    """
    most = max(1, min(most, 2 * get_num_threads()))
    return next((n for n in range(1, most + 1) if evenness(tasks * n) >= EVEN),
                max(range(1, most + 1), key=lambda n: evenness(tasks * n)))


def choose_chunk_size(samples: int, most: int) -> int:
    """Returns the number of samples per task, at most `most`, for which tasks are distributed
    evenly over the threads. Only for tasks whose sums do not depend on this number.
    """
    threads = get_num_threads()
    longest = {n: -(-samples // n // threads) * n for n in range(1, most + 1)}
    return max(n for n in longest if longest[n] * EVEN <= min(longest.values()))


@inline
def loops(rows, work, grain):
    """Returns the number of tasks for `rows` rows: one task per row, or a single task if `work` is
    at most `grain`.
    """
    return rows if work > grain else min(rows, 1)


@inline
def piece(rows, i, count, block):
    """Returns the first row of piece number i of `count` pieces, and the row after its last. All
    pieces except the last one are whole blocks of `block` rows.
    """
    blocks = (rows + block - 1) // block
    return min(rows, blocks * i // count * block), min(rows, blocks * (i + 1) // count * block)
