"""`Sum`: an array summed over all ranks in their order, so that each has the same bits, and each run as well.

Each rank gets its share of the array from all others, adds it up, and sends the sum to all. Small arrays, and those of
two ranks, go to all at once, and each rank adds up the whole: that is one message less to wait for.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

AT_ONCE = 1 << 14  # bytes: up to here the time of a message hardly depends on its size

Rooms = defaultdict[tuple[int, int, np.dtype], list[np.ndarray]]  # to receive into, by their shapes: those not in use


class Sum:
    """Sums `host` (n,) in place, then writes it, divided by `divided_by`, to `into`, arrays that lie in it one behind
    the other. packed: the dtype in which numbers travel, None for their own. Takes the tags `tag` and `tag + 1`.
    """

    def __init__(self, comm: Any, host: np.ndarray, into: Sequence[Any], divided_by: int, tag: int,
                 packed: str | None, rooms: Rooms) -> None:
        from mpi4py import MPI

        self._comm, self._rank, self._host, self._into, self._divided_by = comm, comm.rank, host, into, divided_by
        self._tag, self._test, self._free = tag, MPI.Request.Testall, rooms
        self._others = [rank for rank in range(comm.size) if rank != comm.rank]
        self._whole = comm.size == 2 or host.nbytes <= AT_ONCE
        cuts = [0, host.size] if self._whole else [host.size * i // comm.size for i in range(comm.size + 1)]
        self._shares = [slice(*two) for two in pairwise(cuts)] * (comm.size if self._whole else 1)
        self._own, self._packed = self._shares[comm.rank], packed
        self._outgoing = host if packed is None else host.astype(packed)
        self._rooms = self._room(self._own.stop - self._own.start)
        self._requests = self._exchange(self._rooms, [self._outgoing[self._shares[rank]] for rank in self._others], tag)
        self._stage = 0

    def advance(self) -> bool:
        """Goes on as far as that is possible without waiting. Returns whether all is done."""
        if self._stage == 0 and self._test(self._requests):
            self._add()
            self._stage = 2 if self._whole else 1
            if self._stage == 1:
                self._send_share()
        if self._stage == 1 and self._test(self._requests):
            self._stage = 2
            for rank, room in zip(self._others, self._rooms if self._packed else ()):
                share = self._shares[rank]
                self._host[share] = room[: share.stop - share.start]
        if self._stage == 2:
            self._stage = 3
            self._deliver()
        return self._stage == 3

    def missing(self) -> list[int]:
        """The ranks that it waits for."""
        return [rank for rank, request in zip([*self._others] * 2, self._requests) if not request.Test()]

    def _add(self) -> None:
        """The sum of all ranks' parts of the own share, in the order of ranks."""
        parts = [*self._rooms]
        parts.insert(self._rank, self._outgoing[self._own])
        total, so_far = self._host[self._own], parts[0]
        for part in parts[1:-1]:  # into a room, or into `total`, where the own part is the first and was read
            into = total if self._rank == 0 else self._rooms[0] if self._packed is None else np.empty_like(total)
            so_far = np.add(so_far, part, out=into, dtype=total.dtype)
        np.add(so_far, parts[-1], out=total, dtype=total.dtype)

    def _send_share(self) -> None:
        own = self._host[self._own]
        if self._packed is None:
            rooms: Any = [self._host[self._shares[rank]] for rank in self._others]
        else:
            own, self._host[self._own] = own.astype(self._packed), own.astype(self._packed)  # as the others get it
            self._give_back()
            rooms = self._rooms = self._room(max(share.stop - share.start for share in self._shares))
            rooms = [room[: self._shares[rank].stop - self._shares[rank].start]
                     for rank, room in zip(self._others, rooms)]
        self._requests = self._exchange(rooms, [own] * len(self._others), self._tag + 1)

    def _exchange(self, rooms: Iterable[np.ndarray], outgoing: Iterable[np.ndarray], tag: int) -> list[Any]:
        """Begins to receive from all others and to send to them."""
        receiving = [self._comm.Irecv(_bytes(room), rank, tag) for room, rank in zip(rooms, self._others)]
        return receiving + [self._comm.Isend(_bytes(part), rank, tag) for part, rank in zip(outgoing, self._others)]

    def _deliver(self) -> None:
        self._give_back()
        if len(self._into) == 1 and self._into[0] is self._host and self._divided_by == 1:
            return
        start = 0
        for array in self._into:
            part = self._host[start : start + array.size].reshape(array.shape) / self._divided_by
            array[...] = part.astype(array.dtype)
            start += array.size

    def _room(self, size: int) -> np.ndarray:
        key = len(self._others), size, np.dtype(self._packed or self._host.dtype)
        free = self._free[key]
        return free.pop() if free else np.empty(key[:2], key[2])

    def _give_back(self) -> None:
        self._free[*self._rooms.shape, self._rooms.dtype].append(self._rooms)


def _bytes(array: np.ndarray) -> np.ndarray:
    return array.view(np.uint8)
