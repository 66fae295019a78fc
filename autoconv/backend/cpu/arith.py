"""Arithmetic, reductions and copies, by NumPy: these are bound by memory, and compiled loops would gain nothing."""

from typing import Any

import numpy as np

from .jit import noted

Array = np.ndarray


@noted
def add(a: Array, b: Array, out: Array) -> None:
    np.add(a, b, out=out)


@noted
def subtract(a: Array, b: Array, out: Array) -> None:
    np.subtract(a, b, out=out)


@noted
def multiply(a: Array, b: Array, out: Array) -> None:
    np.multiply(a, b, out=out)


@noted
def divide(a: Array, b: Array, out: Array) -> None:
    np.divide(a, b, out=out)


def matmul(a: Array, b: Array, out: Array) -> None:
    np.matmul(a, b, out=out)


@noted
def negative(a: Array, out: Array) -> None:
    np.negative(a, out=out)


def power(a: Array, exponent: float, out: Array) -> None:
    np.power(a, exponent, out=out)


def exp(a: Array, out: Array) -> None:
    np.exp(a, out=out)


def log(a: Array, out: Array) -> None:
    np.log(a, out=out)


@noted
def sqrt(a: Array, out: Array) -> None:
    np.sqrt(a, out=out)


@noted
def fill(out: Array, value: float) -> None:
    """out = a number."""
    out[...] = value


@noted
def copy(a: Array, out: Array) -> None:
    """out = a, where `a` may be strided, of another dtype, or smaller and broadcast."""
    out[...] = a


@noted
def sum(a: Array, axes: tuple[int, ...], out: Array) -> None:
    """Sums over `axes`, which `out` keeps with size 1. NumPy's order, which is the same in every run."""
    np.sum(a, axis=axes, out=out, keepdims=True)


@noted
def row_max(a: Array, index: Array, out: Array) -> None:
    """The first maximum of each row of `a` (rows, m) and where it is; a NaN counts as the maximum."""
    np.argmax(a, axis=1, out=index)
    out[...] = a[np.arange(len(a)), index]


def row_scatter(dy: Array, index: Array, dx: Array) -> None:
    """dx (rows, m) = 0 but for dy at each row's index."""
    dx[...] = 0
    dx[np.arange(len(dx)), index] = dy


def index_add(dy: Array, index: Any, dx: Array) -> None:
    """dx = 0, then dx[index] += dy, where an item that is named twice is added twice, in scan order."""
    dx[...] = 0
    np.add.at(dx, index, dy)


@noted
def index_put(dy: Array, index: Any, dx: Array) -> None:
    """dx = 0, then dx[index] = dy, for an index that names no item twice."""
    dx[...] = 0
    dx[index] = dy
