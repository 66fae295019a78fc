"""HDF5 files of Keras: damage to their structure, and hostile ones, for the table in readers.py."""

import io
import random
import struct
from collections.abc import Callable, Iterator
from functools import cache

import h5py
import mutations
import numpy as np
from hostile_models import keras_file
from mutations import EXTREMES, Mutant

NOWHERE = 2**64 - 1  # HDF5's undefined address


@cache
def structure(sample: bytes) -> dict[str, list[int]]:
    """Where a file in h5py's default format probably has addresses and sizes, types, dataspaces, and counts."""
    found: dict[str, list[int]] = {"address": [], "type": [], "space": [], "count": []}
    for at in range(0, len(sample) - 12, 2):
        if at % 4 == 0 and 64 <= struct.unpack_from("<Q", sample, at)[0] < len(sample):
            found["address"].append(at)
        if at % 8 == 0 and 0x10 <= sample[at] <= 0x1A and 0 < struct.unpack_from("<I", sample, at + 4)[0] <= 64:
            found["type"].append(at)
        if at % 8 == 0 and sample[at] == 1 and sample[at + 1] <= 4 and sample[at + 2] <= 1 and sample[at + 4] == 0:
            found["space"].append(at)
        if 0 < struct.unpack_from("<H", sample, at)[0] <= 64:
            found["count"].append(at)
    return found


def mutants(sample: bytes, count: int, seed: int) -> Iterator[Mutant]:
    """A fifth is damaged anywhere, the rest in one to four places of the structure."""
    yield from mutations.mutants(sample, count // 5, seed)
    draw, places = random.Random(seed), structure(sample)
    for _ in range(count - count // 5):
        data, done = bytearray(sample), []
        for _ in range(draw.choice((1, 1, 1, 2, 4))):
            kind = draw.choice(list(places))
            at = draw.choice(places[kind])
            CHANGES[kind](data, at, draw, places)
            done.append(f"{kind} at {at}")
        yield "; ".join(done), bytes(data)


def _address(data: bytearray, at: int, draw: random.Random, places: dict[str, list[int]]) -> None:
    """Another address of the file, its own place, a number, or all addresses after it equal to it."""
    other, way = draw.choice(places["address"]), draw.random()
    if way < 0.5:
        data[at : at + 8] = data[other : other + 8]
    elif way < 0.7:
        struct.pack_into("<Q", data, at, at // 8 * 8)
    elif way < 0.8:
        for each in places["address"][places["address"].index(at) :][: draw.choice((2, 8, 64))]:
            data[each : each + 8] = data[at : at + 8]
    else:
        struct.pack_into("<Q", data, at, draw.choice((*EXTREMES, NOWHERE, len(data))) % 2**64)


def _type(data: bytearray, at: int, draw: random.Random, places: dict[str, list[int]]) -> None:
    """Another class or version, other flags, another size, or the type of another place."""
    way = draw.randrange(4)
    if way == 0:
        data[at] = draw.randrange(4) << 4 | draw.randrange(12)
    elif way == 1:
        data[at + draw.choice((1, 1, 2, 3))] = draw.choice((0, 1, 2, 3, 8, 16, 255))
    elif way == 2:
        struct.pack_into("<I", data, at + 4, draw.choice((*EXTREMES, 2, 4, 8, 16, 2**28)) % 2**32)
    else:
        other = draw.choice(places["type"])
        data[at : at + 24] = data[other : other + 24]


def _space(data: bytearray, at: int, draw: random.Random, places: dict[str, list[int]]) -> None:
    """Another rank, other flags, or another size of an axis."""
    way = draw.randrange(3)
    if way < 2:
        data[at + way + draw.randrange(2)] = draw.choice((0, 1, 2, 3, 4, 32, 33, 255))
    else:
        struct.pack_into("<Q", data, at + 8 * draw.randrange(1, 4), draw.choice(
            (*EXTREMES, 1000, 10**5, 10**7)) % 2**64)


def _count(data: bytearray, at: int, draw: random.Random, places: dict[str, list[int]]) -> None:
    value = struct.unpack_from("<H", data, at)[0]
    struct.pack_into("<H", data, at, draw.choice(
        (0, 1, value - 1, value + 1, 2 * value, 16, 255, 4000, 2**16 - 1)) % 2**16)


CHANGES: dict[str, Callable[[bytearray, int, random.Random, dict[str, list[int]]], None]] = {
    "address": _address, "type": _type, "space": _space, "count": _count}


# Traps.


def file_of(fill: Callable[[h5py.File], None], sample: bytes = b"") -> bytes:
    """The sample, or an empty file, with what `fill` writes into it."""
    data = io.BytesIO(sample)
    with h5py.File(data, "r+" if sample else "w") as file:
        fill(file)
    return data.getvalue()


def traps() -> Iterator[Mutant]:
    """Files that must be refused."""
    sample = keras_file(".h5")
    words = bytes.fromhex("1901010010")
    for kind in (0, 2, 15):  # a sequence of bytes, and none that HDF5 knows
        yield f"text as variable length of kind {kind}", sample.replace(words, bytes([0x19, kind]) + words[2:])

    def many_names(count: int, length: int) -> bytes:
        def fill(file: h5py.File) -> None:
            del file["model_weights"].attrs["layer_names"]
            names = np.array(["x" * length] + ["y"] * (count - 1), h5py.string_dtype())
            for i in range(0, count, 4000):
                file["model_weights"].attrs[f"layer_names{i // 4000}"] = names[i : i + 4000]

        data = bytearray(file_of(fill, sample))
        first = data.index(struct.pack("<I", length), data.index(b"layer_names0"))
        reference = data[first : first + 16]
        for i in range(first, first + 16 * min(count, 4000), 16):
            data[i : i + 16] = reference
        return bytes(data)

    for count, length in ((4000, 65_000), (16_000, 250_000)):
        yield f"{count} references to {length} letters", many_names(count, length)

    def groups(file: h5py.File) -> None:
        group = file["model_weights"]
        for i in range(40):
            for j in range(4):
                group[f"x{j}"] = file.require_group(f"level{i}")
            group = file[f"level{i}"]
        for j in range(4):
            group[f"x{j}"] = file["model_weights"]

    yield "4 to the 40 groups", file_of(groups, sample)
    yield "a large attribute", file_of(lambda file: file.attrs.create("model_config", "x" * 10**8), sample)
    yield "a deep attribute", file_of(lambda file: file.attrs.create("model_config", "[" * 10**6), sample)

    def arrays(file: h5py.File) -> None:
        for i in range(20_000):
            file["model_weights"].create_dataset(f"x{i}", (0,), np.float32)

    yield "many arrays", file_of(arrays, sample)

    def huge(file: h5py.File) -> None:
        file["model_weights"].create_dataset("x", (2**20, 2**20), np.float32)  # no byte of it is written

    yield "an array without bytes", file_of(huge, sample)
    for option in ({"chunks": (4, 4)}, {"compression": "gzip"}, {"chunks": (1, 1)}):
        yield f"an array with {option}", file_of(lambda file, option=option: file["model_weights"].create_dataset(
            "x", (2**12, 2**12), np.float32, **option), sample)
