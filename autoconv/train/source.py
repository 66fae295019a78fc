"""`Source` divides arrays into batches and writes them directly into a step's arrays. The order of
the samples is a function of a key and the epoch.
"""

import zlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from .. import random
from ..arguments.shapes import check_count
from ..engine.ranks import ALONE, Part, Ranks
from ..kernels import device as devices
from .user_arrays import Batch, Data

PROBES = 500  # number of samples compared to decide whether two data sets are the same
_READ = [np.dtype(kind) for kind in "?bBhHiIf"]  # dtypes that GPU kernels read directly


class Source:
    """Batches of arrays (N, ...), converted to the step's `dtypes`. An array that is None stays None.

    The last batch may be smaller. All data are sent to a GPU once if they fit there, else batch by
    batch. `is_shuffled` is true if `shuffle` may be called. With `is_staged`, steps on a GPU
    outlive this object, so they read from staging arrays (staging.py). Each of `ranks` reads a part
    of each batch; if a batch has fewer samples than ranks, each rank reads the whole batch.
    """

    def __init__(self, data: Data, dtypes: Sequence[Any], batch_size: int | None, device: devices.Device,
                 is_shuffled: bool = False, ranks: Ranks = ALONE, is_staged: bool = False) -> None:
        arrays = data.arrays
        batch_size = 32 if batch_size is None else batch_size
        check_count("batch_size", batch_size, 1)
        if batch_size < ranks.size:
            raise ValueError("batch_size is divided among all ranks, so it must be at least the number of ranks. "
                             f"Received: batch_size={batch_size} with {ranks.size} ranks.")
        self.batch_size, self._device, self._ranks = int(batch_size), device, ranks
        self._arrays, self.samples, self.data = arrays, len(data), data
        self.key: random.Key | None = None  # random key of each epoch's sample order, if shuffled
        self.is_staged = is_staged and device.keeps_steps and ranks.size == 1
        self._is_shuffled = is_shuffled
        has_order = is_shuffled or (device.needs_order and not self.is_staged)
        self._order: Any = np.arange(self.samples) if has_order else None
        self._device_key: random.Key | None = None  # random key of an order that exists only on the device
        self.first = 0  # the position of the next batch's first sample in the order
        # dtype of each array on a GPU: the array's own dtype if kernels can convert it, else the step's dtype
        self._dtypes = [None if not isinstance(a, np.ndarray) else
                        a.dtype if a.dtype in _READ and np.dtype(dtype).kind == "f" else np.dtype(dtype)
                        for a, dtype in zip(arrays, dtypes)]
        self._rows = arrays
        self._device_order: Any = self._order
        self._batches: dict[int, list[Any]] = {}
        to_send = sum(a.size * dtype.itemsize for a, dtype in zip(arrays, self._dtypes) if dtype is not None)
        self._fits = device.can_hold(to_send)
        self._series = device.series if (self._fits or self.is_staged) and ranks.size == 1 else 1
        if self._fits:
            self._rows = [None if a is None else device.place_data(a, dtype) for a, dtype in zip(arrays, self._dtypes)]
            self._device_order = None if self.is_staged else device.place_data(self._order)

    @property
    def steps(self) -> int:
        """The number of batches per epoch."""
        return -(-self.samples // self.batch_size)

    def tickets(self, epoch: int, skip_count: int = 0) -> Iterator[int]:
        """Shuffles the samples if there is a key. Returns an epoch's batch numbers, without the first `skip_count`."""
        if self.key is not None:
            self.shuffle(self.key, epoch)
        return iter(range(skip_count, self.steps))

    def identity(self) -> dict[str, Any]:
        """Returns the data set's sizes and a checksum over some hundreds of its samples."""
        rows = np.linspace(0, self.samples - 1, min(self.samples, PROBES)).astype(int)
        checksum = 0
        for array in self._arrays:
            if isinstance(array, np.ndarray):
                checksum = zlib.crc32(np.ascontiguousarray(array[rows]).tobytes(), checksum)
        return {"samples": self.samples, "batch_size": self.batch_size, "checksum": checksum}

    def get_state(self) -> dict[str, Any]:
        """Returns {}, because a batch depends only on the source's key, the epoch and the batch's number."""
        return {}

    def set_state(self, state: Any) -> None:
        """Does nothing, because a source has no state."""

    def shuffle(self, key: random.Key, epoch: int) -> None:
        """Sets an epoch's order of the samples, a function of the key and the epoch that is the same on all
        processes and devices. If the device can create the order, the host does so only when it needs samples.
        """
        self._device_key = random.epoch_stream(key, epoch)
        if self._fits and self._device.permute(*self._device_key, self._device_order):
            return
        order = self._host_order()
        if order is not self._device_order:
            self._device_order[...] = order

    def rehearse(self) -> None:
        """Creates an order on the device as `shuffle` does, so that a dry run finds the kernels."""
        if self._is_shuffled and self._fits:
            self._device.permute(0, 0, self._device_order)

    def _host_order(self) -> Any:
        """Returns the epoch's order of the samples in host memory, or None for unshuffled data."""
        if self._device_key is not None:
            self._order[...] = random.permutation(self.samples, self._device_key)
            self._device_key = None
        return self._order

    def batch(self, numbers: Sequence[int] = (0,)) -> Batch:
        """Returns the batches with these numbers. `read` writes the first of them next."""
        return Batch(self, self.data, self.seek(numbers[0]), numbers)

    def seek(self, i: int) -> Part:
        """Makes batch number i the next batch. Returns this process's part of the batch."""
        start, stop = i * self.batch_size, min((i + 1) * self.batch_size, self.samples)
        part = self._ranks.part(stop - start)
        self.first = start + part.start
        if not self._fits and not self.is_staged:
            self._send(part.samples)
        return part

    def rows_like(self) -> list[Any]:
        """Returns, for each array, the shape and dtype of the rows that a step reads; None for missing arrays."""
        return [None if a is None else (a.shape[1:], a.dtype if dtype is None else dtype)
                for a, dtype in zip(self._arrays, self._dtypes)]

    def rows(self, index: int, start: int, stop: int) -> Any:
        """Returns rows start..stop-1 of array number `index`, on the device if the data fit there, else on the host."""
        rows, dtype = self._rows[index][start:stop], self._dtypes[index]
        return rows if self._fits or dtype is None else np.asarray(rows, dtype)

    def together(self, ticket: int) -> int:
        """Returns the number of full batches, starting with number `ticket`, that one replay may run together."""
        return max(1, min(self._series, self.samples // self.batch_size - ticket))

    def read(self, first: Any, arrays: Sequence[Any]) -> None:
        """Writes the next batch into a step's arrays with kernels. `first` is a placeholder for the
        position of the batch's first sample in the order.
        """
        k = self._device.kernels("step")
        sources = self._rows if self._fits else self._batches[len(arrays[0])]
        for source, out in zip(sources, arrays):
            if source is None or out is None:
                continue
            if self._fits:
                k.take_rows(source, self._device_order, first, out)
            else:
                self._device.kernels("arith").copy(source, out)

    def host(self, index: int, n: int) -> Any:
        """Returns n samples of the next batch from the user's array number `index`, in the array's own dtype."""
        if self._arrays[index] is None:
            return None
        rows, order = slice(self.first, self.first + n), self._host_order()
        return np.asarray(self._arrays[index][rows if order is None else order[rows]])

    def end_epoch(self) -> None:
        """Does nothing, because arrays do not change between epochs."""

    def _send(self, n: int) -> None:
        """Copies the next n samples from host memory to permanent GPU arrays."""
        rows = self._order[self.first : self.first + n]
        host = [a if a is None else a[rows] if dtype is None else np.asarray(a[rows], dtype)
                for a, dtype in zip(self._rows, self._dtypes)]
        if n not in self._batches:
            self._batches[n] = [None if a is None else self._device.asarray(a) for a in host]
            return
        for source, target in zip(host, self._batches[n]):
            if target is not None:
                target[...] = source
