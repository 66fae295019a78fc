"""Reads HDF5's oldest format, h5py's default, as a tree of groups and arrays.

libhdf5 is not safe for untrusted files: one changed byte can crash it, or make it loop or allocate
gigabytes. This reader supports only the parts of HDF5 that Keras's files use. It checks every
address, size and count, and reads no more bytes than the file has. Its terms are those of the
"HDF5 File Format Specification Version 3.0".
"""

import struct
from collections.abc import Iterator
from functools import cached_property
from math import prod
from typing import Any

import numpy as np

from . import hdf5_dense

SIGNATURE = b"\x89HDF\r\n\x1a\n"
NOWHERE = 2**64 - 1  # the undefined address
STEPS = 1_000_000  # maximum number of messages, links and strings
LONGEST = 2**24  # maximum bytes of one string
# Message types in an object's header.
SPACE, LINK_INFO, TYPE, LINK, EXTERNAL, LAYOUT, FILTERS, ATTRIBUTE = 1, 2, 3, 6, 7, 8, 11, 12
CONTINUATION, SYMBOL_TABLE = 16, 17
SHARED = 2  # flag of a message whose content is stored elsewhere
# Float layouts by size in bytes: bit offset, precision, position and size of the exponent, position
# and size of the mantissa, exponent bias.
FLOATS = {2: (0, 16, 10, 5, 0, 10, 15), 4: (0, 32, 23, 8, 0, 23, 127), 8: (0, 64, 52, 11, 0, 52, 1023)}
REFERENCE = np.dtype([("length", "<u4"), ("heap", "<u8"), ("index", "<u4")])  # reference to a string in a heap


class Tree:
    """The objects in an HDF5 file. Raises ValueError for a damaged file or a newer format."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self._steps = min(len(data) // 4, STEPS)
        self._letters = 2 * len(data)
        self._nodes: dict[int, HDF5Node] = {}
        self._heaps: dict[int, dict[int, tuple[int, int]]] = {}
        if data[:8] != SIGNATURE:
            raise ValueError("the file is not in HDF5 format")
        if data[8] or data[13:15] != b"\x08\x08":
            raise ValueError("the file is in a newer HDF5 format than Keras writes. Write the "
                             "file without h5py's argument libver")
        if self.unpack("Q", 40)[0] > len(data):
            raise ValueError(f"the file has {len(data):,} bytes, but it had "
                             f"{self.unpack('Q', 40)[0]:,} bytes when it was written")
        self.root = self.node(self.unpack("Q", 64)[0])

    def node(self, address: int) -> "HDF5Node":
        """Returns the object whose header is at `address`."""
        if address not in self._nodes:
            self._nodes[address] = HDF5Node(self, address)
        return self._nodes[address]

    def unpack(self, layout: str, offset: int) -> tuple[Any, ...]:
        try:
            return struct.unpack_from(f"<{layout}", self.data, offset)
        except (struct.error, OverflowError):
            raise ValueError(f"the file has {len(self.data):,} bytes, but it refers to byte {offset:,}") from None

    def step(self) -> None:
        """Counts one part that is read. Raises ValueError if there are too many parts."""
        self._steps -= 1
        if self._steps < 0:
            raise ValueError("the file has too many parts, or refers to the same parts repeatedly")

    def text(self, offset: int, length: int) -> str:
        self._letters -= length + 1
        if length > LONGEST:
            raise ValueError(f"a string has {length:,} bytes, but at most {LONGEST:,} are allowed")
        if offset + length > len(self.data) or self._letters < 0:
            raise ValueError("the strings claim more bytes than the file has")
        return self.data[offset : offset + length].decode()

    def word(self, offset: int, stop: int) -> str:
        """Returns the zero-terminated string at `offset`, which must end before `stop`."""
        return self.text(offset, self.data.index(b"\0", offset, stop) - offset)

    def heap_text(self, length: int, heap: int, index: int) -> str:
        """Returns the string with number `index` in the global heap at address `heap`."""
        self.step()
        if not length:
            return ""
        if heap not in self._heaps:
            self._heaps[heap] = dict(self._heap_objects(heap))
        offset, size = self._heaps[heap][index]
        if length > size:
            raise ValueError("the strings claim more bytes than the file has")
        return self.text(offset, length)

    def _heap_objects(self, heap: int) -> Iterator[tuple[int, tuple[int, int]]]:
        """Yields the number, and the (address, size in bytes), of each object in a global heap."""
        signature, size = self.unpack("4sxxxxQ", heap)
        offset = heap + 16
        stop = heap + size
        if signature != b"GCOL" or stop > len(self.data):
            raise ValueError("a heap of strings is damaged")
        while offset + 16 <= stop:
            self.step()
            index, size = self.unpack("HxxxxxxQ", offset)
            if not index:  # the rest of the heap is free
                return
            yield index, (offset + 16, size)
            offset += 16 + -(-size // 8) * 8

    def type(self, offset: int) -> np.dtype | None:
        """Returns the dtype described at `offset`, or None if it is not supported. A
        variable-length string has the dtype REFERENCE.
        """
        kind, flags, sign, _, size = self.unpack("BBBBI", offset)
        kind &= 15
        order = ">" if flags & 1 else "<"
        if kind == 0 and size in (1, 2, 4, 8) and self.unpack("HH", offset + 8) == (0, 8 * size):
            return np.dtype(f"{order}{'i' if flags & 8 else 'u'}{size}")
        if kind == 1 and self.unpack("HHBBBBI", offset + 8) == FLOATS.get(size) and sign == 8 * size - 1:
            return np.dtype(f"{order}f{size}")
        if kind == 3 and 0 < size <= LONGEST:
            return np.dtype(f"S{size}")
        return REFERENCE if kind == 9 and flags & 15 == 1 and size == REFERENCE.itemsize else None

    def shape(self, offset: int) -> tuple[int, ...]:
        version, rank, _, kind = self.unpack("BBBB", offset)
        if version not in (1, 2) or rank > 32:
            raise ValueError("a shape in the file is damaged")
        if version == 2 and kind == 2:  # a null dataspace
            return (0,)
        return self.unpack(f"{rank}Q", offset + (8 if version == 1 else 4))

    def values(self, dtype: np.dtype, shape: tuple[int, ...], offset: int) -> np.ndarray:
        """Returns the array at `offset` as a read-only view of the file's bytes."""
        count = prod(shape)
        if count and offset + count * dtype.itemsize > len(self.data):
            raise ValueError("the arrays claim more bytes than the file has")
        return np.frombuffer(self.data if count else b"", dtype, count, offset if count else 0).reshape(shape)


