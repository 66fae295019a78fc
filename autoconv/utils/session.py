"""`clear_session`: layers are named from the start again."""

from ..layers import parts


def clear_session(free_memory: bool = True) -> None:
    """Starts the automatic names of layers anew: the next `Conv2D` is "conv2d" again, as after a new start.

    `free_memory` is Keras's and changes nothing: a model's memory is freed when the last reference to it goes.
    """
    parts.forget_names()
