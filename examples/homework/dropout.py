"""Trains a net with batch normalization and dropout on digits that are moved at random."""

from autoconv import layers, models, optimizers, utils
from autoconv.datasets import digits

utils.set_random_seed(0)
(x_train, y_train), (x_test, y_test) = digits.load_data()
x_train, y_train = x_train[:4000, ..., None], utils.to_categorical(y_train[:4000])
x_test, y_test = x_test[..., None], utils.to_categorical(y_test)

model = models.Sequential([
    layers.Input((28, 28, 1)),
    layers.Rescaling(1 / 255),
    layers.RandomTranslation(0.05, 0.05, fill_mode="constant"),
    layers.Conv2D(32, 3, use_bias=False),
    layers.BatchNormalization(momentum=0.9),
    layers.Activation("relu"),
    layers.MaxPooling2D(),
    layers.Conv2D(64, 3, use_bias=False),
    layers.BatchNormalization(momentum=0.9),
    layers.Activation("relu"),
    layers.MaxPooling2D(),
    layers.Dropout(0.25),
    layers.Flatten(),
    layers.Dense(64, activation="relu"),
    layers.Dropout(0.25),
    layers.Dense(10, activation="softmax"),
])
rate = optimizers.schedules.CosineDecay(0.002, decay_steps=5 * 63)
model.compile(optimizers.Adam(rate), "categorical_crossentropy", metrics=["accuracy"])
model.fit(x_train, y_train, batch_size=64, epochs=5, validation_data=(x_test, y_test), verbose=2)
print(f"test accuracy {model.evaluate(x_test, y_test, verbose=0)[1]:.4f}")
