"""Trains the lecture's net on digits until it stops getting better on new images, and draws its curves."""

import matplotlib.pyplot as plt

from autoconv import callbacks, layers, models, utils
from autoconv.datasets import digits

utils.set_random_seed(0)
(x_train, y_train), (x_test, y_test) = digits.load_data()
x_train, y_train = x_train[:5000, ..., None] / 255, y_train[:5000]
x_test = x_test[..., None] / 255

model = models.Sequential([
    layers.Input((28, 28, 1)),
    layers.Conv2D(32, 3, activation="relu"),
    layers.MaxPooling2D(),
    layers.Conv2D(64, 3, activation="relu"),
    layers.MaxPooling2D(),
    layers.Conv2D(64, 3, activation="relu"),
    layers.Flatten(),
    layers.Dense(64, activation="relu"),
    layers.Dense(10, activation="softmax"),
])
model.compile("rmsprop", "sparse_categorical_crossentropy", metrics=["accuracy"])
stop = callbacks.EarlyStopping(monitor="val_loss", patience=2, restore_best_weights=True)
history = model.fit(x_train, y_train, batch_size=64, epochs=8, validation_split=0.1, callbacks=[stop], verbose=2)

for name, values in history.history.items():
    if "accuracy" in name:
        plt.plot(values, label=name)
plt.xlabel("epoch")
plt.legend()
plt.savefig("curves.png")

loss, accuracy = model.evaluate(x_test, y_test, verbose=0)
print(f"test accuracy {accuracy:.4f}")
