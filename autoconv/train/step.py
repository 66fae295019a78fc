"""`Step`: what is done with one batch, in phases that are recorded once and replayed, on every device.

    load | forward | loss | backward | reduce | account | score | store | update

The update comes last, so that a step that is interrupted before has changed no weight, and one that came so far counts.

A phase that is recorded completely is replayed as its kernels alone. One that is not (a layer, loss, metric or
optimizer of the user's, which may do anything) runs through Python each time, with the same results, and says why.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

from .. import random, ranks
from ..backend import device as devices
from ..backend import trace
from ..backend.locks import kernel_lock
from ..backend.precision import get_precision
from ..versions import Versioned, changes, contents
from .phases import Phases, Work, is_recordable, moving_weights
from .progress import Progress
from .source import Source
from .staging import Staging

KEPT = 4  # steps of a kind: whole batches and what is left at the end, in two data sets


class Users:
    """How many calls of a step's methods are under way: within `with` it is needed, though memory may be short."""

    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 0

    def __enter__(self) -> None:
        self.count += 1

    def __exit__(self, *_: Any) -> None:
        self.count -= 1


class Step(Phases):
    """A step of `model`, recorded when it first runs and replayed from then on, as long as nothing changes."""

    def __init__(self, model: Any, work: Work, x: Sequence[Any], y: Sequence[Any], weights: Sequence[Any],
                 form: Callable[[list], Any], shards: float = 1.0) -> None:
        super().__init__(model, work, x, y, weights, form, shards)
        self._pool = devices.Pool()
        self._plan: list[Any] = []
        self._trace: Any = None
        self._staging: Staging | None = None
        self.users = Users()
        self._changes = -1
        self.graphs = trace.Graphs()
        self.has_kernels = False  # whether a step like it was here before, so that all is compiled
        self._generators: list[Any] = []

    def run_on(self, arrays: Sequence[Any], before: int = 0, duplicated: bool = False) -> Any:
        """One step on a batch that is given, of which others have the samples `before`. Returns the predictions, in
        arrays of their own and in the structure in which the model's call gives them.
        """
        with kernel_lock:
            self.feed(arrays)
            self.run(before=before, duplicated=duplicated)
            self._given = ()
            if self._work.sums is not None:
                return None
            return self.put_together([np.array(self._device.numpy(rows)) for rows in self.outputs()])

    def run(self, source: Source | Staging | None = None, sink: Sequence[Any] | None = None, before: int = 0,
            duplicated: bool = False) -> None:
        """One step: on the batch that is the next one in `source`, else on the one that was fed. Predictions go to
        their rows in `sink`. before: how many samples of the batch other ranks have before these. duplicated: all ranks
        have the same whole batch, so it counts once.
        """
        sums, self._duplicated = self._work.sums, duplicated
        kept = sums.kept() if duplicated and sums is not None and self._ranks.rank else None
        shared = self._ranks.size > 1
        token = random.first_sample.set(before) if before else None
        together = ranks.current.set(self._ranks) if shared else None
        try:
            with kernel_lock, self.users:
                self._run(source, sink)
        finally:
            if token is not None:
                random.first_sample.reset(token)
            if together is not None:
                ranks.current.reset(together)
        if sums is not None:
            sums.count(self.samples, self._value_counts)
            if kept is not None:
                sums.put_back(kept)

    def run_series(self, source: Source | Staging, tickets: Sequence[int], sink: Sequence[Any] | None = None) -> None:
        """A step on each of these batches of a source, all of this step's size and of this process alone. Where all
        phases are recorded, they are replayed at one go: nothing looks at what is between.
        """
        rest = list(tickets)
        while rest and not self._is_series(source, sink):
            source.seek(rest.pop(0))
            self.run(source, sink)
        if not rest:
            return
        before = [(generator, generator.streams) for generator in self._generators]
        steps = int(self._work.optimizer.iterations) if self._by_kernels else 0
        try:
            with kernel_lock, self.users:
                self._trace.replay_series(self._plan[0], self._moves(source, rest))
        except BaseException:  # none of them happened
            for generator, streams in before:
                generator.streams = streams
            if self._by_kernels:
                self._work.optimizer.iterations = steps
            raise
        if self._work.sums is not None:
            self._work.sums.count(self.samples * len(rest), [n * len(rest) for n in self._value_counts])

    def run_staged(self, source: Source, tickets: Sequence[int], sink: Sequence[Any] | None = None) -> None:
        """A step on each of these batches of a source, all of this step's size, by way of the staging arrays."""
        with kernel_lock, self.users:
            staging = self._staging_for(source)
            for part in staging.parts(source, tickets, sink):
                if len(part) > 1:
                    self.run_series(staging, part, staging.results(sink))
                else:
                    self.run(staging, staging.results(sink))
                staging.hand_out(sink)

    def attach_staged(self, sink: Sequence[Any]) -> None:
        """Writes the outputs of the last batch to the staging arrays, and copies them to `sink`."""
        staging: Any = self._staging
        self.attach(staging, staging.results(sink))
        staging.hand_out(sink)

    def _staging_for(self, source: Source) -> Staging:
        like = source.rows_like()
        if self._staging is None or self._staging.like != like:
            self._staging = Staging(self._device, self.samples, like)
        return self._staging

    def _is_series(self, source: Source | Staging, sink: Sequence[Any] | None) -> bool:
        """Whether further batches need nothing but replays of one and the same sections."""
        return (len(self._plan) == 1 and isinstance(self._plan[0], tuple) and source is self._source
                and sink is self._sink and self.is_current())

    def _moves(self, source: Source | Staging, tickets: Sequence[int]) -> Iterator[None]:
        """What comes before and after each replay of a series, on the host."""
        for ticket in tickets:
            source.seek(ticket)
            yield
            if self._by_kernels:
                self._work.optimizer.count_step()

    @property
    def ran(self) -> bool:
        """Whether it ran before, so that its kernels are there."""
        return bool(self._plan)

    def prepare(self, source: Source | None, report: Callable[[int, int], None]) -> None:
        """Compiles, ahead and together, the kernels of the phases that can be recorded: a dry run finds them."""
        dry, together = trace.DryRun(), ranks.current.set(self._ranks)
        try:
            with kernel_lock, self.users, dry.record():
                if self.ran or self.has_kernels:  # asked under the lock: another thread may have run it
                    return
                self._source = self._staging_for(source) if source is not None and source.staged else source
                self._dry_run()
        finally:
            ranks.current.reset(together)
        self._device.prepare(dry.found, report)

    def _dry_run(self) -> None:
        shared = self._shared_obstacle()
        self._model_obstacle = self._model.recording_obstacle() or shared
        self._first = self._device.dynamic(self._place, np.int64)
        if self._source is not None:
            self._source.rehearse()
        for name, work in self._works():
            self.reasons[name] = self._obstacle(name)
            if self.reasons[name] is None or self.reasons[name] == shared:
                work()
            elif name == "loss" and self.reasons["forward"] is None:
                self._pretend_gradients()

    def prepare_alone(self) -> None:
        """Compiles what a step without a line of progress needs, before its first run; says so on a terminal alone."""
        if not self.ran:
            line = Progress(0)
            self.prepare(None, line.compiling if line.live else lambda done, total: None)

    def _run(self, source: Source | Staging | None, sink: Sequence[Any] | None) -> None:
        anew = not self._plan or not self.is_current()
        if anew and self._work.kind == "train":
            self._generators = random.generators_of(self._model._walk())
        before = [(generator, generator.streams) for generator in self._generators]
        try:
            if anew:
                self._source, self._sink, self._plan = source, sink, []
                self._record()
            else:
                self._replay(source, sink)
        except BaseException:  # it did not happen: its random numbers are drawn again
            for generator, streams in before:
                generator.streams = streams
            raise
        if self._by_kernels:
            self._work.optimizer.count_step()

    def _replay(self, source: Source | Staging | None, sink: Sequence[Any] | None) -> None:
        if source is not self._source or sink is not self._sink:
            self.attach(source, sink)
        for act in self._plan:
            if isinstance(act, tuple):
                self._trace.replay(*act)
            else:
                with devices.reusing(self._pool):
                    act()

    def _record(self) -> None:
        """The first run: each phase is recorded while it runs. Interrupted, it leaves nothing to be replayed."""
        trainable = self._model.trainable_weights
        self._trains = bool(trainable) and self._work.optimizer is not None and self._work.optimizer.flat is not None
        if self._trains:
            self._work.optimizer.train(trainable)
        self._by_kernels = self._trains and is_recordable(self._work.optimizer)
        self._moving = moving_weights(self._model._walk()) if self._ranks.size > 1 else []
        self.close()
        self._value_counts = [0] * len(self._work.scores)
        self._model_obstacle = self._model.recording_obstacle() or self._shared_obstacle()
        self._trace = self._device.trace()
        self._trace.graphs = self.graphs
        if self._ranks.size > 1:
            self._trace.between = self._ranks.progress
        with self._trace.record("place"):
            self._first = self._device.dynamic(self._place, np.int64)
        for name, work in self._works():
            self._record_phase(name, work)
        self._depend("forward", "loss", "backward", "store")
        self._depend("loss", "account")
        self._plan = self._planned()
        self._changes = changes()  # before the versions: another thread may change something meanwhile
        self._seen = self._versions()
        self._held = [(value, contents(value)) for thing, _ in self._seen for value in _watched(thing)]

    def _record_phase(self, name: str, work: Callable[[], Any]) -> None:
        self.reasons[name] = self._obstacle(name)
        with devices.reusing(self._pool):
            if self.reasons[name] is not None:
                work()
                return
            with self._trace.record(name) as section:
                work()
        self.reasons[name] = section.reason
        if section.reason is not None:
            self._trace.forget(name)  # what it holds is of no use

    def attach(self, source: Source | Staging | None, sink: Sequence[Any] | None) -> None:
        """Another data set, other arrays for predictions: what reads and writes them runs, and is recorded anew."""
        changed = {"load": source is not self._source, "store": sink is not self._sink}
        self._source, self._sink, self._plan = source, sink, []  # interrupted, this leaves nothing to be replayed
        self._trace.replay("place")
        for name, work in self._works():
            if changed.get(name):
                self._record_phase(name, work)
        self._depend("forward", "store")
        self._plan = self._planned()

    def detach(self) -> None:
        """Lets go of the data set and of the arrays for predictions, so that their memory can be used again."""
        with kernel_lock:
            self._given = ()
            if self._staging is not None:
                self._staging.release()
            attached = self._source is not None or self._sink is not None
            if self._plan and attached and self._source is not self._staging:
                self._source, self._sink = None, None
                self._trace.forget("load", "store")
                self._plan = self._planned()

    def close(self) -> None:
        """Lets go of all that was recorded, at once: calls, arrays and what draws numbers for them hold each other."""
        with kernel_lock:
            self._plan = []
            if self._trace is not None:
                self._trace.forget(*self._trace.sections)

    def _depend(self, on: str, *others: str) -> None:
        """A phase cannot be replayed where one is not whose arrays it reads, and forward not without backward."""
        if on == "forward":
            self.reasons[on] = self.reasons[on] or self.reasons.get("backward")
        for name in others:
            if name in self.reasons:
                self.reasons[name] = self.reasons[name] or self.reasons.get(on)

    def _planned(self) -> list[Any]:
        """What each later run does: the names of neighbouring sections to replay, and functions between them."""
        plan: list[Any] = []
        ready = [] if self._source is None else ["place"]
        self._trace.forget(*(name for name, reason in self.reasons.items() if reason is not None))
        for name, work in self._works():
            if name == "backward" and self._ranks.size > 1 and self.reasons[name] is None:
                if self._moving:
                    plan += [tuple(ready), self._average]
                    ready = []
                for piece, bucket in zip(self._pieces(), self._buckets()):
                    plan += [(*ready, piece), partial(self._reduce, *bucket)]
                    ready = []
            elif name == "reduce" and self.reasons["backward"] is None:
                plan.append(self._ranks.finish)  # what was begun between the pieces
            elif self.reasons[name] is None:
                ready.append(name)
            else:
                plan += [tuple(ready), work] if ready else [work]
                ready = []
        return [*plan, tuple(ready)] if ready else plan

    def _pieces(self) -> list[str]:
        """The backward section, cut behind the call that completes each bucket."""
        if "backward" in self._trace.sections:
            flat, calls = self._work.optimizer.flat, len(self._trace.sections["backward"].calls)
            complete, so_far = [], 0
            for start, stop in self._buckets():
                inside = [p for p, at in zip(flat.parameters, flat.starts) if start <= at < stop]
                so_far = max(so_far, *(self._arrivals.get(id(p), calls) for p in inside))
                complete.append(so_far)
            self._cut = self._trace.cut("backward", complete[:-1])
        return self._cut

    # Whether what was recorded still holds.

    def is_current(self) -> bool:
        """Whether model, losses, metrics and optimizer are what they were when the step was recorded."""
        if self._held and not all(contents(value) == before for value, before in self._held):
            return False
        count = changes()  # as in `_record`
        if self._changes == count:
            return True
        now = self._versions()
        same = len(now) == len(self._seen) and all(a is b and v == w for (a, v), (b, w) in zip(now, self._seen))
        self._changes = count if same else -1
        return same

    def _versions(self) -> list[tuple[Any, Any]]:
        """All that the recording depends on, with the number of its last change."""
        work, layers = self._work, list(self._model._walk())
        things: list[Any] = [w for layer in layers for w in layer._own_weights()]
        things += [thing for thing in (*(goal.loss for goal in work.goals), *(score.metric for score in work.scores),
                                       work.optimizer) if thing is not None and is_recordable(thing)]
        if self.reasons["forward"] is None:
            things += layers
        return [(thing, thing.version) for thing in things] + [(self._device, get_precision())]


