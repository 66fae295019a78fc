"""Trains the lecture's large net, which has 8,459,242 parameters, on images with 150 x 150 pixels.

The script enlarges MNIST's images: each pixel becomes a square of 5 x 5 pixels, and a black frame, 5 pixels wide, is
added. The environment variable EXAMPLE_IMAGES sets the number of training and test images. The default is 2000, because
each image needs 90 KB of floats.
"""

import os

import numpy as np

from autoconv import layers, models
from autoconv.datasets import mnist
from autoconv.utils import to_categorical

count = int(os.environ.get("EXAMPLE_IMAGES", 2000))


def enlarged(images):
    """Enlarges images (N, 28, 28) of bytes to (N, 150, 150, 1), as floats in 0..1."""
    large = np.pad(images.repeat(5, axis=1).repeat(5, axis=2), ((0, 0), (5, 5), (5, 5)))
    return large[..., np.newaxis].astype('float32') / 255


(train_images, train_labels), (test_images, test_labels) = mnist.load_data()
train_images, train_labels = enlarged(train_images[:count]), to_categorical(train_labels[:count], 10)
test_images, test_labels = enlarged(test_images[:count]), to_categorical(test_labels[:count], 10)

model = models.Sequential()
model.add(layers.Conv2D(32, (3, 3), activation='relu', input_shape=(150, 150, 1)))
model.add(layers.MaxPooling2D((2, 2)))
model.add(layers.Conv2D(32, (3, 3), activation='relu'))
model.add(layers.MaxPooling2D((2, 2)))
model.add(layers.Conv2D(64, (3, 3), activation='relu'))
model.add(layers.Conv2D(64, (3, 3), activation='relu'))
model.add(layers.MaxPooling2D((2, 2)))
model.add(layers.Dropout(0.25))
model.add(layers.Flatten())
model.add(layers.Dense(512, activation='relu'))
model.add(layers.Dropout(0.5))
model.add(layers.Dense(10, activation='softmax'))
model.summary()

model.compile(optimizer='rmsprop', loss='categorical_crossentropy', metrics=['accuracy'])
model.fit(train_images, train_labels, epochs=5, batch_size=64)

test_loss, test_acc = model.evaluate(test_images, test_labels)
print(f"test accuracy {test_acc:.4f}, test loss {test_loss:.4f}")
