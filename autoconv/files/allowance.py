"""How large the weights of a model from a file may be: the file says how many numbers it holds."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from math import prod
from typing import Any

LARGEST = 1 << 24  # product of the sizes in one argument of an operation
SPARE = 1 << 20  # numbers that layers of one's own may make beside those that are kept

_left: ContextVar[list[int] | None] = ContextVar("numbers_left", default=None)


@contextmanager
def at_most(count: int) -> Iterator[None]:
    """Within this block new weights hold so many numbers in all, and some to spare."""
    token = _left.set([count + SPARE])
    try:
        yield
    finally:
        _left.reset(token)


def take(shape: tuple[int, ...], name: str) -> None:
    """Counts a new weight. Raises ValueError, before it takes memory, where no more are allowed."""
    left = _left.get()
    if left is None:
        return
    left[0] -= prod(shape)
    if left[0] < 0:
        raise ValueError(f"The weights of all layers must be in the file. Received: layers that make a {name} of "
                         f"shape {tuple(shape)}, for which the file holds too few numbers.")


def check_sizes(name: str, sizes: Any) -> None:
    """Raises ValueError if a file gives an operation, such as Tile, too large sizes."""
    numbers = sizes if isinstance(sizes, list | tuple) else [sizes]
    whole = [abs(number) for number in numbers if isinstance(number, int) and number]
    if _left.get() is not None and prod(whole) > LARGEST:
        raise ValueError(f"An operation in a file may name sizes up to {LARGEST:,} in all. "
                         f"Received: {name} with {sizes}.")
