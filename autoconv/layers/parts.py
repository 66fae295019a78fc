"""The parts of a layer: its name, and the weights and layers in its attributes."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ..arguments import names

# attributes whose contents do not belong to the layer
NO_PARTS = ("_added", "_recipe", "_metrics_wanted", "_nodes", "_weighted_wanted")
_names_given: Counter[str] = Counter()


def automatic_name(name: str) -> str:
    """Returns the next unused name of this kind."""
    return names.uniquify(name, _names_given)


def count_name(kind: str, name: str) -> None:
    """Counts a layer's name from a file: automatic names continue after it."""
    base, _, number = name.rpartition("_") if name != kind else (name, "", "0")
    if base == kind and number.isdecimal():
        _names_given[kind] = max(_names_given[kind], int(number) + 1)


def forget_names() -> None:
    """Restarts the count of automatic names."""
    _names_given.clear()


@contextmanager
def numbering(given: Counter[str] = _names_given) -> Iterator[None]:
    """Returns a block after which the count of automatic names is as before."""
    before = given.copy()
    try:
        yield
    finally:
        given.clear()
        given.update(before)


def held(attributes: dict[str, Any], kind: type | tuple[type, ...]) -> list[Any]:
    """Finds all objects of one kind in a layer's attributes and their lists, tuples and dicts, each once."""
    kinds = kind if isinstance(kind, tuple) else (kind,)
    looked_into = (*kinds, list, tuple, dict)
    found: dict[int, Any] = {}
    seen: set[int] = set()  # lists and dicts, which may contain themselves
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
