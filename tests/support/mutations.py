"""Damaged and hostile versions of a file, drawn by a seed."""

import copy
import json
import random
from collections.abc import Callable, Iterator
from typing import Any

Mutant = tuple[str, bytes]  # what was done, and the file

ALLOWED = (ValueError, OSError)  # what a file that is refused may raise

EXTREMES = (0, 1, -1, 127, 255, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**63 - 1, 2**63)
STRANGE: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 0.5, 300_000, 2**31, 2**63, 10**400, 1e308, float("nan"), float("inf"), "", "x",
    "relu", "float64", "0.9", "../../x", "\0", "x" * 10_000, [], {}, [[]], [None], ["a", "b"], [1, 2, 3], {"a": 1},
    {"tensor": ["a", 0, 0]}, {"class_name": "Dense", "config": {"units": 3}}, {"class_name": "list", "config": {}},
)


def mutants(sample: bytes, count: int, seed: int = 0) -> Iterator[Mutant]:
    """So many damaged versions of any file; half of the damage lies in its first 128 bytes, where headers are."""
    draw = random.Random(seed)
    for number in range(count):
        name, way = WAYS[number % len(WAYS)]
        yield name, way(sample, draw)


def _place(sample: bytes, draw: random.Random) -> int:
    return draw.randrange(min(len(sample), 128) if draw.random() < 0.5 else len(sample))


def _truncated(sample: bytes, draw: random.Random) -> bytes:
    return sample[: _place(sample, draw)]


def _extended(sample: bytes, draw: random.Random) -> bytes:
    return sample + (draw.randbytes(draw.randrange(1, 5000)) if draw.random() < 0.5 else sample)


def _flipped(sample: bytes, draw: random.Random) -> bytes:
    data = bytearray(sample)
    for _ in range(draw.choice((1, 1, 1, 2, 8, 64))):
        data[_place(sample, draw)] ^= 1 << draw.randrange(8)
    return bytes(data)


def _extreme(sample: bytes, draw: random.Random) -> bytes:
    """A number in the place of one, two, four or eight bytes."""
    size, place = draw.choice((1, 2, 4, 4, 8)), _place(sample, draw)
    number = draw.choice(EXTREMES) % 256**size
    return sample[:place] + number.to_bytes(size, draw.choice(("little", "big"))) + sample[place + size :]


def _moved(sample: bytes, draw: random.Random) -> bytes:
    """A piece is left out, doubled, or filled with zeros."""
    start = _place(sample, draw)
    stop = start + draw.choice((1, 2, 4, 16, 256))
    return sample[:start] + draw.choice((b"", sample[start:stop] * 2, bytes(stop - start))) + sample[stop:]


WAYS: tuple[tuple[str, Callable[[bytes, random.Random], bytes]], ...] = (
    ("truncated", _truncated), ("extended", _extended), ("bits", _flipped), ("a number", _extreme), ("moved", _moved))


BOMB = "a bomb is put here"
BOMBS: tuple[Callable[[int], str], ...] = (  # JSON that takes a multiple of its own size when it is read
    lambda n: "[" + "[]," * n + "0]", lambda n: "[" + "{}," * n + "0]", lambda n: "[" + "0," * n + "0]",
    lambda n: "[" + '{"class_name":"ReLU","config":{}},' * (n // 10) + "0]", lambda n: '"' + "x" * n + '"',
    lambda n: "{" + "".join(f'"k{i}":0,' for i in range(n)) + '"k":0}', lambda n: "[" + '"a",' * n + "0]",
    lambda n: "[" * n + "]" * n, lambda n: '{"config":' * n + "0" + "}" * n, lambda n: "1" * n)
BOMB_SIZES = (1000, 1000, 20_000, 100_000, 1_000_000)


def of_json(sample: Any, count: int, seed: int = 0) -> Iterator[tuple[str, str]]:
    """So many JSON texts, in each of which one or two values are replaced, left out or named otherwise, or have bombs
    in their place.
    """
    draw = random.Random(seed)
    for _ in range(count):
        changed, done = copy.deepcopy(sample), []
        for _ in range(draw.choice((1, 1, 1, 2))):
            place = draw.choice(list(_places(changed)) or [(changed, None)])
            done.append(_change(place, changed, draw))
        text = json.dumps(changed)
        if BOMB in text:
            which, size = draw.choice(BOMBS), draw.choice(BOMB_SIZES)
            text = text.replace(f'"{BOMB}"', which(size)).replace(BOMB, "")
            done.append(f"bomb {BOMBS.index(which)} of {size}")
        yield "; ".join(done), text


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every list and dict within, with each of its keys."""
    waiting = [value]
    while waiting:
        within = waiting.pop()
        for key in list(within if isinstance(within, dict) else range(len(within))):
            yield within, key
            if isinstance(within[key], (dict, list)):
                waiting.append(within[key])


def _change(place: tuple[Any, Any], whole: Any, draw: random.Random) -> str:
    within, key = place
    way = draw.random()
    if way < 0.1:
        del within[key]
        return f"{key!r} left out"
    if way < 0.15 and isinstance(within, dict):
        within[str(draw.choice(STRANGE))[:50]] = within.pop(key)
        return f"{key!r} renamed"
    if way < 0.2:
        within[key] = BOMB
        return f"{key!r} as a bomb"
    if way < 0.35:
        other, of = draw.choice(list(_places(whole)))
        within[key] = copy.deepcopy(other[of])
        return f"{key!r} as {of!r}"
    within[key] = copy.deepcopy(draw.choice(STRANGE))
    return f"{key!r} = {str(within[key])[:40]!r}"
