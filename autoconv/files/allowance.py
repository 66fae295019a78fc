"""Limits the number of weights that a model from a file creates to the number in the file."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from math import prod
from typing import Any

LARGEST = 1 << 24  # maximum product of the sizes in one argument, such as Tile's repeats
SPARE = 1 << 20  # additional weight elements, for custom layers whose weights are not in the file

_remaining: ContextVar[list[int] | None] = ContextVar("numbers_left", default=None)


@contextmanager
def limit_weights(count: int) -> Iterator[None]:
    """Limits the weights created inside the block to `count` + SPARE elements in total."""
    token = _remaining.set([count + SPARE])
    try:
        yield
    finally:
        _remaining.reset(token)


def take(shape: tuple[int, ...], name: str) -> None:
    """Counts a weight before its allocation. Raises ValueError if the weights exceed the limit."""
    remaining = _remaining.get()
    if remaining is None:
        return
    remaining[0] -= prod(shape)
    if remaining[0] < 0:
        raise ValueError("The file must contain the weights of all layers. Received: a layer with the weight "
                         f"{name!r} of shape {tuple(shape)}, which needs more numbers than the file contains.")


def check_sizes(name: str, sizes: Any) -> None:
    """Raises ValueError if a file's sizes for an operation, such as Tile, are too large."""
    numbers = sizes if isinstance(sizes, list | tuple) else [sizes]
    factors = [abs(number) for number in numbers if isinstance(number, int) and number]
    if _remaining.get() is not None and prod(factors) > LARGEST:
        raise ValueError("In a model file, the product of the sizes passed to an operation must "
                         f"be at most {LARGEST:,}. Received: {name} with {sizes}.")
