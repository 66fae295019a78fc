"""Computes the input gradient of ReLU and 2x2 max pooling when another kernel reads the gradient:
dy at each window's winner, otherwise zero.
"""

from collections.abc import Callable

from .kernels import inline
from .ptx import load, load4, store, store4


@inline
def unpool_pixel(dy, y, winner, e):
    """Returns the gradient of a window's pixel e: dy if `winner` is e and the pooled y is above 0,
    otherwise zero.
    """
    return type(dy)(0) if winner != e or y <= type(dy)(0) else dy


def reading(width: int) -> tuple[Callable, Callable]:
    """Returns (read, write). read(y, winner, dy, index) reads `width` elements of the windows from
    `index` on. write(out, index, window, e, valid) writes the gradients of these windows' pixel e,
    or zeros if not `valid`.
    """
    @inline
    def read_one(y, winner, dy, index):
        return load(dy, index), load(y, index), load(winner, index)

    @inline
    def write_one(out, index, window, e, valid):
        zero = out.dtype.type(0)
        store(out, index, unpool_pixel(window[0], window[1], window[2], e) if valid else zero)

    @inline
    def read_four(y, winner, dy, index):
        return load4(dy, index), load4(y, index), load4(winner, index)

    @inline
    def write_four(out, index, window, e, valid):
        zero, (dy, y, winner) = out.dtype.type(0), window
        store4(out, index, (unpool_pixel(dy[0], y[0], winner[0], e) if valid else zero,
                            unpool_pixel(dy[1], y[1], winner[1], e) if valid else zero,
                            unpool_pixel(dy[2], y[2], winner[2], e) if valid else zero,
                            unpool_pixel(dy[3], y[3], winner[3], e) if valid else zero))

    return (read_four, write_four) if width == 4 else (read_one, write_one)
