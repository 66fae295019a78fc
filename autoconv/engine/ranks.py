"""`Ranks`: the processes that train a model together, as MPI calls them. Each has a copy of the model and a part of
each batch. `ALONE` is the one process that nobody helps; those of MPI are in parallel/.
"""

import pickle
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from typing import Any, NamedTuple

import numpy as np


class Part(NamedTuple):
    """A rank's part of a batch: how many samples come `before` it, its `own` number, how many times as many the
    whole batch has, and whether each rank has the whole batch, as there are more ranks than samples.
    """

    before: int
    own: int
    shards: float
    duplicated: bool


class Ranks:
    """How `size` processes, of which this is number `rank`, agree. What a method returns is the same on all of them.

    Each method but `progress` must be called by all, in the same order. Where a rank does not come, the others raise
    TimeoutError after a while, with its number. They may be called under the lock of the kernels.
    """

    rank, size = 0, 1
    number_here = 0  # among the ranks on this machine
    position = 0  # how many samples of the batch that runs now other ranks have before this one's

    @property
    def prepares(self) -> bool:
        """Whether it goes first on its machine, so that others find what it compiled or fetched."""
        return self.number_here == 0

    bucket_bytes = 1 << 18  # of the gradient, about so many are summed at once

    def part(self, samples: int) -> Part:
        """What this rank has of a batch of so many samples."""
        if samples < self.size:
            return Part(0, samples, float(self.size), True)
        before, after = (samples * (self.rank + one) // self.size for one in (0, 1))
        return Part(before, after - before, samples / (after - before), False)

    def first_sample(self) -> int:
        """The number in its batch of the first sample that this rank has."""
        return self.position

    def start(self, part: Any) -> None:
        """Begins to sum a part of the flat gradient, an array of the device, over all ranks, in place."""

    def start_mean(self, arrays: Sequence[Any]) -> None:
        """Begins to take the means of floating arrays of the device over all ranks, in place."""

    def progress(self) -> None:
        """Goes on with what was begun, without waiting. Called between the pieces of the backward pass."""

    def finish(self) -> None:
        """Waits until all that was begun is done."""

    def sum(self, array: np.ndarray) -> np.ndarray:
        """The sum of an array (...) over all ranks, in their order, added in the array's dtype."""
        total, *others = self.gather(array)
        for other in others:
            total = total + other
        return total

    def gather(self, array: np.ndarray) -> list[np.ndarray]:
        """An array of each rank, in their order; dtypes and shapes must be equal."""
        return [array]

    def exchange(self, value: Any) -> list[Any]:
        """A picklable value of each rank, in their order."""
        return [value]

    def broadcast(self, value: Any) -> Any:
        """Rank 0's picklable value."""
        return value

    def on_first(self, function: Callable, *args: Any) -> Any:
        """What a function returns on rank 0, where alone it is called, or the exception that it raises there."""
        if self.size == 1:
            return function(*args)
        found, error = None, None
        if self.rank == 0:
            try:
                found = function(*args)
            except BaseException as raised:
                error = raised
        found, told = self.broadcast((found, portable(error)))
        if told is not None:
            raise error or told
        return found


def portable(error: BaseException | None) -> BaseException | None:
    """An exception as it can be sent to another process: where its class cannot, a RuntimeError of its text."""
    try:
        pickle.loads(pickle.dumps(error))
        return error
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")


ALONE = Ranks()

# Those of the step that runs now, for layers whose result depends on the whole batch.
current: ContextVar[Ranks] = ContextVar("current", default=ALONE)
