"""Layers that change the shape alone."""

from math import prod
from typing import Any, ClassVar

from .. import functional as F
from ..arguments import shapes
from ..tensor import Tensor
from . import checks
from .base import Layer, Shape


class InputLayer(Layer):
    """What a model takes: `Input((28, 28, 1))`, the shape without the batch; None is a size that may vary."""

    recordable = True
    unsupported: ClassVar[dict[str, Any]] = {
        "sparse": None, "ragged": None, "tensor": None, "input_tensor": None, "optional": False,
    }

    def __init__(
        self, shape: Shape | None = None, batch_size: int | None = None, dtype: Any = None, *,
        batch_shape: Shape | None = None, name: str | None = None, **kwargs: Any,
    ) -> None:
        if shape is None and batch_shape is not None:
            batch_size, shape = batch_shape[0], tuple(batch_shape[1:])
        super().__init__(name=name, **kwargs)
        self._keras_default("batch_size", batch_size, None)
        self._keras_default("dtype", dtype or "float32", "float32")
        if isinstance(shape, int) or shape is None:
            raise ValueError(f"shape must be a tuple such as (28, 28, 1), without the batch. Received: {shape!r}.")
        self.shape = tuple(None if n is None else checks.positive(n, "Each size in shape") for n in shape)
        self.given_input_shape = (None, *self.shape)

    def call(self, x: Tensor) -> Tensor:
        return x

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape


class Flatten(Layer):
    """(N, ...) -> (N, all the rest), in C order: the last axis, the channels, varies fastest."""

    recordable = True

    def __init__(self, data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        checks.channels_last(self, data_format)

    def call(self, x: Tensor) -> Tensor:
        return F.flatten(x)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        rest = input_shape[1:]
        return (input_shape[0], None if None in rest else prod(rest))  # type: ignore[arg-type]


class ZeroPadding2D(Layer):
    """Rows and columns of zeros around each image; `padding` is p, (ph, pw) or ((top, bottom), (left, right))."""

    recordable = True
    rank = 4

    def __init__(self, padding: Any = (1, 1), data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        checks.channels_last(self, data_format)
        if isinstance(padding, str):
            raise ValueError(f"padding must be p, (ph, pw) or ((top, bottom), (left, right)). Received: {padding!r}.")
        self.padding = shapes.explicit_padding(padding)

    def call(self, x: Tensor) -> Tensor:
        return F.zero_padding2d(x, self.padding)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        n, h, w, c = input_shape
        vertical, horizontal = map(sum, self.padding)
        return (n, None if h is None else h + vertical, None if w is None else w + horizontal, c)
