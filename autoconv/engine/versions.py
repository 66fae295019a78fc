"""Change counters, which detect every change of an object on which a recorded step depends.

Layers and variables, which may be numerous, count each attribute that is set. The attributes of
losses, metrics and optimizers are compared before each step. State that training changes (a step
counter, running sums, random streams) is stored in variables, whose values are not counted. Values that
change in place, such as a list's elements, are compared through their `contents` before each step.
"""

import types
from collections import deque
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

_changes = 0
_PLAIN = (int, float, complex, str, bytes, type(None), np.generic, np.dtype)
_CODE = (type, types.FunctionType, types.BuiltinFunctionType, types.MethodType, types.ModuleType, partial)


def changes() -> int:
    """Returns the number of changes in this process so far. While it stays the same, nothing has changed."""
    return _changes


def count_change() -> int:
    """Counts a change. Returns the new number of changes."""
    global _changes
    _changes += 1
    return _changes


def find_mutable_values(thing: Any) -> Iterator[Any]:
    """Yields an object's attributes that can change in place: lists, dicts, arrays, objects of a user's classes.

    Attributes in `thing.bookkeeping` are left out, because no recording depends on their contents.
    """
    for name, value in vars(thing).items():
        if name not in thing.bookkeeping and can_change(value):
            yield value


class _Ref:
    """A reference to an object. Two references are equal if their object is the same."""

    __slots__ = ("value",)
    __hash__ = object.__hash__

    def __init__(self, value: Any) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Ref) and self.value is other.value


def can_change(value: Any) -> bool:
    """Whether a value can change in place without being counted as a change."""
    if isinstance(value, (*_PLAIN, *_CODE)) or hasattr(type(value), "bookkeeping"):  # layers etc. are checked elsewhere
        return False
    if isinstance(value, tuple | frozenset):
        return any(can_change(item) for item in value)
    if type(value).__module__.partition(".")[0] == "autoconv":  # counts its changes, or is training state
        return _is_constant_tensor(value)
    return isinstance(value, list | dict | set | deque | np.ndarray) or bool(_attributes(value))


def _attributes(value: Any) -> dict[str, Any]:
    """Returns an object's attributes by name, from its dict and slots."""
    slots = [name for base in type(value).__mro__ for name in getattr(base, "__slots__", ()) if hasattr(value, name)]
    return {**getattr(value, "__dict__", {}), **{name: getattr(value, name) for name in slots if name[:2] != "__"}}


def _is_constant_tensor(value: Any) -> bool:
    return hasattr(type(value), "requires_grad") and not hasattr(type(value), "version")


def contents(value: Any, seen_ids: set[int] | None = None) -> Any:
    """Returns a value's current contents, for a later comparison by ==. A repeated object is compared by identity."""
    seen_ids = set() if seen_ids is None else seen_ids
    if isinstance(value, _PLAIN):
        return type(value), value
    if isinstance(value, np.ndarray):
        return value.shape, value.dtype, _Ref(value) if value.dtype.hasobject else value.tobytes()
    if id(value) in seen_ids or not can_change(value):
        return _Ref(value)
    seen_ids.add(id(value))
    if isinstance(value, dict):
        return [(key, contents(item, seen_ids)) for key, item in value.items()]
    if isinstance(value, list | tuple | set | frozenset | deque):
        return type(value), [contents(item, seen_ids) for item in value]
    if _is_constant_tensor(value):
        return _Ref(value), _Ref(value.data)
    return _Ref(value), contents(_attributes(value), seen_ids)
