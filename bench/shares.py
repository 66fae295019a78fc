"""Measures each thread's share of the work in a kernel. All shares of a parallel region run on one
thread, one after the other.

Compiled kernels call `numba_parallel_for` for each parallel region, with a schedule that has one row
per thread. This module replaces that function by one that runs the rows in order and times each
row. Thus it measures the shares that the kernels really distribute, for any number of threads and on
any machine.
"""

import ctypes
import os
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

# The parameters of numba_parallel_for are pointers to the region's function, its arguments,
# dimensions, steps and data, and then three numbers: dimensions except the first, arrays, threads.
_LAUNCH = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 5, *[ctypes.c_ssize_t] * 3)
_REGION = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 4)
_SIZES, _POINTERS = ctypes.POINTER(ctypes.c_ssize_t), ctypes.POINTER(ctypes.c_void_p)

# A call is measured until ENOUGH nanoseconds have passed or MOST_ROUNDS rounds are complete.
ENOUGH, MOST_ROUNDS = 5_000_000, 50

# for each parallel region of the running call: its nanoseconds, and the nanoseconds of its shares
_regions: list[tuple[int, np.ndarray]] = []


class CallTimes(NamedTuple):
    """A call's processor time in nanoseconds: the time outside its parallel regions, and the time of
    each thread in each region.
    """

    serial: int
    regions: list[np.ndarray]

    @property
    def work(self) -> int:
        return self.serial + sum(int(shares.sum()) for shares in self.regions)

    @property
    def longest(self) -> int:
        """The minimum nanoseconds of a call if every thread has a core. Each region then takes as long
        as its largest share.
        """
        return self.serial + sum(int(shares.max()) for shares in self.regions)


def watch(most_threads: int) -> None:
    """Makes all kernels run on this thread only, with their work divided for up to `most_threads`
    threads. Must be called before the first kernel runs.
    """
    os.environ["NUMBA_NUM_THREADS"] = str(most_threads)
    import llvmlite.binding
    from numba.np.ufunc import parallel

    parallel._launch_threads()
    llvmlite.binding.add_symbol("numba_parallel_for", ctypes.cast(_one_by_one, ctypes.c_void_p).value)


@_LAUNCH
def _one_by_one(function: int, args: int, dimensions: int, steps: int, data: int, inner: int, arrays: int,
                threads: int) -> None:
    """Replaces `numba_parallel_for`: runs and times all shares of a parallel region on this thread."""
    clock = time.thread_time_ns
    entered, run = clock(), _REGION(function)
    first, step, sizes = ctypes.cast(args, _POINTERS), ctypes.cast(steps, _SIZES), ctypes.cast(dimensions, _SIZES)
    shares, count = np.empty(sizes[0], np.int64), (ctypes.c_ssize_t * (inner + 1))(1, *sizes[1 : inner + 1])
    here = (ctypes.c_void_p * arrays)(*first[:arrays])
    apart = [(j, step[j]) for j in range(arrays) if step[j]] if len(shares) > 1 else []
    ctypes.cast(data, _SIZES)[2] = 1  # no row takes over others' iterations (kernels/cpu/loops.py)
    for row in range(len(shares)):
        for j, gap in apart:
            here[j] = (first[j] or 0) + row * gap
        start = clock()
        run(ctypes.addressof(here), ctypes.addressof(count), steps, data)
        shares[row] = clock() - start
    _regions.append((clock() - entered, shares))


def time_call(function: Callable, arguments: tuple, rounds: int, entry: int = 0) -> CallTimes:
    """Measures a call at least `rounds` times, and short calls more often. Returns the minimum time of
    each share. entry: nanoseconds that this module adds per region, which are subtracted.
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
    """Returns the nanoseconds that entering a parallel region costs outside the region."""
    from autoconv.kernels.cpu import pointwise

    x = np.zeros(2 * pointwise.FEW, np.float32)  # large enough for a parallel region
    return time_call(pointwise.relu, (x, x), 300).serial
