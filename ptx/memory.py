"""Memory that lanes read and write at addresses: the arguments' (global), each block's own (shared), each thread's own.

An access must lie wholly in one piece and at a multiple of its width, as a GPU asks; what is outside is an error even
where a GPU would find another array there.
"""

import bisect
from dataclasses import dataclass, field

import numpy as np

from .errors import AddressError, RaceError
from .translate import POISON

PIECE = 36  # bits: pieces of global memory lie so far apart that a stray address meets none
SHARED, LOCAL = 1 << 60, 1 << 61  # where the windows of these spaces lie among generic addresses


@dataclass
class Piece:
    """Bytes of global memory, from address `base`; `name` for messages. `owners` where races are looked for."""

    name: str
    raw: np.ndarray
    base: int
    unit: int  # bytes of an item: what one thread may write while another writes the next
    constant: bool = False
    owners: "Owners | None" = None
    _views: dict = field(default_factory=dict)

    @property
    def end(self) -> int:
        return self.base + self.raw.size

    def view(self, dtype) -> tuple[np.ndarray, int, int]:
        """Its items of a dtype, the address of the first one, and the bits that an address is shifted by."""
        found = self._views.get(dtype)
        if found is None:
            size = np.dtype(dtype).itemsize
            skip = -self.base % size
            whole = self.raw[skip : skip + max(self.raw.size - skip, 0) // size * size].view(dtype)
            found = self._views[dtype] = whole, self.base + skip, size.bit_length() - 1
        return found


class Owners:
    """Which thread wrote each item of a piece in this launch, and which one read it. -1 is none, MANY several."""

    MANY = -2

    def __init__(self, count: int) -> None:
        self.writer, self.reader = np.full(count, -1, np.int64), np.full(count, -1, np.int64)

    def read(self, items, threads):
        """Notes reads; gives (position, other thread) of the first one that races."""
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
        """Notes writes; gives (position, other thread) of the first one that races."""
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
    """The arrays that a launch was given, at made-up addresses."""

    def __init__(self) -> None:
        self.pieces: list[Piece] = []
        self.bases: list[int] = []

    def add(self, name: str, raw: np.ndarray, unit: int, constant: bool = False) -> Piece:
        """A piece over these bytes, as far out of step with 256 bytes as they are in the host's memory."""
        base = ((len(self.pieces) + 1) << PIECE) + raw.ctypes.data % 256
        self.pieces.append(Piece(name, raw, base, unit, constant))
        self.bases.append(base)
        return self.pieces[-1]

    def at(self, address: int) -> Piece | None:
        """The piece that an address lies in."""
        n = bisect.bisect_right(self.bases, address) - 1
        return self.pieces[n] if n >= 0 and address < self.pieces[n].end else None

    def parts(self, address, size, blame):
        """The pieces that accesses of `size` bytes go to, each with which of them: None for all."""
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
            return f"{size} bytes at {address:#x}: there is no memory."
        piece = self.pieces[n]
        return (f"{size} bytes at {address:#x} are outside of all arrays. The nearest one, {piece.name} of "
                f"{piece.raw.size} bytes, starts {address - piece.base} bytes before that.")


class Windows:
    """Memory of which every block (shared) or thread (local) has `size` bytes of its own, from address 0 on."""

    def __init__(self, what: str, size: int, count: int) -> None:
        self.what, self.size = what, size
        self.stride = -(-size // 16) * 16
        pattern = np.full(self.stride * count // 4, POISON[4], np.uint32)
        self.raw = pattern.view(np.uint8)
        self._views: dict = {}

    def places(self, address, owner, dtype, size, here, blame):
        """The number of the item, among all windows', that each access starts at; `here` is their span."""
        if here[0] < 0 or here[1] > self.size:
            wrong = (address < 0) | (address + size > self.size)
            at = int(wrong.argmax()) if wrong.ndim else None
            where = int(address[at] if wrong.ndim else address)
            raise AddressError(blame(at, f"{size} bytes at {where} are outside of the {self.size} bytes of {self.what} "
                                        "memory."))
        return (owner * self.stride + address) >> (np.dtype(dtype).itemsize.bit_length() - 1)

    def view(self, dtype) -> np.ndarray:
        if dtype not in self._views:
            self._views[dtype] = self.raw.view(dtype)
        return self._views[dtype]


def span(address, size: int) -> tuple[int, int]:
    """From the first byte to behind the last one."""
    if address.ndim == 0:
        return int(address), int(address) + size
    return int(np.minimum.reduce(address)), int(np.maximum.reduce(address)) + size


def aligned(address, size, blame) -> None:
    """Raises AddressError where an access is not at a multiple of its size."""
    bits = int(address) if address.ndim == 0 else int(np.bitwise_or.reduce(address))
    if bits & (size - 1):
        at = None if address.ndim == 0 else int((address & (size - 1) != 0).argmax())
        where = int(address) if at is None else int(address[at])
        raise AddressError(blame(at, f"{size} bytes at {where:#x}, which is no multiple of {size}."))


def raced(blame, found, doing: str) -> None:
    """Raises RaceError where `Owners` or `Shadow` found one."""
    if found is not None:
        at, other = found
        raise RaceError(blame(at, f"{doing}, and so does thread {other}." if other >= 0 else
                         f"{doing} that other threads read."))
