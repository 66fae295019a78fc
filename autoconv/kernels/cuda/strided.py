"""Copies, fills, and picks elements by position, for arrays with any strides.

A kernel receives such an array as its whole flat memory and a `place`: the position of the first
element, followed by the step of each axis. Shapes have at least RANK axes, the last ones of size 1
if necessary, so that one compiled kernel serves all arrays of up to RANK axes.
"""

from .kernels import inline, kernel
from .ptx import global_index, load4, store4

RANK = 4


@inline
def locate(i, shape, place):
    """Returns the position in memory of an array's element i, counted in C order over `shape`. Axes
    of size 1 cost no division.
    """
    position = place[0]
    for axis in range(len(shape) - 1, 0, -1):
        if shape[axis] != 1:
            position += i % shape[axis] * place[axis + 1]
            i //= shape[axis]
    return position + i * place[1]


def layout(shape: tuple[int, ...], *operands: tuple[int, tuple[int, ...]]) -> list[tuple[int, ...]]:
    """Returns the sizes of as few axes as possible for these elements, then the place of each
    operand. An operand is a pair of the first element's position and the steps of the axes.

    Adjacent axes are merged if a single step per operand covers both. Contiguous arrays keep only
    one axis. Axes of size 1 are added if fewer than RANK remain.
    """
    sizes_left: list[int] = []
    steps_left: list[tuple[int, ...]] = []
    for n, steps in zip(shape, zip(*(steps for _, steps in operands))):
        if n == 1:
            continue
        if sizes_left and all(outer == step * n for outer, step in zip(steps_left[-1], steps)):
            sizes_left[-1], steps_left[-1] = sizes_left[-1] * n, steps
        else:
            sizes_left.append(n)
            steps_left.append(steps)
    missing = max(0, RANK - len(sizes_left))
    places = [(start, *(steps[i] for steps in steps_left), *(0,) * missing) for i, (start, _) in enumerate(operands)]
    return [(*sizes_left, *(1,) * missing), *places]


@kernel("(int64, int64, const T[::1], T[::1], UniTuple(int64, 4), UniTuple(int64, 5), UniTuple(int64, 5))")
def copy(count, fours, a, out, shape, a_place, out_place):
    """out = a, in out's dtype. The first `fours` threads handle four elements each (fours.py)."""
    i = global_index()
    if i < fours:
        store4(out, out_place[0] + 4 * i, load4(a, a_place[0] + 4 * i))
    elif i < count:
        i += 3 * fours
        out[locate(i, shape, out_place)] = a[locate(i, shape, a_place)]


@kernel("(int64, int64, T[::1], T, UniTuple(int64, 4), UniTuple(int64, 5))")
def fill(count, fours, out, value, shape, out_place):
    """out = value. The first `fours` threads handle four elements each (fours.py)."""
    i = global_index()
    if i < fours:
        store4(out, out_place[0] + 4 * i, (value, value, value, value))
    elif i < count:
        i += 3 * fours
        out[locate(i, shape, out_place)] = value


@kernel("(int64, const T[::1], const int64[::1], T[::1], UniTuple(int64, 4), UniTuple(int64, 5))")
def pick(count, a, positions, out, shape, a_place):
    """out[i] = element number positions[i] of `a`, counted in C order."""
    i = global_index()
    if i < count:
        out[i] = a[locate(positions[i], shape, a_place)]


@kernel("(int64, const T[::1], const int64[::1], const int64[::1], const int64[::1], T[::1])")
def add_runs(count, dy, order, starts, targets, dx):
    """dx[targets[i]] = the sum of dy's elements order[starts[i] : starts[i + 1]], in that order."""
    i = global_index()
    if i < count:
        total = dx.dtype.type(0)
        for j in range(starts[i], starts[i + 1]):
            total += dy[order[j]]
        dx[targets[i]] = total
