"""Traces on a GPU: sections of launches that are replayed as one captured CUDA graph."""

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import trace
from ..turns import turn
from . import array as arrays
from .array import Array
from .runtime import Gpu

SLOTS = 256  # numbers of 8 bytes that the sections of one trace can let change


class CudaTrace(trace.Trace):
    """The launches on one GPU. Sections that are replayed together for the second time are captured as one graph; until
    then, and where that fails, their launches go one by one.

    Dynamic scalars lie in the GPU's memory: each replay draws them and sends all in one copy before it starts.
    """

    def __init__(self, gpu: Gpu) -> None:
        super().__init__(gpu)
        self._host, self._free = np.zeros(SLOTS, np.uint64), list(range(SLOTS))
        with trace.aside():
            self._there = arrays.put(gpu, self._host)
        self._graphs: dict[tuple[str, ...], Callable[[], None] | None] = {}
        self._replayed: set[tuple[str, ...]] = set()

    def dynamic(self, section: trace.Section, draw: Callable[[], Any], dtype: Any, count: int) -> Any:
        """An array of one item for each of the numbers of `draw()`; dtype: int64, uint64 or float64. Where there is no
        room for them, the section becomes incomplete.
        """
        if count > len(self._free):
            section.stop(f"more than {len(self._host)} numbers change from step to step")
            return draw()
        slots, self._free = self._free[:count], self._free[count:]
        numbers = self._host.view(dtype)
        numbers[slots] = draw()
        section.draws.append((draw, (numbers, slots)))
        with trace.aside():
            arrays.write(self._host, self._there)
        there = Array(self._there.base.view(dtype), 0, (len(self._host),), (1,), np.dtype(dtype))
        places = tuple(there[i : i + 1] for i in slots)
        return places[0] if count == 1 else places

    def replay(self, *names: str) -> None:
        sections = [self.sections[name] for name in names]
        with turn:
            for section in sections:
                for draw, (numbers, slots) in section.draws:
                    numbers[slots] = draw()
            self.owner.enter()
            graph = self._graph(names, sections)
            if graph is not None:
                graph()
                return
            if any(section.draws for section in sections):
                arrays.write(self._host, self._there)
            for section in sections:
                for launch, _ in section.calls:
                    launch()

    def forget(self, *names: str) -> None:
        for name in names:
            if name in self.sections:
                self._free += [slot for _, (_, slots) in self.sections[name].draws for slot in slots]
        self._free.sort()
        super().forget(*names)
        self._replayed = {key for key in self._replayed if not set(key) & set(names)}
        self._graphs = {key: graph for key, graph in self._graphs.items() if key in self._replayed}

    def _graph(self, names: tuple[str, ...], sections: list[trace.Section]) -> Callable[[], None] | None:
        """What replays these sections at once, numbers included; None before the second time, or where it fails."""
        if names not in self._graphs:
            launches: list[Any] = [launch for section in sections for launch, _ in section.calls]
            if names not in self._replayed or not launches:
                self._replayed.add(names)
                return None
            sent = [slot for section in sections for _, (_, slots) in section.draws for slot in slots]
            numbers = self._host[: 1 + max(sent, default=-1)]
            self._graphs[names] = self.owner.capture(launches, numbers, self._there.native)
        return self._graphs[names]
