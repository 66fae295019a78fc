"""Pooling: the maximum or the mean of windows, or of whole images."""

from typing import Any

from .. import functional as F
from ..arguments.shapes import Padding, Pair
from ..engine.tensor import Tensor
from . import checks
from .layer import Layer, Shape


class _Pooling(Layer):
    """Base of the two layers that pool over windows."""

    built_at_once = True
    one_input = True
    rank = 4
    data_format = checks.DataFormat()
    pool_size, strides = checks.pair(), checks.pair()

    def _set_up(self, pool_size: Pair, strides: Pair | None, padding: Padding, data_format: str | None) -> None:
        self.data_format = data_format
        self.pool_size = pool_size
        self.strides = pool_size if strides is None else strides
        self.padding = checks.padding(padding)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (*checks.pool_output(input_shape, self.pool_size, self.strides, self.padding), input_shape[3])


class MaxPooling2D(_Pooling):
    """The maximum of each window: (N, H, W, C) -> (N, OH, OW, C). `strides` default to `pool_size`."""

    recordable = True

    def __init__(
        self, pool_size: Pair = (2, 2), strides: Pair | None = None, padding: Padding = "valid",
        data_format: str | None = None, name: str | None = None, **kwargs: Any,
    ) -> None:
        super().__init__(name=name, **kwargs)
        self._set_up(pool_size, strides, padding, data_format)

    def call(self, x: Tensor) -> Tensor:
        return F.max_pool2d(x, self.pool_size, self.strides, self.padding)


class AveragePooling2D(_Pooling):
    """The mean of each window without padding: (N, H, W, C) -> (N, OH, OW, C). `strides` default to `pool_size`."""

    recordable = True

    def __init__(
        self, pool_size: Pair, strides: Pair | None = None, padding: Padding = "valid",
        data_format: str | None = None, name: str | None = None, **kwargs: Any,
    ) -> None:
        super().__init__(name=name, **kwargs)
        self._set_up(pool_size, strides, padding, data_format)

    def call(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(x, self.pool_size, self.strides, self.padding)


class _GlobalPooling(Layer):
    """Base of the two layers that pool over whole images."""

    built_at_once = True
    one_input = True
    rank = 4
    data_format = checks.DataFormat()

    def __init__(self, data_format: str | None = None, keepdims: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.data_format = data_format
        self.keepdims = bool(keepdims)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        n, c = input_shape[0], input_shape[3]
        return (n, 1, 1, c) if self.keepdims else (n, c)


class GlobalAveragePooling2D(_GlobalPooling):
    """The mean over all pixels: (N, H, W, C) -> (N, C), with `keepdims` (N, 1, 1, C)."""

    recordable = True

    def call(self, x: Tensor) -> Tensor:
        return F.global_avg_pool2d(x, self.keepdims)


class GlobalMaxPooling2D(_GlobalPooling):
    """The maximum over all pixels: (N, H, W, C) -> (N, C), with `keepdims` (N, 1, 1, C)."""

    kept_kinds = "biu"
    recordable = True

    def call(self, x: Tensor) -> Tensor:
        return F.global_max_pool2d(x, self.keepdims)
