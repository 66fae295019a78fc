"""Launches that were noted once and run again as one CUDA graph, with the numbers that change from run to run."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ..recording import Recording
from . import array as arrays
from .array import Array
from .runtime import Gpu

SLOTS = 64  # numbers of one type that a recording can let vary


class GpuRecording(Recording):
    """The launches on one GPU. The first `again` captures them as a graph; where that fails they go one by one.

    A launch is noted with its numbers. Those that change lie in the GPU's memory instead: `vary` says where, and each
    run draws them anew and sends them there before it starts.
    """

    def __init__(self, gpu: Gpu) -> None:
        super().__init__()
        self._gpu, self._numbers = gpu, {}  # type: ignore[var-annotated]
        self._run: Callable[[], None] | None = None

    def vary(self, draw: Callable[[], Any], dtype: Any) -> Any:
        """An array of one item that holds `draw()`; where that is a tuple, one for each of its numbers."""
        numbers = self._numbers.setdefault(np.dtype(dtype), _Numbers(self._gpu, np.dtype(dtype)))
        with self._gpu.aside():
            return numbers.add(draw)

    def again(self) -> None:
        if self._run is None:
            launches: list[Any] = [launch for launch, _ in self.calls]
            self._run = self._gpu.capture(launches) or super().again
        for numbers in self._numbers.values():
            numbers.draw()
        self._run()


class _Numbers:
    """Numbers of one type that are drawn anew for each run."""

    def __init__(self, gpu: Gpu, dtype: np.dtype) -> None:
        self._host, self._there = np.zeros(SLOTS, dtype), arrays.empty(gpu, (SLOTS,), dtype)
        self._draws: list[tuple[slice, Callable[[], Any]]] = []
        self._used = 0

    def add(self, draw: Callable[[], Any]) -> tuple[Array, ...] | Array:
        first = draw()
        start, self._used = self._used, self._used + np.size(first)
        if self._used > SLOTS:
            raise OverflowError(f"A recording can let {SLOTS} numbers of a type vary. Received: {self._used}.")
        self._draws.append((slice(start, self._used), draw))
        self._host[start : self._used] = first
        arrays.write(self._host, self._there)
        places = tuple(self._there[i : i + 1] for i in range(start, self._used))
        return places if isinstance(first, tuple) else places[0]

    def draw(self) -> None:
        for where, draw in self._draws:
            self._host[where] = draw()
        arrays.write(self._host, self._there)


@contextlib.contextmanager
def recording(gpu: Gpu) -> Iterator[GpuRecording]:
    """Within this block every launch on this GPU is noted; copies from or to the host make it less than whole."""
    before, gpu.noted = gpu.noted, GpuRecording(gpu)
    try:
        yield gpu.noted
    finally:
        gpu.noted = before
