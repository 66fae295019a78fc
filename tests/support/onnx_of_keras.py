"""Nets that real Keras exports as ONNX, with inputs and what it predicts: the files in data/onnx.

`KERAS_BACKEND=tensorflow python onnx_of_keras.py FOLDER`, where Keras, TensorFlow and tf2onnx are installed; or
KERAS_BACKEND=torch, with PyTorch and onnxscript, which cannot export the net `odd`.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

HELD = ("moving_mean", "moving_variance")


def nets(keras: Any) -> Iterator[tuple[str, Any]]:
    """The lectures' net, one with a branch and normalization, and one of what is left."""
    layers = keras.layers
    yield "lecture", keras.Sequential([
        keras.Input((28, 28, 1)), layers.Conv2D(8, 3, activation="relu"), layers.MaxPooling2D(2),
        layers.Conv2D(8, 3, activation="relu"), layers.MaxPooling2D(2), layers.Flatten(), layers.Dropout(0.5),
        layers.Dense(10, activation="softmax")])
    image = keras.Input((16, 16, 3))
    x = layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False)(image)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    x = layers.Add()([x, layers.LeakyReLU(0.1)(layers.SeparableConv2D(8, 3, padding="same")(x))])
    x = layers.DepthwiseConv2D(3, padding="same", activation="relu6")(layers.AveragePooling2D(2)(x))
    yield "residual", keras.Model(image, layers.Dense(5)(layers.GlobalAveragePooling2D()(x)))
    image = keras.Input((8, 8, 2))
    x = layers.UpSampling2D(2)(layers.Conv2DTranspose(4, 3, strides=2, padding="same", activation="elu")(image))
    x = layers.ZeroPadding2D(1)(layers.Conv2D(3, 3, dilation_rate=2, activation="tanh")(x))
    x = layers.Cropping2D(((1, 0), (0, 1)))(x)
    x = layers.Concatenate()([x, layers.Conv2D(3, 1, activation="sigmoid")(x)])
    x = layers.LayerNormalization()(layers.GlobalMaxPooling2D()(x))
    yield "odd", keras.Model(image, layers.Dense(4, activation="silu")(x))


def main(folder: Path) -> None:
    import keras

    keras.utils.set_random_seed(0)
    for name, model in nets(keras):
        for weight in model.weights:
            if weight.name in HELD:
                weight.assign(np.random.default_rng(2).uniform(0.5, 1.5, weight.shape))
        x = np.random.default_rng(1).normal(size=(3, *model.input_shape[1:])).astype("float32")
        y = np.asarray(model.predict(x, verbose=0))
        start = folder / f"{keras.backend.backend()}-{name}"
        model.export(f"{start}.onnx", format="onnx", verbose=False)
        np.savez(f"{start}.npz", x=x, y=y)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
