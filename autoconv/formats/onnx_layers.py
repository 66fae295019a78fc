"""Exports layers that have their own ONNX op, or whose `call` cannot be traced for any image size.

An emitter accepts the builder, the layer, the layer's input and the shape of its output.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import layers
from ..engine.symbolic import Shape
from ..functional.loss_functions import EPSILON
from . import onnx_functions as functions
from .onnx_builder import Builder, Value, first, last


def group_normalization(b: Builder, layer: layers.GroupNormalization, x: Value,
                        shape: Shape) -> Value:
    """Normalizes images of any size. Channels on another axis are moved to the end and back."""
    name = last(b, x)
    if layer._order is not None:
        name = b.node("Transpose", name, perm=list(layer._order[0]))
    groups = b.reshape(name, [0, -1, layer.groups, layer.channels // layer.groups])  # type: ignore[operator]
    centre = b.node("Sub", groups, b.reduce("ReduceMean", groups, [1, 3], True))
    variance = b.reduce("ReduceMean", b.node("Mul", centre, centre), [1, 3], True)
    y = b.node("Div", centre, b.node("Sqrt", b.node("Add", variance, b.constant(layer.epsilon))))
    y = b.node("Reshape", y, b.node("Shape", name))
    if layer.gamma is not None:
        y = b.node("Mul", y, b.constant(layer.gamma.numpy(), "gamma"))
    if layer.beta is not None:
        y = b.node("Add", y, b.constant(layer.beta.numpy(), "beta"))
    return Value(y if layer._order is None else b.node("Transpose", y, perm=list(layer._order[1])), shape)


def normalization(b: Builder, layer: layers.Normalization, x: Value, shape: Shape) -> Value:
    mean = b.constant(x.broadcast(layer.mean), "mean")
    deviation = b.constant(x.broadcast(np.maximum(np.sqrt(layer.variance), EPSILON)), "deviation")
    if layer.invert:
        return x.like(b.node("Add", b.node("Mul", x.name, deviation), mean))
    return x.like(b.node("Div", b.node("Sub", x.name, mean), deviation))


def rescaling(b: Builder, layer: layers.Rescaling, x: Value, shape: Shape) -> Value:
    y = b.node("Mul", x.name, b.constant(x.broadcast(layer.scale), "scale"))
    return x.like(b.node("Add", y, b.constant(x.broadcast(layer.offset), "offset")) if np.any(layer.offset) else y)


def repeat_vector(b: Builder, layer: layers.RepeatVector, x: Value, shape: Shape) -> Value:
    wide = b.node("Unsqueeze", last(b, x), b.ints([1], "axes"))
    return Value(b.node("Tile", wide, b.ints([1, layer.n, 1], "repeats")), shape)


def cropping(b: Builder, layer: layers.Cropping2D, x: Value, shape: Shape) -> Value:
    (top, bottom), (left, right) = layer.cropping
    ends = [-end if end else 2**31 - 1 for end in (bottom, right)]
    return functions.emit_slice(b, x, [top, left], ends, [1, 2])


def upsampling(b: Builder, layer: layers.UpSampling2D, x: Value, shape: Shape) -> Value:
    mode: dict[str, Any] = {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
    if layer.interpolation == "nearest":
        mode = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    scales = b.constant([1.0, 1.0, *map(float, layer.size)], "scales")
    return Value(None, shape, b.node("Resize", first(b, x), None, scales, **mode))


LAYERS: dict[type, Callable[[Builder, Any, Any, Shape], Value]] = {
    layers.Cropping2D: cropping, layers.GroupNormalization: group_normalization,
    layers.Normalization: normalization, layers.RepeatVector: repeat_vector,
    layers.Rescaling: rescaling, layers.UpSampling2D: upsampling,
    layers.PReLU: lambda b, layer, x, shape: x.like(
        b.node("PRelu", x.name, b.constant(x.broadcast(layer.alpha.numpy()), "alpha"))),
    layers.Reshape: lambda b, layer, x, shape: Value(
        b.reshape(last(b, x), (0, *layer.target_shape) if None in shape[1:] else (0, *shape[1:])), shape),
}
