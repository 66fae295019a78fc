"""Finds the pixels that a number in a feature map depends on, from the windows of all layers of a
graph.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from .. import layers as L
from ..arguments import shapes
from ..engine.graph.graph import Graph
from ..engine.symbolic import Node, SymbolicTensor
from ..functional import activation_functions
from ..layers.function import Function
from ..models import Model
from .inside import select_nodes

Range = tuple[int, int]  # first index, and the index after the last; empty if they are equal
Ranges = list[Range]  # the range of rows, the range of columns


class ReceptiveField(NamedTuple):
    """A rectangle of pixels, `image[top:bottom, left:right]`."""

    top: int
    bottom: int
    left: int
    right: int


WINDOWS = (L.Conv2D, L.DepthwiseConv2D, L.SeparableConv2D, L.MaxPooling2D, L.AveragePooling2D)
# Layers that compute a pixel only from the pixels at the same position. The random ones pass images on in inference.
PIXELWISE = (
    L.Activation, L.ActivityRegularization, L.Add, L.AlphaDropout, L.Average, L.BatchNormalization, L.Dense, L.Dropout,
    L.ELU, L.GaussianDropout, L.GaussianNoise, L.Identity, L.LeakyReLU, L.Maximum, L.Minimum, L.Multiply,
    L.Normalization, L.PReLU, L.RandomBrightness, L.RandomContrast, L.RandomFlip, L.RandomRotation,
    L.RandomTranslation, L.RandomZoom, L.ReLU, L.Rescaling, L.SpatialDropout2D, L.Subtract)
# Layers that are pixelwise if their `axis` is the channel axis.
OVER_CHANNELS = (L.Concatenate, L.LayerNormalization, L.RMSNormalization, L.Softmax, L.UnitNormalization)


def receptive_field(model: Model, layer: str, row: int, column: int) -> ReceptiveField:
    """Returns the rectangle of input pixels that the numbers of a layer's output at (row, column)
    depend on.

    It is computed from the windows, strides, dilation and padding of all layers and branches before
    it, and contains no padding. A layer that is not known to be local, such as Flatten, depends on
    all pixels. Raises ValueError for a layer without feature maps, a position outside them, and a
    model without a fixed image size.
    """
    tensor = select_nodes(model, layer)[-1].outputs[0]
    if len(tensor.shape) != 4 or len(model.inputs) != 1 or None in (*tensor.shape[1:], *model.inputs[0].shape[1:]):
        raise ValueError("receptive_field() needs a model with one input of a fixed size, and a layer with feature "
                         f"maps (OH, OW, K). Received: layer {layer!r} with the output shape {tensor.shape}, in a "
                         f"model with the input shape {model.input_shape}.")
    rows, columns = _size(tensor)
    if not (0 <= row < rows and 0 <= column < columns):
        raise ValueError(f"row must be in 0..{rows - 1}, column in 0..{columns - 1}. Received: "
                         f"row={row}, column={column}.")
    fields = _trace(model.graph, [(tensor, [(row, row + 1), (column, column + 1)])])
    (top, bottom), (left, right) = fields.get(id(model.inputs[0]), [(0, 0), (0, 0)])
    return ReceptiveField(top, bottom, left, right)


def _trace(graph: Graph, outputs: list[tuple[SymbolicTensor, Ranges]]) -> dict[int, Ranges]:
    """Returns the rows and columns of all tensors of a graph that these outputs depend on, by
    tensor id.
    """
    fields: dict[int, Ranges] = {}

    def add(tensor: SymbolicTensor, ranges: Ranges) -> None:
        if any(low >= high for low, high in ranges):
            return  # only padding
        key = id(graph.resolve(tensor))
        old = fields.get(key, ranges)
        fields[key] = [(min(a), max(b)) for a, b in (zip(*both) for both in zip(old, ranges))]

    for output in outputs:
        add(*output)
    for node in reversed(graph.nodes):
        needed = [(tensor, fields[id(tensor)]) for tensor in node.outputs if id(tensor) in fields]
        if not needed or not node.inputs:
            continue
        if isinstance(node.operation, Model) and node.operation._graph is not None:
            inner = node.operation.graph
            found = _trace(inner, [(inner.outputs[tensor.index], ranges) for tensor, ranges in needed])
            pairs = [(tensor, found.get(id(own))) for tensor, own in zip(node.inputs, inner.inputs)]
        else:
            pairs = [(tensor, _before(node, tensor, needed[0][1])) for tensor in node.inputs]
        for tensor, ranges in pairs:
            if ranges is not None:
                add(tensor, ranges)
    return fields


def _before(node: Node, tensor: SymbolicTensor, ranges: Ranges) -> Ranges:
    """Returns the rows and columns of an input that a node needs for these rows and columns of its
    output.
    """
    size = _size(tensor)
    if len(tensor.shape) == len(node.outputs[0].shape) == 4:
        rule = _rule(node.operation, size)
        if rule is not None:
            return [(max(rule(low, axis)[0], 0), min(rule(high - 1, axis)[1], n))
                    for axis, ((low, high), n) in enumerate(zip(ranges, size))]
        if _is_pixelwise(node.operation):
            return [(0, 1) if n == 1 else one for one, n in zip(ranges, size)]
    return [(0, n) for n in size]


def _rule(layer: Any, size: tuple[int, int]) -> Callable[[int, int], Range] | None:
    """Returns a function of an index of the output and an axis, which returns the indices of the
    input, or None.
    """
    if isinstance(layer, WINDOWS):
        kernel = layer.kernel_size if hasattr(layer, "kernel_size") else layer.pool_size
        window = shapes.window(size, kernel, layer.strides, layer.padding, getattr(layer, "dilation_rate", 1))
        stride, before, span = _by_axis(window)
        return lambda i, axis: (i * stride[axis] - before[axis], i * stride[axis] - before[axis] + span[axis])
    if isinstance(layer, L.Conv2DTranspose):
        window, _ = shapes.transpose_window(size, layer.kernel_size, layer.strides, layer.padding,
                                            layer.dilation_rate, layer.output_padding)
        stride, before, span = _by_axis(window)
        return lambda i, axis: (-((span[axis] - 1 - i - before[axis]) // stride[axis]),
                                (i + before[axis]) // stride[axis] + 1)
    if isinstance(layer, L.ZeroPadding2D):
        return lambda i, axis: (i - layer.padding[axis][0], i - layer.padding[axis][0] + 1)
    if isinstance(layer, L.Cropping2D):
        return lambda i, axis: (i + layer.cropping[axis][0], i + layer.cropping[axis][0] + 1)
    if isinstance(layer, L.UpSampling2D) and layer.interpolation == "nearest":
        return lambda i, axis: (i // layer.size[axis], i // layer.size[axis] + 1)
    return None


def _by_axis(window: shapes.Window) -> tuple[Range, Range, Range]:
    """Returns a window's strides, padding before the image, and span, each for rows and columns."""
    return (window.sh, window.sw), (window.top, window.left), (window.span_h, window.span_w)


def _is_pixelwise(operation: Any) -> bool:
    if isinstance(operation, Function):
        return getattr(operation.call, "broadcasting", False) or operation.short in activation_functions.__all__
    axis = getattr(operation, "axis", None)
    return isinstance(operation, PIXELWISE) or (
        isinstance(operation, OVER_CHANNELS) and axis in (-1, 3, [-1], [3], (-1,), (3,)))


def _size(tensor: SymbolicTensor) -> tuple[int, int]:
    """Returns the height and width of images, or (1, 1) for a tensor of another rank."""
    return tuple(tensor.shape[1:3]) if len(tensor.shape) == 4 else (1, 1)  # type: ignore[return-value]
