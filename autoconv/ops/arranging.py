"""Elements of a tensor in another order, several times, or in another shape."""

from collections.abc import Sequence

import numpy as np

from ..engine.tensor import Tensor
from ..functional import concatenate, where
from ..functional.layer_functions import TensorLike
from ..operators.arith import normalize_axes
from .core import on_any_tensor, operand

__all__ = ["broadcast_to", "diag", "diagonal", "flip", "fliplr", "flipud", "hstack", "moveaxis",
           "ravel", "repeat", "reshape", "roll", "swapaxes", "take", "take_along_axis", "tile",
           "transpose", "tril", "triu", "unstack", "vstack"]

Axes = int | Sequence[int] | None


def reshape(x: TensorLike, newshape: int | Sequence[int]) -> Tensor:
    """The elements in another shape, one size of which may be -1."""
    return operand(x).reshape(tuple(newshape) if isinstance(newshape, Sequence) else (newshape,))


def ravel(x: TensorLike) -> Tensor:
    """All elements in a row."""
    return operand(x).reshape((-1,))


def transpose(x: TensorLike, axes: Sequence[int] | None = None) -> Tensor:
    """x with its axes in another order, by default the reverse one."""
    return operand(x).transpose() if axes is None else operand(x).transpose(tuple(axes))


def swapaxes(x: TensorLike, axis1: int, axis2: int) -> Tensor:
    """x with two axes exchanged."""
    x = operand(x)
    order = list(range(len(x.shape)))
    order[axis1], order[axis2] = order[axis2], order[axis1]
    return x.transpose(tuple(order))


def moveaxis(x: TensorLike, source: int | Sequence[int],
             destination: int | Sequence[int]) -> Tensor:
    """x with some axes in other places."""
    x = operand(x)
    count = len(x.shape)
    from_ = normalize_axes(source, count)
    to = normalize_axes(destination, count)
    order = [axis for axis in range(count) if axis not in from_]
    for place, axis in sorted(zip(to, from_)):
        order.insert(place, axis)
    return x.transpose(tuple(order))


def flip(x: TensorLike, axis: Axes = None) -> Tensor:
    """x with the elements along `axis` in reverse order."""
    x = operand(x)
    count = len(x.shape)
    axes = normalize_axes(axis, count)
    return x[tuple(slice(None, None, -1) if i in axes else slice(None) for i in range(count))]


def broadcast_to(x: TensorLike, shape: Sequence[int]) -> Tensor:
    """Repeats x along axes of size 1. Raises ValueError for a shape that x cannot take."""
    x = operand(x)
    shape = tuple(shape)
    if np.broadcast_shapes(x.shape, shape) != shape:
        raise ValueError(f"broadcast_to repeats x along axes of size 1. Received: shape {x.shape} for {shape}.")
    return where(np.ones(shape, bool), x, x)


def fliplr(x: TensorLike) -> Tensor:
    """x with the elements along its second axis in reverse order."""
    return flip(x, 1)


def flipud(x: TensorLike) -> Tensor:
    """x with the elements along its first axis in reverse order."""
    return flip(x, 0)


def roll(x: TensorLike, shift: int | Sequence[int], axis: Axes = None) -> Tensor:
    """Moves the elements of x by `shift` along `axis`, or as one row; those that leave at the end
    return at the start. One shift serves several axes.
    """
    x = operand(x)
    if axis is None:
        return roll(ravel(x), shift, 0).reshape(tuple(x.shape))
    for each, along in zip(*(pair.ravel().tolist() for pair in np.broadcast_arrays(shift, axis))):
        (along,) = normalize_axes(along, len(x.shape))
        cut = -each % x.shape[along] if x.shape[along] else 0
        before = (slice(None),) * along
        x = concatenate([x[(*before, slice(cut, None))], x[(*before, slice(None, cut))]], along) if cut else x
    return x


def take(x: TensorLike, indices: TensorLike, axis: int | None = None) -> Tensor:
    """The elements of x at integer positions along `axis`, or of all elements in a row."""
    x = operand(x)
    if axis is None:
        x = ravel(x)
        axis = 0
    (axis,) = normalize_axes(axis, len(x.shape))
    return x[(*(slice(None),) * axis, _integers(indices))]


