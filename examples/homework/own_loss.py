"""Trains a net with a loss and a metric of its own: the focal loss, and the accuracy of the worst class."""

from autoconv import layers, metrics, models, ops, utils
from autoconv.datasets import digits


def focal_loss(y_true, y_pred):
    """The crossentropy, in which samples that are already classified well count less (Lin et al., 2017)."""
    probability = ops.sum(y_true * y_pred, axis=-1)
    return -((1 - probability) ** 2) * ops.log(probability + 1e-7)


class WorstClassAccuracy(metrics.Metric):
    """The accuracy of the class with the lowest accuracy."""

    def __init__(self, classes=10, name="worst_class", **kwargs):
        super().__init__(name=name, **kwargs)
        self.right = self.add_weight(shape=(classes,), initializer="zeros", name="right")
        self.total = self.add_weight(shape=(classes,), initializer="zeros", name="total")

    def update_state(self, y_true, y_pred, sample_weight=None):
        is_right = ops.cast(ops.argmax(y_true, axis=-1) == ops.argmax(y_pred, axis=-1), "float32")
        self.right.assign_add(ops.sum(y_true * is_right[:, None], axis=0))
        self.total.assign_add(ops.sum(y_true, axis=0))

    def result(self):
        return ops.min(self.right / ops.maximum(self.total, 1))


utils.set_random_seed(0)
(x_train, y_train), (x_test, y_test) = digits.load_data()
x_train, y_train = x_train[:5000, ..., None].astype("float32") / 255, utils.to_categorical(y_train[:5000])
x_test, y_test = x_test[..., None].astype("float32") / 255, utils.to_categorical(y_test)

model = models.Sequential([
    layers.Input((28, 28, 1)),
    layers.Conv2D(32, 3, activation="relu"),
    layers.MaxPooling2D(),
    layers.Conv2D(64, 3, activation="relu"),
    layers.MaxPooling2D(),
    layers.Flatten(),
    layers.Dense(10, activation="softmax"),
])
model.compile("adam", focal_loss, metrics=["accuracy", WorstClassAccuracy()])
model.fit(x_train, y_train, batch_size=64, epochs=5, validation_data=(x_test, y_test), verbose=2)
print(f"test accuracy of the worst class {model.evaluate(x_test, y_test, verbose=0)[2]:.4f}")
