"""`Staging` holds fixed GPU arrays from which a recorded step reads the batches of any data set."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ..kernels.device import Device
from .source import Source

BYTE_LIMIT = 64 << 20  # limit for staged batches, and for their outputs; a single batch may be larger


class Staging:
    """GPU arrays that a step of `n` samples reads and writes instead of a data set, with a `Source`'s methods.

    A recording contains the addresses of its arrays, but a data set is freed after the call. A step
    that is kept for later calls therefore reads from its staging arrays, into which the batches of
    a `Source` are copied first. The step's outputs are written to other staging arrays and copied
    from there to their rows. `like` has the shape and dtype of each array's rows, or None.
    """

    def __init__(self, device: Device, n: int, like: Sequence[Any]) -> None:
        self.like, self._device, self._n = like, device, n
        self._most = _batches(device.series, n, like)
        self._order = device.asarray(np.arange(self._most * n))
        self._arrays = self._make_arrays(like)
        self._results: list[Any] | None = None
        self._source: Source | None = None
        self._tickets: Sequence[int] = ()
        self.first = self._start = 0

    def _make_arrays(self, like: Sequence[Any]) -> list[Any]:
        return [None if rows is None else self._device.fresh((self._most * self._n, *rows[0]), rows[1])
                for rows in like]

    def parts(self, source: Source, tickets: Sequence[int], sink: Sequence[Any] | None) -> Iterator[Sequence[int]]:
        """Stages as many of the batches `tickets` at a time as fit, and yields the indices of the staged batches."""
        limit = self._most
        if sink is not None:
            limit = min(limit, _batches(limit, self._n, [(rows.shape[1:], rows.dtype) for rows in sink]))
        for start in range(0, len(tickets), limit):
            self._source, self._tickets = source, tickets[start : start + limit]
            self.seek(0)
            self._start, count = source.first, len(self._tickets) * self._n
            for i, array in enumerate(self._arrays):
                if array is not None:
                    self._device.transfer(source.rows(i, self._start, self._start + count), array[:count])
            yield range(len(self._tickets))

    def results(self, sink: Sequence[Any] | None) -> list[Any] | None:
        """Returns the arrays for a step's outputs, which `hand_out` later copies to `sink`; None without `sink`."""
        if sink is None:
            return None
        like = [(rows.shape[1:], rows.dtype) for rows in sink]
        if self._results is None or [(a.shape[1:], a.dtype) for a in self._results] != like:
            self._results = self._make_arrays(like)
        return self._results

    def hand_out(self, sink: Sequence[Any] | None) -> None:
        """Copies the staged batches' outputs to their rows in `sink`."""
        count = len(self._tickets) * self._n
        for rows, array in zip(sink or (), self._results or ()):
            self._device.transfer(array[:count], rows[self._start : self._start + count])

    def release(self) -> None:
        """Drops the reference to the data set, so that its memory can be freed."""
        self._source, self._tickets = None, ()

    # The methods of a source that a step calls.

    def rehearse(self) -> None:
        """Does nothing, because only `read` launches kernels."""

    def seek(self, i: int) -> int:
        """Makes staged batch number i the next batch. Returns its number of samples."""
        self.first = i * self._n
        self._source.seek(self._tickets[i])  # type: ignore[union-attr]
        return self._n

    def read(self, first: Any, arrays: Sequence[Any]) -> None:
        """Writes the next batch into a step's arrays with kernels."""
        k = self._device.kernels("step")
        for source, out in zip(self._arrays, arrays):
            if source is not None and out is not None:
                k.take_rows(source, self._order, first, out)

    def host(self, index: int, n: int) -> Any:
        """Returns n samples of the next batch from the user's array number `index`, in the array's own dtype."""
        return self._source.host(index, n)  # type: ignore[union-attr]


def _batches(most: int, n: int, like: Sequence[Any]) -> int:
    """Returns the number of batches of `n` samples that fit into BYTE_LIMIT: at least 1, at most `most`."""
    size = sum(math.prod(rows[0]) * np.dtype(rows[1]).itemsize for rows in like if rows is not None)
    return max(1, min(most, BYTE_LIMIT // max(1, n * size)))
