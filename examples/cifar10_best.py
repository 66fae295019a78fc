"""Trains the net of `autoconv train cifar10 --recipe best` on CIFAR-10.

For a quick run, set the environment variable EXAMPLE_IMAGES=1000: the script then uses only 1000
training and 1000 test images.
"""

import os

import numpy as np

from autoconv import layers, losses, models, optimizers
from autoconv.datasets import cifar10
from autoconv.utils import to_categorical, whitening_filters

count = int(os.environ.get("EXAMPLE_IMAGES", 50000))
epochs, batch_size = 16, 1000

(train_images, train_labels), (test_images, test_labels) = cifar10.load_data()
train_images, train_labels = train_images[:count], to_categorical(train_labels[:count], 10)
test_images, test_labels = test_images[:count], to_categorical(test_labels[:count], 10)


def convolve_twice(filters):
    return [
        layers.Conv2D(filters, 3, padding="same", use_bias=False),
        layers.MaxPooling2D(),
        layers.BatchNormalization(momentum=0.9, scale=False),
        layers.Activation("silu"),
        layers.Conv2D(filters, 3, padding="same", use_bias=False),
        layers.BatchNormalization(momentum=0.9, scale=False),
        layers.Activation("silu"),
    ]


whitening = layers.Conv2D(24, 2, activation="silu", trainable=False)
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
optimizer = optimizers.Muon(
    optimizers.schedules.CosineDecay(0.17, steps), momentum=0.6, rms_rate=None, weight_decay=0.05,
    adam_lr_ratio=0.06, adam_beta_2=0.95, exclude_layers=["scores"])
loss = losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.2)
model.compile(optimizer, loss, metrics=["accuracy"])
model.fit(train_images, train_labels, batch_size, epochs)

_, accuracy = model.evaluate(test_images, test_labels)
# The average of the outputs for an image and for its mirror image is right more often.
outputs = model.predict(test_images) + model.predict(test_images[:, :, ::-1])
mirror_accuracy = np.mean(outputs.argmax(1) == test_labels.argmax(1))
print(f"test accuracy {accuracy:.4f}, {mirror_accuracy:.4f} with mirror images")
