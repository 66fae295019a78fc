"""`Arena`: allocates pieces of a few large memory segments, on a GPU and for recorded work on the CPU.

An allocation uses the smallest free piece that is large enough and splits off the rest. A freed
piece is merged with adjacent free pieces. A training step requests the same sizes in the same order
as the previous step, so from the second step on, free pieces of all these sizes exist.
"""

import threading
from bisect import bisect_left, insort
from collections.abc import Callable
from functools import lru_cache, partial
from operator import attrgetter
from typing import Any

ALIGNMENT = 512  # bytes; CUDA's own allocations have at least this alignment
VIEWS = 1024  # maximum number of cached array views per segment, because creating a view is slow


class Segment:
    """One large allocation, the byte array `memory`. The dict `stops` maps the first byte of each free piece
    to the byte after its last, and `starts` the other way round. They contain no pieces, because such a
    reference cycle would delay freeing the memory.
    """

    def __init__(self, number: int, memory: Any) -> None:
        self.number = number
        self.size = memory.shape[0]
        self.starts: dict[int, int] = {}
        self.stops: dict[int, int] = {}
        self.view = lru_cache(VIEWS)(partial(_view, memory))


class Piece:
    """The bytes of a segment from `start` up to, but not including, `stop`."""

    __slots__ = ("segment", "start", "stop")

    def __init__(self, segment: Segment, start: int, stop: int) -> None:
        self.segment = segment
        self.start = start
        self.stop = stop

    @property
    def order(self) -> tuple[int, int, int]:
        """Sort key for free pieces: smaller pieces come first. Among pieces of equal size, pieces
        of older segments come first, so that newer segments become unused and can be freed.
        """
        return self.stop - self.start, self.segment.number, self.start

    def view(self, size: int, dtype: Any) -> Any:
        """Returns the first `size` elements of the piece in a dtype, as a flat array."""
        return self.segment.view(self.start, self.start + size * dtype.itemsize, dtype)


class Arena:
    """Allocates memory in segments from `allocate(size)`, a function that returns a flat byte array
    or raises MemoryError.

    A segment has at least `segment` bytes and, if `doubling`, as many as all earlier segments together.
    `allocated_bytes` is the total size of the segments, `allocations` the number of allocations.
    """

    def __init__(self, allocate: Callable[[int], Any], segment: int, doubling: bool = False) -> None:
        self._allocate = allocate
        self._segment = segment
        self._doubling = doubling
        self._lock = threading.Lock()
        self._free: list[Piece] = []  # sorted by `Piece.order`
        self._freed_pieces: list[Piece] = []  # freed pieces that are not yet in `_free`
        self.allocated_bytes = self.allocations = 0

    def take(self, size: int) -> Piece:
        """Returns a piece of at least `size` bytes. Raises MemoryError if memory is exhausted."""
        size = -(-size // ALIGNMENT) * ALIGNMENT
        with self._lock:
            self._collect()
            index = bisect_left(self._free, size, key=_size)
            if index == len(self._free):
                self._grow(size)
                index = bisect_left(self._free, size, key=_size)
            piece = self._free[index]
            self._remove(piece)
            if _size(piece) > size:
                self._insert(Piece(piece.segment, piece.start + size, piece.stop))
            return Piece(piece.segment, piece.start, piece.start + size)

    def count_unused(self) -> int:
        """Returns the number of bytes that are allocated but not in use."""
        with self._lock:
            self._collect()
            return sum(map(_size, self._free))

    def give_back(self, piece: Piece) -> None:
        """Frees a piece. Garbage collection may call this method from any thread at any time, even
        during `take`. So the method acquires no lock and only records the piece.
        """
        self._freed_pieces.append(piece)

    def _release(self) -> None:
        """Frees the segments in which no piece is in use. This is a separate method because a local
        variable of `_grow` would keep the last segment alive during the next allocation.
        """
        self._collect()
        for piece in [piece for piece in self._free if _size(piece) == piece.segment.size]:
            self._remove(piece)
            self.allocated_bytes -= piece.segment.size

    def _grow(self, size: int) -> None:
        """Allocates a segment. If that fails, frees unused segments and tries again; if that fails
        too, allocates a segment of only `size` bytes.
        """
        usual = max(self._segment, self.allocated_bytes if self._doubling else 0)
        for attempt in (usual, usual, 0):
            try:
                memory = self._allocate(max(attempt, size))
                break
            except MemoryError:
                if attempt == 0:
                    raise
                self._release()
        self.allocations += 1
        segment = Segment(self.allocations, memory)
        self.allocated_bytes += segment.size
        self._insert(Piece(segment, 0, segment.size))

    def _collect(self) -> None:
        """Adds the freed pieces to the free list, merged with adjacent free pieces."""
        while self._freed_pieces:
            piece = self._freed_pieces.pop()
            segment = piece.segment
            start = segment.starts.get(piece.start, piece.start)
            stop = segment.stops.get(piece.stop, piece.stop)
            if start < piece.start:
                self._remove(Piece(segment, start, piece.start))
            if stop > piece.stop:
                self._remove(Piece(segment, piece.stop, stop))
            self._insert(Piece(segment, start, stop))

    def _insert(self, piece: Piece) -> None:
        insort(self._free, piece, key=_order)
        piece.segment.stops[piece.start] = piece.stop
        piece.segment.starts[piece.stop] = piece.start

    def _remove(self, piece: Piece) -> None:
        del self._free[bisect_left(self._free, piece.order, key=_order)]
        del piece.segment.stops[piece.start], piece.segment.starts[piece.stop]


_order = attrgetter("order")


def _size(piece: Piece) -> int:
    return piece.stop - piece.start


def _view(memory: Any, start: int, stop: int, dtype: Any) -> Any:
    return memory[start:stop].view(dtype)
