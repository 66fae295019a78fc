"""`RankSum`: sums an array over all ranks in their order, so that each run has the same bits.

Each rank receives its section of the array from all others, sums it, and sends the sum to all.
Small arrays, and all arrays of two ranks, are sent whole to all ranks: one message fewer.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

AT_ONCE = 1 << 14  # bytes up to which a message's time hardly depends on its size

Rooms = defaultdict[tuple[int, int, np.dtype], list[np.ndarray]]  # free receive buffers by shape


class RankSum:
    """Sums `host` (n,) in place, then writes it, divided by `divided_by`, to the arrays `into`,
    which it holds one after the other. there: whether the copy to `host` is complete. packed: the
    dtype that is sent, None for the array's own. Uses the tags `tag` and `tag + 1`.
    """

    def __init__(self, comm: Any, host: np.ndarray, there: Callable[[], bool], into: Sequence[Any],
                 divided_by: int, tag: int, packed: str | None, rooms: Rooms) -> None:
        from mpi4py import MPI

        self._comm = comm
        self._host = host
        self._there = there
        self._into = into
        self._divided_by = divided_by
        self._tag = tag
        self._packed = packed
        self._free = rooms
        self._others = [rank for rank in range(comm.size) if rank != comm.rank]
        self._requests: list[Any] = []
        self._test = MPI.Request.Testall
        self._steps = self._run()

    def advance(self) -> bool:
        """Advances as far as possible without waiting. Returns whether the sum is complete."""
        return next(self._steps, True)

    def missing(self) -> list[int]:
        """Returns the ranks whose messages are missing."""
        return [rank for rank, request in zip([*self._others] * 2, self._requests) if not request.Test()]

    def _run(self) -> Iterator[bool]:
        """Performs the sum; yields False whenever it would have to wait."""
        while not self._there():
            yield False
        yield from self._sum()
        start = 0
        for array in self._into:
            if array is not self._host:
                part = self._host[start : start + array.size].reshape(array.shape)
                array[...] = part if self._divided_by == 1 else (part / self._divided_by).astype(array.dtype)
            start += array.size

    def _sum(self) -> Iterator[bool]:
        rank = self._comm.rank
        size = self._comm.size
        host = self._host
        whole = size == 2 or host.nbytes <= AT_ONCE
        cuts = [0, host.size] if whole else [host.size * i // size for i in range(size + 1)]
        shares = [slice(*two) for two in pairwise(cuts)] * (size if whole else 1)
        own = shares[rank]
        outgoing = host if self._packed is None else host.astype(self._packed)
        rooms = self._room(own.stop - own.start)
        yield from self._exchange(rooms, [outgoing[shares[other]] for other in self._others], self._tag)
        self._add(rooms, outgoing, own)
        self._give_back(rooms)
        if not whole:
            yield from self._collect(shares, own)

    def _add(self, rooms: np.ndarray, outgoing: np.ndarray, own: slice) -> None:
        """Sums this rank's section over all ranks, in their order."""
        rank = self._comm.rank
        total = self._host[own]
        parts = [*rooms]
        parts.insert(rank, outgoing[own])
        so_far = parts[0]
        for part in parts[1:-1]:  # partial sums are written to a receive buffer or `total`
            into = total if rank == 0 else rooms[0] if self._packed is None else np.empty_like(total)
            so_far = np.add(so_far, part, out=into, dtype=total.dtype)
        np.add(so_far, parts[-1], out=total, dtype=total.dtype)

    def _collect(self, shares: list[slice], own: slice) -> Iterator[bool]:
        """Sends the sum of this rank's section to all others, and receives their sums."""
        theirs = [self._host[shares[other]] for other in self._others]
        if self._packed is None:
            yield from self._exchange(theirs, [self._host[own]] * len(self._others), self._tag + 1)
            return
        outgoing = self._host[own].astype(self._packed)
        self._host[own] = outgoing  # rounded as the others receive it
        rooms = self._room(max(share.stop - share.start for share in shares))
        fitting = [room[: part.size] for room, part in zip(rooms, theirs)]
        yield from self._exchange(fitting, [outgoing] * len(self._others), self._tag + 1)
        for part, room in zip(theirs, fitting):
            part[...] = room
        self._give_back(rooms)

    def _exchange(self, rooms: Iterable[np.ndarray], outgoing: Iterable[np.ndarray],
                  tag: int) -> Iterator[bool]:
        """Receives from all other ranks and sends to them."""
        receiving = [self._comm.Irecv(_bytes(room), rank, tag) for room, rank in zip(rooms, self._others)]
        self._requests = [*receiving, *(self._comm.Isend(_bytes(part), rank, tag) for part,
                                        rank in zip(outgoing, self._others))]
        while not self._test(self._requests):
            yield False

    def _room(self, size: int) -> np.ndarray:
        key = len(self._others), size, np.dtype(self._packed or self._host.dtype)
        free = self._free[key]
        return free.pop() if free else np.empty(key[:2], key[2])

    def _give_back(self, rooms: np.ndarray) -> None:
        self._free[*rooms.shape, rooms.dtype].append(rooms)


def _bytes(array: np.ndarray) -> np.ndarray:
    return array.view(np.uint8)
