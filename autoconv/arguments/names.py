"""Names: of classes, and finding a thing by its name, with an error that suggests the nearest known one."""

import re
from collections import Counter
from collections.abc import Mapping
from difflib import get_close_matches
from typing import TypeVar

T = TypeVar("T")


def suggestion(name: object, known: Mapping[str, object] | list[str]) -> str:
    """` Did you mean 'relu'?` for 'rleu', an empty string when nothing is near."""
    near = get_close_matches(str(name).lower(), list(known), n=1, cutoff=0.6)
    return f" Did you mean {near[0]!r}?" if near else ""


def lookup(kind: str, name: object, known: Mapping[str, T]) -> T:
    """`known[name]`, or a ValueError that says what `kind` of name it is, what was received and what there is."""
    if isinstance(name, str) and name in known:
        return known[name]
    raise ValueError(f"Unknown {kind}: {name!r}.{suggestion(name, known)} Known: {', '.join(sorted(known))}.")


def snake_case(name: str) -> str:
    """`MaxPooling2D` as `max_pooling2d`, as Keras makes names of classes."""
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()


def numbered(name: str, given: Counter[str]) -> str:
    """`name`, `name_1`, `name_2`, ... in the order in which they are asked for."""
    number = given[name]
    given[name] += 1
    return f"{name}_{number}" if number else name
