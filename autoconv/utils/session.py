"""Resets the numbers in automatic layer names (`clear_session`)."""

from ..layers import parts


def clear_session(free_memory: bool = True) -> None:
    """Resets the numbers in automatic layer names: the next `Conv2D` is named "conv2d" again.
    `free_memory` has no effect, as memory is freed with the last reference to a model.
    """
    parts.forget_names()
