"""Layers that merge a list of inputs into one tensor."""

import operator
from functools import reduce
from math import prod
from typing import Any

from .. import functional as F
from ..engine.symbolic import Shape, is_shape
from ..engine.tensor import Tensor
from .function import broadcast
from .layer import Layer


class _Merge(Layer):
    """Base class of the layers that merge inputs element by element. The shapes of the samples broadcast."""

    kept_kinds = "iu"  # not "b": booleans have no arithmetic
    supports_masking = True
    recordable = True
    _checks_batch = True  # whether all inputs must have the same batch size

    def check_input(self, shape: Any) -> None:
        if is_shape(shape) or isinstance(shape, dict):
            raise ValueError(f"A merge layer should be called on a list of inputs. Layer {self.name!r} received: "
                             f"input_shape={shape}, which is not a list of shapes.")
        if not len(shape):
            raise ValueError("A merge layer should be called on a list of at least 1 input. Layer "
                             f"{self.name!r} received an empty list.")
        batches = {item[0] for item in shape if item} - {None}
        if self.built and {1, None} <= {item[0] for item in self._build_shape if item}:
            batches -= {1}  # 1 is the batch size of a constant next to symbolic inputs
        if len(batches) > 1 and self._checks_batch:
            raise ValueError("Cannot merge tensors with different batch sizes. Layer "
                             f"{self.name!r} received tensors with shapes {shape}.")
        self._check_shapes(shape)

    def _check_shapes(self, shapes: list[Shape]) -> None:
        self.compute_output_shape(shapes)

    def call(self, inputs: list[Tensor]) -> Tensor:
        rank = max(x.ndim for x in inputs)
        return self.merge([x if x.ndim == rank else x.reshape(x.shape[0], *[1] * (rank - x.ndim), *x.shape[1:])
                           for x in inputs])

    def merge(self, inputs: list[Tensor]) -> Tensor:
        raise NotImplementedError

    def compute_output_shape(self, input_shape: Any) -> Shape:
        batches = [shape[0] for shape in input_shape]
        batch = next((n for n in batches if n not in (None, 1)), None if None in batches else 1)
        try:
            return (batch, *broadcast(*(shape[1:] for shape in input_shape)))
        except ValueError as error:
            raise ValueError(f"Layer {self.name!r} cannot merge its inputs. {error}") from None


class Add(_Merge):
    """The sum of a list of inputs of equal shape, or of shapes that broadcast: `Add()([x, y])`."""

    def merge(self, inputs: list[Tensor]) -> Tensor:
        return reduce(operator.add, inputs)


class Subtract(_Merge):
    """The first of two inputs minus the second: `Subtract()([x, y])`."""

    def _check_shapes(self, shapes: list[Shape]) -> None:
        if len(shapes) != 2:
            raise ValueError("A `Subtract` layer should be called on exactly 2 inputs. Layer "
                             f"{self.name!r} received inputs of shapes {shapes}.")
        super()._check_shapes(shapes)

    def merge(self, inputs: list[Tensor]) -> Tensor:
        return inputs[0] - inputs[1]


class Multiply(_Merge):
    """The product of a list of inputs, element by element."""

    def merge(self, inputs: list[Tensor]) -> Tensor:
        return reduce(operator.mul, inputs)


class Average(_Merge):
    """The mean of a list of inputs, element by element."""

    kept_kinds = ""

    def merge(self, inputs: list[Tensor]) -> Tensor:
        return reduce(operator.add, inputs) * (1 / len(inputs))


class Maximum(_Merge):
    """The maximum of a list of inputs, element by element. The first of equal elements receives the gradient."""

    def merge(self, inputs: list[Tensor]) -> Tensor:
        return reduce(F.maximum, inputs)


class Minimum(_Merge):
    """The minimum of a list of inputs, element by element. The first of equal elements receives the gradient."""

    def merge(self, inputs: list[Tensor]) -> Tensor:
        return reduce(F.minimum, inputs)


