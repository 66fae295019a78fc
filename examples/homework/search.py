"""Searches for the number of filters, the dropout and the learning rate with which a net learns the digits best."""

from itertools import product

from autoconv import layers, models, optimizers, utils
from autoconv.datasets import digits

(x_train, y_train), (x_test, y_test) = digits.load_data()
x_train, y_train = x_train[:4000, ..., None].astype("float32") / 255, y_train[:4000]
x_test = x_test[..., None].astype("float32") / 255


def train_net(filters, dropout, rate):
    """Returns a trained net and its accuracy on the last fifth of the training images."""
    utils.set_random_seed(0)
    model = models.Sequential([
        layers.Input((28, 28, 1)),
        layers.Conv2D(filters, 3, strides=2, activation="relu"),
        layers.Conv2D(2 * filters, 3, strides=2, activation="relu"),
        layers.Flatten(),
        layers.Dropout(dropout),
        layers.Dense(10, activation="softmax"),
    ])
    model.compile(optimizers.Adam(rate), "sparse_categorical_crossentropy", metrics=["accuracy"])
    history = model.fit(x_train, y_train, batch_size=32, epochs=3, validation_split=0.2, verbose=0)
    return model, history.history["val_accuracy"][-1]


best = 0
for settings in product((8, 16), (0.0, 0.4), (0.001, 0.004)):
    model, accuracy = train_net(*settings)
    print(*settings, f"{accuracy:.4f}")
    if accuracy > best:
        best, best_model, best_settings = accuracy, model, settings
print("best:", *best_settings)
print(f"test accuracy {best_model.evaluate(x_test, y_test, verbose=0)[1]:.4f}")
