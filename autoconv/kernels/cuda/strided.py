"""Moving items between arrays whose axes lie anywhere in memory: copies, fills, and picking items by position.

A kernel sees such an array as its whole flat memory and a place in it: where its first item lies, then the step of each
axis. Shapes have RANK axes at least, the first ones of size 1, so that one compiled kernel serves them all.
"""

from .runtime import cuda, inline, kernel

RANK = 4


@inline
def at(i, shape, place):
    """Where item i of an array lies, counted in scan order of `shape`."""
    position = place[0]
    for axis in range(len(shape) - 1, -1, -1):
        position += i % shape[axis] * place[axis + 1]
        i //= shape[axis]
    return position


def sizes(shape: tuple[int, ...], rank: int = RANK) -> tuple[int, ...]:
    """A shape of at least `rank` axes."""
    return (1,) * (rank - len(shape)) + tuple(shape)


def place(start: int, strides: tuple[int, ...], rank: int = RANK) -> tuple[int, ...]:
    """Where an array's items lie: the first one, and the step of each axis of `sizes`."""
    return (start, *(0,) * (rank - len(strides)), *strides)


@kernel("(int64, const T[::1], T[::1], UniTuple(int64, 4), UniTuple(int64, 5), UniTuple(int64, 5))")
def copy(count, a, out, shape, a_place, out_place):
    """out = a, in out's dtype."""
    for i in range(cuda.grid(1), count, cuda.gridsize(1)):
        out[at(i, shape, out_place)] = a[at(i, shape, a_place)]


@kernel("(int64, T[::1], T, UniTuple(int64, 4), UniTuple(int64, 5))")
def fill(count, out, value, shape, out_place):
    """out = value."""
    for i in range(cuda.grid(1), count, cuda.gridsize(1)):
        out[at(i, shape, out_place)] = value


@kernel("(int64, const T[::1], const int64[::1], T[::1], UniTuple(int64, 4), UniTuple(int64, 5))")
def pick(count, a, positions, out, shape, a_place):
    """out[i] = the item of `a` that scan order has at positions[i]."""
    for i in range(cuda.grid(1), count, cuda.gridsize(1)):
        out[i] = a[at(positions[i], shape, a_place)]


@kernel("(int64, const T[::1], const int64[::1], const int64[::1], const int64[::1], T[::1])")
def add_runs(count, dy, order, starts, targets, dx):
    """dx[targets[i]] = the sum of dy's items order[starts[i] : starts[i + 1]], in that order."""
    for i in range(cuda.grid(1), count, cuda.gridsize(1)):
        total = dx.dtype.type(0)
        for j in range(starts[i], starts[i + 1]):
            total += dy[order[j]]
        dx[targets[i]] = total
