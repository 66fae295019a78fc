"""`clear_session`: restarts the automatic names of layers."""

from ..layers import parts


def clear_session(free_memory: bool = True) -> None:
    """Restarts the automatic names of layers: the next `Conv2D` is "conv2d" again. `free_memory`
    has no effect: memory is freed when the last reference to a model goes.
    """
    parts.forget_names()
