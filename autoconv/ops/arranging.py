"""Functions that reorder, repeat, reshape or select a tensor's elements."""

from collections.abc import Sequence

import numpy as np

from ..engine.tensor import Tensor
from ..functional import concatenate, where
from ..functional.layer_functions import TensorLike
from ..operators.arith import normalize_axes
from .core import accept_any_tensor, operand

__all__ = ["broadcast_to", "diag", "diagonal", "flip", "fliplr", "flipud", "hstack", "moveaxis",
           "ravel", "repeat", "reshape", "roll", "swapaxes", "take", "take_along_axis", "tile",
           "transpose", "tril", "triu", "unstack", "vstack"]

Axes = int | Sequence[int] | None


def reshape(x: TensorLike, newshape: int | Sequence[int]) -> Tensor:
    """Returns x in the shape `newshape`, in which one size may be -1."""
    return operand(x).reshape(tuple(newshape) if isinstance(newshape, Sequence) else (newshape,))


def ravel(x: TensorLike) -> Tensor:
    """Flattens x into one axis."""
    return operand(x).reshape((-1,))


def transpose(x: TensorLike, axes: Sequence[int] | None = None) -> Tensor:
    """Reorders the axes of x, and by default reverses their order."""
    return operand(x).transpose() if axes is None else operand(x).transpose(tuple(axes))


def swapaxes(x: TensorLike, axis1: int, axis2: int) -> Tensor:
    """Exchanges two axes of x."""
    x = operand(x)
    order = list(range(len(x.shape)))
    order[axis1], order[axis2] = order[axis2], order[axis1]
    return x.transpose(tuple(order))


def moveaxis(x: TensorLike, source: int | Sequence[int],
             destination: int | Sequence[int]) -> Tensor:
    """Moves the axes `source` of x to the positions `destination`."""
    x = operand(x)
    count = len(x.shape)
    sources = normalize_axes(source, count)
    targets = normalize_axes(destination, count)
    order = [axis for axis in range(count) if axis not in sources]
    for position, axis in sorted(zip(targets, sources)):
        order.insert(position, axis)
    return x.transpose(tuple(order))


def flip(x: TensorLike, axis: Axes = None) -> Tensor:
    """Reverses the elements of x along `axis`, by default along all axes."""
    x = operand(x)
    count = len(x.shape)
    axes = normalize_axes(axis, count)
    return x[tuple(slice(None, None, -1) if i in axes else slice(None) for i in range(count))]


def broadcast_to(x: TensorLike, shape: Sequence[int]) -> Tensor:
    """Repeats x along axes of size 1 to the shape `shape`. Raises ValueError if x cannot be broadcast to it."""
    x = operand(x)
    shape = tuple(shape)
    if len(x.shape) > len(shape) or any(n not in (1, size) for n, size in zip(x.shape[::-1], shape[::-1])):
        raise ValueError(f"x of shape {x.shape} cannot be broadcast to {shape}. Counted from the last axis, "
                         "each size of x must be 1 or equal to the size in `shape`. Also, x must not have more axes.")
    return where(np.ones(shape, bool), x, x)


def fliplr(x: TensorLike) -> Tensor:
    """Reverses the elements of x along its second axis."""
    return flip(x, 1)


def flipud(x: TensorLike) -> Tensor:
    """Reverses the elements of x along its first axis."""
    return flip(x, 0)


def roll(x: TensorLike, shift: int | Sequence[int], axis: Axes = None) -> Tensor:
    """Shifts the elements of x by `shift` along `axis`, or in flattened order without an axis.
    Elements shifted beyond the end reappear at the start. A single shift applies to all given axes.
    """
    x = operand(x)
    if axis is None:
        return roll(ravel(x), shift, 0).reshape(tuple(x.shape))
    for step, dim in zip(*(pair.ravel().tolist() for pair in np.broadcast_arrays(shift, axis))):
        (dim,) = normalize_axes(dim, len(x.shape))
        cut = -step % x.shape[dim] if x.shape[dim] else 0
        before = (slice(None),) * dim
        x = concatenate([x[(*before, slice(cut, None))], x[(*before, slice(None, cut))]], dim) if cut else x
    return x


def take(x: TensorLike, indices: TensorLike, axis: int | None = None) -> Tensor:
    """Selects elements of x by integer `indices` along `axis`. Without an axis, selects from the flattened x."""
    x = operand(x)
    if axis is None:
        x = ravel(x)
        axis = 0
    (axis,) = normalize_axes(axis, len(x.shape))
    return x[(*(slice(None),) * axis, _integers(indices))]


