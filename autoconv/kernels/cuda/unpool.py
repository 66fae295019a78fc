"""The gradient before a ReLU with 2x2 max pooling, computed when it is read: dy at each window's
winner, otherwise zero.
"""

from collections.abc import Callable

from .kernels import inline
from .ptx import load, load4, store, store4


@inline
def won(given, value, which, e):
    """Returns the gradient of a window's pixel e: `given` if the winner `which` is e and the pooled
    `value` is above 0, otherwise zero.
    """
    return type(given)(0) if which != e or value <= type(given)(0) else given


def reading(width: int) -> tuple[Callable, Callable]:
    """Returns two functions. read(y, winner, dy, at) reads `width` elements of the windows from
    `at` on. write(to, index, window, e, valid) writes the gradients of their pixel e, or zeros if
    not `valid`.
    """
    @inline
    def read_one(y, winner, dy, at):
        return load(dy, at), load(y, at), load(winner, at)

    @inline
    def write_one(to, index, window, e, valid):
        zero = to.dtype.type(0)
        store(to, index, won(window[0], window[1], window[2], e) if valid else zero)

    @inline
    def read_four(y, winner, dy, at):
        return load4(dy, at), load4(y, at), load4(winner, at)

    @inline
    def write_four(to, index, window, e, valid):
        zero, (given, value, which) = to.dtype.type(0), window
        store4(to, index, (won(given[0], value[0], which[0], e) if valid else zero,
                           won(given[1], value[1], which[1], e) if valid else zero,
                           won(given[2], value[2], which[2], e) if valid else zero,
                           won(given[3], value[3], which[3], e) if valid else zero))

    return (read_four, write_four) if width == 4 else (read_one, write_one)