class HDF5Node:
    """A group or an array, described by the messages in its header."""

    def __init__(self, tree: Tree, address: int) -> None:
        version, count, size = tree.unpack("BxHxxxxI", address)
        if version != 1:
            raise ValueError("the file is damaged, or in a newer HDF5 format than Keras writes. "
                             "Write the file without h5py's argument libver")
        self._tree = tree
        self._messages: list[tuple[int, int]] = []  # type and address of each message
        blocks = [(address + 16, size)]
        for offset, length in blocks:
            stop = offset + length
            while offset < stop and len(self._messages) < count:
                tree.step()
                kind, size, flags = tree.unpack("HHB", offset)
                if kind == CONTINUATION:
                    blocks.append(tree.unpack("QQ", offset + 8))
                self._messages.append((-1 if flags & SHARED else kind, offset + 8))
                offset += 8 + size

    def _address(self, kind: int) -> int | None:
        """Returns the address of the first message of type `kind`, or None."""
        return next((offset for each, offset in self._messages if each == kind), None)

    @property
    def is_group(self) -> bool:
        return any(kind in (SYMBOL_TABLE, LINK_INFO) for kind, _ in self._messages)

    @cached_property
    def links(self) -> dict[str, int]:
        """Addresses of a group's objects by name. Soft and external links have address NOWHERE."""
        table = self._address(SYMBOL_TABLE)
        info = self._address(LINK_INFO)
        if table is not None:
            return dict(sorted(self._symbols(*self._tree.unpack("QQ", table))))
        offsets = [offset for kind, offset in self._messages if kind == LINK]
        if info is not None:
            heap, tree = self._tree.unpack("QQ", info + (10 if self._tree.data[info + 1] & 1 else 2))
            if heap != NOWHERE:
                offsets += hdf5_dense.messages(self._tree.unpack, self._tree.step, heap, tree)
        return dict(sorted(self._link(offset) for offset in offsets))

    def _symbols(self, tree: int, heap: int) -> Iterator[tuple[str, int]]:
        """Yields names and addresses in a group with a B-tree of objects and a heap of names."""
        signature, size, names = self._tree.unpack("4sxxxxQxxxxxxxxQ", heap)
        pending = [tree]
        if signature != b"HEAP":
            raise ValueError("the names in a group are damaged")
        while pending:
            self._tree.step()
            offset = pending.pop()
            signature, kind, _, count = self._tree.unpack("4sBBH", offset)
            if signature == b"TREE" and kind == 0:
                pending += [self._tree.unpack("Q", offset + 32 + 16 * i)[0] for i in range(count)]
            elif signature == b"SNOD":
                for i in range(count):
                    self._tree.step()
                    name, address, cache_type = self._tree.unpack("QQI", offset + 8 + 40 * i)
                    yield self._tree.word(names + name, names + size), NOWHERE if cache_type == 2 else address
            else:
                raise ValueError("the list of objects in a group is damaged")

    def _link(self, offset: int) -> tuple[str, int]:
        """Returns the name and the address in the link message at `offset`."""
        flags = self._tree.data[offset + 1]
        offset = offset + 2
        is_external = flags & 8 and self._tree.data[offset]
        offset += bool(flags & 8) + (8 if flags & 4 else 0) + bool(flags & 16)
        width = 1 << (flags & 3)
        length = int.from_bytes(self._tree.data[offset : offset + width], "little")
        name = self._tree.text(offset + width, length)
        offset = offset + width + length
        return name, NOWHERE if is_external else self._tree.unpack("Q", offset)[0]

    def __getitem__(self, path: str) -> "HDF5Node":
        """Returns the object at a path. Raises ValueError for a soft or external link."""
        node = self
        for name in path.split("/"):
            if node.links[name] == NOWHERE:
                raise ValueError(f"{name!r} is a soft or external link, and such links are not followed")
            node = self._tree.node(node.links[name])
        return node

    def __contains__(self, name: str) -> bool:
        return name in self.links

    @cached_property
    def attrs(self) -> dict[str, tuple[int, int, int]]:
        """Addresses of each attribute's type, shape and value, by the attribute's name."""
        return dict(self._attribute(offset) for kind, offset in self._messages if kind == ATTRIBUTE)

    def _attribute(self, offset: int) -> tuple[str, tuple[int, int, int]]:
        version, flags, *sizes = self._tree.unpack("BBHHH", offset)
        if version not in (1, 2, 3) or (version > 1 and flags):
            raise ValueError("an attribute is damaged")
        offset += 9 if version == 3 else 8
        offsets = [offset]
        for size in sizes:
            offsets.append(offsets[-1] + (-(-size // 8) * 8 if version == 1 else size))
        return self._tree.word(offset, offsets[1]), (offsets[1], offsets[2], offsets[3])

    def texts(self, name: str) -> list[str]:
        """Returns the strings in an attribute. Raises ValueError if it contains other data."""
        kind, shape, value = self.attrs[name]
        dtype = self._tree.type(kind)
        if dtype is None:
            raise ValueError(f"the attribute {name!r} must contain only strings")
        values = self._tree.values(dtype, self._tree.shape(shape), value).ravel()
        if dtype == REFERENCE:
            return [self._tree.heap_text(*reference) for reference in values.tolist()]
        if dtype.kind != "S" and values.size:
            raise ValueError(f"the attribute {name!r} must contain only strings")
        return [self._tree.text(value + i * dtype.itemsize, len(item)) for i, item in enumerate(values.tolist())]

    def array(self) -> np.ndarray | None:
        """Returns a numeric array, None for other types. Raises ValueError if it cannot be read."""
        kind, shape, layout = (self._address(message) for message in (TYPE, SPACE, LAYOUT))
        if kind is None or shape is None or layout is None:
            raise ValueError("the array has no readable type, shape or layout. The file may be damaged")
        dtype = self._tree.type(kind)
        sizes = self._tree.shape(shape)
        version, layout_class = self._tree.unpack("BB", layout)
        if self._address(EXTERNAL) is not None or layout_class == 3:
            raise ValueError("the array is not stored in this file, and other files are not opened")
        if self._address(FILTERS) is not None or layout_class == 2:
            raise ValueError("the array is compressed or chunked, unlike the arrays that Keras "
                             "writes. Write the array without compression or chunks")
        if version != 3 or layout_class > 1:
            raise ValueError("the array has a layout that Keras does not write")
        if dtype is None or dtype.kind not in "fiu":
            return None
        offset = self._tree.unpack("Q", layout + 2)[0] if layout_class else layout + 4
        return np.require(self._tree.values(dtype, sizes, offset), dtype.newbyteorder("="), "A")