class Concatenate(_Merge):
    """Concatenates a list of inputs along `axis`, by default the channels. All other sizes must agree."""

    recordable = True

    def __init__(self, axis: int = -1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if isinstance(axis, bool) or not hasattr(axis, "__index__"):
            raise ValueError(f"axis must be an integer. Received: {axis!r}.")
        self.axis, self._checks_batch = axis, axis != 0

    def call(self, inputs: list[Tensor]) -> Tensor:
        return F.concatenate(inputs, self.axis)

    def merge(self, inputs: list[Tensor]) -> Tensor:
        return self.call(inputs)

    def compute_output_shape(self, input_shape: Any) -> Shape:
        shapes = [list(shape) for shape in input_shape]
        if len({len(shape) for shape in shapes}) > 1 or not -len(shapes[0]) <= self.axis < len(shapes[0]):
            raise ValueError("A `Concatenate` layer requires inputs of the same rank, and `axis` "
                             f"must be one of their axes. Layer {self.name!r} with "
                             f"axis={self.axis} received inputs of shapes {input_shape}.")
        sizes = [shape.pop(self.axis) for shape in shapes]
        columns = [{n for n in column if n is not None} for column in zip(*shapes)]
        if any(len(column) > 1 for column in columns):
            raise ValueError("A `Concatenate` layer requires inputs with matching shapes except "
                             f"for the concatenation axis. Layer {self.name!r} with "
                             f"axis={self.axis} received inputs of shapes {input_shape}.")
        result: list[int | None] = [column.pop() if column else None for column in columns]
        result.insert(self.axis % (len(result) + 1), None if None in sizes else sum(sizes))  # type: ignore[arg-type]
        return tuple(result)


def add(inputs: list[Any], **kwargs: Any) -> Any:
    """Returns `Add(**kwargs)(inputs)`."""
    return Add(**kwargs)(inputs)


class Dot(_Merge):
    """The dot products of two inputs along an axis of each, sample by sample: (N, K) and (N, K) -> (N, 1), (N, A, K)
    and (N, K, B) with axes=(2, 1) -> (N, A, B). `normalize` divides both inputs by their L2 norms along these axes.
    """

    kept_kinds = ""
    recordable = True

    def __init__(self, axes: Any, normalize: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not isinstance(axes, list | tuple) and not hasattr(axes, "__index__"):
            raise TypeError(f"Invalid type for argument `axes`: it should be a list or an int. Received: axes={axes!r}")
        pair = (axes, axes) if hasattr(axes, "__index__") else tuple(axes)
        if len(pair) != 2 or any(isinstance(axis, bool) or not hasattr(axis, "__index__") for axis in pair):
            raise ValueError("Invalid format for argument `axes`: it should be one integer or "
                             f"contain two integers. Received: axes={axes!r}.")
        self.axes, self.normalize = tuple(axes) if isinstance(axes, list) else axes, bool(normalize)

    def _check_shapes(self, shapes: list[Shape]) -> None:
        if len(shapes) != 2:
            raise ValueError(f"A `Dot` layer should be called on exactly 2 inputs. Received inputs of shapes {shapes}.")
        if min(map(len, shapes)) < 2:
            raise ValueError("A `Dot` layer needs inputs with at least one axis after the batch "
                             f"axis. Received inputs of shapes {shapes}.")
        self.compute_output_shape(shapes)

    def call(self, inputs: list[Tensor]) -> Tensor:
        (x, y), (ax, ay) = inputs, self._positive_axes(inputs)
        if self.normalize:
            x, y = F.normalize(x, ax), F.normalize(y, ay)
        n, size, shape = x.shape[0], x.shape[ax], self.compute_output_shape([x.shape, y.shape])
        rows, columns = (prod(a.shape[i] for i in range(1, a.ndim) if i != axis) for a, axis in ((x, ax), (y, ay)))
        x = x.transpose((*(i for i in range(x.ndim) if i != ax), ax)).reshape(n, rows, size)
        y = y.transpose((0, ay, *(i for i in range(1, y.ndim) if i != ay))).reshape(n, size, columns)
        return (x @ y).reshape(*shape)

    def merge(self, inputs: list[Tensor]) -> Tensor:
        return self.call(inputs)

    def compute_output_shape(self, input_shape: Any) -> Shape:
        (x, y), (ax, ay) = input_shape, self._positive_axes(input_shape)
        if 0 in (ax, ay) or not (ax < len(x) and ay < len(y)) or (
                None not in (x[ax], y[ay]) and x[ax] != y[ay]):
            raise ValueError("Incompatible input shapes. `axes` must select an axis after the batch axis in each "
                             f"input, and the selected axes must have the same size. Layer {self.name!r} with "
                             f"axes={self.axes} received inputs of shapes {x} and {y}.")
        rest = (*(n for i, n in enumerate(x[1:], 1) if i != ax), *(n for i, n in enumerate(y[1:], 1) if i != ay))
        return (x[0], *(rest or (1,)))

    def _positive_axes(self, inputs: Any) -> tuple[int, int]:
        """Returns the axes of the two inputs, or of their shapes, counted from 0."""
        pair = (self.axes, self.axes) if hasattr(self.axes, "__index__") else tuple(self.axes)
        ranks = [len(item.shape) if hasattr(item, "shape") else len(item) for item in inputs]
        ax, ay = (axis + rank if axis < 0 else axis for axis, rank in zip(pair, ranks))
        return ax, ay


def subtract(inputs: list[Any], **kwargs: Any) -> Any:
    """Returns `Subtract(**kwargs)(inputs)`."""
    return Subtract(**kwargs)(inputs)


def multiply(inputs: list[Any], **kwargs: Any) -> Any:
    """Returns `Multiply(**kwargs)(inputs)`."""
    return Multiply(**kwargs)(inputs)


def average(inputs: list[Any], **kwargs: Any) -> Any:
    """Returns `Average(**kwargs)(inputs)`."""
    return Average(**kwargs)(inputs)


def maximum(inputs: list[Any], **kwargs: Any) -> Any:
    """Returns `Maximum(**kwargs)(inputs)`."""
    return Maximum(**kwargs)(inputs)


def minimum(inputs: list[Any], **kwargs: Any) -> Any:
    """Returns `Minimum(**kwargs)(inputs)`."""
    return Minimum(**kwargs)(inputs)


def dot(inputs: list[Any], axes: Any = -1, **kwargs: Any) -> Any:
    """Returns `Dot(axes, **kwargs)(inputs)`."""
    return Dot(axes=axes, **kwargs)(inputs)


def concatenate(inputs: list[Any], axis: int = -1, **kwargs: Any) -> Any:
    """Returns `Concatenate(axis, **kwargs)(inputs)`."""
    return Concatenate(axis=axis, **kwargs)(inputs)
