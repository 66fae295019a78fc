"""Traces on a GPU: sections of launches that are replayed as one captured CUDA graph, a series of replays as well."""

import warnings
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import numpy as np

from ...engine.errors import DeviceError
from .. import trace
from ..locks import kernel_lock
from . import array as arrays
from . import joining
from .array import Array
from .kernels import Launch
from .runtime import Gpu

SLOTS = 256  # numbers of 8 bytes that the sections of one trace can let change


class CudaTrace(trace.Trace):
    """The launches on one GPU. Sections that are replayed together for the second time are captured
    as one graph; until then, and where that fails, their launches go one by one.

    Dynamic scalars lie in the GPU's memory: each replay draws them and sends all in one copy before
    it starts. Of a series of replays all are drawn first and sent together; each replay in the
    graph reads its own row of them.
    """

    def __init__(self, gpu: Gpu, series: int) -> None:
        super().__init__(gpu)
        self._series = series  # replays that one graph holds
        self._host = np.zeros(SLOTS, np.uint64)
        self._free = list(range(SLOTS))
        with trace.aside():
            self._there = arrays.put(gpu, self._host)
        self._joined: dict[tuple[str, ...], list[Launch]] = {}
        self.views: dict[Any, Any] = {}  # the memory of `_there`, by the type of the numbers
        self._graphs: dict[tuple[str, ...], Callable[[], None] | None] = {}
        self._several: dict[tuple[str, ...], _Series] = {}
        self._replayed: set[tuple[str, ...]] = set()

    def dynamic(self, section: trace.Section, draw: Callable[[], Any], dtype: Any, count: int) -> Any:
        """An array of one item for each of the numbers of `draw()`; dtype: int64, uint64 or
        float64. Where there is no room for them, the section becomes incomplete.
        """
        if count > len(self._free):
            section.stop(f"more than {len(self._host)} numbers change from step to step")
            return draw()
        slots = self._free[:count]
        self._free = self._free[count:]
        numbers = self._host.view(dtype)
        where = slots[0] if count == 1 else slots  # an index alone costs a fraction of a list of them
        numbers[where] = draw()
        section.draws.append((draw, (numbers, where, slots)))
        with trace.aside():
            arrays.write(self._host, self._there)
        if dtype not in self.views:
            self.views[dtype] = self._there.base.view(dtype)
        there = Array(self.views[dtype], 0, (len(self._host),), (1,), np.dtype(dtype))
        places = tuple(there[i : i + 1] for i in slots)
        return places[0] if count == 1 else places

    def replay(self, *names: str) -> None:
        sections = [self.sections[name] for name in names]
        with kernel_lock:
            _draw(sections)
            self._launch(names, sections)

    def replay_series(self, names: tuple[str, ...], moves: Iterable[None]) -> None:
        """Replays these sections once for each item of `moves`, which does what comes before a
        replay's numbers are drawn. Nothing is launched before all are drawn.
        """
        sections = [self.sections[name] for name in names]
        with kernel_lock:
            used = self._used(sections)
            rows = np.empty((self._series, used), np.uint64)
            count = 0
            for _ in moves:
                _draw(sections)
                rows[count] = self._host[:used]
                count += 1
            several = self._in_series(names, sections) if count == self._series else None
            if several is not None:
                several.run(rows)
                return
            for row in rows[:count]:
                self._host[:used] = row
                self._launch(names, sections)

    def _launch(self, names: tuple[str, ...], sections: list[trace.Section]) -> None:
        """Runs the sections with the numbers that were drawn."""
        self.owner.enter()
        graph = self._graph(names, sections)
        if graph is not None:
            graph()
            return
        if any(section.draws for section in sections):
            arrays.write(self._host, self._there)
        for launch in self._launches(names, sections):
            launch()

    def forget(self, *names: str) -> None:
        for name in names:
            if name in self.sections:
                self._free += [slot for _, (*_, slots) in self.sections[name].draws for slot in slots]
        self._free.sort()
        super().forget(*names)
        self._replayed = {key for key in self._replayed if not set(key) & set(names)}
        self._joined = {key: joined for key, joined in self._joined.items() if not set(key) & set(names)}
        self._graphs = {key: graph for key, graph in self._graphs.items() if key in self._replayed}
        self._several = {key: several for key, several in self._several.items() if key in self._replayed}

    def _launches(self, names: tuple[str, ...], sections: list[trace.Section]) -> list[Launch]:
        """What replays these sections: what they launched, with some launches as one."""
        if names not in self._joined:
            launches: list[Any] = [launch for section in sections for launch, _ in section.calls]
            self._joined[names] = joining.joined(launches)
        return self._joined[names]

    def _graph(self, names: tuple[str, ...], sections: list[trace.Section]) -> Callable[[], None] | None:
        """What replays these sections at once, numbers included; None before the second time, or where it fails."""
        if names not in self._graphs:
            launches = self._launches(names, sections)
            if names not in self._replayed or not launches:
                self._replayed.add(names)
                return None
            numbers = self._host[: self._used(sections)]
            self._graphs[names] = self.captured(launches, numbers, self._there)
        return self._graphs[names]

    def captured(self, launches: list[Any], numbers: np.ndarray, there: Array) -> Callable[[], None] | None:
        """Launches as one graph, which takes `numbers` along; None, and a warning, where that fails."""
        try:
            graph = self.owner.capture(launches, numbers, there.native)
        except DeviceError as error:
            self.graphs.fail(str(error))
            warnings.warn(f"No CUDA graph could be made of a step: {error} Its kernels are launched one by one, which "
                          "gives the same results in more time.", RuntimeWarning, stacklevel=2)
            return None
        self.graphs.note(len(launches))
        return graph

    def _in_series(self, names: tuple[str, ...], sections: list[trace.Section]) -> "_Series | None":
        """What replays these sections several times at once; None before the second time, or where it fails."""
        if self._graph(names, sections) is None:
            return None
        if names not in self._several:
            launches = self._launches(names, sections)
            self._several[names] = _Series(self, launches, self._series, self._used(sections))
        return self._several[names] if self._several[names].graph is not None else None

    @staticmethod
    def _used(sections: list[trace.Section]) -> int:
        """How many of the numbers, from the first on, these sections can have."""
        return 1 + max((slot for section in sections for _, (*_, slots) in section.draws for slot in slots), default=-1)


