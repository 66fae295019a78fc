"""Nets for timing in addition to those of `autoconv train`: deep, wide, separable and old nets.

Each function builds a model for images (H, W, C) that ends in a softmax over the classes.
"""

from typing import Any

from ... import layers as L
from ...models import Model, Sequential

Shape = tuple[int, int, int]


def lecture_bn(shape: Shape, classes: int) -> Model:
    """Builds the lecture net with batch normalization between each convolution and its ReLU."""
    layers = []
    for filters, last in ((32, L.MaxPooling2D()), (64, L.MaxPooling2D()), (64, L.Flatten())):
        layers += [L.Conv2D(filters, 3), L.BatchNormalization(), L.ReLU(), last]
    return Sequential([L.Input(shape), *layers, L.Dense(64, "relu"), L.Dense(classes, "softmax")])


def lenet5(shape: Shape, classes: int) -> Model:
    """Builds LeNet-5 (LeCun et al., 1998). Padding replaces the images' border of two pixels."""
    return Sequential([
        L.Input(shape),
        L.Conv2D(6, 5, padding="same", activation="tanh"), L.AveragePooling2D(2),
        L.Conv2D(16, 5, activation="tanh"), L.AveragePooling2D(2),
        L.Flatten(), L.Dense(120, "tanh"), L.Dense(84, "tanh"), L.Dense(classes, "softmax"),
    ])


def mlp(shape: Shape, classes: int) -> Model:
    """Builds a net with two hidden dense layers of 512 units each."""
    hidden = [L.Dense(512, "relu") for _ in range(2)]
    return Sequential([L.Input(shape), L.Flatten(), *hidden, L.Dense(classes, "softmax")])


def vgg(shape: Shape, classes: int) -> Model:
    """Builds six convolutions, two per image size (after Simonyan and Zisserman, 2015)."""
    layers = []
    for filters in (64, 128, 256):
        layers += [L.Conv2D(filters, 3, padding="same", activation="relu") for _ in range(2)] + [L.MaxPooling2D()]
    return Sequential([L.Input(shape), *layers, L.GlobalAveragePooling2D(), L.Dense(classes, "softmax")])


def vgg_bn(shape: Shape, classes: int) -> Model:
    """Builds the net of `vgg` with batch normalization after each convolution."""
    x = images = L.Input(shape)
    for filters in (64, 128, 256):
        x = L.MaxPooling2D()(_conv_norm(_conv_norm(x, filters), filters))
    return _classifier(images, x, classes)


def wide(shape: Shape, classes: int) -> Model:
    """Builds a net with two convolutions of 512 filters each."""
    layers = [L.Conv2D(512, 3, padding="same", activation="relu") for _ in range(2)]
    return Sequential([L.Input(shape), *layers, L.GlobalAveragePooling2D(), L.Dense(classes, "softmax")])


def mobile(shape: Shape, classes: int) -> Model:
    """Builds a net with five depthwise separable convolutions (after Howard et al., 2017)."""
    images = L.Input(shape)
    x = _conv_norm(images, 32)
    for filters, strides in ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1)):
        x = L.ReLU()(L.BatchNormalization()(L.DepthwiseConv2D(3, strides, padding=1, use_bias=False)(x)))
        x = _conv_norm(x, filters, 1)
    return _classifier(images, x, classes)


def resnet20(shape: Shape, classes: int) -> Model:
    """Builds ResNet-20 (He et al., 2016, section 4.2) with 1x1 convolution shortcuts (option B)."""
    images = L.Input(shape)
    x = _conv_norm(images, 16)
    for filters, strides in ((16, 1), (32, 2), (64, 2)):
        for step in (strides, 1, 1):
            body = _conv_norm(_conv_norm(x, filters, strides=step), filters, relu=False)
            x = L.ReLU()(L.Add()([body, x if step == 1 else _conv_norm(x, filters, 1, step, relu=False)]))
    return _classifier(images, x, classes)


def _conv_norm(x: Any, filters: int, kernel: int = 3, strides: int = 1, relu: bool = True) -> Any:
    """Applies a convolution without bias, batch normalization, and a ReLU if `relu`."""
    y = L.BatchNormalization()(L.Conv2D(filters, kernel, strides, padding=kernel // 2, use_bias=False)(x))
    return L.ReLU()(y) if relu else y


def _classifier(images: Any, x: Any, classes: int) -> Model:
    return Model(images, L.Dense(classes, "softmax")(L.GlobalAveragePooling2D()(x)))
