"""Reads the links of large HDF5 groups with non-ASCII names, which are in a fractal heap."""

from bisect import bisect
from collections.abc import Callable, Iterator
from operator import itemgetter
from typing import Any

Unpack = Callable[[str, int], tuple[Any, ...]]  # reads numbers at an address, as Tree.unpack does


def messages(unpack: Unpack, step: Callable[[], None], heap: int, tree: int) -> Iterator[int]:
    """Yields the addresses of a group's link messages."""
    blocks = list(_blocks(unpack, step, heap))
    for record in _records(unpack, step, tree):
        kind, offset, _ = unpack("BIH", record + 4)  # skips the hash of the link's name
        start, address = blocks[bisect(blocks, offset, key=itemgetter(0)) - 1]
        if kind:
            raise ValueError("a link in the file is damaged")
        yield address + offset - start


def _blocks(unpack: Unpack, step: Callable[[], None], heap: int) -> Iterator[tuple[int, int]]:
    """Yields the offset in the heap, and the address in the file, of each direct block."""
    signature, ids, filters = unpack("4sxHH", heap)
    width, smallest, largest, bits, _, root, rows = unpack("HQQHHQH", heap + 110)
    if signature != b"FRHP" or (ids, filters, bits) != (7, 0, 32) or not 0 < smallest <= largest or not width:
        raise ValueError("the heap that contains a group's links is damaged")
    if not rows:
        yield 0, root
        return
    offset = 0
    for i in range(width * rows):
        step()
        size = smallest << max(i // width - 1, 0)
        if size > largest:
            raise ValueError("a group has more links than can be read")
        yield offset, unpack("Q", root + 17 + 8 * i)[0]
        offset += size


def _records(unpack: Unpack, step: Callable[[], None], tree: int) -> Iterator[int]:
    """Yields the addresses of a B-tree's records."""
    signature, kind, size, length, depth, root, count = unpack("4sxBIHHxxQH", tree)
    if signature != b"BTHD" or kind != 5 or length != 11 or depth > 4 or size < 64:
        raise ValueError("the list of a group's links is damaged")
    most = (size - 10) // length
    width = _width(most)
    total = most
    pointers = [0]  # size of a child pointer in bytes, by the level of its node
    for level in range(depth):
        pointers.append(8 + width + (_width(total) if level else 0))
        most = (size - 10 - pointers[-1]) // (length + pointers[-1])
        total = (most + 1) * total + most
    pending = [(root, count, depth)]
    while pending:
        node, count, level = pending.pop()
        for i in range(count):
            step()
            yield node + 6 + i * length
        for i in range(count + 1 if level else 0):
            child = node + 6 + count * length + i * pointers[level]
            pending.append((*unpack("QB" if width == 1 else "QH", child), level - 1))


def _width(number: int) -> int:
    return (number.bit_length() + 7) // 8
