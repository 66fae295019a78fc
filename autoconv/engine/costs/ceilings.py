"""Measures this machine's speed limits (ceilings), and compares the speed of kernels with them."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ...kernels.device import Device
from . import stats, timing

ROUND = 0.001  # seconds per try; a round uses the fastest of three tries


class Ceilings:
    """Measures the top speed of all threads together, for multiply-adds in registers and for memory copies."""

    def __init__(self, device: Device) -> None:
        self._k = device.module("ceilings")
        self._tasks = device.get_num_threads()
        self._x = np.array([0.999, 0.001], np.float32)
        self._start = np.full((self._tasks, self._k.items(self._x.dtype)), 0.5, np.float32)
        self._y = np.empty_like(self._start)
        self._rounds = 50_000  # loop passes per call: the call overhead is negligible even on a busy machine
        self._rounds *= timing.repetitions(self._multiply_add, ROUND)
        self._copies: dict[int, tuple[Callable[[], None], int]] = {}

    def flops(self) -> float:
        """Measures the floating-point operations per second of multiply-adds in registers."""
        return 2 * self._start.size * self._rounds / timing.best(self._multiply_add, 1)

    def bandwidth(self, size: int) -> float:
        """Measures the bytes per second of a copy that reads and writes `size` bytes. Small copies stay in cache."""
        if size not in self._copies:
            source = np.ones(max(1, size // 8), np.float32)
            target = np.empty_like(source)

            def copy() -> None:
                self._k.copy(source, target)

            self._copies = {size: (copy, timing.repetitions(copy, ROUND))}  # only the last buffers: they may be large
        copy, count = self._copies[size]
        return 2 * 4 * max(1, size // 8) / timing.best(copy, count)

    def _multiply_add(self) -> None:
        self._k.multiply_add(self._x, self._start, self._y, self._rounds)


class Share(NamedTuple):
    """A kernel's times in seconds, the ceilings, and the fraction of a ceiling that the kernel reaches, per round."""

    seconds: list[float]
    peak_flops: list[float]
    peak_bandwidth: list[float]
    fractions: list[float]


def share(ceilings: Ceilings, call: Callable[[], Any], flops: float, size: int, rounds: int) -> Share:
    """Measures `call` and the two ceilings alternately. A round's fraction is the least time that the call's operations
    and bytes need at that round's ceilings, divided by the call's time. Noise affects all three measurements alike.
    """
    count = timing.repetitions(call, ROUND)
    result = Share([], [], [], [])
    for _ in range(rounds):
        peak = ceilings.flops()
        bandwidth = ceilings.bandwidth(size)
        seconds = timing.best(call, count)
        for values, value in zip(result, (seconds, peak, bandwidth, max(flops / peak, size / bandwidth) / seconds)):
            values.append(value)
    return result


def summarize(result: Share, flops: float, size: int) -> dict[str, Any]:
    """Returns a `Share` as plain data: times, median speeds, ceilings and fractions."""
    median = stats.spread(result.seconds)["median"]
    peak = _median(result.peak_flops)
    bandwidth = _median(result.peak_bandwidth)
    return {
        "seconds": result.seconds, "flops": flops, "bytes": size,
        "gflops": flops / median / 1e9, "gbytes_per_s": size / median / 1e9,
        "ceiling_gflops": peak / 1e9, "ceiling_gbytes_per_s": bandwidth / 1e9,
        "bound": "arithmetic" if flops / peak > size / bandwidth else "bandwidth",
        "fraction": stats.spread(result.fractions),
    }


def _median(values: Sequence[float]) -> float:
    return stats.spread(values)["median"]