def take_along_axis(x: TensorLike, indices: TensorLike, axis: int | None = None) -> Tensor:
    """Selects one element of x for each element of `indices`. The element of `indices` is an index
    along `axis`; its position in `indices` gives the indices along the other axes, whose sizes
    broadcast. If `axis` is None, selects from the flattened x.
    """
    x = operand(x)
    indices = _integers(indices)
    if axis is None:
        return take(x, indices)
    (axis,) = normalize_axes(axis, len(x.shape))
    if len(indices.shape) != len(x.shape):
        raise ValueError("take_along_axis needs indices with as many axes as x. Received: indices "
                         f"of shape {tuple(indices.shape)}, x of shape {tuple(x.shape)}.")
    places = np.ogrid[tuple(slice(n) for n in x.shape)]
    return x[tuple(indices if i == axis else place for i, place in enumerate(places))]


def _integers(indices: TensorLike) -> Tensor | np.ndarray:
    """Converts indices to an array unless they are a tensor. An empty list becomes an integer array."""
    if isinstance(indices, Tensor):
        return indices
    array = np.asarray(indices)
    return array if array.size else array.astype(int)


def repeat(x: TensorLike, repeats: int | Sequence[int], axis: int | None = None) -> Tensor:
    """Repeats each element of x `repeats` times along `axis`. Without an axis, x is flattened first."""
    x = operand(x)
    size = int(np.prod(x.shape)) if axis is None else x.shape[axis]
    return take(x, np.repeat(np.arange(size), np.asarray(repeats)), axis)


def tile(x: TensorLike, repeats: int | Sequence[int]) -> Tensor:
    """Joins copies of x. repeats: the number of copies per axis; a single number applies to the last axis."""
    x = operand(x)
    counts = list(repeats) if isinstance(repeats, Sequence) else [repeats]
    counts = [1] * (len(x.shape) - len(counts)) + counts
    x = x.reshape((1,) * (len(counts) - len(x.shape)) + tuple(x.shape))
    for axis, count in enumerate(counts):
        if count != 1:
            x = take(x, np.tile(np.arange(x.shape[axis]), count), axis)
    return x


def hstack(xs: Sequence[TensorLike]) -> Tensor:
    """Joins tensors along the second axis, or along the only axis of 1-D tensors."""
    several = [x.reshape((1,)) if not len(x.shape) else x for x in map(operand, xs)]
    return concatenate(several, 0 if len(several[0].shape) == 1 else 1)


def vstack(xs: Sequence[TensorLike]) -> Tensor:
    """Joins tensors along the first axis; a 1-D tensor becomes a row."""
    return concatenate([x.reshape((1, -1)) if len(x.shape) < 2 else x for x in map(operand, xs)], 0)


def unstack(x: TensorLike, num: int | None = None, axis: int = 0) -> list[Tensor]:
    """Splits x into tensors without the axis `axis`. Raises ValueError if `num` is not the axis's size."""
    x = operand(x)
    (axis,) = normalize_axes(axis, len(x.shape))
    if num is not None and num != x.shape[axis]:
        raise ValueError(f"num must be {x.shape[axis]}, the size of axis {axis}. Received: {num}.")
    return [x[(*(slice(None),) * axis, i)] for i in range(x.shape[axis])]


def tril(x: TensorLike, k: int = 0) -> Tensor:
    """Sets the elements above diagonal k of the matrices of x (..., N, M) to 0."""
    x = operand(x)
    return where(np.tri(x.shape[-2], x.shape[-1], k, bool), x, np.zeros((), x.dtype))


def triu(x: TensorLike, k: int = 0) -> Tensor:
    """Sets the elements below diagonal k of the matrices of x (..., N, M) to 0."""
    x = operand(x)
    return where(np.tri(x.shape[-2], x.shape[-1], k - 1, bool), np.zeros((), x.dtype), x)


def diagonal(x: TensorLike, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Tensor:
    """Returns the diagonal `offset` of the matrices over `axis1` and `axis2` of x, as the last axis of the result."""
    x = operand(x)
    x = moveaxis(x, (axis1, axis2), (-2, -1))
    rows, columns = x.shape[-2:]
    size = max(0, min(rows + min(offset, 0), columns - max(offset, 0)))
    places = (np.arange(size) - min(offset, 0)) * columns + np.arange(size) + max(offset, 0)
    return take(x.reshape((*x.shape[:-2], rows * columns)), places, -1)


def diag(x: TensorLike, k: int = 0) -> Tensor:
    """Returns diagonal k of a matrix x. For a 1-D x, returns a matrix with x on diagonal k and 0 elsewhere."""
    x = operand(x)
    if len(x.shape) == 2:
        return diagonal(x, k)
    (count,) = x.shape
    places = np.full((count + abs(k),) * 2, count)  # each entry starts as the index of the appended 0
    places[np.arange(count) - min(k, 0), np.arange(count) + max(k, 0)] = np.arange(count)
    return take(concatenate([x, np.zeros(1, x.dtype)]), places)


accept_any_tensor(globals(), __all__)
