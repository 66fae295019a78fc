"""`Ranks` are the processes that train a model together, in MPI's terms. Each rank has a copy of the
model and a part of each batch. `ALONE` represents a single process; `parallel/` implements ranks with MPI.
"""

import pickle
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from typing import Any, NamedTuple

import numpy as np


class Part(NamedTuple):
    """A rank's part of a batch: `samples` samples from the index `start` on. `shards` is the whole
    batch's sample count divided by `samples`. `is_duplicate` is true if each rank has the whole
    batch, because there are more ranks than samples; `shards` is then the number of ranks.
    """

    start: int
    samples: int
    shards: float
    is_duplicate: bool


class Ranks:
    """Communication between `size` processes, of which this is number `rank`. Unless a method's
    description mentions "this rank", the method returns the same result on all ranks.

    All ranks must call each method except `progress`, in the same order. If a rank does not call a method,
    the others raise TimeoutError with the rank's number. The caller of a method may hold the kernel lock.
    """

    rank, size = 0, 1
    number_here = 0  # this rank's number on its machine
    position = 0  # number of samples of the current batch on lower ranks

    @property
    def prepares(self) -> bool:
        """Whether this rank compiles and downloads first on its machine, so that other ranks find the files."""
        return self.number_here == 0

    bucket_bytes = 1 << 18  # approximate size in bytes of the parts of a gradient that are summed

    def part(self, samples: int) -> Part:
        """Returns this rank's part of a batch of `samples` samples."""
        if samples < self.size:
            return Part(0, samples, float(self.size), True)
        start, stop = (samples * (self.rank + offset) // self.size for offset in (0, 1))
        return Part(start, stop - start, samples / (stop - start), False)

    def first_sample(self) -> int:
        """Returns the index of this rank's first sample in the current batch."""
        return self.position

    def start(self, part: Any) -> None:
        """Starts to sum a part of the flat gradient, a device array, over all ranks, in place."""

    def start_mean(self, arrays: Sequence[Any]) -> None:
        """Starts to average floating-point device arrays over all ranks, in place."""

    def progress(self) -> None:
        """Advances the sums that were started, without blocking. Called between parts of the backward pass."""

    def finish(self) -> None:
        """Waits until all sums that were started are complete."""

    def sum(self, array: np.ndarray) -> np.ndarray:
        """Sums an array of any shape over all ranks, in rank order and in the array's dtype."""
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
        """Returns rank 0's `value`, which must be picklable, on all ranks."""
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
    """Returns an exception that can be sent to another process: `error`, or a RuntimeError with its text."""
    try:
        pickle.loads(pickle.dumps(error))
        return error
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")


ALONE = Ranks()

# The ranks of the current step, for layers whose result depends on the whole batch.
current: ContextVar[Ranks] = ContextVar("current", default=ALONE)
