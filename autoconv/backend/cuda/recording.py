"""Launches that were noted once and run again as one CUDA graph, with the numbers that change from run to run."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ..recording import Recording
from . import array as arrays
from .array import Array
from .runtime import Gpu

SLOTS = 64  # numbers that a recording can let vary, of 8 bytes each


class GpuRecording(Recording):
    """The launches on one GPU. The first `again` captures them as a graph; where that fails they go one by one.

    A launch is noted with its numbers. Those that change lie in the GPU's memory instead: `vary` says where, and each
    run draws them anew and sends them there before it starts.
    """

    def __init__(self, gpu: Gpu) -> None:
        super().__init__()
        self._gpu, self._host, self._there = gpu, np.zeros(SLOTS, np.uint64), arrays.empty(gpu, (SLOTS,), np.uint64)
        self._draws: list[tuple[np.ndarray, Callable[[], Any]]] = []
        self._used = 0
        self._graph: Callable[[], None] | None = None
        self._captured = False

    def vary(self, draw: Callable[[], Any], dtype: Any) -> Any:
        """An array of one item that holds `draw()`; where that is a tuple, one for each of its numbers.

        dtype: int64, uint64 or float64.
        """
        first = draw()
        start, stop = self._used, self._used + np.size(first)
        if stop > SLOTS:
            raise OverflowError(f"A recording can let {SLOTS} numbers vary. Received: {stop}.")
        self._used = stop
        host = self._host.view(dtype)[start : self._used]
        host[:] = first
        self._draws.append((host, draw))
        with self._gpu.aside():
            arrays.write(self._host, self._there)
        there = Array(self._there.base.view(dtype), 0, (SLOTS,), (1,), np.dtype(dtype))
        places = tuple(there[i : i + 1] for i in range(start, self._used))
        return places if isinstance(first, tuple) else places[0]

    def again(self) -> None:
        if not self._captured:
            launches: list[Any] = [launch for launch, _ in self.calls]
            self._graph = self._gpu.capture(launches, self._host[: self._used], self._there.native)
            self._captured = True
        for host, draw in self._draws:
            host[:] = draw()
        if self._graph is not None:
            self._gpu.enter()
            self._graph()
        else:
            arrays.write(self._host, self._there)
            super().again()


@contextlib.contextmanager
def recording(gpu: Gpu) -> Iterator[GpuRecording]:
    """Within this block every launch on this GPU is noted; copies from or to the host make it less than whole."""
    before, gpu.noted = gpu.noted, GpuRecording(gpu)
    try:
        yield gpu.noted
    finally:
        gpu.noted = before
