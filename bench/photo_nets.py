"""The nets that photo classifiers are made of, and a U-Net, without the last layer. They have the layers
of torchvision's nets, with zeros on all sides of an image, and without stochastic depth.
"""

from .nets import Net, conv_norm
from .specs import (
    Activation,
    AveragePool,
    Concat,
    Conv,
    Dense,
    Depthwise,
    Dropout,
    Flatten,
    Gate,
    GlobalPool,
    Norm,
    Pool,
    Residual,
    Spec,
    Upsample,
)


def inverted_residual(channels: int, filters: int, strides: int, expanded: int, kernel: int = 3,
                      activation: Activation = "relu6", gate: tuple[Spec, ...] = ()) -> Net:
    """Returns a block of MobileNetV2 (Sandler et al., 2018): a 1x1 convolution to `expanded` channels, a
    depthwise convolution, `gate` and a 1x1 convolution, with an addition if the shape is unchanged.
    """
    expansion = conv_norm(expanded, 1, 1, activation) if expanded != channels else ()
    body = (*expansion, Depthwise(kernel, strides), Norm(activation), *gate, *conv_norm(filters, 1, 1, None))
    return (Residual(body, activation=None),) if strides == 1 and channels == filters else body


def _mobilenet_v2() -> Net:
    layers, channels = conv_norm(32, 3, 2, "relu6"), 32
    for factor, filters, count, strides in ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1),
                                            (6, 160, 3, 2), (6, 320, 1, 1)):
        for i in range(count):
            layers += inverted_residual(channels, filters, strides if i == 0 else 1, factor * channels)
            channels = filters
    return *layers, *conv_norm(1280, 1, 1, "relu6"), GlobalPool(), Dropout(0.2)


def _mobilenet_v3_small() -> Net:
    """Howard et al., 2019, table 2."""
    layers, channels = conv_norm(16, 3, 2, "hard_swish"), 16
    for kernel, expanded, filters, units, activation, strides in (
        (3, 16, 16, 8, "relu", 2), (3, 72, 24, 0, "relu", 2), (3, 88, 24, 0, "relu", 1),
        (5, 96, 40, 24, "hard_swish", 2), (5, 240, 40, 64, "hard_swish", 1), (5, 240, 40, 64, "hard_swish", 1),
        (5, 120, 48, 32, "hard_swish", 1), (5, 144, 48, 40, "hard_swish", 1), (5, 288, 96, 72, "hard_swish", 2),
        (5, 576, 96, 144, "hard_swish", 1), (5, 576, 96, 144, "hard_swish", 1),
    ):
        gate = (Gate((GlobalPool(), Dense(units), Dense(expanded, "hard_sigmoid"))),) if units else ()
        layers += inverted_residual(channels, filters, strides, expanded, kernel, activation, gate)
        channels = filters
    return *layers, *conv_norm(576, 1, 1, "hard_swish"), GlobalPool(), Dense(1024, "hard_swish"), Dropout(0.2)


def _efficientnet_b0() -> Net:
    """Tan and Le, 2019, table 1."""
    layers, channels = conv_norm(32, 3, 2, "swish"), 32
    for factor, kernel, filters, count, strides in ((1, 3, 16, 1, 1), (6, 3, 24, 2, 2), (6, 5, 40, 2, 2),
                                                    (6, 3, 80, 3, 2), (6, 5, 112, 3, 1), (6, 5, 192, 4, 2),
                                                    (6, 3, 320, 1, 1)):
        for i in range(count):
            expanded = factor * channels
            gate = Gate((GlobalPool(), Dense(channels // 4, "swish"), Dense(expanded, "sigmoid")))
            layers += inverted_residual(channels, filters, strides if i == 0 else 1, expanded, kernel, "swish", (gate,))
            channels = filters
    return *layers, *conv_norm(1280, 1, 1, "swish"), GlobalPool(), Dropout(0.2)


def _resnet50() -> Net:
    """He et al., 2016, table 1, with the strides in the 3x3 convolutions."""
    layers: Net = (*conv_norm(64, 7, 2), Pool(3, 2, 1))
    for filters, count in ((64, 3), (128, 4), (256, 6), (512, 3)):
        for i in range(count):
            strides = 2 if i == 0 and filters > 64 else 1
            body = (*conv_norm(filters, 1), *conv_norm(filters, 3, strides), *conv_norm(4 * filters, 1, 1, None))
            layers += (Residual(body, conv_norm(4 * filters, 1, strides, None) if i == 0 else ()),)
    return *layers, GlobalPool()


def _densenet121() -> Net:
    """Huang et al., 2017, table 1, with 32 new channels per layer."""
    layers, channels = (*conv_norm(64, 7, 2), Pool(3, 2, 1)), 64
    for i, count in enumerate((6, 12, 24, 16)):
        if i:
            channels //= 2
            layers += (Norm(), Conv(channels, 1, 0, None, bias=False), AveragePool())
        layers += count * (Concat((Norm(), *conv_norm(128, 1), Conv(32, 3, 1, None, bias=False))),)
        channels += 32 * count
    return *layers, Norm(), GlobalPool()


def _unet(filters: int, depth: int) -> Net:
    """Ronneberger et al., 2015, with padding and normalizations, and upsampling by repetition. At each
    of the `depth` coarser levels, the image is half as large and has twice as many channels.
    """
    if depth == 0:
        return *conv_norm(filters), *conv_norm(filters)
    coarser = Concat((Pool(), *_unet(2 * filters, depth - 1), Upsample(), *conv_norm(filters)))
    return *conv_norm(filters), *conv_norm(filters), coarser, *conv_norm(filters), *conv_norm(filters)


VGG16 = (  # Simonyan and Zisserman, 2015, column D
    Conv(64, 3, 1), Conv(64, 3, 1), Pool(), Conv(128, 3, 1), Conv(128, 3, 1), Pool(),
    Conv(256, 3, 1), Conv(256, 3, 1), Conv(256, 3, 1), Pool(), Conv(512, 3, 1), Conv(512, 3, 1), Conv(512, 3, 1),
    Pool(), Conv(512, 3, 1), Conv(512, 3, 1), Conv(512, 3, 1), Pool(),
    Flatten(), Dense(4096), Dropout(0.5), Dense(4096), Dropout(0.5),
)
CLASSIFIERS = {
    "mobilenet_v2": _mobilenet_v2(), "mobilenet_v3_small": _mobilenet_v3_small(), "efficientnet_b0": _efficientnet_b0(),
    "resnet50": _resnet50(), "densenet121": _densenet121(), "vgg16": VGG16,
}
UNET = _unet(32, 3)
