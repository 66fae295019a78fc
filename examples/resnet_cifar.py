"""Trains ResNet-20 on CIFAR-10: a net with branches, defined as `Model(inputs, outputs)`.

K. He, X. Zhang, S. Ren, J. Sun: "Deep residual learning for image recognition", CVPR 2016, section 4.2. The net
has three stages of three blocks. A block adds its input to the output of two convolutions. If the block changes the
image size, its input first passes through a strided 1 x 1 convolution (option B in the paper).

    python examples/resnet_cifar.py --epochs 10 --save resnet.safetensors

The environment variable EXAMPLE_IMAGES sets the number of training and test images.
"""

import argparse
import os

from autoconv import layers, models, optim, utils
from autoconv.datasets import cifar10


def block(x, filters, strides=1):
    """Returns relu(x + conv(relu(conv(x)))); a batch normalization follows each convolution."""
    y = layers.Conv2D(filters, 3, strides, padding="same", use_bias=False, kernel_initializer="he_normal")(x)
    y = layers.ReLU()(layers.BatchNormalization()(y))
    y = layers.Conv2D(filters, 3, padding="same", use_bias=False, kernel_initializer="he_normal")(y)
    y = layers.BatchNormalization()(y)
    if strides > 1:
        x = layers.Conv2D(filters, 1, strides, use_bias=False, kernel_initializer="he_normal")(x)
        x = layers.BatchNormalization()(x)
    return layers.ReLU()(layers.Add()([x, y]))


def resnet(depth=20, classes=10, shape=(32, 32, 3)):
    """Returns the net with `depth` = 6 n + 2 weighted layers: 20, 32, 44, 56 or 110 in the paper."""
    inputs = layers.Input(shape)
    x = layers.Rescaling(1 / 255)(inputs)
    x = layers.Conv2D(16, 3, padding="same", use_bias=False, kernel_initializer="he_normal")(x)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    for stage, filters in enumerate((16, 32, 64)):
        for number in range((depth - 2) // 6):
            x = block(x, filters, strides=2 if stage and not number else 1)
    x = layers.GlobalAveragePooling2D()(x)
    return models.Model(inputs, layers.Dense(classes, activation="softmax")(x), name=f"resnet{depth}")


def main(arguments=None):
    parser = argparse.ArgumentParser(description="Train ResNet-20 on CIFAR-10.")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--depth", type=int, default=20, choices=[20, 32, 44, 56, 110])
    parser.add_argument("--limit", type=int, default=int(os.environ.get("EXAMPLE_IMAGES", 50000)),
                        help="number of training and test images")
    parser.add_argument("--save", help="write the trained net to this .safetensors file")
    options = parser.parse_args(arguments)

    (train_images, train_labels), (test_images, test_labels) = cifar10.load_data()
    train_images, train_labels = train_images[:options.limit], utils.to_categorical(train_labels[:options.limit], 10)
    test_images, test_labels = test_images[:options.limit], utils.to_categorical(test_labels[:options.limit], 10)

    model = resnet(options.depth)
    model.summary()
    steps = -(-len(train_images) // options.batch_size) * options.epochs
    optimizer = optim.Adam(optim.schedules.CosineDecay(2e-3, steps))
    model.compile(optimizer, "categorical_crossentropy", metrics=["accuracy"])
    model.fit(train_images, train_labels, options.batch_size, options.epochs)
    loss, accuracy = model.evaluate(test_images, test_labels, verbose=0)
    print(f"test loss {loss:.4f}, test accuracy {accuracy:.4f}")
    if options.save:
        model.save(options.save)


if __name__ == "__main__":
    main()