def take_along_axis(x: TensorLike, indices: TensorLike, axis: int | None = None) -> Tensor:
    """Returns for each of the integers `indices` the element of x at that position along `axis`,
    and at its own place along the other axes, which broadcast. Without an axis: of x in a row.
    """
    x = operand(x)
    indices = _integers(indices)
    if axis is None:
        return take(x, indices)
    (axis,) = normalize_axes(axis, len(x.shape))
    if len(indices.shape) != len(x.shape):
        raise ValueError("take_along_axis needs as many axes in indices as in x. Received shapes: "
                         f"{tuple(indices.shape)} and {tuple(x.shape)}.")
    places = np.ogrid[tuple(slice(n) for n in x.shape)]
    return x[tuple(indices if i == axis else place for i, place in enumerate(places))]


def _integers(indices: TensorLike) -> Tensor | np.ndarray:
    """Positions as getitem takes them."""
    if isinstance(indices, Tensor):
        return indices
    found = np.asarray(indices)
    return found if found.size else found.astype(int)


def repeat(x: TensorLike, repeats: int | Sequence[int], axis: int | None = None) -> Tensor:
    """Each element of x `repeats` times along `axis`, or all elements in a row."""
    x = operand(x)
    size = int(np.prod(x.shape)) if axis is None else x.shape[axis]
    return take(x, np.repeat(np.arange(size), np.asarray(repeats)), axis)


def tile(x: TensorLike, repeats: int | Sequence[int]) -> Tensor:
    """x so many times along each axis."""
    x = operand(x)
    counts = list(repeats) if isinstance(repeats, Sequence) else [repeats]
    counts = [1] * (len(x.shape) - len(counts)) + counts
    x = x.reshape((1,) * (len(counts) - len(x.shape)) + tuple(x.shape))
    for axis, count in enumerate(counts):
        if count != 1:
            x = take(x, np.tile(np.arange(x.shape[axis]), count), axis)
    return x


def hstack(xs: Sequence[TensorLike]) -> Tensor:
    """Tensors side by side: along the second axis, of one axis along that."""
    several = [x.reshape((1,)) if not len(x.shape) else x for x in map(operand, xs)]
    return concatenate(several, 0 if len(several[0].shape) == 1 else 1)


def vstack(xs: Sequence[TensorLike]) -> Tensor:
    """Tensors one below the other; one of a single axis is a row."""
    return concatenate([x.reshape((1, -1)) if len(x.shape) < 2 else x for x in map(operand, xs)], 0)


def unstack(x: TensorLike, num: int | None = None, axis: int = 0) -> list[Tensor]:
    """The parts of x along `axis`, without it. Raises ValueError if `num` is not their number."""
    x = operand(x)
    (axis,) = normalize_axes(axis, len(x.shape))
    if num is not None and num != x.shape[axis]:
        raise ValueError(f"num must be the size of axis {axis}, {x.shape[axis]}. Received: {num}.")
    return [x[(*(slice(None),) * axis, i)] for i in range(x.shape[axis])]


def tril(x: TensorLike, k: int = 0) -> Tensor:
    """The matrices of x (..., N, M) with 0 above diagonal k."""
    x = operand(x)
    return where(np.tri(x.shape[-2], x.shape[-1], k, bool), x, np.zeros((), x.dtype))


def triu(x: TensorLike, k: int = 0) -> Tensor:
    """The matrices of x (..., N, M) with 0 below diagonal k."""
    x = operand(x)
    return where(np.tri(x.shape[-2], x.shape[-1], k - 1, bool), np.zeros((), x.dtype), x)


def diagonal(x: TensorLike, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Tensor:
    """The elements of x on a diagonal of two axes, which become the last one."""
    x = operand(x)
    x = moveaxis(x, (axis1, axis2), (-2, -1))
    rows, columns = x.shape[-2:]
    size = max(0, min(rows + min(offset, 0), columns - max(offset, 0)))
    places = (np.arange(size) - min(offset, 0)) * columns + np.arange(size) + max(offset, 0)
    return take(x.reshape((*x.shape[:-2], rows * columns)), places, -1)


def diag(x: TensorLike, k: int = 0) -> Tensor:
    """The diagonal k of a matrix; of a row the matrix that has it there, and else 0."""
    x = operand(x)
    if len(x.shape) == 2:
        return diagonal(x, k)
    (count,) = x.shape
    places = np.full((count + abs(k),) * 2, count)  # the position of a 0 after the elements
    places[np.arange(count) - min(k, 0), np.arange(count) + max(k, 0)] = np.arange(count)
    return take(concatenate([x, np.zeros(1, x.dtype)]), places)


on_any_tensor(globals(), __all__)
