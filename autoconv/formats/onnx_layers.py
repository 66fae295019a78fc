"""What each class of layers becomes in an exported graph: one emitter for each class, in the table `LAYERS`.

An emitter takes the builder, the layer, its input (a value, or a list of them) and the shape of its result.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from .. import layers
from ..arguments import shapes
from ..engine.costs.counting import IN_TRAINING
from ..engine.symbolic import Shape
from ..functional.losses import EPSILON
from ..layers.scaling import CustomScaleLayer, LayerScale
from . import onnx_functions as functions
from .onnx_builder import Builder, Value, first, last

Emitter = Callable[[Builder, Any, Any, Shape], Value]
Emits = TypeVar("Emits", bound=Callable[..., Value])
LAYERS: dict[type, Emitter] = {}


def _emits(kind: type) -> Callable[[Emits], Emits]:
    """Registers the emitter of a class; its value gets the shape of the layer's result."""

    def register(emit: Emits) -> Emits:
        def with_shape(b: Builder, layer: Any, x: Any, shape: Shape) -> Value:
            y = emit(b, layer, x, shape)
            return Value(y.last, shape, y.first)

        LAYERS[kind] = with_shape
        return emit

    return register


def _channels_last(emit: Emitter) -> Emitter:
    """The emitter of a layer whose channels may lie on another axis than the last, which it then moves behind."""

    def wrapper(b: Builder, layer: Any, x: Value, shape: Shape) -> Value:
        if layer._order is None:
            return emit(b, layer, x, shape)
        moved = Value(b.node("Transpose", last(b, x), perm=list(layer._order[0])),
                      tuple(shape[i] for i in layer._order[0]))
        y = last(b, emit(b, layer, moved, moved.shape))
        return Value(b.node("Transpose", y, perm=list(layer._order[1])), shape)

    return wrapper


def _convolved(b: Builder, x: Value, kernel: np.ndarray, bias: Any, window: dict[str, Any], groups: int) -> Value:
    """A convolution with a kernel of ONNX's order (F, C / groups, KH, KW)."""
    inputs = [b.constant(kernel, "kernel"), *([] if bias is None else [b.constant(bias.numpy(), "bias")])]
    return Value(None, (), b.node("Conv", first(b, x), *inputs, group=groups, **window))


@_emits(layers.Conv2D)
def _conv2d(b: Builder, layer: Any, x: Value, shape: Shape) -> Value:
    window = functions.window(x, layer.kernel_size, layer.strides, layer.padding, layer.dilation_rate)
    y = _convolved(b, x, layer.kernel.numpy().transpose(3, 2, 0, 1), layer.bias, window, layer.groups)
    return _activated(b, layer, y, shape)


@_emits(layers.DepthwiseConv2D)
def _depthwise(b: Builder, layer: Any, x: Value, shape: Shape) -> Value:
    y = _channel_by_channel(b, layer, x, layer.kernel, layer.bias)
    return _activated(b, layer, y, shape)


@_emits(layers.SeparableConv2D)
def _separable_conv2d(b: Builder, layer: Any, x: Value, shape: Shape) -> Value:
    y = _channel_by_channel(b, layer, x, layer.depthwise_kernel, None)
    pointwise = layer.pointwise_kernel.numpy().transpose(3, 2, 0, 1)
    y = _convolved(b, y, pointwise, layer.bias, {"kernel_shape": [1, 1]}, 1)
    return _activated(b, layer, y, shape)


def _channel_by_channel(b: Builder, layer: Any, x: Value, kernel: Any, bias: Any) -> Value:
    """A convolution of each channel by itself: as many groups as channels."""
    window = functions.window(x, layer.kernel_size, layer.strides, layer.padding, layer.dilation_rate)
    kh, kw, channels, multiplier = kernel.shape
    ordered = kernel.numpy().transpose(2, 3, 0, 1).reshape(channels * multiplier, 1, kh, kw)
    return _convolved(b, x, ordered, bias, window, channels)


@_emits(layers.Conv2DTranspose)
def _conv_transpose(b: Builder, layer: Any, x: Value, shape: Shape) -> Value:
    window, size = shapes.transpose_window((1, 1), layer.kernel_size, layer.strides, layer.padding,
                                           layer.dilation_rate, layer.output_padding)
    more = [out + window[side] + window[side + 1] - span  # of one pixel: what the op adds at the end of an axis
            for out, side, span in zip(size, (6, 8), (window.span_h, window.span_w))]
    inputs = [b.constant(layer.kernel.numpy().transpose(3, 2, 0, 1), "kernel"),
              *([] if layer.bias is None else [b.constant(layer.bias.numpy(), "bias")])]
    y = b.node("ConvTranspose", first(b, x), *inputs, kernel_shape=list(layer.kernel_size),
               strides=list(layer.strides), dilations=list(layer.dilation_rate), output_padding=more,
               pads=[window.top, window.left, window.bottom, window.right])
    return _activated(b, layer, Value(None, (), y), shape)


