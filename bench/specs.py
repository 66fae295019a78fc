"""Describes the layers of a net, independently of any framework, and computes their output shapes."""

from collections.abc import Iterator, Sequence
from math import prod
from typing import Literal, NamedTuple, Union

Activation = Literal["relu", "relu6", "swish", "hard_swish", "sigmoid", "hard_sigmoid", "tanh"]


class Conv(NamedTuple):
    """A convolution with a square kernel and `padding` rows and columns of zeros on each side."""

    filters: int
    kernel: int = 3
    padding: int = 0
    activation: Activation | None = "relu"
    strides: int = 1
    bias: bool = True


class Depthwise(NamedTuple):
    """A depthwise convolution, which convolves each channel separately, with `kernel // 2` zeros on
    each side. It has no bias, because a normalization follows.
    """

    kernel: int = 3
    strides: int = 1


class Norm(NamedTuple):
    """Batch normalization of each channel, followed by an activation."""

    activation: Activation | None = "relu"


class Pool(NamedTuple):
    """Max pooling of square windows. Pixels of the padding are below all other pixels."""

    size: int = 2
    strides: int = 2
    padding: int = 0


class AveragePool(NamedTuple):
    """2x2 average pooling."""


class GlobalPool(NamedTuple):
    """The mean of each channel: from images (N, H, W, C) to rows (N, C)."""


class Flatten(NamedTuple):
    """Reshapes images (N, H, W, C) to rows (N, H*W*C)."""


class Dense(NamedTuple):
    """A dense layer with a bias. A net's last dense layer has no activation and returns the logits."""

    units: int
    activation: Activation | None = "relu"


class Dropout(NamedTuple):
    """Dropout, in training only."""

    rate: float


class Scale(NamedTuple):
    """Multiplies by a constant, for instance to scale pixels 0..255 to 0..1."""

    factor: float


class Upsample(NamedTuple):
    """Doubles rows and columns by repeating each of them."""


class Residual(NamedTuple):
    """activation(body(x) + shortcut(x)), where an empty shortcut returns x (He et al., 2016). In the
    list of weights, the body's weights precede the shortcut's.
    """

    body: tuple["Spec", ...]
    shortcut: tuple["Spec", ...] = ()
    activation: Activation | None = "relu"


class Gate(NamedTuple):
    """x times body(x), which is one number per channel: squeeze and excitation (Hu et al., 2018)."""

    body: tuple["Spec", ...]


class Concat(NamedTuple):
    """The channels of x followed by those of body(x), which has the same rows and columns."""

    body: tuple["Spec", ...]


Spec = Union[  # noqa: UP007 ("Residual | ..." would not do within its own definition)
    Conv, Depthwise, Norm, Pool, AveragePool, GlobalPool, Flatten, Dense, Dropout, Scale, Upsample, Residual, Gate,
    Concat,
]
Nested = Residual | Gate | Concat  # layers that contain other layers
Shape = tuple[int, ...]


def output_shape(layer: Spec, input_shape: Shape) -> Shape:
    """Returns the shape of one sample after a layer."""
    match layer:
        case Conv(filters, kernel, padding, _, strides):
            h, w = ((size + 2 * padding - kernel) // strides + 1 for size in input_shape[:2])
            return h, w, filters
        case Depthwise(_, strides):
            return -(-input_shape[0] // strides), -(-input_shape[1] // strides), input_shape[2]
        case Pool(size, strides, padding):
            h, w = ((side + 2 * padding - size) // strides + 1 for side in input_shape[:2])
            return h, w, input_shape[2]
        case AveragePool():
            return input_shape[0] // 2, input_shape[1] // 2, input_shape[2]
        case Upsample():
            return 2 * input_shape[0], 2 * input_shape[1], input_shape[2]
        case GlobalPool():
            return input_shape[2:]
        case Flatten():
            return (prod(input_shape),)
        case Dense(units):
            return (units,)
        case Residual(body):
            return chain_shape(body, input_shape)
        case Concat(body):
            return *input_shape[:2], input_shape[2] + chain_shape(body, input_shape)[2]
    return input_shape


def chain_shape(layers: Sequence[Spec], input_shape: Shape) -> Shape:
    """Returns the shape of one sample after these layers."""
    for layer in layers:
        input_shape = output_shape(layer, input_shape)
    return input_shape


def walk_layers(layers: Sequence[Spec], input_shape: Shape) -> Iterator[tuple[Spec, Shape, Shape]]:
    """Yields each layer with the shapes of one sample before and after the layer. Instead of a layer
    that has a body, yields the layers inside it.
    """
    for layer in layers:
        if isinstance(layer, Nested):
            yield from walk_layers(layer.body, input_shape)
            yield from walk_layers(layer.shortcut if isinstance(layer, Residual) else (), input_shape)
        else:
            yield layer, input_shape, output_shape(layer, input_shape)
        input_shape = output_shape(layer, input_shape)

