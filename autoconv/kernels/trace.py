"""Defines `Trace`, which records kernel calls once and then replays them. Its interface is the same
on every device.

While a `Section` of a trace is being recorded, each kernel call is added to the section. Between
two replays, only the contents of arrays and the values of `Dynamic` scalars may change. Work that a
replay could not repeat makes the section incomplete, and the section stores the reason. A kernel
function that records no call also makes the section incomplete.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from . import buffers
from .locks import kernel_lock
from .threads import Pace, take_number, team

HOST = "cpu"  # the value of `Trace.owner` in all CPU traces

_current: ContextVar["Section | DryRun | None"] = ContextVar("current", default=None)


def current() -> "Section | DryRun | None":
    """Returns the section or the dry run that is being recorded, or None."""
    return _current.get()


def count_calls() -> int | None:
    """Returns the number of calls in the section being recorded, or None if none is recorded."""
    section = _current.get()
    return len(section.calls) if isinstance(section, Section) else None


@contextmanager
def _use_recorder(recorder: "Section | DryRun | None") -> Iterator[Any]:
    token = _current.set(recorder)
    try:
        yield recorder
    finally:
        _current.reset(token)


def stop(reason: str) -> None:
    """If a section is being recorded, marks it as incomplete, because a replay could not repeat all
    of its work.
    """
    section = _current.get()
    if isinstance(section, Section):
        section.stop(reason)


@contextmanager
def suspend_recording() -> Iterator[None]:
    """Suspends recording inside the `with` block. Arrays created in the block are constants, which
    replays use but do not compute again. So their memory is not from the pool of the recorded work.
    """
    pool = buffers.current_pool()
    with _use_recorder(None), buffers.reusing(None if pool is None else pool.outside_recordings()):
        yield


class Dynamic:
    """A scalar argument of a recorded call. Each replay draws a new `value`, which the call then
    receives. The class supports no arithmetic, because the result of an operation would not change
    when a new value is drawn.
    """

    __slots__ = ("dtype", "value")

    def __init__(self, dtype: DTypeLike) -> None:
        self.dtype = np.dtype(dtype).type
        self.value: Any = self.dtype(0)


def resolve(arguments: tuple) -> tuple:
    """Returns the arguments with each dynamic scalar replaced by its current value."""
    return tuple(a.value if type(a) is Dynamic else a for a in arguments)


def call_resolved(function: Callable, arguments: tuple) -> None:
    function(*resolve(arguments))


class Section:
    """A section of a trace. It consists of the recorded calls `(function, arguments)`, in order,
    and of functions that draw the values of dynamic scalars. A replay runs these functions first.
    The calls do not keep a pool's memory from being reused by arrays of later calls.

    reason: why the section is incomplete, or None if a replay repeats all of its work.
    """

    def __init__(self, trace: "Trace") -> None:
        self.trace = trace
        self.calls: list[tuple[Callable, tuple]] = []
        self.draws: list[tuple[Callable[[], Any], Any]] = []
        self.reason: str | None = None

    def add(self, owner: Any, function: Callable, arguments: tuple) -> None:
        """Records a kernel call on the device `owner`. If `owner` is not the trace's own device,
        the section becomes incomplete.
        """
        if owner is not self.trace.owner:
            self.stop("work on another device")
            return
        # A replay repeats the calls in the same order, so arrays may overlap in it as they do now.
        arguments = tuple(buffers.without_loan(a) if isinstance(a, np.ndarray) else a for a in arguments)
        if any(type(a) is Dynamic for a in arguments):
            self.calls.append((call_resolved, (function, arguments)))
        else:
            self.calls.append((function, arguments))

    def stop(self, reason: str) -> None:
        """Marks the section as incomplete. If `stop` is called again, the first reason stays."""
        self.reason = self.reason or reason

    def dynamic(self, draw: Callable[[], Any], dtype: DTypeLike, count: int) -> Any:
        return self.trace.dynamic(self, draw, dtype, count)


class DryRun:
    """A pass through the code that runs no kernels. The keys of `kernels` are the kernels that
    would have run, each paired with its floating-point dtype.
    """

    def __init__(self) -> None:
        self.kernels: dict[tuple[Any, np.dtype], None] = {}

    @contextmanager
    def record(self) -> Iterator["DryRun"]:
        """Inside the `with` block, kernels that are called do not run and are added to `kernels`.
        Values that a user's op computes with NumPy are meaningless in the block.
        """
        with _use_recorder(self), np.errstate(all="ignore"):
            yield self

    def dynamic(self, draw: Callable[[], Any], dtype: DTypeLike, count: int) -> Any:
        zero = np.dtype(dtype).type(0)
        return zero if count == 1 else (zero,) * count


class Graphs:
    """Statistics on the CUDA graphs that were captured from a trace's sections: the number of
    graphs, the node count of the largest graph, and the reason for a failed capture. Traces of the
    same work share one `Graphs` object.
    """

    def __init__(self) -> None:
        self.count = self.nodes = 0
        self.reason: str | None = None

    def note(self, nodes: int) -> None:
        """Counts a captured graph that has `nodes` nodes."""
        self.count, self.nodes = self.count + 1, max(self.nodes, nodes)

    def fail(self, reason: str) -> None:
        """Records why a graph could not be captured. If `fail` is called again, the first reason
        stays.
        """
        self.reason = self.reason or reason

    def describe(self) -> dict[str, Any] | None:
        """Returns the statistics as a dict, or None if no capture was attempted."""
        has_tried = self.count > 0 or self.reason is not None
        return {"captured": self.reason is None, "graphs": self.count, "nodes": self.nodes,
                "reason": self.reason} if has_tried else None


class Trace:
    """Recorded work on one device, as a dict of sections by name. `owner` identifies the device."""

    def __init__(self, owner: Any) -> None:
        self.owner = owner
        self.graphs = Graphs()
        self.sections: dict[str, Section] = {}
        self.on_call: Callable[[], object] | None = None  # called after every replayed call
        self._paces: defaultdict[tuple[str, ...], Pace] = defaultdict(Pace)

    @contextmanager
    def record(self, name: str) -> Iterator[Section]:
        """Records every kernel that runs inside the `with` block. The section is stored under
        `name` when the block ends.
        """
        self.forget(name)
        with _use_recorder(Section(self)) as section:
            yield section
        self.sections[name] = section

    def forget(self, *names: str) -> None:
        """Deletes the named sections if they exist, and thereby releases the sections' arrays."""
        for name in names:
            self.sections.pop(name, None)
        self._paces.clear()

    def dynamic(self, section: Section, draw: Callable[[], Any], dtype: DTypeLike, count: int) -> Any:
        """Returns placeholders for the `count` numbers that `draw()` returns. Placeholders can be
        passed to kernels.
        """
        scalars = [Dynamic(dtype) for _ in range(count)]
        section.draws.append((draw, scalars))
        _draw(draw, scalars)
        return scalars[0] if count == 1 else tuple(scalars)

    def replay(self, *names: str) -> None:
        """Repeats the calls of the named sections on the current contents of their arrays. The
        sections must be complete.
        """
        pace = self._paces[names]
        with kernel_lock:
            take_number()
            if pace.brief and team.fewer is None:
                self._run(names)
                return
            entry = team.begin()
            try:
                self._run(names)
            finally:
                team.end(entry, pace)

    def _run(self, names: tuple[str, ...]) -> None:
        on_call = self.on_call
        for name in names:
            section = self.sections[name]
            for draw, scalars in section.draws:
                _draw(draw, scalars)
            for function, arguments in section.calls:
                function(*arguments)
                if on_call is not None:
                    on_call()

    def cut(self, name: str, places: list[int]) -> list[str]:
        """Splits a section before each of the call indices in `places`, which are in ascending
        order. Returns the names of the new sections.
        """
        whole = self.sections.pop(name)
        names = []
        for i, (start, stop) in enumerate(zip([0, *places], [*places, len(whole.calls)])):
            piece = Section(self)
            piece.calls = whole.calls[start:stop]
            piece.draws = whole.draws if i == 0 else []
            names.append(f"{name}/{i}")
            self.sections[names[-1]] = piece
        return names


def _draw(draw: Callable[[], Any], scalars: list[Dynamic]) -> None:
    values = draw()
    for scalar, value in zip(scalars, values if isinstance(values, tuple) else (values,), strict=True):
        scalar.value = scalar.dtype(value)


def watch_calls(function: Callable, name: str) -> Callable:
    """Wraps a function of a kernel module. If a call of the function records no kernel, the section
    that is being recorded becomes incomplete.
    """

    @wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        earlier_calls = count_calls()
        result = function(*args, **kwargs)
        if earlier_calls is not None and count_calls() == earlier_calls:
            stop(f"{name} recorded nothing")
        return result

    return wrapper


def declared_recordable(thing: Any, *methods: str) -> bool:
    """Returns whether the class of a layer, loss, metric or optimizer declares `recordable = True`.
    A subclass that overrides any of `methods` must repeat the declaration. An instance can set
    `recordable` only to False.
    """
    if not vars(thing).get("recordable", True) or any(method in vars(thing) for method in methods):
        return False
    for cls in type(thing).__mro__:
        if "recordable" in vars(cls):
            return bool(vars(cls)["recordable"])
        if any(method in vars(cls) for method in methods):
            return False
    return False
