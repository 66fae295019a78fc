"""Measures times of a run: the seconds since the process started, and the seconds per epoch."""

import os
import statistics
import time
from pathlib import Path
from typing import Any

from ...callbacks import Callback
from ...files.json_text import JsonObject


def _process_start() -> float:
    """Returns the time when this process started; outside Linux, the time of this call."""
    now = time.perf_counter()
    try:
        ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
        uptime = float(Path("/proc/uptime").read_text().split()[0])
        return now - (uptime - ticks / os.sysconf("SC_CLK_TCK"))
    except (OSError, ValueError, IndexError, AttributeError):
        return now


PROCESS_START = _process_start()


def seconds_since_start() -> float:
    """Returns the seconds since the process started."""
    return time.perf_counter() - PROCESS_START


class Stopwatch(Callback):
    """Measures the seconds in which `fit` prepares kernels, ends the first step and trains in each epoch."""

    def __init__(self) -> None:
        self.epoch_seconds: list[float] = []
        self.first_step: float | None = None
        self._steps = 0  # steps started in this process
        self._creation_time = time.perf_counter()

    def on_train_begin(self, logs: Any = None) -> None:
        if not self.epoch_seconds:  # not in a second call of fit
            self.compile_s = time.perf_counter() - self._creation_time

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._epoch_start = time.perf_counter()

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        self._steps += 1
        if self._steps == 2 and self.first_step is None:
            self.first_step = seconds_since_start()  # the first step has just ended

    def on_test_begin(self, logs: object = None) -> None:
        self._test_start = time.perf_counter()

    def on_test_end(self, logs: object = None) -> None:
        self._epoch_start += time.perf_counter() - self._test_start

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.epoch_seconds.append(time.perf_counter() - self._epoch_start)
        if self.first_step is None:  # the epoch has only one step
            self.first_step = seconds_since_start()

    def get_state(self) -> JsonObject:
        start = getattr(self, "_epoch_start", time.perf_counter())
        return {"epoch_seconds": list(self.epoch_seconds), "under_way": time.perf_counter() - start}

    def set_state(self, state: Any) -> None:
        self.epoch_seconds = list(state["epoch_seconds"])
        self._epoch_start = time.perf_counter() - state["under_way"]

    def median_epoch(self, first: int) -> float:
        """Returns the median seconds of an epoch, without the first `first` epochs unless there are no others."""
        return statistics.median(self.epoch_seconds[first:] or self.epoch_seconds)
