"""The memory that lanes access: the arguments (global), each block's shared memory, each thread's local memory.

An access must be entirely inside one piece of memory and at a multiple of its width, as on a GPU. An access outside is
an error, even if a GPU would find another array there.
"""

import bisect
from dataclasses import dataclass, field

import numpy as np

from .errors import AddressError, RaceError
from .translate import POISON

PIECE = 36  # log2 of the distance between pieces of global memory: a stray address hits no other piece
SHARED, LOCAL = 1 << 60, 1 << 61  # start of the shared and local windows in the generic address space


@dataclass
class Piece:
    """A piece of global memory from address `base` on. `name` is for messages; `owners` is set if races are checked."""

    name: str
    raw: np.ndarray
    base: int
    unit: int  # bytes per element: different threads may write neighbouring elements
    constant: bool = False
    owners: "Owners | None" = None
    _views: dict = field(default_factory=dict)

    @property
    def end(self) -> int:
        return self.base + self.raw.size

    def view(self, dtype) -> tuple[np.ndarray, int, int]:
        """Returns the piece as elements of a dtype, the address of the first one, and log2 of the element size."""
        found = self._views.get(dtype)
        if found is None:
            size = np.dtype(dtype).itemsize
            skip = -self.base % size
            whole = self.raw[skip : skip + max(self.raw.size - skip, 0) // size * size].view(dtype)
            found = self._views[dtype] = whole, self.base + skip, size.bit_length() - 1
        return found


class Owners:
    """The threads that wrote and read each element of a piece in this launch. -1 means none, MANY several."""

    MANY = -2

    def __init__(self, count: int) -> None:
        self.writer, self.reader = np.full(count, -1, np.int64), np.full(count, -1, np.int64)

    def read(self, items, threads):
        """Records reads. Returns (position, other thread) of the first racing read, or None."""
        other = self.writer[items]
        if (raced := (other != -1) & (other != threads)).any():
            at = int(raced.argmax())
            return at, int(other[at])
        before = self.reader[items]
        self.reader[items] = threads
        several = ((before != -1) & (before != threads)) | (self.reader[items] != threads)
        if several.any():
            self.reader[items[several]] = self.MANY
        return None

    def write(self, items, threads):
        """Records writes. Returns (position, other thread) of the first racing write, or None."""
        for other in (self.writer[items], self.reader[items]):
            if (raced := (other != -1) & (other != threads)).any():
                at = int(raced.argmax())
                return at, int(other[at])
        self.writer[items] = threads
        if (raced := self.writer[items] != threads).any():
            at = int(raced.argmax())
            return at, int(self.writer[items[at]])
        return None


class Global:
    """The arrays passed to a launch, at artificial addresses."""

    def __init__(self) -> None:
        self.pieces: list[Piece] = []
        self.bases: list[int] = []

    def add(self, name: str, raw: np.ndarray, unit: int, constant: bool = False) -> Piece:
        """Adds a piece for these bytes, with the same alignment relative to 256 bytes as in host memory."""
        base = ((len(self.pieces) + 1) << PIECE) + raw.ctypes.data % 256
        self.pieces.append(Piece(name, raw, base, unit, constant))
        self.bases.append(base)
        return self.pieces[-1]

    def at(self, address: int) -> Piece | None:
        """Returns the piece that contains an address, or None."""
        n = bisect.bisect_right(self.bases, address) - 1
        return self.pieces[n] if n >= 0 and address < self.pieces[n].end else None

    def parts(self, address, size, blame):
        """Returns the pieces that accesses of `size` bytes hit, each with the indices of its accesses (None: all)."""
        low, high = (int(address), int(address)) if address.ndim == 0 else (int(address.min()), int(address.max()))
        piece = self.at(low)
        if piece is not None and high + size <= piece.end:
            return [(piece, None)]
        if address.ndim == 0:
            raise AddressError(blame(None, self.outside(low, size)))
        number = np.searchsorted(self.bases, address, "right") - 1
        ends = np.array([p.end for p in self.pieces] + [0])
        wrong = (number < 0) | (address + size > ends[number])
        if wrong.any():
            at = int(wrong.argmax())
            raise AddressError(blame(at, self.outside(int(address[at]), size)))
        return [(self.pieces[n], np.flatnonzero(number == n)) for n in np.unique(number)]

    def outside(self, address: int, size: int) -> str:
        n = min(max(((address + (1 << PIECE - 1)) >> PIECE) - 1, 0), len(self.pieces) - 1)
        if not self.pieces:
            return f"{size} bytes at {address:#x}: the launch has no arrays."
        piece = self.pieces[n]
        return (f"{size} bytes at {address:#x} are outside all arrays. The nearest one, {piece.name} of "
                f"{piece.raw.size} bytes, starts {address - piece.base} bytes before that.")


class Windows:
    """Memory with a separate window of `size` bytes for each block (shared) or thread (local), from address 0 on."""

    def __init__(self, what: str, size: int, count: int) -> None:
        self.what, self.size = what, size
        self.stride = -(-size // 16) * 16
        pattern = np.full(self.stride * count // 4, POISON[4], np.uint32)
        self.raw = pattern.view(np.uint8)
        self._views: dict = {}

    def places(self, address, owner, dtype, size, here, blame):
        """Returns the index, over all windows, of the first element of each access. `here` is the accesses' span."""
        if here[0] < 0 or here[1] > self.size:
            wrong = (address < 0) | (address + size > self.size)
            at = int(wrong.argmax()) if wrong.ndim else None
            where = int(address[at] if wrong.ndim else address)
            raise AddressError(blame(at, f"{size} bytes at {where} are outside the {self.size} bytes of {self.what} "
                                        "memory."))
        return (owner * self.stride + address) >> (np.dtype(dtype).itemsize.bit_length() - 1)

    def view(self, dtype) -> np.ndarray:
        if dtype not in self._views:
            self._views[dtype] = self.raw.view(dtype)
        return self._views[dtype]


def span(address, size: int) -> tuple[int, int]:
    """Returns the first byte of the accesses, and the end of the last one."""
    if address.ndim == 0:
        return int(address), int(address) + size
    return int(np.minimum.reduce(address)), int(np.maximum.reduce(address)) + size


def aligned(address, size, blame) -> None:
    """Raises AddressError if an access is not at a multiple of its size."""
    bits = int(address) if address.ndim == 0 else int(np.bitwise_or.reduce(address))
    if bits & (size - 1):
        at = None if address.ndim == 0 else int((address & (size - 1) != 0).argmax())
        where = int(address) if at is None else int(address[at])
        raise AddressError(blame(at, f"{size} bytes at {where:#x}, which is no multiple of {size}."))


def raced(blame, found, doing: str, did: str) -> None:
    """Raises RaceError if `Owners` found a race."""
    if found is not None:
        at, other = found
        who = f"thread {other}" if other >= 0 else "several threads"
        raise RaceError(blame(at, f"It {doing}, which {who} {did} in the same launch."))