@_emits(layers.Dense)
def _dense(b: Builder, layer: Any, x: Value, shape: Shape) -> Value:
    kernel = b.constant(layer.kernel.numpy(), "kernel")
    bias = None if layer.bias is None else b.constant(layer.bias.numpy(), "bias")
    if len(shape) == 2:
        y = b.node("Gemm", last(b, x), kernel, *([] if bias is None else [bias]))
    else:
        y = b.node("MatMul", last(b, x), kernel)
        y = y if bias is None else b.node("Add", y, bias)
    return _activated(b, layer, Value(y, ()), shape)


def _activated(b: Builder, layer: Any, y: Value, shape: Shape) -> Value:
    return functions.activate(b, layer.activation, Value(y.last, shape, y.first), layer.name)


@_emits(layers.BatchNormalization)
@_channels_last
def _batch_norm(b: Builder, layer: Any, x: Value, shape: Shape) -> Value:
    ones = np.ones(layer.channels, np.float32)
    gamma, beta = (default if weight is None else weight.numpy()
                   for weight, default in ((layer.gamma, ones), (layer.beta, 0 * ones)))
    mean = layer.moving_mean.numpy()
    variance = layer.moving_variance.numpy()
    if len(shape) == 3:  # ONNX takes channels on the second axis alone
        scale = gamma / np.sqrt(variance.astype(np.float64) + layer.epsilon)
        y = b.node("Mul", last(b, x), b.constant(scale, "scale"))
        return Value(b.node("Add", y, b.constant(beta - mean * scale, "shift")), shape)
    vectors = [b.constant(vector, name) for vector, name in
               ((gamma, "gamma"), (beta, "beta"), (mean, "moving_mean"), (variance, "moving_variance"))]
    given = first(b, x) if len(shape) == 4 else last(b, x)
    y = b.node("BatchNormalization", given, *vectors, epsilon=layer.epsilon)
    return Value(None, shape, y) if len(shape) == 4 else Value(y, shape)


def _normalized(b: Builder, x: str, axes: list[int], epsilon: float, centred: bool = True) -> str:
    """(x - mean) / sqrt(variance + epsilon) over these axes."""
    centre = b.node("Sub", x, b.reduce("ReduceMean", x, axes, True))
    variance = b.reduce("ReduceMean", b.node("Mul", centre, centre), axes, True)
    return b.node("Div", centre if centred else x, b.node("Sqrt", b.node("Add", variance, b.constant(epsilon))))


def _scaled(b: Builder, x: str, gamma: Any, beta: Any) -> str:
    """gamma x + beta; both are arrays or None."""
    y = x if gamma is None else b.node("Mul", x, b.constant(gamma, "gamma"))
    return y if beta is None else b.node("Add", y, b.constant(beta, "beta"))


@_emits(layers.LayerNormalization)
def _layer_norm(b: Builder, layer: Any, x: Value, shape: Shape) -> Value:
    axes = [axis % len(shape) for axis in layer.axis]
    beside = [n if i in axes else 1 for i, n in enumerate(shape)]
    gamma, beta = (None if weight is None else weight.numpy().reshape(beside) for weight in (layer.gamma, layer.beta))
    y = _normalized(b, last(b, x), axes, layer.epsilon, not layer.rms_scaling)
    return Value(_scaled(b, y, gamma, beta), shape)


