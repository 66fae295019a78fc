"""The parts of a layer: its name, and the weights and layers in its attributes."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ..arguments import names

# attributes whose contents do not belong to the layer
NO_PARTS = ("_added_losses", "_recipe", "_metrics_wanted", "_nodes", "_weighted_wanted")
_PLAIN = frozenset({str, int, float, bool, type(None)})  # most attributes; a lookup here is faster than isinstance
_name_counts: Counter[str] = Counter()


def automatic_name(name: str) -> str:
    """Returns the next unused automatic name that starts with `name`."""
    return names.uniquify(name, _name_counts)


def count_name(name: str) -> None:
    """Records the name of a layer or function from a file, so that later automatic names have higher numbers."""
    base, _, number = name.rpartition("_")
    is_numbered = base and number.isdecimal() and len(number) < 10
    kind = base if is_numbered else name
    _name_counts[kind] = max(_name_counts[kind], int(number) + 1 if is_numbered else 1)


def forget_names() -> None:
    """Restarts the count of automatic names."""
    _name_counts.clear()


@contextmanager
def numbering(counts: Counter[str] = _name_counts) -> Iterator[None]:
    """Returns a context manager that restores the count of automatic names when it exits."""
    old = counts.copy()
    try:
        yield
    finally:
        counts.clear()
        counts.update(old)


def find_parts(attributes: dict[str, Any], kind: type | tuple[type, ...]) -> list[Any]:
    """Finds all objects of a `kind` in a layer's attributes and in their lists, tuples and dicts, each once."""
    kinds = kind if isinstance(kind, tuple) else (kind,)
    types = (*kinds, list, tuple, dict)
    parts: dict[int, Any] = {}
    seen_ids: set[int] = set()  # ids of visited lists, tuples and dicts, which may contain themselves
    stack = [value for name, value in reversed(attributes.items())
             if type(value) not in _PLAIN and isinstance(value, types) and name not in NO_PARTS]
    while stack:
        value = stack.pop()
        if type(value) in _PLAIN:
            continue
        if isinstance(value, kinds):
            parts.setdefault(id(value), value)
        elif id(value) in seen_ids:
            continue
        elif isinstance(value, (list, tuple)):
            seen_ids.add(id(value))
            stack.extend(reversed(value))
        elif isinstance(value, dict):
            seen_ids.add(id(value))
            stack.extend(reversed(value.values()))
    return list(parts.values())
