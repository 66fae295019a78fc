"""Change counters: what a recorded step depends on counts its changes, so that no change of it is overlooked.

Every attribute that is set counts, whatever its name. State that training itself changes (a step counter, running sums,
random streams) lies in objects of its own, which do not count.
"""

from typing import Any

_changes = 0


def changes() -> int:
    """How many changes there were in this process: while this stays the same, nothing changed anywhere."""
    return _changes


def count_change() -> int:
    """Counts a change. Returns its number."""
    global _changes
    _changes += 1
    return _changes


class Versioned:
    """What counts its changes: `version` is the number of the last one. A property's setter counts what it sets."""

    version = 0

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if not isinstance(getattr(type(self), name, None), property):
            self.__dict__["version"] = count_change()

    def __delattr__(self, name: str) -> None:
        super().__delattr__(name)
        self.__dict__["version"] = count_change()
