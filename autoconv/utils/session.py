"""Restarts the automatic names of layers (`clear_session`)."""

from ..layers import parts


def clear_session(free_memory: bool = True) -> None:
    """Restarts the automatic names of layers, so that the next `Conv2D` is named "conv2d" again.
    `free_memory` has no effect, as memory is freed with the last reference to a model.
    """
    parts.forget_names()
