"""Reads protobuf messages in bounded time and memory, and only the fields in a schema.

A schema maps field numbers to `Field`s. A message becomes a dict of values by field name. Strings,
messages and numbers are counted before they are allocated. Raw bytes are views of the file.
"""

import struct
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike

FIELDS = 400_000  # maximum number of fields in a file, in all its messages together
REPEATED = 10_000  # maximum messages in one repeated field
NAME = 1_000  # maximum bytes of one string
TEXT = 2**24  # maximum bytes of all strings
NUMBERS = 2**22  # maximum packed varints in a file; each may need 1 byte in the file and 8 bytes in memory

_WIRE = {"int": 0, "double": 1, "float": 5}  # wire types of single numbers; others are length-delimited
_FIXED = {1: ("<d", 8), 5: ("<f", 4)}


Message = dict[str, Any]  # values by field name


class Field(NamedTuple):
    """A field's name, its kind or schema, and whether it is repeated. The kind "any" only records
    that the field exists.
    """

    name: str
    kind: Any
    repeated: bool = False


class Schema(dict[int, Field]):
    """The fields of a message by field number."""

    def __init__(self, fields: dict[int, Field]) -> None:
        super().__init__(fields)
        self.repeated = [field.name for field in fields.values() if field.repeated]


def read_message(data: bytes, schema: Schema) -> Message:
    """Returns the message in `data`, with lists for repeated fields. Raises ValueError if it is invalid."""
    return _Reader(data).read_message(schema, 0, len(data))


class _Reader:
    """Reads one file. fields, text, numbers: how many fields, string bytes and integers may still be read."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.view = memoryview(data)
        self.fields = FIELDS
        self.text = TEXT
        self.numbers = NUMBERS

    def read_message(self, schema: Schema, place: int, end: int) -> Message:
        message: Message = {name: [] for name in schema.repeated}
        data = self.data
        while place < end:
            self.fields -= 1
            if self.fields < 0:
                raise _limit_error(FIELDS, "fields")
            tag, place = (data[place], place + 1) if data[place] < 128 else self._varint(place, end)
            field = schema.get(tag >> 3)
            wire = tag & 7
            value: Any = None
            if wire == 2:
                size, start = self._varint(place, end)
                place = start + size
                if place > end:
                    raise ValueError("a field extends past the end of its message")
                if field is not None:
                    value = self._read_value(field, start, place, message)
            elif wire == 0:
                value, place = self._varint(place, end)
                value -= (value >> 63) << 64  # two's complement
            elif wire in _FIXED:
                form, size = _FIXED[wire]
                place += size
                if place > end:
                    raise ValueError("a field extends past the end of its message")
                value = struct.unpack_from(form, data, place - size)[0]
            else:
                raise ValueError(f"a field has the wire type {wire}, which is not supported")
            if field is None:
                continue
            if wire != 2 and field.kind != "any" and (isinstance(field.kind, Schema) or _WIRE.get(field.kind) != wire):
                raise ValueError(f"the field {field.name!r} has a value of the wrong type")
            if field.repeated:
                message[field.name].append(value)
            elif field.name in message and isinstance(field.kind, Schema):
                raise ValueError(f"the field {field.name!r} occurs twice")
            else:
                message[field.name] = value
        return message

    def _varint(self, place: int, end: int) -> tuple[int, int]:
        value = shift = 0
        while place < end:
            byte = self.data[place]
            place += 1
            value |= (byte & 127) << shift
            if byte < 128:
                return value & 2**64 - 1, place
            shift += 7
            if shift > 63:
                raise ValueError("a variable-length integer has more than 10 bytes")
        raise ValueError("a field extends past the end of its message")

    def _read_value(self, field: Field, start: int, stop: int, message: Message) -> Any:
        """Reads the value of a length-delimited field."""
        kind = field.kind
        if kind == "text":
            self.text -= stop - start
            if stop - start > NAME:
                raise ValueError(f"a string in the field {field.name!r} has more than {NAME:,} bytes")
            if self.text < 0:
                raise _limit_error(TEXT, "bytes in all strings")
            return self.data[start:stop].decode()
        if isinstance(kind, Schema):
            if field.repeated and len(message[field.name]) >= REPEATED:
                raise _limit_error(REPEATED, f"messages in a field {field.name!r}")
            return self.read_message(kind, start, stop)
        if kind in _WIRE and field.repeated:
            return self._read_packed(kind, self.view[start:stop])
        if kind in _WIRE:
            raise ValueError(f"the field {field.name!r} has a value of the wrong type")
        return self.view[start:stop]

    def _read_packed(self, kind: str, raw: memoryview) -> np.ndarray:
        """Returns the numbers in a packed repeated field."""
        if kind != "int":
            dtype = np.dtype("<f8" if kind == "double" else "<f4")
            if len(raw) % dtype.itemsize:
                raise ValueError("a field of packed numbers ends within a number")
            return np.frombuffer(raw, dtype)
        if len(raw) > 10 * self.numbers:
            raise _limit_error(NUMBERS, "packed integers. Store them as raw_data")
        octets = np.frombuffer(raw, np.uint8)
        is_end = octets < 128
        self.numbers -= int(np.count_nonzero(is_end))
        if self.numbers < 0:
            raise _limit_error(NUMBERS, "packed integers. Store them as raw_data")
        ends = np.flatnonzero(is_end)
        starts = np.concatenate([[0], ends + 1])
        lengths = np.diff(starts)
        if starts[-1] != len(octets) or lengths.max(initial=0) > 10:
            raise ValueError("a packed integer is truncated or has more than 10 bytes")
        values = np.zeros(len(ends), np.uint64)
        for i in range(lengths.max(initial=0)):
            longer = lengths > i
            values[longer] |= (octets[starts[:-1][longer] + i] & 127).astype(np.uint64) << np.uint64(7 * i)
        return values.view(np.int64)


def numbers(parts: list[Any], dtype: DTypeLike | None = None) -> np.ndarray:
    """Returns the numbers of a repeated field, packed or single, as one array."""
    if not any(isinstance(part, np.ndarray) for part in parts):
        return np.array(parts, dtype)
    return np.concatenate([np.atleast_1d(part) for part in parts], dtype=dtype)


def _limit_error(limit: int, description: str) -> ValueError:
    return ValueError(f"the file has more than {limit:,} {description}")
