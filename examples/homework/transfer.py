"""Trains a net on the digits 0 to 4, and adapts it to the digits 5 to 9 with ten images per class."""

import numpy as np

from autoconv import layers, models, optimizers, utils
from autoconv.datasets import digits

utils.set_random_seed(0)
(x_train, y_train), (x_test, y_test) = digits.load_data()
x_train, y_train = x_train[:5000, ..., None].astype("float32") / 255, y_train[:5000]
x_test = x_test[..., None].astype("float32") / 255

net = models.Sequential([
    layers.Input((28, 28, 1)),
    layers.Conv2D(16, 3, activation="relu"),
    layers.BatchNormalization(),
    layers.MaxPooling2D(),
    layers.Conv2D(32, 3, activation="relu"),
    layers.BatchNormalization(),
    layers.MaxPooling2D(),
    layers.Flatten(),
    layers.Dense(64, activation="relu"),
    layers.Dense(5, activation="softmax"),
])
net.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
net.fit(x_train[y_train < 5], y_train[y_train < 5], batch_size=64, epochs=4, verbose=2)
net.save("net.keras")

few = np.concatenate([np.flatnonzero(y_train == digit)[:10] for digit in range(5, 10)])
x_few, y_few = x_train[few], y_train[few] - 5
x_new, y_new = x_test[y_test >= 5], y_test[y_test >= 5] - 5

body = models.load_model("net.keras")
body.trainable = False
tuned = models.Model(body.inputs, layers.Dense(5, activation="softmax")(body.layers[-2].output))
tuned.compile(optimizers.Adam(0.003), "sparse_categorical_crossentropy", metrics=["accuracy"])
tuned.fit(x_few, y_few, batch_size=10, epochs=20, verbose=0)
print(f"new head: test accuracy {tuned.evaluate(x_new, y_new, verbose=0)[1]:.4f}")

body.trainable = True
tuned.compile(optimizers.Adam(0.0001), "sparse_categorical_crossentropy", metrics=["accuracy"])
tuned.fit(x_few, y_few, batch_size=10, epochs=10, verbose=0)
print(f"all layers: test accuracy {tuned.evaluate(x_new, y_new, verbose=0)[1]:.4f}")
