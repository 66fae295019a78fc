"""Trains the lecture's net for photos. The net rescales the pixels itself, and its loss is computed from logits.

The photos are coloured shapes that this script draws, so it needs no data set. The environment variable EXAMPLE_IMAGES
sets the number of photos (600 by default): set EXAMPLE_IMAGES=100 for a quick run.
"""

import os

import numpy as np

import autoconv as ac
from autoconv import functional as F
from autoconv import layers, losses, models, utils

count = int(os.environ.get("EXAMPLE_IMAGES", 600))
img_height, img_width = 64, 64
class_names = ['circle', 'ring', 'square', 'triangle']


def draw(shape, rng):
    """Draws a photo (img_height, img_width, 3) of bytes: the shape at a random position, in random colours, noisy."""
    rows, columns = np.mgrid[:img_height, :img_width]
    radius = rng.uniform(10, 20)
    y = rows - rng.uniform(radius, img_height - radius)
    x = columns - rng.uniform(radius, img_width - radius)
    distance = np.hypot(x, y)
    inside = {
        'circle': distance < radius,
        'ring': (distance < radius) & (distance > 0.6 * radius),
        'square': np.maximum(abs(x), abs(y)) < 0.85 * radius,
        'triangle': (abs(x) < (y + radius) / 2) & (y < radius),
    }[shape]
    ground, colour = rng.uniform(0, 90, 3), rng.uniform(130, 255, 3)
    photo = np.where(inside[..., np.newaxis], colour, ground) + rng.normal(0, 8, (img_height, img_width, 3))
    return photo.clip(0, 255).astype('uint8')


utils.set_random_seed(1)
rng = np.random.default_rng(1)
labels = rng.integers(len(class_names), size=count)
images = np.array([draw(class_names[label], rng) for label in labels])
cut = count * 4 // 5

model = models.Sequential([
    layers.Rescaling(1./255, input_shape=(img_height, img_width, 3)),
    layers.Conv2D(16, 3, padding='same', activation='relu'),
    layers.MaxPooling2D(),
    layers.Conv2D(32, 3, padding='same', activation='relu'),
    layers.MaxPooling2D(),
    layers.Conv2D(64, 3, padding='same', activation='relu'),
    layers.MaxPooling2D(),
    layers.Flatten(),
    layers.Dense(128, activation='relu'),
    layers.Dense(len(class_names)),
])
model.summary()

model.compile(optimizer='adam', loss=losses.SparseCategoricalCrossentropy(from_logits=True), metrics=['accuracy'])
model.fit(images[:cut], labels[:cut], validation_data=(images[cut:], labels[cut:]), epochs=10)

predictions = model.predict(images[cut:cut + 1])
score = F.softmax(ac.tensor(predictions)).numpy()[0]
best = score.argmax()
print(f"This image most likely shows a {class_names[best]} with a {100 * score[best]:.2f} percent confidence.")
