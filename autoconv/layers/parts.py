"""What a layer is made of: its name, and the weights and layers in its attributes."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ..arguments import names

# attributes that hold what is no part of the layer
NO_PARTS = ("_added", "_recipe", "_metrics_wanted", "_nodes", "_weighted_wanted")
_names_given: Counter[str] = Counter()


def automatic_name(name: str) -> str:
    """The next name of this kind that no layer was given yet."""
    return names.numbered(name, _names_given)


def count_name(kind: str, name: str) -> None:
    """Counts a name that a file gave to a layer of this kind: automatic names begin after it."""
    base, _, number = name.rpartition("_") if name != kind else (name, "", "0")
    if base == kind and number.isdecimal():
        _names_given[kind] = max(_names_given[kind], int(number) + 1)


def forget_names() -> None:
    """Begins to count the automatic names anew."""
    _names_given.clear()


@contextmanager
def numbering(given: Counter[str] = _names_given) -> Iterator[None]:
    """Automatic names that are given within count for nothing afterwards."""
    before = given.copy()
    try:
        yield
    finally:
        given.clear()
        given.update(before)


def held(attributes: dict[str, Any], kind: type | tuple[type, ...]) -> list[Any]:
    """Everything of one kind in a layer's attributes and their lists, tuples and dicts, each once."""
    kinds = kind if isinstance(kind, tuple) else (kind,)
    looked_into = (*kinds, list, tuple, dict)
    found: dict[int, Any] = {}
    seen: set[int] = set()  # lists and dicts, which may hold themselves
    waiting = [value for name, value in reversed(attributes.items())
               if isinstance(value, looked_into) and name not in NO_PARTS]
    while waiting:
        value = waiting.pop()
        if isinstance(value, kinds):
            found.setdefault(id(value), value)
        elif id(value) in seen:
            continue
        elif isinstance(value, (list, tuple)):
            seen.add(id(value))
            waiting.extend(reversed(value))
        elif isinstance(value, dict):
            seen.add(id(value))
            waiting.extend(reversed(value.values()))
    return list(found.values())
