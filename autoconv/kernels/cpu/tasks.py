"""How the work of a kernel is cut into tasks: enough for many threads, few where each costs something.

A weight gradient is a sum over the batch. It is made of partial sums over fixed shares of the samples, which are added
in order. How many follows from shapes alone, so that the number of threads changes no bit. A partial sum must be
written, read and added up: that pays where its own sum is long, and where all of them stay in a core's cache. Where
there are fewer of them than threads, each is cut into blocks of its result, as a forward pass is: no sum depends on the
blocks, so the threads may decide.
"""

from math import lcm

from ..threads import get_num_threads
from . import simd
from .jit import inline

MOST, USUAL, LEAST = 32, 8, 2  # how many partial sums there are, never more than samples
ROWS = 512  # where they are more than LEAST, each is over so many pixels or rows, or more
ROOM = 1 << 17  # where they are more than USUAL, all of them together have no more items than these
SMALL = 3 << 17  # multiply-adds that one thread has made before a second one has begun
EVEN = 0.9  # share of the threads' time that must be work for tasks not to be cut smaller
BLOCK = lcm(simd.TILE[0], simd.NARROW[0])  # rows of a weight gradient that fill the tiles of both kinds


def parts(samples: int, rows: int, size: int) -> int:
    """How many partial sums a weight gradient of `size` items over that many rows of so many samples has: a power of
    two, but never more than there are samples.
    """
    wanted = max(LEAST, min(MOST, rows // ROWS, max(USUAL, ROOM // size)))
    return min(samples, 1 << (wanted.bit_length() - 1))


def evenness(tasks: int) -> float:
    """Which share of the threads' time is work, where each gets as many of `tasks` equal ones, or one more or less."""
    threads = get_num_threads()
    return tasks / (threads * -(-tasks // threads)) if tasks else 1.0  # an empty batch


def pieces(tasks: int, most: int) -> int:
    """In how many pieces, at most that many, each of `tasks` tasks is cut so that they fall evenly on the threads. Only
    for tasks in which no sum depends on that.
    """
    most = max(1, min(most, 2 * get_num_threads()))
    return next((n for n in range(1, most + 1) if evenness(tasks * n) >= EVEN),
                max(range(1, most + 1), key=lambda n: evenness(tasks * n)))


def at_a_time(samples: int, most: int) -> int:
    """How many samples, at most that many, make a task, so that these fall evenly on the threads. Only where no sum
    depends on that.
    """
    threads = get_num_threads()
    longest = {n: -(-samples // n // threads) * n for n in range(1, most + 1)}
    return max(n for n in longest if longest[n] * EVEN <= min(longest.values()))


@inline
def loops(rows, work, few):
    """How many tasks so many rows are: one each, or a single one where all of them are no more than `few` items."""
    return rows if work > few else min(rows, 1)


@inline
def piece(rows, i, count, block):
    """The rows of the i-th of `count` pieces: whole blocks, but for the last one's."""
    blocks = (rows + block - 1) // block
    return min(rows, blocks * i // count * block), min(rows, blocks * (i + 1) // count * block)
