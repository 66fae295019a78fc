"""`CudaTrace`: launches recorded on a GPU, and replayed as one CUDA graph. A graph may also contain
a series of several replays.
"""

import warnings
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from ...engine.errors import DeviceError
from .. import trace
from ..locks import kernel_lock
from . import array as arrays
from . import joining
from .array import Array
from .kernels import Launch
from .runtime import Gpu

SLOTS = 256  # maximum number of dynamic scalars, of 8 bytes each, in the sections of one trace


class CudaTrace(trace.Trace):
    """The recorded launches on one GPU. The second time that sections are replayed together, they
    are captured as one graph. Before that, or if the capture fails, their kernels are launched one
    by one.

    Dynamic scalars, which may change from replay to replay, are stored in the GPU's memory. Each
    replay first draws them and copies them all to the GPU at once. For a series of replays, all
    numbers are drawn and copied first. Each replay in the graph reads another row of numbers.
    """

    def __init__(self, gpu: Gpu, series: int) -> None:
        super().__init__(gpu)
        self._series = series  # number of replays in the graph of a series
        self._numbers = np.zeros(SLOTS, np.uint64)
        self._free = list(range(SLOTS))
        with trace.suspend_recording():
            self._memory = arrays.put(gpu, self._numbers)
        self._plans: dict[tuple[str, ...], list[Launch]] = {}
        self.views: dict[Any, Any] = {}  # views of `_memory`'s elements, by dtype
        self._graphs: dict[tuple[str, ...], Callable[[], None] | None] = {}
        self._all_series: dict[tuple[str, ...], _Series] = {}
        self._replays: set[tuple[str, ...]] = set()

    def dynamic(self, section: trace.Section, draw: Callable[[], Any], dtype: DTypeLike, count: int) -> Any:
        """Returns an array of one element for each of the `count` numbers that `draw()` returns;
        dtype is int64, uint64 or float64. If too few slots are left, marks the section as
        incomplete and returns the numbers themselves.
        """
        if count > len(self._free):
            section.stop(f"more than {len(self._numbers)} numbers change from step to step")
            return draw()
        slots = self._free[:count]
        self._free = self._free[count:]
        numbers = self._numbers.view(dtype)
        index = slots[0] if count == 1 else slots  # indexing with an integer is faster than with a list
        numbers[index] = draw()
        section.draws.append((draw, (numbers, index, slots)))
        with trace.suspend_recording():
            arrays.write(self._numbers, self._memory)
        if dtype not in self.views:
            self.views[dtype] = self._memory.base.view(dtype)
        array = Array(self.views[dtype], 0, (len(self._numbers),), (1,), np.dtype(dtype))
        places = tuple(array[i : i + 1] for i in slots)
        return places[0] if count == 1 else places

    def replay(self, *names: str) -> None:
        sections = [self.sections[name] for name in names]
        with kernel_lock:
            _draw(sections)
            self._launch(names, sections)

    def replay_series(self, names: tuple[str, ...], moves: Iterable[None]) -> None:
        """Replays these sections once per iteration of `moves`, which prepares each replay before
        its numbers are drawn. All numbers are drawn before the first launch.
        """
        sections = [self.sections[name] for name in names]
        with kernel_lock:
            slots = self._count_slots(sections)
            rows = np.empty((self._series, slots), np.uint64)
            count = 0
            for _ in moves:
                _draw(sections)
                rows[count] = self._numbers[:slots]
                count += 1
            series = self._find_series(names, sections) if count == self._series else None
            if series is not None:
                series.run(rows)
                return
            for row in rows[:count]:
                self._numbers[:slots] = row
                self._launch(names, sections)

    def _launch(self, names: tuple[str, ...], sections: list[trace.Section]) -> None:
        """Runs the sections with the numbers that were drawn last."""
        self.owner.enter()
        graph = self._graph(names, sections)
        if graph is not None:
            graph()
            return
        if any(section.draws for section in sections):
            arrays.write(self._numbers, self._memory)
        for launch in self._launches(names, sections):
            launch()

    def forget(self, *names: str) -> None:
        for name in names:
            if name in self.sections:
                self._free += [slot for _, (*_, slots) in self.sections[name].draws for slot in slots]
        self._free.sort()
        super().forget(*names)
        self._replays = {key for key in self._replays if not set(key) & set(names)}
        self._plans = {key: plan for key, plan in self._plans.items() if not set(key) & set(names)}
        self._graphs = {key: graph for key, graph in self._graphs.items() if key in self._replays}
        self._all_series = {key: series for key, series in self._all_series.items() if key in self._replays}

    def _launches(self, names: tuple[str, ...], sections: list[trace.Section]) -> list[Launch]:
        """Returns the launches that replay these sections, some of them merged into one."""
        if names not in self._plans:
            launches: list[Any] = [launch for section in sections for launch, _ in section.calls]
            self._plans[names] = joining.join_launches(launches)
        return self._plans[names]

    def _graph(self, names: tuple[str, ...], sections: list[trace.Section]) -> Callable[[], None] | None:
        """Returns the graph that replays these sections, including the copy of their numbers; None
        on their first replay, or if the capture fails.
        """
        if names not in self._graphs:
            launches = self._launches(names, sections)
            if names not in self._replays or not launches:
                self._replays.add(names)
                return None
            numbers = self._numbers[: self._count_slots(sections)]
            self._graphs[names] = self.capture(launches, numbers, self._memory)
        return self._graphs[names]

    def capture(self, launches: list[Any], numbers: np.ndarray, target: Array) -> Callable[[], None] | None:
        """Captures launches as one graph, which also copies `numbers` to the GPU. Returns None,
        with a warning, if that fails.
        """
        try:
            graph = self.owner.capture(launches, numbers, target.native)
        except DeviceError as error:
            self.graphs.fail(str(error))
            warnings.warn(f"No CUDA graph could be made of a step: {error} Its kernels are "
                          "launched one by one, which gives the same results in more time.",
                          RuntimeWarning, stacklevel=2)
            return None
        self.graphs.note(len(launches))
        return graph

    def _find_series(self, names: tuple[str, ...], sections: list[trace.Section]) -> "_Series | None":
        """Returns the graph that replays these sections several times; None on their first replay,
        or if the capture fails.
        """
        if self._graph(names, sections) is None:
            return None
        if names not in self._all_series:
            launches = self._launches(names, sections)
            self._all_series[names] = _Series(self, launches, self._series, self._count_slots(sections))
        return self._all_series[names] if self._all_series[names].graph is not None else None

    @staticmethod
    def _count_slots(sections: list[trace.Section]) -> int:
        """Returns the number of slots from slot 0 up to the last one that these sections use."""
        return 1 + max((slot for section in sections for _, (*_, slots) in section.draws for slot in slots), default=-1)


