"""Measures the times of calls."""

import time
from collections.abc import Callable
from typing import Any


def repetitions(call: Callable[[], Any], seconds: float) -> int:
    """Returns the number of runs of `call` that take about `seconds`. The trial runs also serve as a warm-up."""
    call()
    count = 1
    while True:
        elapsed = time_call(call, count) * count
        if elapsed >= seconds / 4:
            return max(1, round(count * seconds / elapsed))
        count *= 4


def best(call: Callable[[], Any], count: int, tries: int = 3) -> float:
    """Returns the seconds per call in the fastest of a few tries: other programs only add time."""
    return min(time_call(call, count) for _ in range(tries))


def time_call(call: Callable[[], Any], count: int) -> float:
    """Returns the mean time of `count` calls, in seconds."""
    start = time.perf_counter()
    for _ in range(count):
        call()
    return (time.perf_counter() - start) / count
