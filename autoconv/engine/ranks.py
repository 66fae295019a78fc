"""`Ranks`: the processes that train a model together, as MPI calls them. Each has a copy of the model and a part of
each batch. `ALONE` is a single process without others; MPI's ranks are in parallel/.
"""

import pickle
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from typing import Any, NamedTuple

import numpy as np


class Part(NamedTuple):
    """A rank's part of a batch: the index `start` of its first sample, its number of `samples`, the whole batch's
    samples as a multiple of these, and whether each rank has the whole batch, as there are more ranks than samples.
    """

    start: int
    samples: int
    shards: float
    is_duplicate: bool


class Ranks:
    """Communication between `size` processes, of which this is number `rank`. A method returns the same on all.

    All ranks must call each method except `progress`, in the same order. If a rank does not call it, the others raise
    TimeoutError with its number. Methods may be called under the kernel lock.
    """

    rank, size = 0, 1
    number_here = 0  # this rank's number on its machine
    position = 0  # samples of the current batch that earlier ranks have

    @property
    def prepares(self) -> bool:
        """Whether this rank goes first on its machine, so that others find its compiled or downloaded files."""
        return self.number_here == 0

    bucket_bytes = 1 << 18  # approximate bytes of the gradient that are summed at once

    def part(self, samples: int) -> Part:
        """Returns this rank's part of a batch with this many samples."""
        if samples < self.size:
            return Part(0, samples, float(self.size), True)
        start, stop = (samples * (self.rank + offset) // self.size for offset in (0, 1))
        return Part(start, stop - start, samples / (stop - start), False)

    def first_sample(self) -> int:
        """The index in the batch of this rank's first sample."""
        return self.position

    def start(self, part: Any) -> None:
        """Begins to sum a part of the flat gradient, an array of the device, over all ranks, in place."""

    def start_mean(self, arrays: Sequence[Any]) -> None:
        """Begins to take the means of floating arrays of the device over all ranks, in place."""

    def progress(self) -> None:
        """Advances the sums in progress without blocking. Called between pieces of the backward pass."""

    def finish(self) -> None:
        """Waits until all started sums are complete."""

    def sum(self, array: np.ndarray) -> np.ndarray:
        """Sums an array (...) over all ranks, in rank order and in the array's dtype."""
        total, *rest = self.gather(array)
        for term in rest:
            total = total + term
        return total

    def gather(self, array: np.ndarray) -> list[np.ndarray]:
        """Gathers one array from each rank, in rank order; dtypes and shapes must be equal."""
        return [array]

    def exchange(self, value: Any) -> list[Any]:
        """Gathers a picklable value from each rank, in rank order."""
        return [value]

    def broadcast(self, value: Any) -> Any:
        """Returns rank 0's picklable value."""
        return value

    def run_on_first(self, function: Callable, *args: Any) -> Any:
        """Calls a function on rank 0 only. Returns its result, or raises its exception, on all ranks."""
        if self.size == 1:
            return function(*args)
        result, error = None, None
        if self.rank == 0:
            try:
                result = function(*args)
            except BaseException as exception:
                error = exception
        result, first_error = self.broadcast((result, portable(error)))
        if first_error is not None:
            raise error or first_error
        return result


def portable(error: BaseException | None) -> BaseException | None:
    """Returns an exception that can be sent to another process: the error itself, else a RuntimeError with its text."""
    try:
        pickle.loads(pickle.dumps(error))
        return error
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")


ALONE = Ranks()

# The ranks of the current step, for layers whose result depends on the whole batch.
current: ContextVar[Ranks] = ContextVar("current", default=ALONE)
