"""Looks up objects by name, with errors that suggest the closest known name. Converts names of classes."""

import re
from collections import Counter
from collections.abc import Mapping
from difflib import get_close_matches
from typing import TypeVar

T = TypeVar("T")


def suggestion(name: object, names: Mapping[str, object] | list[str]) -> str:
    """Returns ` Did you mean 'relu'?` for 'rleu', and an empty string if no name is close.

    Ignores upper and lower case. Initials, such as lr, match first, then names with the same letters in
    another order. If no spelling is very close, a name with all words of the given name is preferred:
    sparse_crossentropy gives sparse_categorical_crossentropy, not binary_crossentropy.
    """
    query, keys = snake_case(str(name)), [snake_case(each) for each in names]
    supersets = [each for each in keys if _words(query) and _words(query) <= _words(each)]
    initials = [each for each in keys if query == "".join(word[0] for word in each.split("_") if word) and "_" in each]
    anagrams = [each for each in keys if sorted(each) == sorted(query)]
    closest = (initials or anagrams or get_close_matches(query, keys, n=1, cutoff=0.85)
               or get_close_matches(query, supersets, n=1, cutoff=0)
               or get_close_matches(query, [each for each in keys if each.startswith(query)], n=1, cutoff=0)
               or get_close_matches(query, keys, n=1, cutoff=0.6))
    if not closest:
        return ""
    matches = [each for each, spelling in zip(names, keys) if spelling == closest[0]]  # e.g. a class and its function
    return f" Did you mean {get_close_matches(str(name), matches, n=1, cutoff=0)[0]!r}?"


def known_names(name: object, objects: Mapping[str, object]) -> str:
    """Returns the end of the error for an unknown name: the closest name, if any, and all names."""
    return f"{suggestion(name, objects)} Known names: {', '.join(sorted(objects))}."


def lookup(kind: str, name: object, objects: Mapping[str, T]) -> T:
    """Returns `objects[name]`. Raises ValueError for an unknown name. kind: the kind of object, for the message."""
    if isinstance(name, str) and name in objects:
        return objects[name]
    raise ValueError(f"Unknown {kind}: {name!r}.{known_names(name, objects)}")


def snake_case(name: str) -> str:
    """Converts a class name such as `MaxPooling2D` to `max_pooling2d`, as Keras does."""
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()


def printable(text: str, keep: str = "") -> str:
    """Makes untrusted text safe for a terminal. Escapes control characters, marks that change the
    writing direction and all other unprintable characters, except those in `keep`.
    """
    return text if text.isprintable() else "".join(c if c.isprintable() or c in keep else repr(c)[1:-1] for c in text)


def _words(name: str) -> set[str]:
    return set(re.findall("[a-z0-9]+", name))


def uniquify(name: str, counts: Counter[str]) -> str:
    """Returns `name`, `name_1`, `name_2`, ... on successive calls."""
    number = counts[name]
    counts[name] += 1
    return f"{name}_{number}" if number else name
