"""Trains a net with a callback of its own, which halves the learning rate and draws the filters after each epoch."""

import matplotlib.pyplot as plt
import numpy as np

from autoconv import callbacks, layers, models, optimizers, utils
from autoconv.datasets import digits


class WatchFilters(callbacks.Callback):
    """Draws the filters of a layer after each epoch, and stops the training at an accuracy."""

    def __init__(self, layer, accuracy):
        super().__init__()
        self.layer = layer
        self.accuracy = accuracy

    def on_epoch_end(self, epoch, logs=None):
        kernel = self.model.get_layer(self.layer).get_weights()[0]
        plt.imsave(f"filters_{epoch + 1}.png", np.hstack(np.moveaxis(kernel[:, :, 0], -1, 0)), cmap="bwr")
        self.model.optimizer.learning_rate = float(self.model.optimizer.learning_rate) / 2
        if logs["val_accuracy"] >= self.accuracy:
            self.model.stop_training = True


utils.set_random_seed(0)
(x_train, y_train), (x_test, y_test) = digits.load_data()
x_train, y_train = x_train[:5000, ..., None] / 255, y_train[:5000]
x_test = x_test[..., None] / 255

model = models.Sequential([
    layers.Input((28, 28, 1)),
    layers.Conv2D(16, 5, activation="relu", name="first"),
    layers.MaxPooling2D(),
    layers.Conv2D(32, 3, activation="relu"),
    layers.MaxPooling2D(),
    layers.Flatten(),
    layers.Dense(10, activation="softmax"),
])
model.compile(optimizers.Adam(0.004), "sparse_categorical_crossentropy", metrics=["accuracy"])
watch = WatchFilters("first", accuracy=0.999)
history = model.fit(x_train, y_train, batch_size=64, epochs=6, validation_data=(x_test, y_test), callbacks=[watch],
                    verbose=2)
print(f"test accuracy {history.history['val_accuracy'][-1]:.4f}")
