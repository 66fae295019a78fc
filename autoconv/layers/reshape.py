"""Layers that change the shape alone."""

from math import prod
from typing import Any

from .. import functional as F
from ..arguments import shapes
from ..tensor import Tensor
from . import checks
from .base import Layer, Shape


class Flatten(Layer):
    """(N, ...) -> (N, all the rest), in C order: the last axis, the channels, varies fastest."""

    one_input = True
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

    one_input = True
    recordable = True
    rank = 4

    def __init__(self, padding: Any = (1, 1), data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        checks.channels_last(self, data_format)
        self.padding = padding

    @property
    def padding(self) -> Any:
        """((top, bottom), (left, right))."""
        return self._padding

    @padding.setter
    def padding(self, padding: Any) -> None:
        if isinstance(padding, str):
            raise ValueError(f"padding must be p, (ph, pw) or ((top, bottom), (left, right)). Received: {padding!r}.")
        self._padding = shapes.explicit_padding(padding)

    def call(self, x: Tensor) -> Tensor:
        return F.zero_padding2d(x, self.padding)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        n, h, w, c = input_shape
        vertical, horizontal = map(sum, self.padding)
        return (n, None if h is None else h + vertical, None if w is None else w + horizontal, c)
