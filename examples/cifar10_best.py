"""Trains the net of `autoconv train cifar10 --recipe best` on CIFAR-10.

For a quick run, set the environment variable EXAMPLE_IMAGES=1000: the script then uses only 1000
training and 1000 test images.
"""

import os

from autoconv import layers, losses, models, optimizers
from autoconv.datasets import cifar10
from autoconv.utils import to_categorical, whitening_filters

count = int(os.environ.get("EXAMPLE_IMAGES", 50000))
epochs, batch_size = 10, 500

(train_images, train_labels), (test_images, test_labels) = cifar10.load_data()
train_images, train_labels = train_images[:count], to_categorical(train_labels[:count], 10)
test_images, test_labels = test_images[:count], to_categorical(test_labels[:count], 10)


def convolve_twice(filters):
    return [
        layers.Conv2D(filters, 3, padding="same", use_bias=False),
        layers.MaxPooling2D(),
        layers.BatchNormalization(momentum=0.9, scale=False),
        layers.ReLU(),
        layers.Conv2D(filters, 3, padding="same", use_bias=False),
        layers.BatchNormalization(momentum=0.9, scale=False),
        layers.ReLU(),
    ]


whitening = layers.Conv2D(24, 2, activation="relu", trainable=False)
model = models.Sequential([
    layers.Input((32, 32, 3)),
    layers.RandomFlip("horizontal"),
    layers.RandomTranslation(2 / 32, 2 / 32, interpolation="nearest"),
    layers.Rescaling(4 / 255, -2),
    whitening,
    *convolve_twice(64),
    *convolve_twice(256),
    *convolve_twice(256),
    layers.GlobalMaxPooling2D(),
    layers.Rescaling(1 / 9),
    layers.Dense(10, use_bias=False, name="scores"),
])
whitening.kernel.assign(whitening_filters(train_images[:1000] / 255 * 4 - 2))

steps = -(-len(train_images) // batch_size) * epochs
rate = optimizers.schedules.OneCycle(0.015, steps)
loss = losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.2)
model.compile(optimizers.Muon(rate, exclude_layers=["scores"]), loss, metrics=["accuracy"])
model.fit(train_images, train_labels, batch_size, epochs)

test_loss, test_accuracy = model.evaluate(test_images, test_labels)
print(f"test accuracy {test_accuracy:.4f}, test loss {test_loss:.4f}")