@_emits(layers.GroupNormalization)
@_channels_last
def _group_norm(b: Builder, layer: Any, x: Value, shape: Shape) -> Value:
    groups = [0, -1, layer.groups, shape[-1] // layer.groups]  # type: ignore[operator]
    y = _normalized(b, b.reshape(last(b, x), groups), [1, 3], layer.epsilon)
    y = b.node("Reshape", y, b.node("Shape", x.last))
    return Value(_scaled(b, y, *(None if w is None else w.numpy() for w in (layer.gamma, layer.beta))), shape)


@_emits(layers.UnitNormalization)
def _unit_norm(b: Builder, layer: Any, x: Value, shape: Shape) -> Value:
    return x.like(_unit(b, x.any, [x.axis(axis) for axis in (
        layer.axis if isinstance(layer.axis, list) else [layer.axis])]))


def _unit(b: Builder, x: str, axes: list[int]) -> str:
    """x divided by its L2 norm over these axes."""
    squares = b.reduce("ReduceSum", b.node("Mul", x, x), axes, True)
    return b.node("Div", x, b.node("Sqrt", b.node("Max", squares, b.constant(1e-24))))


@_emits(layers.RMSNormalization)
def _rms_normalization(b: Builder, layer: Any, x: Value, shape: Shape) -> Value:
    beside = [n if i in layer.axis else 1 for i, n in enumerate(shape)]
    squares = b.reduce("ReduceMean", b.node("Mul", last(b, x), x.last), layer.axis, True)
    y = b.node("Div", x.last, b.node("Sqrt", b.node("Add", squares, b.constant(layer.epsilon))))
    return Value(b.node("Mul", y, b.constant(layer.scale.numpy().reshape(beside), "scale")), shape)


@_emits(layers.Normalization)
def _normalization(b: Builder, layer: Any, x: Value, shape: Shape) -> Value:
    mean = b.constant(x.beside(layer.mean), "mean")
    deviation = b.constant(x.beside(np.maximum(np.sqrt(layer.variance), EPSILON)), "deviation")
    if layer.invert:
        return x.like(b.node("Add", b.node("Mul", x.any, deviation), mean))
    return x.like(b.node("Div", b.node("Sub", x.any, mean), deviation))


@_emits(layers.Rescaling)
def _rescaled(b: Builder, layer: Any, x: Value, shape: Shape) -> Value:
    y = b.node("Mul", x.any, b.constant(x.beside(layer.scale), "scale"))
    return x.like(b.node("Add", y, b.constant(x.beside(layer.offset), "offset")) if np.any(layer.offset) else y)


# Shapes.


@_emits(layers.RepeatVector)
def _repeat(b: Builder, layer: Any, x: Value, shape: Shape) -> Value:
    wide = b.node("Unsqueeze", last(b, x), b.ints([1], "axes"))
    return Value(b.node("Tile", wide, b.ints([1, layer.n, 1], "repeats")), shape)


@_emits(layers.Cropping2D)
def _cropping(b: Builder, layer: Any, x: Value, shape: Shape) -> Value:
    (top, bottom), (left, right) = layer.cropping
    ends = [-end if end else 2**31 - 1 for end in (bottom, right)]
    return functions.sliced(b, x, [top, left], ends, [1, 2])


@_emits(layers.UpSampling2D)
def _upsampling(b: Builder, layer: Any, x: Value, shape: Shape) -> Value:
    mode: dict[str, Any] = {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
    if layer.interpolation == "nearest":
        mode = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    scales = b.constant([1.0, 1.0, *map(float, layer.size)], "scales")
    return Value(None, shape, b.node("Resize", first(b, x), None, scales, **mode))


def _sizes(layer: Any, x: Value) -> tuple[int, int]:
    """(H, W) of the images that a layer takes. Raises ValueError where they are open."""
    h, w = x.shape[1:3]
    if h is None or w is None:
        raise ValueError(f"What the layer {layer.name!r} ({type(layer).__name__}) cuts off depends on the images' "
                         f"size. Make the model's Input of a known one. Received: {x.shape}.")
    return h, w


@_emits(layers.RandomCrop)
def _smart_resize(b: Builder, layer: Any, x: Value, shape: Shape, interpolation: str = "bilinear") -> Value:
    """The largest middle part with the result's proportions, resized, as `layers.preprocessing.smart_resize` has it."""
    h, w = _sizes(layer, x)
    part_h = max(min(h, w * layer.height // layer.width), 1)
    part_w = max(min(w, h * layer.width // layer.height), 1)
    top = (h - part_h) // 2
    left = (w - part_w) // 2
    part = functions.sliced(b, x, [top, left], [top + part_h, left + part_w], [1, 2])
    part.shape = (shape[0], part_h, part_w, shape[-1])
    return functions.resize(b, part, (layer.height, layer.width), interpolation)


@_emits(layers.Resizing)
def _resizing(b: Builder, layer: Any, x: Value, shape: Shape) -> Value:
    if layer.crop_to_aspect_ratio:
        return _smart_resize(b, layer, x, shape, layer.interpolation)
    if layer.pad_to_aspect_ratio:
        h, w = _sizes(layer, x)
        down = max(w * layer.height // layer.width - h, 0) // 2
        across = max(h * layer.width // layer.height - w, 0) // 2
        x = functions.pad(b, x, ((0, 0), (down, down), (across, across), (0, 0)), constant_values=layer.fill_value)
        x.shape = (shape[0], h + 2 * down, w + 2 * across, shape[-1])
    return functions.resize(b, x, (layer.height, layer.width), layer.interpolation)


@_emits(layers.CenterCrop)
def _center_crop(b: Builder, layer: Any, x: Value, shape: Shape) -> Value:
    h, w = _sizes(layer, x)
    top = (h - layer.height) // 2
    left = (w - layer.width) // 2
    if min(top, left) < 0:
        return _smart_resize(b, layer, x, shape)
    return functions.sliced(b, x, [top, left], [top + layer.height, left + layer.width], [1, 2])


# Several inputs.


def _merge(op: str) -> Emitter:
    """An op on each item of a list of inputs; those of fewer axes get axes of size 1 behind the batch."""

    def emit(b: Builder, layer: Any, xs: list[Value], shape: Shape) -> Value:
        rank = max(len(x.shape) for x in xs)
        alike = [x if len(x.shape) == rank else functions.expand_dims(b, x, list(range(1, 1 + rank - len(x.shape))))
                 for x in xs]
        names, like = functions.together(b, alike)
        if op in ("Add", "Mul", "Sub"):  # of two inputs each
            y = names[0]
            for name in names[1:]:
                y = b.node(op, y, name)
        else:
            y = b.node(op, *names)
        return like.like(y)

    return emit


@_emits(CustomScaleLayer)
def _custom_scale(b: Builder, layer: Any, xs: list[Value], shape: Shape) -> Value:
    (x, y), like = functions.together(b, xs)
    return like.like(b.node("Add", x, b.node("Mul", y, b.constant(layer.scale, "scale"))))


@_emits(layers.Dot)
def _dot(b: Builder, layer: Any, xs: list[Value], shape: Shape) -> Value:
    """A product of matrices (N, A, K) and (N, K, B): the axis that is summed is moved, all others count as one."""
    names = []
    size = None
    for number, (x, axis) in enumerate(zip(xs, layer._from_the_first(xs))):
        name = last(b, x)
        size = x.shape[axis] or size
        if layer.normalize:
            name = _unit(b, name, [axis])
        rest = [i for i in range(1, len(x.shape)) if i != axis]
        name = b.node("Transpose", name, perm=[0, *rest, axis] if number == 0 else [0, axis, *rest])
        names.append((name, len(rest)))
    if size is None:
        raise ValueError(f"Dot is exported for an axis of known size. Received: {layer.name!r} of {xs[0].shape} and "
                         f"{xs[1].shape}.")
    (of_rows, rows), (of_columns, columns) = names
    product = b.node("MatMul", of_rows if rows == 1 else b.reshape(of_rows, [None, None, size]),
                     of_columns if columns == 1 else b.reshape(of_columns, [None, size, None]))
    return Value(product if rows == columns == 1 else b.reshape(product, shape), shape)


_MERGES = {layers.Add: "Add", layers.Subtract: "Sub", layers.Multiply: "Mul", layers.Average: "Mean",
           layers.Maximum: "Max", layers.Minimum: "Min"}
_SHORT: dict[type, Emitter] = {
    layers.Activation: lambda b, layer, x, shape: functions.activate(b, layer.activation, x, layer.name),
    layers.AveragePooling2D: lambda b, layer, x, shape: functions.avg_pool2d(
        b, x, layer.pool_size, layer.strides, layer.padding),
    layers.Concatenate: lambda b, layer, xs, shape: functions.concatenate(b, xs, layer.axis),
    layers.ELU: lambda b, layer, x, shape: functions.elu(b, x, layer.alpha),
    layers.Flatten: lambda b, layer, x, shape: functions.flatten(b, x),
    layers.GlobalAveragePooling2D: lambda b, layer, x, shape: functions.FUNCTIONS["global_avg_pool2d"](
        b, x, layer.keepdims),
    layers.GlobalMaxPooling2D: lambda b, layer, x, shape: functions.FUNCTIONS["global_max_pool2d"](
        b, x, layer.keepdims),
    LayerScale: lambda b, layer, x, shape: x.like(
        b.node("Mul", x.any, b.constant(x.beside(layer.gamma.numpy()), "gamma"))),
    layers.LeakyReLU: lambda b, layer, x, shape: functions.leaky_relu(b, x, layer.negative_slope),
    layers.MaxPooling2D: lambda b, layer, x, shape: functions.max_pool2d(
        b, x, layer.pool_size, layer.strides, layer.padding),
    layers.PReLU: lambda b, layer, x, shape: x.like(
        b.node("PRelu", x.any, b.constant(x.beside(layer.alpha.numpy()), "alpha"))),
    layers.Permute: lambda b, layer, x, shape: functions.transpose(b, x, (0, *layer.dims)),
    layers.ReLU: lambda b, layer, x, shape: functions.relu(
        b, x, layer.negative_slope, layer.max_value, layer.threshold),
    layers.Reshape: lambda b, layer, x, shape: Value(
        b.reshape(last(b, x), (None, *layer.target_shape) if None in shape[1:] else shape), shape),
    layers.Softmax: lambda b, layer, x, shape: functions.softmax(b, x, layer.axis),
    layers.ZeroPadding2D: lambda b, layer, x, shape: functions.zero_padding2d(b, x, layer.padding),
    **{kind: _merge(op) for kind, op in _MERGES.items()},
    **dict.fromkeys(IN_TRAINING, lambda b, layer, x, shape: x),
}
for _kind, _emit in _SHORT.items():
    _emits(_kind)(_emit)
