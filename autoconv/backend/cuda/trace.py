"""Traces on a GPU: sections of launches that are replayed as one captured CUDA graph."""

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import trace
from . import array as arrays
from .array import Array
from .runtime import Gpu

SLOTS = 64  # numbers of 8 bytes that one trace can let change


class CudaTrace(trace.Trace):
    """The launches on one GPU. The first replay of some sections captures them as one graph; where that fails, they go
    one by one.

    Dynamic scalars lie in the GPU's memory: each replay draws them and sends all in one copy before it starts.
    """

    def __init__(self, gpu: Gpu) -> None:
        super().__init__(gpu)
        self._host, self._used = np.zeros(SLOTS, np.uint64), 0
        with trace.aside():
            self._there = arrays.put(gpu, self._host)
        self._graphs: dict[tuple, tuple[list[trace.Section], Callable[[], None] | None]] = {}

    def dynamic(self, section: trace.Section, draw: Callable[[], Any], dtype: Any, count: int) -> Any:
        """An array of one item for each of the numbers of `draw()`; dtype: int64, uint64 or float64."""
        start, stop = self._used, self._used + count
        if stop > SLOTS:
            raise OverflowError(f"A trace can let {SLOTS} numbers change. Received: {stop}.")
        self._used = stop
        host = self._host.view(dtype)[start:stop]
        host[:] = draw()
        section.draws.append((draw, host))
        with trace.aside():
            arrays.write(self._host, self._there)
        there = Array(self._there.base.view(dtype), 0, (SLOTS,), (1,), np.dtype(dtype))
        places = tuple(there[i : i + 1] for i in range(start, stop))
        return places[0] if count == 1 else places

    def replay(self, *names: str) -> None:
        sections = [self.sections[name] for name in names]
        if not any(section.calls for section in sections):
            self._draw(sections)
            arrays.write(self._host, self._there)
            return
        captured = self._graphs.get(names)
        if captured is None or captured[0] != sections:
            launches: list[Any] = [launch for section in sections for launch, _ in section.calls]
            graph = self.owner.capture(launches, self._host[: self._used], self._there.native)
            captured = self._graphs[names] = sections, graph
        self._draw(sections)
        if captured[1] is not None:
            self.owner.enter()
            captured[1]()
            return
        arrays.write(self._host, self._there)
        for section in sections:
            for launch, _ in section.calls:
                launch()

    @staticmethod
    def _draw(sections: list[trace.Section]) -> None:
        for section in sections:
            for draw, host in section.draws:
                host[:] = draw()
