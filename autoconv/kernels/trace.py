"""`Trace`: the kernel calls of one piece of work, recorded once, to be replayed. One protocol for
every device.

While a `Section` of a trace is recorded, each kernel that runs is added to its calls. What may
change between two replays is a `Dynamic` scalar. Whatever a replay would miss makes the section
incomplete, and says why: forgetting is safe.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import Any

import numpy as np

from .locks import kernel_lock
from .threads import Pace, take_number, team

HOST = "cpu"  # the owner of traces on the CPU

_current: ContextVar["Section | DryRun | None"] = ContextVar("current", default=None)


def current() -> "Section | DryRun | None":
    """The section that is recorded now, if any."""
    return _current.get()


@contextmanager
def _within(recorder: "Section | DryRun | None") -> Iterator[Any]:
    token = _current.set(recorder)
    try:
        yield recorder
    finally:
        _current.reset(token)


def stop(reason: str) -> None:
    """What is recorded now, if anything, is not all that is done: a replay would not do that again."""
    section = _current.get()
    if isinstance(section, Section):
        section.stop(reason)


def aside() -> Any:
    """Within this block nothing is recorded: what it makes is a constant of the recording."""
    return _within(None)


class Dynamic:
    """A number in the arguments of a recorded call that each replay draws anew. It computes nothing: only the kernel
    that gets it reads `value`, so no arithmetic on the way can keep an old one.
    """

    __slots__ = ("dtype", "value")

    def __init__(self, dtype: Any) -> None:
        self.dtype = np.dtype(dtype).type
        self.value: Any = self.dtype(0)


def resolved(arguments: tuple) -> tuple:
    """The arguments with the present values of dynamic scalars."""
    return tuple(a.value if type(a) is Dynamic else a for a in arguments)


def call_resolved(function: Callable, arguments: tuple) -> None:
    function(*resolved(arguments))


class Section:
    """A part of a trace: calls `(function, arguments)` in order, and the draws of dynamic scalars that precede them.

    reason: why a replay would not do the same, or None where it would.
    """

    def __init__(self, trace: "Trace") -> None:
        self.trace = trace
        self.calls: list[tuple[Callable, tuple]] = []
        self.draws: list[tuple[Callable[[], Any], Any]] = []
        self.reason: str | None = None

    def add(self, owner: Any, function: Callable, arguments: tuple) -> None:
        """Records a call of a kernel that belongs to the device `owner`."""
        if owner is not self.trace.owner:
            self.stop("work on another device")
        elif any(type(a) is Dynamic for a in arguments):
            self.calls.append((call_resolved, (function, arguments)))
        else:
            self.calls.append((function, arguments))

    def stop(self, reason: str) -> None:
        """Makes the section incomplete. The first reason stays."""
        self.reason = self.reason or reason

    def dynamic(self, draw: Callable[[], Any], dtype: Any, count: int) -> Any:
        return self.trace.dynamic(self, draw, dtype, count)


class DryRun:
    """A pass in which kernels do not run: `found` are those that would have, each with its floating type."""

    def __init__(self) -> None:
        self.found: dict[tuple[Any, np.dtype], None] = {}

    @contextmanager
    def record(self) -> Iterator["DryRun"]:
        """Within this block kernels are only found. What a user's op computes by NumPy has no meaning then."""
        with _within(self), np.errstate(all="ignore"):
            yield self

    def dynamic(self, draw: Callable[[], Any], dtype: Any, count: int) -> Any:
        zero = np.dtype(dtype).type(0)
        return zero if count == 1 else (zero,) * count


class Graphs:
    """What became of the graphs that traces made of their sections: how many were captured, how
    many kernels the largest has, and why one was not, if so. Traces of the same work share it.
    """

    def __init__(self) -> None:
        self.count = self.nodes = 0
        self.reason: str | None = None

    def note(self, nodes: int) -> None:
        """Counts a graph that was captured."""
        self.count, self.nodes = self.count + 1, max(self.nodes, nodes)

    def fail(self, reason: str) -> None:
        """Notes that one could not be captured. The first reason stays."""
        self.reason = self.reason or reason

    def describe(self) -> dict[str, Any] | None:
        """As a dict; None where none was tried."""
        tried = self.count > 0 or self.reason is not None
        return {"captured": self.reason is None, "graphs": self.count, "nodes": self.nodes,
                "reason": self.reason} if tried else None


class Trace:
    """The sections of one piece of work on one device, `owner`, by their names."""

    def __init__(self, owner: Any) -> None:
        self.owner = owner
        self.graphs = Graphs()
        self.sections: dict[str, Section] = {}
        self.between: Callable[[], object] | None = None  # is called after each call of a replay
        self._paces: defaultdict[tuple[str, ...], Pace] = defaultdict(Pace)

    @contextmanager
    def record(self, name: str) -> Iterator[Section]:
        """Within this block every kernel that runs is recorded, as the section of that name once the block is left."""
        self.forget(name)
        with _within(Section(self)) as section:
            yield section
        self.sections[name] = section

    def forget(self, *names: str) -> None:
        """Lets go of these sections, if they are there, and of the arrays that they hold."""
        for name in names:
            self.sections.pop(name, None)
        self._paces.clear()

    def dynamic(self, section: Section, draw: Callable[[], Any], dtype: Any, count: int) -> Any:
        """What stands for `count` numbers of `draw()`, in the arguments of kernels."""
        scalars = [Dynamic(dtype) for _ in range(count)]
        section.draws.append((draw, scalars))
        _draw(draw, scalars)
        return scalars[0] if count == 1 else tuple(scalars)

    def replay(self, *names: str) -> None:
        """Does again what these complete sections did, on what their arrays hold now."""
        pace = self._paces[names]
        with kernel_lock:
            take_number()
            if pace.brief and team.fewer is None:
                self._run(names)
                return
            entered = team.begin()
            try:
                self._run(names)
            finally:
                team.end(entered, pace)

    def _run(self, names: tuple[str, ...]) -> None:
        between = self.between
        for name in names:
            section = self.sections[name]
            for draw, scalars in section.draws:
                _draw(draw, scalars)
            for function, arguments in section.calls:
                function(*arguments)
                if between is not None:
                    between()

    def cut(self, name: str, places: list[int]) -> list[str]:
        """Cuts a section before the calls of these numbers, in rising order. Returns the names of the pieces."""
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


def watched(function: Callable, name: str) -> Callable:
    """`function`, of a kernel module; where it records nothing of what it does, the section becomes incomplete."""

    @wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        section = _current.get()
        if not isinstance(section, Section):
            return function(*args, **kwargs)
        before = len(section.calls)
        result = function(*args, **kwargs)
        if len(section.calls) == before:
            section.stop(f"{name} recorded nothing")
        return result

    return wrapper


def declared_recordable(thing: Any, *methods: str) -> bool:
    """Whether the class of a layer, loss, metric or optimizer says `recordable = True`, and is no base of the class
    that defines any of `methods`: who overrides what it does must say it again. An instance can only deny it.
    """
    if not vars(thing).get("recordable", True) or any(method in vars(thing) for method in methods):
        return False
    for of in type(thing).__mro__:
        if "recordable" in vars(of):
            return bool(vars(of)["recordable"])
        if any(method in vars(of) for method in methods):
            return False
    return False
