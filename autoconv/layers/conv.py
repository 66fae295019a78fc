"""Convolutions over images."""

from typing import Any

from .. import functional as F
from .. import initializers
from ..arguments import shapes
from ..arguments.shapes import Padding, Pair
from ..engine.tensor import Tensor
from ..engine.variable import Variable
from . import checks
from .layer import EXTRAS, Layer, Shape


class _Convolution(Layer):
    """Base of the convolution layers, with their common arguments, bias and activation."""

    one_input = True
    activation = checks.activation()
    kernel_size, strides, dilation_rate = checks.pair(), checks.pair(), checks.pair()
    rank = least_rank = 4
    data_format = checks.DataFormat()
    strides_of_dilated = False  # whether strides and dilation may both exceed 1, as in Keras

    def _set_up(
        self, kernel_size: Pair, strides: Pair, padding: Any, data_format: str | None, dilation_rate: Pair,
        activation: Any, use_bias: bool, bias_initializer: Any,
    ) -> None:
        self.data_format = data_format
        self.kernel_size, self.strides, self.dilation_rate = kernel_size, strides, dilation_rate
        if not self.strides_of_dilated and max(self.strides) > 1 and max(self.dilation_rate) > 1:
            raise ValueError("`strides > 1` not supported in conjunction with `dilation_rate > 1`. "
                             f"Received: strides={self.strides} and dilation_rate={self.dilation_rate}. "
                             "functional.conv2d and functional.conv2d_transpose support both.")
        self.padding = padding
        self.use_bias = bool(use_bias)
        self.activation = activation
        self.bias_initializer = initializers.get(bias_initializer)

    def _kernel(self, kind: str, shape: tuple[int, ...], name: str = "kernel") -> Variable:
        """Adds a kernel with the layer's `<kind>_initializer`, `<kind>_regularizer` and so on."""
        initializer, *extras = (getattr(self, f"{kind}_{role}") for role in ("initializer", *EXTRAS))
        return self.add_weight(shape, initializer, name=name, **dict(zip(EXTRAS, extras)))

    def _add_weights(self, kernel_shape: tuple[int, ...], filters: int, channels: int) -> None:
        self.kernel = self._kernel(self.regularized_weights[0], kernel_shape)
        self._add_bias(filters, channels)

    def _add_bias(self, filters: int, channels: int) -> None:
        self.bias: Variable | None = None
        if self.use_bias:
            self.bias = self.add_weight((filters,), self.bias_initializer, name="bias")
        self.channels = channels

    def _window_output(self, input_shape: Shape, filters: int) -> Shape:
        return (*checks.window_output(
            input_shape, self.kernel_size, self.strides, self.padding, self.dilation_rate, "kernel_size"
        ), filters)


