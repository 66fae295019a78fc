"""`Step` is the work on batches of one shape. The phases of a step are recorded once and replayed, on every device.

A completely recorded phase is replayed as kernels only. Any other phase runs through Python each time, with the
same results, and reports the reason: a user's layer, loss, metric or optimizer may run any code.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from .. import random
from ..engine import ranks
from ..engine.ranks import Part
from ..kernels import trace
from ..kernels.device import RecordingPool
from ..kernels.locks import kernel_lock
from . import phases
from .progress import Progress, warn
from .recorder import Recorder
from .source import Source
from .staging import Staging
from .user_arrays import Batch, Data, Model
from .workspace import Work, Workspace, is_recordable

MAX_STEPS = 4  # steps kept per kind, enough for the full and last batches of two data sets


class Users:
    """Counts the running calls of a step's methods, and marks the step's pool as busy meanwhile.

    A step with running calls is kept even if memory is short. If the pool is already busy, because
    the call is within another step, such as a prediction in a user's loss, the step is recorded
    again with its own pool.
    """

    __slots__ = ("_pools", "_recorder")

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._pools: list[RecordingPool] = []

    @property
    def count(self) -> int:
        return len(self._pools)

    def __enter__(self) -> None:
        recorder = self._recorder
        if recorder.pool.is_busy:
            recorder.plan = []
            recorder.pool = RecordingPool()
        recorder.pool.is_busy = True
        self._pools.append(recorder.pool)

    def __exit__(self, *_: Any) -> None:
        self._pools.pop().is_busy = False


class Step:
    """A step of `model`. The step is recorded at its first run and replayed later, as long as
    nothing changes. The arguments are those of `Workspace`.
    """

    def __init__(self, model: Model, work: Work, like: Data, samples: int, shards: float = 1.0) -> None:
        reasons: dict[str, str | None] = {}
        self.space = Workspace(model, work, like, samples, shards, reasons)
        # The recorder has no reference to the step, because a cycle would delay freeing the step's memory.
        self.recorder = Recorder(model.device, self.space.versions, self.space.find_mutable_values, reasons)
        self.samples = self.space.samples
        self.users = Users(self.recorder)
        self.has_kernels = False  # whether an equal step existed earlier, so that all kernels are compiled
        self._staging: Staging | None = None
        self._generators: list[Any] = []

    def predict(self, inputs: Sequence[Any]) -> Any:
        """Runs one step on these inputs, without other ranks. Returns the predictions as new arrays
        in the structure that the model's call returns.
        """
        space = self.space
        with kernel_lock, self.users:
            self._feed(inputs)
            self._run_once(None, None, None)
            space.batch = ()
            return space.restructure(self.copied_outputs())

    def run(self, batch: Batch, sink: Sequence[Any] | None = None) -> None:
        """Runs a step on each batch in `batch`. Writes predictions to their rows in `sink`. If all phases
        are recorded, several batches are replayed at once, because no code reads results in between.
        """
        source, staging = batch.source, None
        with kernel_lock, self.users:
            if source is None:
                self._feed(batch.data.arrays)
                self._run_once(None, None, batch.part)
                self.space.batch = ()
                return
            if source.is_staged:
                staging = self._get_staging(source)
            for numbers in [batch.numbers] if staging is None else staging.parts(source, batch.numbers, sink):
                data, rows = (source, sink) if staging is None else (staging, staging.results(sink))
                for i, number in enumerate(numbers):
                    if i:  # the first batch is already the source's next batch
                        data.seek(number)
                    is_ready = data is self.space.source and rows is self.space.sink and self.recorder.is_whole
                    if i + 1 < len(numbers) and is_ready and self.recorder.is_current():
                        self._replay_series(data, numbers[i:])
                        break
                    self._run_once(data, rows, batch.part)
                if staging is not None:
                    staging.hand_out(sink)

    def add_sink(self, sink: Sequence[Any]) -> None:
        """Writes the predictions of the batch that has just run, and of all later batches, to `sink`."""
        source = self.space.source
        if isinstance(source, Staging):
            self._attach(source, source.results(sink))
            source.hand_out(sink)
        else:
            self._attach(source, sink)

    def copied_outputs(self) -> list[np.ndarray]:
        """Returns copies of the predictions of the last run, one array per output."""
        return [np.array(self.space.device.numpy(t.data)) for t in self.space.outputs]

    # Running one batch, or several at once.

    def _feed(self, arrays: Sequence[Any]) -> None:
        """Copies one batch of the user's arrays (x, y and weights) into the step's arrays."""
        self.space.batch = arrays
        for array, buffer in zip(arrays, self.space.arrays):
            if buffer is not None:
                buffer[...] = array

    def _replay_series(self, source: Source | Staging, numbers: Sequence[int]) -> None:
        space = self.space

        def moves() -> Iterator[None]:
            """Runs the host's work before and after each replay."""
            for number in numbers:
                source.seek(number)
                yield
                if space.updates_in_kernels:
                    space.work.optimizer.count_step()

        positions = [(generator, generator.streams) for generator in self._generators]
        steps = int(space.work.optimizer.iterations) if space.updates_in_kernels else 0
        try:
            self.recorder.replay_series(moves())
        except BaseException:  # restore the counters, as if no step had run
            for generator, streams in positions:
                generator.streams = streams
            if space.updates_in_kernels:
                space.work.optimizer.iterations = steps
            raise
        if space.work.sums is not None:
            space.work.sums.count(self.samples * len(numbers), [n * len(numbers) for n in space.value_counts])

    def _run_once(self, source: Source | Staging | None, sink: Sequence[Any] | None, part: Part | None) -> None:
        """Runs one step on the next batch of `source`, or on the batch from `_feed`."""
        space, recorder, sums = self.space, self.recorder, self.space.work.sums
        token = old_sums = None
        if part is not None and space.ranks.size > 1:
            space.is_duplicate, space.is_summing, space.ranks.position = part.is_duplicate, False, part.start
            old_sums = sums.snapshot() if part.is_duplicate and sums is not None and space.ranks.rank else None
            token = ranks.current.set(space.ranks)
        is_new = not recorder.plan or not recorder.is_current()
        if is_new and space.work.kind == "train":
            self._generators = random.find_generators(space.model._walk())
        positions = [(generator, generator.streams) for generator in self._generators]
        try:
            if is_new:
                self._begin(source, sink)
                self._record()
                recorder.note_versions()
            else:
                if source is not space.source or sink is not space.sink:
                    self._attach(source, sink)
                recorder.replay()
        except BaseException:  # rewind the random streams, as if the step had not run
            for generator, streams in positions:
                generator.streams = streams
            raise
        finally:
            if token is not None:
                ranks.current.reset(token)
        if space.updates_in_kernels:
            space.work.optimizer.count_step()
        if sums is not None:
            sums.count(self.samples, space.value_counts)
            if old_sums is not None:
                sums.restore(old_sums)

    # Recording.

    def prepare(self, source: Source | None, report: Callable[[int, int], None]) -> None:
        """Finds the kernels of all recordable phases in a dry run, and compiles them together in advance."""
        dry, token = trace.DryRun(), ranks.current.set(self.space.ranks)
        try:
            with kernel_lock, self.users, dry.record():
                if self.recorder.plan or self.has_kernels:  # another thread may have run the step
                    return
                self.space.source = self._get_staging(source) if source is not None and source.is_staged else source
                self._dry_run()
        finally:
            ranks.current.reset(token)
        self.space.device.prepare(dry.kernels, report)

    def prepare_alone(self) -> None:
        """Compiles a step's kernels before its first run. Shows progress only on a live display."""
        if not self.recorder.plan:
            line = Progress(0)
            self.prepare(None, line.compiling if line.live else lambda count, total: None)

    def _dry_run(self) -> None:
        space, reasons = self.space, self.recorder.reasons
        shared_reason = phases.shared_obstacle(space)
        reason = space.model.recording_obstacle() or shared_reason
        self._draw_first()
        if space.source is not None:
            space.source.rehearse()
        for name, work, _ in phases.pieces(space):
            reasons[name] = phases.obstacle(space, name, reason)
            if reasons[name] is None or reasons[name] == shared_reason:
                work()
            elif name == "loss" and reasons["forward"] is None:
                phases.pretend_gradients(space)

    def _draw_first(self) -> None:
        space = self.space
        space.first = space.device.dynamic(lambda: 0 if space.source is None else space.source.first, np.int64)

    def _begin(self, source: Source | Staging | None, sink: Sequence[Any] | None) -> None:
        """Discards all recordings, and prepares to record all phases."""
        space, optimizer = self.space, self.space.work.optimizer
        space.source, space.sink = source, sink
        trainable = space.model.trainable_weights
        space.trains = bool(trainable) and optimizer is not None and optimizer.flat is not None
        if space.trains:
            optimizer.train(trainable)
        space.updates_in_kernels = space.trains and is_recordable(optimizer)
        space.moving = [weight.data for layer in space.model._walk() if layer.trainable and space.ranks.size > 1
                        for weight in layer._own_weights() if not weight.learns and weight.dtype.kind == "f"]
        space.value_counts = [0] * len(space.work.scores)
        self.recorder.begin(self._draw_first, space.ranks.progress if space.ranks.size > 1 else None)

    def _record(self, *names: str) -> None:
        """Runs and records the phases `names`, by default all phases. If they complete, plans the next run."""
        space, recorder, reasons = self.space, self.recorder, self.recorder.reasons
        reason = space.model.recording_obstacle() or phases.shared_obstacle(space)
        pieces = phases.pieces(space)
        for piece in pieces:
            if piece.name in names or not names:
                if piece.name == "loss":
                    self._check_outputs()
                with recorder.recording(piece.name, phases.obstacle(space, piece.name, reason)):
                    piece.work()
        # A phase is replayed only if the phases whose arrays it reads are, and forward only if backward is.
        reasons["forward"] = reasons["forward"] or reasons.get("backward")
        for name, source in (("loss", "forward"), ("backward", "forward"), ("store", "forward"), ("account", "loss")):
            if name in reasons:
                reasons[name] = reasons[name] or reasons.get(source)
        recorder.arrange(pieces, draws=space.source is not None)

    def _check_outputs(self) -> None:
        """Warns about outputs that do not fit their losses, only for the first batch after `compile`."""
        running = self.space.model._trainer.running
        if running.outputs_fit is None:
            messages = [goal.loss.find_mismatch(self.space.outputs[goal.output])
                        for goal in self.space.work.goals]
            for message in messages:
                if message and not self.space.ranks.rank:
                    warn(message)
            running.outputs_fit = not any(messages)

    def _attach(self, source: Source | Staging | None, sink: Sequence[Any] | None) -> None:
        """Sets another data source or other prediction arrays, and runs and records again the phases that use them."""
        space = self.space
        names = ["load"] * (source is not space.source) + ["store"] * (sink is not space.sink)
        space.source, space.sink = source, sink
        self.recorder.plan = []  # stays empty if this call is interrupted, so that nothing is replayed
        self.recorder.draw()
        self._record(*names)

    def _get_staging(self, source: Source) -> Staging:
        like = source.rows_like()
        if self._staging is None or self._staging.like != like:
            self._staging = Staging(self.space.device, self.samples, like)
        return self._staging

    def detach(self) -> None:
        """Releases the data set and the prediction arrays, so that their memory can be reused."""
        space, recorder = self.space, self.recorder
        with kernel_lock:
            space.batch = ()
            if self._staging is not None:
                self._staging.release()
            is_attached = space.source is not None or space.sink is not None
            if recorder.plan and is_attached and space.source is not self._staging:
                space.source = space.sink = None
                recorder.forget("load", "store")
                recorder.arrange(phases.pieces(space), draws=False)


