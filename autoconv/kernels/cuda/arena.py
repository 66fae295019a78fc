"""`Arena`: pieces of a few large segments of memory, handed out and taken back without asking the driver.

A freed piece grows together with its free neighbours, and the smallest one that fits is handed out, cut to size. A step
asks for the same sizes in the same order as the one before, so from the second step on it finds all of them.
"""

import threading
from bisect import bisect_left, insort
from collections.abc import Callable
from functools import lru_cache, partial
from operator import attrgetter
from typing import Any

ALIGNMENT = 512  # bytes: what the driver aligns its own allocations to, at least
VIEWS = 1024  # the views of a segment that are kept: to make one takes longer than to find a piece


class Segment:
    """Memory that the driver gave at once, `memory` as its bytes, with the free pieces by where they begin and end."""

    def __init__(self, number: int, memory: Any) -> None:
        self.number = number
        self.size = memory.shape[0]
        self.starts: dict[int, Piece] = {}
        self.stops: dict[int, Piece] = {}
        self.view = lru_cache(VIEWS)(partial(_view, memory))


class Piece:
    """The bytes from `start` to `stop` of a segment."""

    __slots__ = ("segment", "start", "stop")

    def __init__(self, segment: Segment, start: int, stop: int) -> None:
        self.segment = segment
        self.start = start
        self.stop = stop

    @property
    def order(self) -> tuple[int, int, int]:
        """Smaller pieces first; of the same size those of older segments, so that newer ones fall empty."""
        return self.stop - self.start, self.segment.number, self.start

    def view(self, size: int, dtype: Any) -> Any:
        """Its first `size` items of a dtype, as a flat array."""
        return self.segment.view(self.start, self.start + size * dtype.itemsize, dtype)


class Arena:
    """Memory from `allocate(size)`, a flat array of bytes; it raises MemoryError where there is none.

    `held` are the bytes it has from there, `allocations` how often it asked.
    """

    def __init__(self, allocate: Callable[[int], Any], segment: int) -> None:
        self._allocate = allocate
        self._segment = segment
        self._lock = threading.Lock()
        self._free: list[Piece] = []  # in their order
        self._returned: list[Piece] = []  # given back, and not yet among the free ones
        self.held = self.allocations = 0

    def take(self, size: int) -> Piece:
        """A piece of at least `size` bytes. Raises MemoryError where that is not to be had."""
        size = -(-size // ALIGNMENT) * ALIGNMENT
        with self._lock:
            self._collect()
            found = bisect_left(self._free, size, key=_size)
            if found == len(self._free):
                self._grow(size)
                found = bisect_left(self._free, size, key=_size)
            piece = self._free[found]
            self._remove(piece)
            if _size(piece) > size:
                self._insert(Piece(piece.segment, piece.start + size, piece.stop))
            return Piece(piece.segment, piece.start, piece.start + size)

    def unused(self) -> int:
        """The bytes that it has and nobody uses."""
        with self._lock:
            self._collect()
            return sum(map(_size, self._free))

    def give_back(self, piece: Piece) -> None:
        """Makes a piece free. Python calls this from any thread and in the middle of anything, even of `take`, when it
        collects what nobody holds: so it takes no lock, and only notes the piece.
        """
        self._returned.append(piece)

    def _release(self) -> None:
        """Lets go of the segments that nobody uses any part of."""
        self._collect()
        for piece in [piece for piece in self._free if _size(piece) == piece.segment.size]:
            self._remove(piece)
            self.held -= piece.segment.size

    def _grow(self, size: int) -> None:
        """One more segment; where that cannot be had, what is not used goes back first, then it may be smaller."""
        for attempt in (self._segment, self._segment, 0):
            try:
                memory = self._allocate(max(attempt, size))
                break
            except MemoryError:
                if attempt == 0:
                    raise
                self._release()
        self.allocations += 1
        segment = Segment(self.allocations, memory)
        self.held += segment.size
        self._insert(Piece(segment, 0, segment.size))

    def _collect(self) -> None:
        """Puts what was given back among the free pieces, grown together with its neighbours."""
        while self._returned:
            piece = self._returned.pop()
            segment = piece.segment
            start = piece.start
            stop = piece.stop
            before = segment.stops.get(start)
            behind = segment.starts.get(stop)
            if before is not None:
                self._remove(before)
                start = before.start
            if behind is not None:
                self._remove(behind)
                stop = behind.stop
            self._insert(Piece(segment, start, stop))

    def _insert(self, piece: Piece) -> None:
        insort(self._free, piece, key=_order)
        piece.segment.starts[piece.start] = piece.segment.stops[piece.stop] = piece

    def _remove(self, piece: Piece) -> None:
        del self._free[bisect_left(self._free, piece.order, key=_order)]
        del piece.segment.starts[piece.start], piece.segment.stops[piece.stop]


_order = attrgetter("order")


def _size(piece: Piece) -> int:
    return piece.stop - piece.start


def _view(memory: Any, start: int, stop: int, dtype: Any) -> Any:
    return memory[start:stop].view(dtype)