class _Series:
    """Several repetitions of the same launches as one graph, each with its own row of numbers."""

    def __init__(self, owner: CudaTrace, launches: list[Any], times: int, slots: int) -> None:
        width = -(-slots // 4) * 4  # keeps loads of four elements aligned
        self._rows = np.zeros((times, width), np.uint64)
        self._slots = slots
        # a kernel's argument may span all slots after its own slot, although the kernel reads only
        # its own slot
        with trace.suspend_recording():
            self._memory = arrays.put(owner.owner, np.zeros(times * width + SLOTS, np.uint64))
        views = {id(base): self._memory.base.view(dtype) for dtype, base in owner.views.items()}

        def move_to_row(i: int, argument: Any) -> Any:
            """Returns an argument of a launch, moved to row i if it is a dynamic scalar."""
            if not isinstance(argument, Array) or id(argument.base) not in views:
                return argument
            return Array(views[id(argument.base)], i * width + argument.start, argument.shape,
                         argument.strides, argument.dtype)

        self.graph = owner.capture([replace(launch, arguments=tuple(move_to_row(i, a) for a in launch.arguments))
                                    for i in range(times) for launch in launches], self._rows, self._memory)

    def run(self, rows: np.ndarray) -> None:
        """Runs all repetitions, with the numbers in `rows`."""
        assert self.graph is not None
        self._rows[:, : self._slots] = rows
        self.graph()


def _draw(sections: list[trace.Section]) -> None:
    """Draws the numbers for one replay."""
    for section in sections:
        for draw, (numbers, index, _) in section.draws:
            numbers[index] = draw()