class Steps:
    """A model's steps, keyed by their kind and the shapes of a batch. They share one pool."""

    def __init__(self) -> None:
        self._steps: dict[tuple, Step] = {}
        self._pool = RecordingPool()
        self.reasons: dict[str, dict[str, str | None]] = {}
        self.graphs: defaultdict[str, trace.Graphs] = defaultdict(trace.Graphs)
        self._seen_keys: set[tuple] = set()

    def find(self, kind: str, *key: Any) -> Step | None:
        """Returns the step of this kind and key if its recording is current, else None."""
        step = self._steps.get((kind, *key))
        return step if step is not None and step.recorder.plan and step.recorder.is_current() else None

    def get(self, kind: str, key: tuple, make: Callable[[], Step]) -> Step:
        """Returns the step of this kind and key. Creates a missing step with `make`."""
        step = self._steps.get((kind, *key))
        if step is None:
            keys = [k for k in list(self._steps) if k[0] == kind]
            if len(keys) >= MAX_STEPS and (oldest := self._steps.pop(keys[0], None)) is not None:
                oldest.recorder.close()
            step = self._steps[kind, *key] = make()
            step.recorder.pool = self._pool
            step.space.device.on_low_memory(self.free_idle)
            step.has_kernels = (kind, *key) in self._seen_keys
            self._seen_keys.add((kind, *key))
            self.reasons[kind], step.recorder.graphs = step.recorder.reasons, self.graphs[kind]
        return step

    def detach(self, kind: str) -> None:
        """Releases the data sets of all steps of one kind, but keeps the steps."""
        for key, step in list(self._steps.items()):
            if key[0] == kind:
                step.detach()

    def free_idle(self) -> None:
        """Frees the memory of idle prediction and evaluation steps if memory is short. Does nothing
        if another thread is running a step.
        """
        if kernel_lock.acquire(blocking=False):
            try:
                for key, step in list(self._steps.items()):
                    if key[0] != "train" and not step.users.count and self._steps.pop(key, None) is not None:
                        step.recorder.close()
            finally:
                kernel_lock.release()

    def forget(self, *kinds: str) -> None:
        """Frees the memory of all steps of these kinds, or of all steps if no kind is given."""
        for key in [key for key in list(self._steps) if not kinds or key[0] in kinds]:
            if (step := self._steps.pop(key, None)) is not None:  # another thread may have removed the step
                step.recorder.close()
        if not self._steps:
            self._pool = RecordingPool()
