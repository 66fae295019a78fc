"""Reads a cubin, the machine code of kernels: an ELF file with notes from NVIDIA's compiler."""

import struct
from typing import NamedTuple

_SYMBOLS, _NO_BITS = 2, 8  # section types of an ELF file
_ENTRY = 0x10  # flag of a symbol that is a kernel
_WIDE = 8  # format version from which the compute capability is the second byte of the flags
_WITH_SIZE = 4  # format of a note that states its length; other notes have four bytes
_PARAMETER, _REGISTERS, _FRAME = 0x17, 0x2F, 0x11  # kinds of notes


class Kernel(NamedTuple):
    """A kernel of a cubin: registers and bytes of local memory per thread, bytes of shared memory per block, parameters
    as (offset, size), and machine code.
    """

    name: str
    registers: int
    local: int
    shared: int
    parameters: list[tuple[int, int]]
    code: bytes


class _Section(NamedTuple):
    name: str
    kind: int
    offset: int
    size: int
    data: bytes


def length(head: bytes) -> int:
    """Returns the length in bytes of a cubin, from its first 64 bytes: it ends with the tables of its sections."""
    programs, sections = struct.unpack_from("<QQ", head, 32)
    program_size, program_count, section_size, section_count = struct.unpack_from("<4H", head, 54)
    return max(programs + program_size * program_count, sections + section_size * section_count)


def capability(image: bytes) -> tuple[int, int]:
    """Returns the compute capability for which a cubin was compiled."""
    flags, version = struct.unpack_from("<I", image, 48)[0], image[8]
    return divmod(flags >> (8 if version >= _WIDE else 0) & 0xFF, 10)


def kernels(image: bytes) -> list[Kernel]:
    """Returns the kernels of a cubin. Raises ValueError if `image` is not one."""
    if image[:4] != b"\x7fELF":
        raise ValueError("A cubin is an ELF file.")
    sections = _sections(image)
    by_name = {section.name: section for section in sections}
    symbols = _symbols(sections)
    general = _notes(by_name[".nv.info"].data) if ".nv.info" in by_name else []
    found = []
    for name in (name for name, is_entry in symbols if is_entry):
        values = {kind: struct.unpack_from("<II", data)[1] for kind, data in general
                  if kind in (_REGISTERS, _FRAME) and symbols[struct.unpack_from("<I", data)[0]][0] == name}
        shared = by_name.get(f".nv.shared.{name}")
        found.append(Kernel(name, values.get(_REGISTERS, 0), values.get(_FRAME, 0), shared.size if shared else 0,
                            _parameters(by_name[f".nv.info.{name}"].data), by_name[f".text.{name}"].data))
    return found


def _sections(image: bytes) -> list[_Section]:
    start, (size, count, names) = struct.unpack_from("<Q", image, 40)[0], struct.unpack_from("<3H", image, 58)
    heads = [struct.unpack_from("<IIQQQQ", image, start + i * size) for i in range(count)]
    text = heads[names][4]
    found = []
    for name, kind, _, _, offset, length_ in heads:
        word = image[text + name : image.index(b"\0", text + name)].decode()
        data = b"" if kind == _NO_BITS else image[offset : offset + length_]
        found.append(_Section(word, kind, offset, length_, data))
    return found


def _symbols(sections: list[_Section]) -> list[tuple[str, bool]]:
    """Returns the name of each symbol, in file order, and whether it is a kernel."""
    (table,), text = [s for s in sections if s.kind == _SYMBOLS], {s.name: s.data for s in sections}[".strtab"]
    heads = [struct.unpack_from("<IBB", table.data, at) for at in range(0, table.size, 24)]
    return [(text[name : text.index(b"\0", name)].decode(), bool(other & _ENTRY)) for name, _, other in heads]


def _notes(data: bytes) -> list[tuple[int, bytes]]:
    """Returns the notes of a section as (kind, value)."""
    found, at = [], 0
    while at < len(data):
        form, kind, value = struct.unpack_from("<BBH", data, at)
        at += 4
        if form == _WITH_SIZE:
            found.append((kind, data[at : at + value]))
            at += value
    return found


def _parameters(data: bytes) -> list[tuple[int, int]]:
    found = [struct.unpack("<IHHI", value) for kind, value in _notes(data) if kind == _PARAMETER]
    return [(offset, word >> 18) for _, _, offset, word in sorted(found, key=lambda parameter: parameter[1])]
