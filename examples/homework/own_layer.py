"""Trains a net with a layer of its own, which weighs the channels of its input, and saves and loads the net."""

import numpy as np

from autoconv import layers, models, ops, utils
from autoconv.datasets import digits


class SqueezeExcite(layers.Layer):
    """Weighs the channels of images (N, H, W, C) by what is in them (Hu et al., 2018)."""

    recordable = True

    def __init__(self, ratio=4, **kwargs):
        super().__init__(**kwargs)
        self.ratio = ratio

    def build(self, input_shape):
        channels = input_shape[-1]
        self.squeeze = self.add_weight(shape=(channels, channels // self.ratio), name="squeeze")
        self.excite = self.add_weight(shape=(channels // self.ratio, channels), name="excite")

    def call(self, x):
        means = ops.mean(x, axis=(1, 2), keepdims=True)
        return x * ops.sigmoid(ops.matmul(ops.relu(ops.matmul(means, self.squeeze)), self.excite))

    def get_config(self):
        return {**super().get_config(), "ratio": self.ratio}


utils.set_random_seed(0)
(x_train, y_train), (x_test, y_test) = digits.load_data()
x_train, y_train = x_train[:4000, ..., None] / 255, y_train[:4000]
x_test = x_test[..., None] / 255

model = models.Sequential([
    layers.Input((28, 28, 1)),
    layers.Conv2D(32, 3, activation="relu"),
    layers.MaxPooling2D(),
    layers.Conv2D(64, 3, activation="relu"),
    SqueezeExcite(),
    layers.MaxPooling2D(),
    layers.Flatten(),
    layers.Dense(10, activation="softmax"),
])
model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
model.fit(x_train, y_train, batch_size=64, epochs=5, verbose=2)

model.save("own_layer.keras")
again = models.load_model("own_layer.keras", custom_objects={"SqueezeExcite": SqueezeExcite})
assert np.array_equal(model.predict(x_test, verbose=0), again.predict(x_test, verbose=0))
print(f"test accuracy {again.evaluate(x_test, y_test, verbose=0)[1]:.4f}")
