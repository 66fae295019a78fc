"""This machine's own ceilings, and how close to them something comes."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ...kernels.device import Device
from . import stats, timing

ROUND = 0.001  # seconds that one try takes; a round takes the best of three


class Ceilings:
    """The two loops that nothing outruns: multiply-adds in registers, and copying memory, both on all threads."""

    def __init__(self, device: Device) -> None:
        self._k = device.module("ceilings")
        self._tasks = device.get_num_threads()
        self._x = np.array([0.999, 0.001], np.float32)
        self._start = np.full((self._tasks, self._k.items(self._x.dtype)), 0.5, np.float32)
        self._y = np.empty_like(self._start)
        self._rounds = 50_000  # in one call, so that calling costs nothing, also where others use the processors
        self._rounds *= timing.repetitions(self._multiply_add, ROUND)
        self._copies: dict[int, tuple[Callable[[], None], int]] = {}

    def flops(self) -> float:
        """Multiply-adds from registers: floating-point operations a second, now."""
        return 2 * self._start.size * self._rounds / timing.best(self._multiply_add, 1)

    def bandwidth(self, size: int) -> float:
        """Bytes read and written a second, now, by a copy that touches `size` bytes: small ones stay in a cache."""
        if size not in self._copies:
            source = np.ones(max(1, size // 8), np.float32)
            target = np.empty_like(source)

            def copy() -> None:
                self._k.copy(source, target)

            self._copies = {size: (copy, timing.repetitions(copy, ROUND))}  # the last one alone: they can be large
        copy, count = self._copies[size]
        return 2 * 4 * max(1, size // 8) / timing.best(copy, count)

    def _multiply_add(self) -> None:
        self._k.multiply_add(self._x, self._start, self._y, self._rounds)


class Share(NamedTuple):
    """A kernel against its ceiling, round by round."""

    seconds: list[float]
    peak_flops: list[float]
    peak_bandwidth: list[float]
    fractions: list[float]


def share(ceilings: Ceilings, call: Callable[[], Any], flops: float, size: int, rounds: int) -> Share:
    """Runs `call` and the two ceilings in turns. Its fraction in a round is the least time that its operations and
    its bytes can take at the ceilings of that same round, divided by the time it took: noise hits all three alike.
    """
    count = timing.repetitions(call, ROUND)
    result = Share([], [], [], [])
    for _ in range(rounds):
        peak = ceilings.flops()
        bandwidth = ceilings.bandwidth(size)
        taken = timing.best(call, count)
        for values, value in zip(result, (taken, peak, bandwidth, max(flops / peak, size / bandwidth) / taken)):
            values.append(value)
    return result


def summed_up(found: Share, flops: float, size: int) -> dict[str, Any]:
    """A share as the results have it."""
    median = stats.spread(found.seconds)["median"]
    peak = _median(found.peak_flops)
    bandwidth = _median(found.peak_bandwidth)
    return {
        "seconds": found.seconds, "flops": flops, "bytes": size,
        "gflops": flops / median / 1e9, "gbytes_per_s": size / median / 1e9,
        "ceiling_gflops": peak / 1e9, "ceiling_gbytes_per_s": bandwidth / 1e9,
        "bound": "arithmetic" if flops / peak > size / bandwidth else "bandwidth",
        "fraction": stats.spread(found.fractions),
    }


def _median(values: Sequence[float]) -> float:
    return stats.spread(values)["median"]
