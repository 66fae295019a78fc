"""Trains a small U-Net that marks the discs in noisy pictures of discs and squares, pixel by pixel."""

import matplotlib.pyplot as plt
import numpy as np

from autoconv import layers, metrics, models, optimizers, utils

SIZE = 48


def draw_pictures(count, seed):
    """Returns noisy pictures (N, 48, 48, 1) of discs and squares, and masks that are 1 in the discs."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:SIZE, :SIZE]
    pictures = np.zeros((count, SIZE, SIZE, 1), "float32")
    masks = np.zeros_like(pictures)
    for picture, mask in zip(pictures, masks):
        for is_disc in (True, True, False, False):
            x, y, radius = *rng.uniform(8, SIZE - 8, 2), rng.uniform(5, 10)
            square = np.maximum(abs(columns - x), abs(rows - y)) < 0.9 * radius
            inside = np.hypot(columns - x, rows - y) < radius if is_disc else square
            picture[inside], mask[inside] = rng.uniform(0.5, 1), is_disc
    return pictures + rng.normal(0, 0.2, pictures.shape).astype("float32"), masks


def convolve_twice(x, filters):
    for _ in range(2):
        x = layers.Conv2D(filters, 3, padding="same", activation="relu")(x)
    return x


utils.set_random_seed(0)
x_train, y_train = draw_pictures(300, seed=1)
x_test, y_test = draw_pictures(100, seed=2)

inputs = layers.Input((SIZE, SIZE, 1))
fine = convolve_twice(inputs, 16)
middle = convolve_twice(layers.MaxPooling2D()(fine), 32)
x = convolve_twice(layers.MaxPooling2D()(middle), 64)
x = layers.Concatenate()([middle, layers.Conv2DTranspose(32, 2, strides=2)(x)])
x = layers.Concatenate()([fine, layers.Conv2DTranspose(16, 2, strides=2)(convolve_twice(x, 32))])
outputs = layers.Conv2D(1, 1, activation="sigmoid")(convolve_twice(x, 16))
unet = models.Model(inputs, outputs)
unet.compile(optimizers.Adam(0.002), "binary_crossentropy", metrics=["accuracy"])
unet.fit(x_train, y_train, batch_size=8, epochs=8, verbose=2)

marked = unet.predict(x_test, verbose=0)
plt.imsave("marked.png", np.vstack([np.hstack(images[:6, ..., 0]) for images in (x_test, marked, y_test)]))
overlap = metrics.BinaryIoU([1])
overlap.update_state(y_test, marked)
print(f"intersection over union {float(overlap.result()):.4f}")
