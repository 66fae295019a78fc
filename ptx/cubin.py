"""What a cubin, the machine code of kernels, says of them: an ELF file with notes of NVIDIA's compiler."""

import struct
from typing import NamedTuple

_SYMBOLS, _NO_BITS = 2, 8  # types of an ELF file's sections
_ENTRY = 0x10  # of a symbol
_WIDE = 8  # from this version of the format on the capability is the second byte of the flags
_WITH_SIZE = 4  # the format of a note that says how long it is; others are four bytes
_PARAMETER, _REGISTERS, _FRAME = 0x17, 0x2F, 0x11  # kinds of notes


class Kernel(NamedTuple):
    """An entry of a cubin: registers and bytes of local memory of a thread, bytes of shared memory of a block, its
    parameters as (offset, size), and its instructions.
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
    """How long a cubin is whose first 64 bytes these are: the tables of its parts are its end."""
    programs, sections = struct.unpack_from("<QQ", head, 32)
    program_size, program_count, section_size, section_count = struct.unpack_from("<4H", head, 54)
    return max(programs + program_size * program_count, sections + section_size * section_count)


def capability(image: bytes) -> tuple[int, int]:
    """The compute capability that a cubin was made for."""
    flags, version = struct.unpack_from("<I", image, 48)[0], image[8]
    return divmod(flags >> (8 if version >= _WIDE else 0) & 0xFF, 10)


def kernels(image: bytes) -> list[Kernel]:
    """The entries of a cubin. Raises ValueError where it is none."""
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
    """The names of the symbols, in their order, and whether each is a kernel."""
    (table,), text = [s for s in sections if s.kind == _SYMBOLS], {s.name: s.data for s in sections}[".strtab"]
    heads = [struct.unpack_from("<IBB", table.data, at) for at in range(0, table.size, 24)]
    return [(text[name : text.index(b"\0", name)].decode(), bool(other & _ENTRY)) for name, _, other in heads]


def _notes(data: bytes) -> list[tuple[int, bytes]]:
    """The notes of a section: (kind, value)."""
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
