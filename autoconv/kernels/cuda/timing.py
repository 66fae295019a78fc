"""Measures how long work takes on a GPU, with the GPU's own clock."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from . import array as arrays
from .kernels import cuda, kernel
from .ptx import global_index
from .runtime import Gpu


@kernel("(int64, const T[::1], int64)")
def _rest(count, nothing, microseconds):
    """Occupies the stream for about this many microseconds. `nothing` only selects the GPU."""
    if global_index() < count:
        for _ in range(microseconds):
            cuda.nanosleep(np.uint32(1000))


def measure_time(gpu: Gpu, work: Callable[[], Any], repeats: int) -> float:
    """Returns how many seconds one call of `work` keeps the GPU busy: the mean of `repeats`
    consecutive calls.

    A launch takes the host longer than a small kernel takes the GPU. So the stream is delayed until
    all calls are launched. A stream holds about 1000 launches. If `work` itself waits for the
    GPU, the waiting time is included.
    """
    ahead = _measure_launches(gpu, work, repeats)
    begin, end = cuda.event(), cuda.event()
    _rest(1, arrays.empty(gpu, (1,), np.dtype("float32")), int(2e6 * ahead) + 100)
    begin.record(gpu.stream)
    for _ in range(repeats):
        work()
    end.record(gpu.stream)
    end.synchronize()
    return cuda.event_elapsed_time(begin, end) / 1e3 / repeats


def _measure_launches(gpu: Gpu, work: Callable[[], Any], repeats: int) -> float:
    """Returns the seconds that the host needs to launch all calls. This also warms up the GPU."""
    gpu.synchronize()
    start = time.perf_counter()
    for _ in range(repeats):
        work()
    ahead = time.perf_counter() - start
    gpu.synchronize()
    return ahead
