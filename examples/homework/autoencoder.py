"""Trains an autoencoder that removes noise from digits, and draws what it restores."""

import matplotlib.pyplot as plt
import numpy as np

from autoconv import layers, models, utils
from autoconv.datasets import digits

utils.set_random_seed(0)
rng = np.random.default_rng(0)
(x_train, _), (x_test, _) = digits.load_data()
x_train, x_test = (x[:3000, ..., None].astype("float32") / 255 for x in (x_train, x_test))
noisy_train, noisy_test = ((x + rng.normal(0, 0.3, x.shape)).clip(0, 1).astype("float32") for x in (x_train, x_test))

inputs = layers.Input((28, 28, 1))
x = layers.Conv2D(32, 3, strides=2, padding="same", activation="relu")(inputs)
x = layers.Conv2D(16, 3, strides=2, padding="same", activation="relu")(x)
code = layers.Dense(32, name="code")(layers.Flatten()(x))
x = layers.Reshape((7, 7, 16))(layers.Dense(7 * 7 * 16, activation="relu")(code))
x = layers.Conv2DTranspose(16, 3, strides=2, padding="same", activation="relu")(x)
x = layers.Conv2DTranspose(32, 3, strides=2, padding="same", activation="relu")(x)
outputs = layers.Conv2D(1, 3, padding="same", activation="sigmoid")(x)
autoencoder = models.Model(inputs, outputs)
autoencoder.compile("adam", "mse")
autoencoder.fit(noisy_train, x_train, batch_size=64, epochs=5, validation_data=(noisy_test, x_test), verbose=2)

restored = autoencoder.predict(noisy_test, verbose=0)
rows = [np.hstack(images[:8, ..., 0]) for images in (x_test, noisy_test, restored)]
plt.imsave("restored.png", np.vstack(rows), cmap="gray")
print(f"mean squared error {((restored - x_test) ** 2).mean():.4f}")
