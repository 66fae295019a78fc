"""Trains the lecture's net on Fashion-MNIST: pictures of clothes in ten classes.

For a quick run, set the environment variable EXAMPLE_IMAGES=1000: the script then uses only 1000 training and 1000 test
images.
"""

import os

from autoconv import layers, models
from autoconv.datasets import fashion_mnist
from autoconv.utils import to_categorical

count = int(os.environ.get("EXAMPLE_IMAGES", 60000))

(train_images, train_labels), (test_images, test_labels) = fashion_mnist.load_data()

train_images = train_images.reshape((60000, 28, 28, 1))
train_images = train_images[:count].astype('float32') / 255

test_images = test_images.reshape((10000, 28, 28, 1))
test_images = test_images[:count].astype('float32') / 255

train_labels = to_categorical(train_labels[:count])
test_labels = to_categorical(test_labels[:count])

model = models.Sequential()
model.add(layers.Conv2D(32, (3, 3), activation='relu', input_shape=(28, 28, 1)))
model.add(layers.MaxPooling2D((2, 2)))
model.add(layers.Conv2D(64, (3, 3), activation='relu'))
model.add(layers.MaxPooling2D((2, 2)))
model.add(layers.Conv2D(64, (3, 3), activation='relu'))
model.add(layers.Flatten())
model.add(layers.Dense(64, activation='relu'))
model.add(layers.Dense(10, activation='softmax'))
model.summary()

model.compile(optimizer='rmsprop', loss='categorical_crossentropy', metrics=['accuracy'])
model.fit(train_images, train_labels, epochs=5, batch_size=64)

test_loss, test_acc = model.evaluate(test_images, test_labels)
print(f"test accuracy {test_acc:.4f}, test loss {test_loss:.4f}")
