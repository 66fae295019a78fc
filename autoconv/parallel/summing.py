"""`RankSum`: sums an array over all ranks in their order, so that each run gives the same bits.

Each rank receives its section of the array from all other ranks, sums it, and sends the sum to all.
Small arrays, and all arrays if there are two ranks, are sent whole to all ranks, which saves a message.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

AT_ONCE = 1 << 14  # bytes up to which a message's time hardly depends on its size

Buffers = defaultdict[tuple[int, int, np.dtype], list[np.ndarray]]  # free receive buffers by shape and dtype


class RankSum:
    """Sums `host` (n,) over all ranks, in place. Then divides the sum by `divisor` and writes it to
    the arrays `targets`, which `host` contains one after the other. is_ready: returns whether the
    copy to `host` is complete. wire_dtype: the dtype of the messages, or None for the dtype of
    `host`. Uses the tags `tag` and `tag + 1`.
    """

    def __init__(self, comm: Any, host: np.ndarray, is_ready: Callable[[], bool], targets: Sequence[Any],
                 divisor: int, tag: int, wire_dtype: str | None, buffers: Buffers) -> None:
        from mpi4py import MPI

        self._comm = comm
        self._host = host
        self._is_ready = is_ready
        self._targets = targets
        self._divisor = divisor
        self._tag = tag
        self._wire_dtype = wire_dtype
        self._buffers = buffers
        self._peers = [rank for rank in range(comm.size) if rank != comm.rank]
        self._requests: list[Any] = []
        self._test = MPI.Request.Testall
        self._steps = self._run()

    def advance(self) -> bool:
        """Continues as far as possible without waiting. Returns whether the sum is complete."""
        return next(self._steps, True)

    def missing(self) -> list[int]:
        """Returns the ranks whose messages are missing."""
        return [rank for rank, request in zip([*self._peers] * 2, self._requests) if not request.Test()]

    def _run(self) -> Iterator[bool]:
        """Computes the sum. Yields False whenever it would have to wait."""
        while not self._is_ready():
            yield False
        yield from self._sum()
        start = 0
        for array in self._targets:
            if array is not self._host:
                part = self._host[start : start + array.size].reshape(array.shape)
                array[...] = part if self._divisor == 1 else (part / self._divisor).astype(array.dtype)
            start += array.size

    def _sum(self) -> Iterator[bool]:
        rank = self._comm.rank
        size = self._comm.size
        host = self._host
        whole = size == 2 or host.nbytes <= AT_ONCE
        cuts = [0, host.size] if whole else [host.size * i // size for i in range(size + 1)]
        spans = [slice(*bounds) for bounds in pairwise(cuts)] * (size if whole else 1)
        span = spans[rank]
        outgoing = host if self._wire_dtype is None else host.astype(self._wire_dtype)
        buffer = self._take_buffer(span.stop - span.start)
        yield from self._exchange(buffer, [outgoing[spans[peer]] for peer in self._peers], self._tag)
        self._add(buffer, outgoing, span)
        self._release_buffer(buffer)
        if not whole:
            yield from self._collect(spans, span)

    def _add(self, buffer: np.ndarray, outgoing: np.ndarray, span: slice) -> None:
        """Sums this rank's section of the array over all ranks, in their order."""
        rank = self._comm.rank
        total = self._host[span]
        parts = [*buffer]
        parts.insert(rank, outgoing[span])
        partial = parts[0]
        for part in parts[1:-1]:  # a partial sum must not overwrite a later part
            out = total if rank == 0 else buffer[0] if self._wire_dtype is None else np.empty_like(total)
            partial = np.add(partial, part, out=out, dtype=total.dtype)
        np.add(partial, parts[-1], out=total, dtype=total.dtype)

    def _collect(self, spans: list[slice], span: slice) -> Iterator[bool]:
        """Sends the sum of this rank's section to all other ranks, and receives their sums."""
        targets = [self._host[spans[peer]] for peer in self._peers]
        if self._wire_dtype is None:
            yield from self._exchange(targets, [self._host[span]] * len(self._peers), self._tag + 1)
            return
        outgoing = self._host[span].astype(self._wire_dtype)
        self._host[span] = outgoing  # the same rounded values that other ranks receive
        buffer = self._take_buffer(max(each.stop - each.start for each in spans))
        views = [row[: part.size] for row, part in zip(buffer, targets)]
        yield from self._exchange(views, [outgoing] * len(self._peers), self._tag + 1)
        for part, row in zip(targets, views):
            part[...] = row
        self._release_buffer(buffer)

    def _exchange(self, targets: Iterable[np.ndarray], outgoing: Iterable[np.ndarray],
                  tag: int) -> Iterator[bool]:
        """Sends arrays to all other ranks and receives theirs. Yields False until all messages have arrived."""
        receiving = [self._comm.Irecv(_bytes(target), rank, tag) for target, rank in zip(targets, self._peers)]
        self._requests = [*receiving, *(self._comm.Isend(_bytes(part), rank, tag) for part,
                                        rank in zip(outgoing, self._peers))]
        while not self._test(self._requests):
            yield False

    def _take_buffer(self, size: int) -> np.ndarray:
        key = len(self._peers), size, np.dtype(self._wire_dtype or self._host.dtype)
        free = self._buffers[key]
        return free.pop() if free else np.empty(key[:2], key[2])

    def _release_buffer(self, buffer: np.ndarray) -> None:
        self._buffers[*buffer.shape, buffer.dtype].append(buffer)


def _bytes(array: np.ndarray) -> np.ndarray:
    return array.view(np.uint8)
