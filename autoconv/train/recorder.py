"""`Recorder` records named pieces of work when they first run, and replays them afterwards."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from operator import is_
from typing import Any, NamedTuple

from ..engine.versions import changes, contents
from ..kernels import device as devices
from ..kernels import trace
from ..kernels.locks import kernel_lock

SHARED = "shared"  # name of the section that computes dynamic scalars for several pieces


class Phase(NamedTuple):
    """A named piece of work. After the piece is recorded, `cuts()` returns functions that a replay calls
    between the recorded calls, as pairs (number of recorded calls before the function, function).
    """

    name: str
    work: Callable[[], Any]
    cuts: Callable[[], list[tuple[int, Callable[[], Any]]]] | None = None


class Recorder:
    """Records pieces of work on a device. A piece that cannot be recorded runs through Python each time.

    `versions()` returns each object on which the recordings depend with the number of its last
    change, or None for an object that counts no changes. `find_mutable()` returns the values that
    can change in place. `reasons` maps a piece's name to the reason why the piece is not recorded,
    or to None. `plan` lists the work of the next run: tuples of names of sections to replay, and
    functions to call. `plan` is empty before the first run and after an interrupted run.
    """

    def __init__(self, device: devices.Device, versions: Callable[[], list[tuple[Any, Any]]],
                 find_mutable: Callable[[], Iterable[Any]], reasons: dict[str, str | None]) -> None:
        self.reasons = reasons
        self.plan: list[Any] = []
        self.graphs = trace.Graphs()
        self.versions = versions
        self.find_mutable = find_mutable
        self._device = device
        # Python code between two replays has its own pool, because the recorded calls keep using theirs.
        self.pool = devices.RecordingPool()
        self._python_pool = devices.Pool()
        self._trace: Any = None
        self._cut: dict[str, list[str]] = {}  # names of the parts of each cut section
        self._changes = -1
        self._versions: list[tuple[Any, Any]] = []
        self._attributes: list[tuple[dict[str, Any], tuple]] = []  # old attributes of objects that count no changes
        self._contents: list[tuple[Any, Any]] = []  # old contents of values that can change in place

    def begin(self, draw: Callable[[], Any], progress: Callable[[], object] | None = None) -> None:
        """Discards all recordings. `draw` computes the dynamic scalars that several pieces share.
        `progress` is called after each call of a replay.
        """
        self.close()
        self._trace = self._device.trace()
        self._trace.graphs = self.graphs
        self._trace.on_call = progress
        with self._trace.record(SHARED):
            draw()

    @contextmanager
    def recording(self, name: str, obstacle: str | None = None) -> Iterator[None]:
        """Records the piece `name`, which runs inside the block, unless there is an `obstacle`."""
        self.reasons[name] = obstacle
        if obstacle is not None:
            with devices.reusing(self._python_pool):
                yield
            return
        with devices.reusing(self.pool), self._trace.record(name) as section:
            yield
        self._cut.pop(name, None)
        self.reasons[name] = section.reason
        if section.reason is not None:
            self._trace.forget(name)  # an incomplete section cannot be replayed

    def arrange(self, pieces: Iterable[Phase], draws: bool) -> None:
        """Plans later runs of these pieces. `draws` is true if they use the shared scalars."""
        plan: list[Any] = []
        ready = [SHARED] if draws else []
        self._trace.forget(*(name for name, reason in self.reasons.items() if reason is not None))
        for name, work, cuts in pieces:
            if self.reasons[name] is not None:
                plan += [tuple(ready), work] if ready else [work]
                ready = []
            elif cuts is None:
                ready.append(name)
            else:
                places = cuts()
                if name in self._trace.sections:
                    self._cut[name] = self._trace.cut(name, [count for count, _ in places])
                *parts, last = self._cut[name]
                for part, (_, function) in zip(parts, places):
                    plan += [(*ready, part), function]
                    ready = []
                ready.append(last)
        self.plan = [*plan, tuple(ready)] if ready else plan

    def replay(self) -> None:
        """Replays the recorded pieces on the current values of their arrays, and runs the other pieces."""
        for action in self.plan:
            if isinstance(action, tuple):
                self._trace.replay(*action)
            else:
                with devices.reusing(self._python_pool):
                    action()

    def draw(self) -> None:
        """Computes new values of the scalars that several pieces share."""
        self._trace.replay(SHARED)

    @property
    def is_whole(self) -> bool:
        """Whether the next run is a single replay without Python code in between."""
        return len(self.plan) == 1 and isinstance(self.plan[0], tuple)

    def replay_series(self, moves: Iterable[None]) -> None:
        """Replays once for each element of `moves`. The iterator runs the host's work between replays."""
        self._trace.replay_series(self.plan[0], moves)

    def forget(self, *names: str) -> None:
        """Releases the recordings of the pieces with these names."""
        self._trace.forget(*names)

    def close(self) -> None:
        """Releases all recordings now, because reference cycles would keep them until garbage collection."""
        with kernel_lock:
            self.plan = []
            if self._trace is not None:
                self._trace.forget(*self._trace.sections)

    def note_versions(self) -> None:
        """Stores the current versions of all objects on which the recordings depend."""
        self._changes = changes()  # read before the versions, as another thread may change an object
        self._versions = self.versions()
        self._attributes = [(vars(thing), tuple(vars(thing).values()))
                            for thing, number in self._versions if number is None]
        self._contents = [(value, contents(value)) for value in self.find_mutable()]

    def is_current(self) -> bool:
        """Whether all objects on which the recordings depend are unchanged."""
        for attributes, old in self._attributes:
            if len(attributes) != len(old) or not all(map(is_, attributes.values(), old)):
                return False
        if self._contents and not all(contents(value) == old for value, old in self._contents):
            return False
        count = changes()  # read before the versions, as in `note_versions`
        if self._changes == count:
            return True
        new = self.versions()
        same = len(new) == len(self._versions) and all(a is b and v == w for (a, v), (b, w) in zip(new, self._versions))
        self._changes = count if same else -1
        return same
