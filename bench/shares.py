"""Measures each thread's share of the work in a kernel, on a single thread: the shares of a
parallel region run one after the other.

Compiled kernels call `numba_parallel_for` for each parallel region, with a schedule that has one
row per thread. This module replaces that function by one that runs the rows in order and times
each. So the shares are those that the kernels really distribute, for any number of threads and on
any machine, and tasks need not be counted separately.
"""

import ctypes
import os
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

# Parameters of numba_parallel_for: the region's function, its arguments, dimensions, steps and
# data; then the number of dimensions except the first, of arguments, and of threads.
_LAUNCH = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 5, *[ctypes.c_ssize_t] * 3)
_REGION = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 4)
_SIZES, _POINTERS = ctypes.POINTER(ctypes.c_ssize_t), ctypes.POINTER(ctypes.c_void_p)

# nanoseconds after which no further rounds are run, apart from the minimum; maximum number of
# rounds
ENOUGH, MOST_ROUNDS = 5_000_000, 50

# regions of the running call: nanoseconds of each region, and of its shares
_regions: list[tuple[int, np.ndarray]] = []


class CallTimes(NamedTuple):
    """Nanoseconds of processor time of a call: outside its parallel regions, and for each thread in
    each region.
    """

    serial: int
    regions: list[np.ndarray]

    @property
    def work(self) -> int:
        return self.serial + sum(int(shares.sum()) for shares in self.regions)

    @property
    def longest(self) -> int:
        """Returns the minimum duration of a call if every thread has a core: each region takes as
        long as its largest share.
        """
        return self.serial + sum(int(shares.max()) for shares in self.regions)


def watch(most_threads: int) -> None:
    """Runs all further kernels on this thread only, planned for up to `most_threads` threads. Call
    it before the first kernel runs.
    """
    os.environ["NUMBA_NUM_THREADS"] = str(most_threads)
    import llvmlite.binding
    from numba.np.ufunc import parallel

    parallel._launch_threads()
    llvmlite.binding.add_symbol("numba_parallel_for", ctypes.cast(_one_by_one, ctypes.c_void_p).value)


@_LAUNCH
def _one_by_one(function: int, args: int, dimensions: int, steps: int, data: int, inner: int, arrays: int,
                threads: int) -> None:
    """Runs on this thread what the threading layer distributes to its threads."""
    clock = time.thread_time_ns
    entered, run = clock(), _REGION(function)
    first, step, sizes = ctypes.cast(args, _POINTERS), ctypes.cast(steps, _SIZES), ctypes.cast(dimensions, _SIZES)
    shares, count = np.empty(sizes[0], np.int64), (ctypes.c_ssize_t * (inner + 1))(1, *sizes[1 : inner + 1])
    here = (ctypes.c_void_p * arrays)(*first[:arrays])
    apart = [(j, step[j]) for j in range(arrays) if step[j]] if len(shares) > 1 else []
    for row in range(len(shares)):
        for j, gap in apart:
            here[j] = (first[j] or 0) + row * gap
        start = clock()
        run(ctypes.addressof(here), ctypes.addressof(count), steps, data)
        shares[row] = clock() - start
    _regions.append((clock() - entered, shares))


def time_call(function: Callable, arguments: tuple, rounds: int, entry: int = 0) -> CallTimes:
    """Measures a call at least `rounds` times, short ones more often, and returns the minimum of
    each part. `entry`: the cost of entering a region here, which is not part of the call.
    """
    serial, regions, end = [], [], time.thread_time_ns() + ENOUGH
    while len(regions) < rounds or (len(regions) < MOST_ROUNDS and time.thread_time_ns() < end):
        _regions.clear()
        start = time.thread_time_ns()
        function(*arguments)
        serial.append(time.thread_time_ns() - start - sum(whole + entry for whole, _ in _regions))
        regions.append([shares for _, shares in _regions])
    return CallTimes(max(0, min(serial)), [np.min(same, axis=0) for same in zip(*regions)])


def cost_of_entry() -> int:
    """Returns the nanoseconds outside the region for a kernel that does nothing else."""
    from autoconv.kernels.cpu import pointwise

    x = np.zeros(2 * pointwise.FEW, np.float32)  # large enough for a parallel region
    return time_call(pointwise.relu, (x, x), 300).serial