def _watched(thing: Any) -> Iterable[Any]:
    return thing.watched() if isinstance(thing, Versioned) else ()


class Steps:
    """A model's steps, by what they do and the shapes of a batch. A copy starts empty."""

    def __init__(self) -> None:
        self._kept: dict[tuple, Step] = {}
        self.reasons: dict[str, dict[str, str | None]] = {}
        self.graphs: defaultdict[str, trace.Graphs] = defaultdict(trace.Graphs)
        self._seen: set[tuple] = set()

    def __reduce__(self) -> tuple:
        return Steps, ()

    def find(self, kind: str, *key: Any) -> Step | None:
        """The step of that kind and key, where there is one and nothing has changed since it was recorded."""
        step = self._kept.get((kind, *key))
        return step if step is not None and step.ran and step.is_current() else None

    def of(self, kind: str, key: tuple, make: Callable[[], Step]) -> Step:
        """The step of that kind and key, made where there is none."""
        step = self._kept.get((kind, *key))
        if step is None:
            same = [k for k in list(self._kept) if k[0] == kind]
            if len(same) >= KEPT and (oldest := self._kept.pop(same[0], None)) is not None:
                oldest.close()
            step = self._kept[kind, *key] = make()
            step._device.when_short(self.give_back)
            step.has_kernels = (kind, *key) in self._seen
            self._seen.add((kind, *key))
            self.reasons[kind], step.graphs = step.reasons, self.graphs[kind]
        return step

    def detach(self, kind: str) -> None:
        """Lets go of the data sets of one kind of steps, which themselves stay."""
        for key, step in list(self._kept.items()):
            if key[0] == kind:
                step.detach()

    def give_back(self) -> None:
        """Gives back the memory of steps that train nothing and are not under way: there is too little. Another thread
        that runs steps is not waited for.
        """
        if kernel_lock.acquire(blocking=False):
            try:
                for key, step in list(self._kept.items()):
                    if key[0] != "train" and not step.users.count and self._kept.pop(key, None) is not None:
                        step.close()
            finally:
                kernel_lock.release()

    def forget(self, *kinds: str) -> None:
        """Gives back the memory of these kinds of steps, of all where none is named."""
        for key in [key for key in list(self._kept) if not kinds or key[0] in kinds]:
            if (step := self._kept.pop(key, None)) is not None:  # another thread may have been first
                step.close()