class Conv2D(_Convolution):
    """A convolution: (N, H, W, C) -> (N, OH, OW, filters), `activation(conv(x, kernel) + bias)`.

    kernel (KH, KW, C / groups, filters), bias (filters,). `padding` is "valid", "same" or numbers,
    as in `functional.conv2d`. Raises ValueError for invalid arguments and, when called, for inputs
    of another rank or channel count.
    """

    recordable = True
    regularized_weights = ("kernel", "bias")

    def __init__(
        self, filters: int, kernel_size: Pair, strides: Pair = (1, 1), padding: Padding = "valid",
        data_format: str | None = None, dilation_rate: Pair = (1, 1), groups: int = 1, activation: Any = None,
        use_bias: bool = True, kernel_initializer: Any = "glorot_uniform", bias_initializer: Any = "zeros",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.filters, self.groups = checks.positive(filters, "filters"), checks.positive(groups, "groups")
        if self.filters % self.groups:
            raise ValueError("The number of filters must be evenly divisible by the number of "
                             f"groups. Received: groups={groups}, filters={filters}.")
        self._set_up(kernel_size, strides, checks.padding(padding), data_format, dilation_rate, activation, use_bias,
                     bias_initializer)
        self.kernel_initializer = initializers.get(kernel_initializer)

    def build(self, input_shape: Shape) -> None:
        channels = checks.known_channels(self, input_shape)
        if channels % self.groups:
            raise ValueError("The number of input channels must be evenly divisible by the number "
                             f"of groups. Received groups={self.groups}, but the input has "
                             f"{channels} channels (full input shape is {input_shape}).")
        self.compute_output_shape(input_shape)  # raises ValueError if the kernel does not fit
        self._add_weights((*self.kernel_size, channels // self.groups, self.filters), self.filters, channels)

    def call(self, x: Tensor) -> Tensor:
        return self.activation(
            F.conv2d(x, self.kernel, self.bias, self.strides, self.padding, self.dilation_rate, self.groups)
        )

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return self._window_output(input_shape, self.filters)


class DepthwiseConv2D(_Convolution):
    """A separate convolution of every channel: (N, H, W, C) -> (N, OH, OW, C * depth_multiplier).

    kernel (KH, KW, C, depth_multiplier), bias (C * depth_multiplier,).
    """

    recordable = True
    strides_of_dilated = True
    regularized_weights = ("depthwise", "bias")

    def __init__(
        self, kernel_size: Pair, strides: Pair = (1, 1), padding: Padding = "valid", depth_multiplier: int = 1,
        data_format: str | None = None, dilation_rate: Pair = (1, 1), activation: Any = None, use_bias: bool = True,
        depthwise_initializer: Any = "glorot_uniform", bias_initializer: Any = "zeros", **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.depth_multiplier = checks.positive(depth_multiplier, "depth_multiplier")
        self._set_up(kernel_size, strides, checks.padding(padding), data_format, dilation_rate, activation, use_bias,
                     bias_initializer)
        self.depthwise_initializer = initializers.get(depthwise_initializer)

    def build(self, input_shape: Shape) -> None:
        channels = checks.known_channels(self, input_shape)
        self.compute_output_shape(input_shape)  # raises ValueError if the kernel does not fit
        m = self.depth_multiplier
        self._add_weights((*self.kernel_size, channels, m), channels * m, channels)

    def call(self, x: Tensor) -> Tensor:
        return self.activation(
            F.depthwise_conv2d(x, self.kernel, self.bias, self.strides, self.padding, self.dilation_rate)
        )

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return self._window_output(input_shape, checks.known_channels(self, input_shape) * self.depth_multiplier)


class SeparableConv2D(_Convolution):
    """A depthwise and then a pointwise (1 x 1) convolution: (N, H, W, C) -> (N, OH, OW, filters).

    depthwise_kernel (KH, KW, C, depth_multiplier), pointwise_kernel (1, 1, C * depth_multiplier,
    filters), bias (filters,). Chollet: "Xception", 2017.
    """

    recordable = True
    strides_of_dilated = True
    regularized_weights = ("depthwise", "pointwise", "bias")

    def __init__(
        self, filters: int, kernel_size: Pair, strides: Pair = (1, 1), padding: Padding = "valid",
        data_format: str | None = None, dilation_rate: Pair = (1, 1), depth_multiplier: int = 1, activation: Any = None,
        use_bias: bool = True, depthwise_initializer: Any = "glorot_uniform",
        pointwise_initializer: Any = "glorot_uniform", bias_initializer: Any = "zeros", **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.filters = checks.positive(filters, "filters")
        self.depth_multiplier = checks.positive(depth_multiplier, "depth_multiplier")
        self.depthwise_initializer = initializers.get(depthwise_initializer)
        self.pointwise_initializer = initializers.get(pointwise_initializer)
        self._set_up(kernel_size, strides, checks.padding(padding), data_format, dilation_rate, activation, use_bias,
                     bias_initializer)

    def build(self, input_shape: Shape) -> None:
        channels, m = checks.known_channels(self, input_shape), self.depth_multiplier
        self.compute_output_shape(input_shape)  # raises ValueError if the kernel does not fit
        self.depthwise_kernel = self._kernel("depthwise", (*self.kernel_size, channels, m), "depthwise_kernel")
        self.pointwise_kernel = self._kernel("pointwise", (1, 1, channels * m, self.filters), "pointwise_kernel")
        self._add_bias(self.filters, channels)

    def call(self, x: Tensor) -> Tensor:
        y = F.depthwise_conv2d(x, self.depthwise_kernel, None, self.strides, self.padding, self.dilation_rate)
        return self.activation(F.conv2d(y, self.pointwise_kernel, self.bias))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return self._window_output(input_shape, self.filters)


class Conv2DTranspose(_Convolution):
    """A transposed convolution, which enlarges images: (N, H, W, C) -> (N, OH, OW, filters).

    kernel (KH, KW, filters, C), bias (filters,). Without `output_padding`, OH is H * strides for
    padding="same"; for padding="valid" it is (H - 1) * strides + the kernel's span (at least H *
    strides). With `output_padding`, which must be smaller than the strides, OH is (H - 1) * strides
    + span + output_padding, for padding="same" minus 2 (span // 2).
    """

    recordable = True
    regularized_weights = ("kernel", "bias")

    def __init__(
        self, filters: int, kernel_size: Pair, strides: Pair = (1, 1), padding: str = "valid",
        output_padding: Pair | None = None, data_format: str | None = None, dilation_rate: Pair = (1, 1),
        activation: Any = None, use_bias: bool = True, kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros", **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.filters = checks.positive(filters, "filters")
        self._set_up(kernel_size, strides, checks.padding(padding, numbers=False), data_format, dilation_rate,
                     activation, use_bias, bias_initializer)
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.output_padding = None if output_padding is None else shapes.pair(output_padding, "output_padding", 0)
        shapes.transpose_window((1, 1), self.kernel_size, self.strides, self.padding, self.dilation_rate,
                                self.output_padding)

    def build(self, input_shape: Shape) -> None:
        channels = checks.known_channels(self, input_shape)
        self._add_weights((*self.kernel_size, self.filters, channels), self.filters, channels)

    def call(self, x: Tensor) -> Tensor:
        return self.activation(
            F.conv2d_transpose(x, self.kernel, self.bias, self.strides, self.padding, self.dilation_rate,
                               self.output_padding)
        )

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        h, w = input_shape[1:3]
        _, out = shapes.transpose_window((h or 1, w or 1), self.kernel_size, self.strides, self.padding,
                                         self.dilation_rate, self.output_padding)
        return (input_shape[0], *(None if n is None else o for n, o in zip((h, w), out)), self.filters)