class _Series:
    """Launches, so many times over, as one graph, each time with a row of numbers of its own."""

    def __init__(self, of: CudaTrace, launches: list[Any], times: int, used: int) -> None:
        width = -(-used // 4) * 4  # what is read by fours stays where it can be
        self._rows = np.zeros((times, width), np.uint64)
        self._used = used
        with trace.aside():  # a kernel may take all slots behind the one it is given, though it reads that one alone
            self._there = arrays.put(of.owner, np.zeros(times * width + SLOTS, np.uint64))
        views = {id(base): self._there.base.view(dtype) for dtype, base in of.views.items()}

        def in_row(i: int, argument: Any) -> Any:
            """An argument of a launch, moved to row i where it is one of the numbers."""
            if not isinstance(argument, Array) or id(argument.base) not in views:
                return argument
            return Array(views[id(argument.base)], i * width + argument.start, argument.shape, argument.strides,
                         argument.dtype)

        self.graph = of.captured([replace(launch, arguments=tuple(in_row(i, a) for a in launch.arguments))
                                  for i in range(times) for launch in launches], self._rows, self._there)

    def run(self, rows: np.ndarray) -> None:
        """Does all of them, with the numbers in `rows`."""
        assert self.graph is not None
        self._rows[:, : self._used] = rows
        self.graph()


def _draw(sections: list[trace.Section]) -> None:
    """Draws the numbers of a replay."""
    for section in sections:
        for draw, (numbers, where, _) in section.draws:
            numbers[where] = draw()
