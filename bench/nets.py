"""The nets with which every peer is timed, without the last layer, which is a dense layer with one
output per class.
"""

from .specs import (
    Activation,
    AveragePool,
    Conv,
    Dense,
    Depthwise,
    Dropout,
    Flatten,
    GlobalPool,
    Norm,
    Pool,
    Residual,
    Scale,
    Spec,
)

Net = tuple[Spec, ...]

LECTURE = (Conv(32), Pool(), Conv(64), Pool(), Conv(64), Flatten(), Dense(64))
LECTURE_DROPOUT = (
    Conv(32), Pool(), Dropout(0.25), Conv(64), Pool(), Dropout(0.25), Conv(64), Flatten(), Dense(64), Dropout(0.5),
)
LECTURE_BN = (
    Conv(32, activation=None), Norm(), Pool(), Conv(64, activation=None), Norm(), Pool(),
    Conv(64, activation=None), Norm(), Flatten(), Dense(64),
)
LECTURE_LARGE = (
    Conv(32), Pool(), Conv(32), Pool(), Conv(64), Conv(64), Pool(), Dropout(0.25), Flatten(), Dense(512), Dropout(0.5),
)
PHOTOS = (
    Scale(1 / 255), Conv(16, 3, 1), Pool(), Conv(32, 3, 1), Pool(), Conv(64, 3, 1), Pool(), Flatten(),
    Dense(128),
)
LENET5 = (  # LeCun et al., 1998; its 32x32 pixels are 28x28 pixels with a border here
    Conv(6, 5, 2, "tanh"), AveragePool(), Conv(16, 5, 0, "tanh"), AveragePool(), Flatten(),
    Dense(120, "tanh"), Dense(84, "tanh"),
)
MLP = (Flatten(), Dense(512), Dense(512))
VGG = (
    Conv(64, 3, 1), Conv(64, 3, 1), Pool(), Conv(128, 3, 1), Conv(128, 3, 1), Pool(),
    Conv(256, 3, 1), Conv(256, 3, 1), Pool(), GlobalPool(),
)
WIDE = (Conv(512, 3, 1), Conv(512, 3, 1), GlobalPool())


def conv_norm(filters: int, kernel: int = 3, strides: int = 1, activation: Activation | None = "relu") -> Net:
    """Returns a convolution without bias, followed by a normalization and an activation."""
    return Conv(filters, kernel, kernel // 2, None, strides, bias=False), Norm(activation)


def block(filters: int, strides: int = 1) -> Residual:
    """Returns two convolutions with a shortcut, which is a 1x1 convolution if the shape changes
    (option B of the paper).
    """
    shortcut = conv_norm(filters, 1, strides, None) if strides > 1 else ()
    return Residual((*conv_norm(filters, strides=strides), *conv_norm(filters, activation=None)), shortcut)


def separable(filters: int, strides: int = 1) -> Net:
    """Returns a depthwise convolution and a 1x1 convolution, each followed by a normalization, as in
    MobileNet (Howard et al., 2017).
    """
    return Depthwise(3, strides), Norm(), *conv_norm(filters, 1)


VGG_BN = (
    *conv_norm(64), *conv_norm(64), Pool(), *conv_norm(128), *conv_norm(128), Pool(),
    *conv_norm(256), *conv_norm(256), Pool(), GlobalPool(),
)
RESNET20 = (  # He et al., 2016, section 4.2, n = 3
    *conv_norm(16), block(16), block(16), block(16), block(32, 2), block(32), block(32), block(64, 2), block(64),
    block(64), GlobalPool(),
)
MOBILE = (
    *conv_norm(32), *separable(64), *separable(128, 2), *separable(128), *separable(256, 2), *separable(256),
    GlobalPool(),
)
